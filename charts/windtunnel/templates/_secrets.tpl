{{/* Secrets are generated once and found again by lookup: (list $ "name" "key" "new value, used when there is none"). */}}
{{- define "windtunnel.remembered" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- get (default dict $found.data) (index . 2) | default (index . 3 | b64enc) -}}
{{- end }}

{{/* A checksum of a Secret of the user's, so that pods restart when an upgrade finds it changed. One that the release
     generated never changes. */}}
{{- define "windtunnel.secretChecksum" -}}
{{- $found := lookup "v1" "Secret" (index . 0).Release.Namespace (index . 1) -}}
{{- default dict $found.data | toJson | sha256sum -}}
{{- end }}
