{{- define "windtunnel.mlflow.env" -}}
- {name: HOME, value: /tmp}
- {name: TMPDIR, value: /tmp}
- {name: MLFLOW_BACKEND_STORE_URI, value: {{ include "windtunnel.postgres.url" (list . "mlflow") | quote }}}
# Without it the server starts a job runner that takes 1.5 GB.
- {name: MLFLOW_SERVER_ENABLE_JOB_EXECUTION, value: "false"}
- {name: MLFLOW_DISABLE_TELEMETRY, value: "true"}
{{- if not .Values.postgres.enabled }}
- {name: PGSSLMODE, value: {{ .Values.postgres.external.sslMode }}}
{{- end }}
{{ include "windtunnel.secretEnv" (list "PGPASSWORD" (include "windtunnel.secret.postgres" .) "mlflow-password") }}
{{- include "windtunnel.env" (include "windtunnel.objectStore.env" . | fromYaml) }}
{{ include "windtunnel.objectStore.secretEnv" . }}
{{- end }}
