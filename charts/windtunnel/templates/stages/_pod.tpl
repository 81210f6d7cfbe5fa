{{/* The pod of a stage class: (list $ "class" spec). It holds no literal secret, and no volume unless the class asks
     for a disk: each volume costs 0.25 s of a stage's start. */}}
{{- define "windtunnel.stages.pod" -}}
{{- $root := index . 0 -}}
{{- $class := index . 1 -}}
{{- $spec := index . 2 -}}
{{- $environment := merge (dict) (default dict $spec.env) $root.Values.stages.env -}}
{{- $temporary := ternary "/scratch" "/dev/shm" (not (empty $spec.scratch)) -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ $class }}
  labels:
    {{- include "windtunnel.selector" (list $root "stage") | nindent 4 }}
    windtunnel.dev/stage-class: {{ $class }}
  {{- with $spec.annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ $spec.serviceAccountName | default (ternary "rollout" "stage" (eq $class "rollout")) }}
  automountServiceAccountToken: {{ or (eq $class "rollout") (not (empty $spec.serviceAccountName)) }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $root.Values.stages.terminationGracePeriodSeconds }}
  {{- with $root.Values.images.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    seccompProfile: {type: RuntimeDefault}
  {{- with $spec.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $spec.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $spec.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $spec.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $spec.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  containers:
    # Airflow looks for this name, and gives the arguments.
    - name: base
      image: {{ $spec.image | default (include "windtunnel.image" (list $root "stage")) }}
      imagePullPolicy: {{ $root.Values.images.pullPolicy }}
      {{- if eq $root.Values.stages.worker "lean" }}
      # The image's entrypoint, then the lean worker, which is given Airflow's arguments.
      command: [/usr/bin/tini, --, /opt/airflow/bin/python, -m, windtunnel.airflow.worker]
      {{- end }}
      {{- include "windtunnel.containerSecurity" $root | nindent 6 }}
      resources: {{- toYaml $spec.resources | nindent 8 }}
      env:
        {{- include "windtunnel.env" (include "windtunnel.stages.env" (list $root $temporary) | fromYaml | merge (dict) $environment) | trim | nindent 8 }}
        {{- with $environment }}
        # The stage's process is given only what the platform knows, and these.
        - {name: WINDTUNNEL_STAGE_ENV, value: {{ keys . | sortAlpha | join "," | quote }}}
        {{- end }}
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        # For the stage's record.
        - {name: WINDTUNNEL_STAGE_CLASS, value: {{ $class }}}
        {{- if not (kindIs "invalid" $spec.pricePerHour) }}
        - {name: WINDTUNNEL_PRICE_PER_HOUR, value: {{ $spec.pricePerHour | quote }}}
        {{- end }}
        # Threads as the class has CPU, or each library starts one per core of the node. OpenBLAS goes by OpenMP's.
        {{- range list "OMP_NUM_THREADS" "POLARS_MAX_THREADS" }}
        - name: {{ . }}
          valueFrom: {resourceFieldRef: {containerName: base, resource: requests.cpu, divisor: "1"}}
        {{- end }}
        {{- include "windtunnel.objectStore.secretEnv" $root | nindent 8 }}
        {{- include "windtunnel.secretEnv" (list "WINDTUNNEL_ONLINE_STORE_PASSWORD" (include "windtunnel.secret.onlineStore" $root) "WINDTUNNEL_ONLINE_STORE_PASSWORD") | nindent 8 }}
      {{- if $spec.scratch }}
      volumeMounts:
        - {name: scratch, mountPath: /scratch}
      {{- end }}
  {{- if $spec.scratch }}
  volumes:
    - {name: scratch, emptyDir: {sizeLimit: {{ $spec.scratch }}}}
  {{- end }}
{{- end }}

{{/* Environment of stage pods that is no secret: (list $ "/directory for temporary files"). */}}
{{- define "windtunnel.stages.env" -}}
{{- $root := index . 0 -}}
{{- $temporary := index . 1 -}}
# The task SDK's environment first; the stage itself runs in /opt/stage, as a child process.
PATH: /opt/airflow/bin:/usr/local/bin:/usr/bin:/bin
HOME: {{ $temporary }}
TMPDIR: {{ $temporary }}
USER: windtunnel
PYTHONDONTWRITEBYTECODE: "1"
AIRFLOW_HOME: {{ $temporary }}/airflow
AIRFLOW__CORE__EXECUTION_API_SERVER_URL: {{ include "windtunnel.airflow.executionUrl" $root }}
AIRFLOW__CORE__LOAD_EXAMPLES: "False"
{{ include "windtunnel.airflow.dagsEnv" $root }}
AIRFLOW__LOGGING__LOGGING_CONFIG_CLASS: windtunnel.airflow.task_log.LOGGING_CONFIG
AIRFLOW__LOGGING__BASE_LOG_FOLDER: {{ $temporary }}/airflow/logs
# With them a worker that sends no metrics reads, at its start, a list of the names that all metrics once had.
AIRFLOW__METRICS__LEGACY_NAMES_ON: "False"
# A stage outlives an api-server that is away for minutes.
AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS: "60"
AIRFLOW__WORKERS__EXECUTION_API_RETRIES: "12"
AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX: "10"
{{ include "windtunnel.objectStore.env" $root }}
WINDTUNNEL_LIFECYCLES: /opt/windtunnel/dags/lifecycles
WINDTUNNEL_ONLINE_STORE: {{ include "windtunnel.onlineStore.url" $root }}
WINDTUNNEL_SERVED_MODELS: kubernetes:{{ $root.Release.Namespace }}
MLFLOW_TRACKING_URI: {{ include "windtunnel.mlflow.url" $root }}
{{- end }}

{{/* Airflow's pools, as `airflow pools import` takes them. A rollout waits for hours until there is evidence: without a
     bound of its own the rollouts of a busy day would hold every place. */}}
{{- define "windtunnel.stages.pools" -}}
{{- $parallelism := int .Values.airflow.parallelism -}}
{{- $pools := dict -}}
{{- range $class, $spec := .Values.stages.classes -}}
{{- $slots := ternary (div (add $parallelism 1) 2) $parallelism (eq $class "rollout") -}}
{{- if not (kindIs "invalid" $spec.slots) -}}
{{- $slots = int $spec.slots -}}
{{- end -}}
{{- $_ := set $pools (printf "stage-%s" $class) (dict "slots" $slots "description" (printf "Stages of the class %s: stages.classes.%s.slots in the chart's values" $class $class) "include_deferred" false) -}}
{{- end -}}
{{ $pools | toPrettyJson }}
{{- end }}
