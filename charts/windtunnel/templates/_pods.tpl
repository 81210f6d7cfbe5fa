{{/* Parts of pods. */}}

{{/* What every pod says of itself: (list $ "component" uid), and true as fourth when it calls the Kubernetes API. */}}
{{- define "windtunnel.pod" -}}
{{- $root := index . 0 -}}
{{- $uid := index . 2 -}}
{{- with $root.Values.images.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{ end -}}
serviceAccountName: {{ include "windtunnel.name" (list $root (index . 1)) }}
automountServiceAccountToken: {{ gt (len .) 3 }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $uid }}
  runAsGroup: {{ $uid }}
  fsGroup: {{ $uid }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.pods.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.pods.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.pods.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.pods.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Metadata of a pod template: (list $ "component" checksums), checksums a dict. No versions among the labels: a new
     chart alone must not restart the stores. */}}
{{- define "windtunnel.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "windtunnel.selector" . | nindent 2 }}
  app.kubernetes.io/part-of: windtunnel
{{- with merge (dict) $root.Values.pods.annotations (index . 2) }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "windtunnel.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "windtunnel.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata: {{- include "windtunnel.metadata" . | nindent 2 }}
# A pod that calls the Kubernetes API asks for the token itself.
automountServiceAccountToken: false
{{- end }}

{{/* A volume claim, kept on uninstall with the secrets that open what is in it: (list $ "component" persistence). */}}
{{- define "windtunnel.volumeClaim" -}}
{{- $root := index . 0 -}}
{{- $persistence := index . 2 -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  {{- include "windtunnel.metadata" (list $root (index . 1)) | nindent 2 }}
  {{- include "windtunnel.keep" $root | nindent 2 }}
spec:
  accessModes: [ReadWriteOnce]
  {{- with $persistence.storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests: {storage: {{ $persistence.size }}}
{{- end }}

{{- define "windtunnel.keep" -}}
{{- if .Values.keepDataOnUninstall -}}
annotations: {helm.sh/resource-policy: keep}
{{- end -}}
{{- end }}

{{/* Environment from a map of strings. */}}
{{- define "windtunnel.env" -}}
{{- range $name, $value := . }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* (list "VARIABLE" "secret" "key") */}}
{{- define "windtunnel.secretEnv" -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
{{- end }}

{{- define "windtunnel.objectStore.secretEnv" -}}
{{- $secret := include "windtunnel.secret.objectStore" . -}}
{{ include "windtunnel.secretEnv" (list "AWS_ACCESS_KEY_ID" $secret "AWS_ACCESS_KEY_ID") }}
{{ include "windtunnel.secretEnv" (list "AWS_SECRET_ACCESS_KEY" $secret "AWS_SECRET_ACCESS_KEY") }}
{{- end }}

{{/* Where the object store is, without credentials. */}}
{{- define "windtunnel.objectStore.env" -}}
WINDTUNNEL_STORE: {{ include "windtunnel.objectStore.url" . }}
AWS_REGION: {{ .Values.objectStore.region | quote }}
# boto3 reads only this one.
AWS_DEFAULT_REGION: {{ .Values.objectStore.region | quote }}
{{- with include "windtunnel.objectStore.endpoint" . }}
AWS_ENDPOINT_URL_S3: {{ . }}
{{- end }}
{{- end }}

{{/* Shell that waits until Postgres listens: an absent server would make each client restart with a growing pause. */}}
{{- define "windtunnel.waitForPostgres" -}}
until (exec 3<>"/dev/tcp/{{ include "windtunnel.postgres.host" . }}/{{ include "windtunnel.postgres.port" . }}") 2>/dev/null; do echo "waiting for Postgres"; sleep 1; done
{{- end }}
