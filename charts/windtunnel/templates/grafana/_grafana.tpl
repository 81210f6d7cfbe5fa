{{/* Where the optional Grafana finds a Prometheus. */}}
{{- define "windtunnel.grafana.prometheusUrl" -}}
{{- default (printf "http://%s:9090" (include "windtunnel.name" (list . "prometheus"))) .Values.grafana.prometheusUrl -}}
{{- end }}
