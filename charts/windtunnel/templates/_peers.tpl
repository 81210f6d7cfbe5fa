{{/* Parts of NetworkPolicies. */}}

{{/* Pods of components: (list $ "a" "b"). */}}
{{- define "windtunnel.peers" -}}
{{- $root := index . 0 -}}
{{- range rest . }}
- podSelector:
    matchLabels: {{- include "windtunnel.selector" (list $root .) | nindent 6 }}
{{- end }}
{{- end }}

{{- define "windtunnel.peers.stages" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ include "windtunnel.stages.namespace" . }}}
  podSelector:
    matchLabels: {{- include "windtunnel.selector" (list . "stage") | nindent 6 }}
{{- end }}

{{/* The controller makes and labels these. */}}
{{- define "windtunnel.peers.serving" -}}
- podSelector:
    matchLabels: {app.kubernetes.io/name: windtunnel, app.kubernetes.io/component: serving}
{{- end }}

{{/* Egress to pods of the release's namespace, from whichever namespace: (list $ "component" port). */}}
{{- define "windtunnel.egress.component" -}}
{{- $root := index . 0 -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ $root.Release.Namespace }}}
      podSelector:
        matchLabels: {{- include "windtunnel.selector" (list $root (index . 1)) | nindent 10 }}
  ports: [{protocol: TCP, port: {{ index . 2 }}}]
{{- end }}

{{/* Egress out of the cluster: (list cidrs ports). */}}
{{- define "windtunnel.egress.cidrs" -}}
- ports:
{{- range index . 1 }}
    - {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- with index . 0 }}
  to:
{{- range . }}
    - ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "windtunnel.egress.dns" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: {{ .Values.networkPolicy.dns.namespace }}}
  ports:
{{- range .Values.networkPolicy.dns.ports }}
    - {protocol: UDP, port: {{ int . }}}
    - {protocol: TCP, port: {{ int . }}}
{{- end }}
{{- end }}

{{- define "windtunnel.egress.kubernetesApi" -}}
{{ include "windtunnel.egress.cidrs" (list .Values.networkPolicy.kubernetesApi.cidrs .Values.networkPolicy.kubernetesApi.ports) }}
{{- end }}

{{- define "windtunnel.egress.postgres" -}}
{{- if .Values.postgres.enabled -}}
{{ include "windtunnel.egress.component" (list . "postgres" 5432) }}
{{- else -}}
{{ include "windtunnel.egress.cidrs" (list .Values.postgres.external.cidrs (list .Values.postgres.external.port)) }}
{{- end -}}
{{- end }}

{{- define "windtunnel.egress.valkey" -}}
{{- if .Values.valkey.enabled -}}
{{ include "windtunnel.egress.component" (list . "valkey" 6379) }}
{{- else -}}
{{ include "windtunnel.egress.cidrs" (list .Values.valkey.external.cidrs (list .Values.valkey.external.port)) }}
{{- end -}}
{{- end }}

{{- define "windtunnel.egress.objectStore" -}}
{{- if .Values.objectStore.enabled -}}
{{ include "windtunnel.egress.component" (list . "object-store" 9000) }}
{{- else -}}
{{- $url := urlParse .Values.objectStore.external.endpoint -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{ include "windtunnel.egress.cidrs" (list .Values.objectStore.external.cidrs (list $port)) }}
{{- end -}}
{{- end }}

{{- define "windtunnel.egress.git" -}}
{{- with .Values.airflow.dags.git -}}
{{- if .enabled -}}
{{ include "windtunnel.egress.cidrs" (list .cidrs (list .port)) }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Where the control plane sends its metrics. */}}
{{- define "windtunnel.egress.statsd" -}}
{{- if .Values.statsdExporter.enabled -}}
- to: {{- include "windtunnel.peers" (list . "statsd-exporter") | nindent 4 }}
  ports: [{protocol: UDP, port: 9125}]
{{- end -}}
{{- end }}

{{/* Ingress of what the release's Prometheus scrapes: (list $ port). Another one is let in by `monitoring`. */}}
{{- define "windtunnel.ingress.scrape" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.prometheus.enabled -}}
- from: {{- include "windtunnel.peers" (list $root "prometheus") | nindent 4 }}
  ports: [{protocol: TCP, port: {{ index . 1 }}}]
{{- end -}}
{{- end }}
