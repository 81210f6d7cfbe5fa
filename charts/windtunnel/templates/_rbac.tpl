{{/* Binds the Role of a component to its ServiceAccount: (list $ "component"). */}}
{{- define "windtunnel.roleBinding" -}}
{{- $root := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{- include "windtunnel.metadata" . | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ include "windtunnel.name" . }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "windtunnel.name" . }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}

{{/* The same in the stages namespace, for a component of the release's. */}}
{{- define "windtunnel.stages.roleBinding" -}}
{{- $root := index . 0 -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{- include "windtunnel.stages.metadata" (list $root (index . 1) (include "windtunnel.name" .)) | nindent 2 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: {{ include "windtunnel.name" . }}}
subjects:
  - {kind: ServiceAccount, name: {{ include "windtunnel.name" . }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}
