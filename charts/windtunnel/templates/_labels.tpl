{{/* Labels. The component is the folder of the template, with a dash for the slash. */}}

{{- define "windtunnel.selector" -}}
app.kubernetes.io/name: windtunnel
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "windtunnel.labels" -}}
{{- $root := index . 0 -}}
{{ include "windtunnel.selector" . }}
app.kubernetes.io/part-of: windtunnel
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name ($root.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* Metadata of a resource of the release's namespace: (list $ "component"), or with a name of its own as third. */}}
{{- define "windtunnel.metadata" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
name: {{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}{{ include "windtunnel.name" (list $root $component) }}{{ end }}
namespace: {{ $root.Release.Namespace }}
labels: {{- include "windtunnel.labels" (list $root $component) | nindent 2 }}
{{- end }}

{{/* The same in the stages namespace: (list $ "component" "name"). */}}
{{- define "windtunnel.stages.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ include "windtunnel.stages.namespace" $root }}
labels: {{- include "windtunnel.labels" (list $root (index . 1)) | nindent 2 }}
{{- end }}
