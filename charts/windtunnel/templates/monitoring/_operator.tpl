{{/* Parts of the Prometheus operator's objects. */}}

{{/* Metadata with the labels that a Prometheus selects by: (list $ "name"). */}}
{{- define "windtunnel.operator.metadata" -}}
{{- include "windtunnel.metadata" (list (index . 0) "monitoring" (include "windtunnel.name" .)) }}
{{- with (index . 0).Values.monitoring.operator.labels }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The labels that the release's own Prometheus gives too; alerts and dashboards build on them. */}}
{{- define "windtunnel.operator.relabelings" -}}
- {sourceLabels: [__meta_kubernetes_pod_label_app_kubernetes_io_component], targetLabel: component}
- {sourceLabels: [__meta_kubernetes_pod_label_windtunnel_dev_served_model], targetLabel: served_model}
- {sourceLabels: [__meta_kubernetes_pod_label_windtunnel_dev_lifecycle], targetLabel: lifecycle}
{{- end }}

{{/* A ServiceMonitor of a component: (list $ "component"). */}}
{{- define "windtunnel.operator.serviceMonitor" -}}
{{- $root := index . 0 -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {{- include "windtunnel.operator.metadata" . | nindent 2 }}
spec:
  selector:
    matchLabels: {{- include "windtunnel.selector" . | nindent 6 }}
  namespaceSelector: {matchNames: [{{ $root.Release.Namespace }}]}
  endpoints:
    - port: metrics
      path: /metrics
      interval: {{ $root.Values.monitoring.operator.interval }}
      # What the metrics say of lifecycles and namespaces is meant.
      honorLabels: true
      relabelings: {{- include "windtunnel.operator.relabelings" $root | nindent 8 }}
{{- end }}
