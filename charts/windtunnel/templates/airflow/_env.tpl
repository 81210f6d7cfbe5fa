{{/* Where DAGs come from; the control plane and the stage pods must agree. */}}
{{- define "windtunnel.airflow.dagsEnv" -}}
AIRFLOW__CORE__DAGS_FOLDER: /opt/windtunnel/dags
{{- with .Values.airflow.dags.git }}
{{- if .enabled }}
{{- $bundle := dict "name" "lifecycles" "classpath" "airflow.providers.git.bundles.git.GitDagBundle" "kwargs" (dict "repo_url" .repo "tracking_ref" .ref "subdir" .subdir "refresh_interval" (int .refreshSeconds)) }}
AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST: {{ list $bundle | toJson | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Environment of the control plane's containers beside the ConfigMap: (list $ "component"). */}}
{{- define "windtunnel.airflow.containerEnv" -}}
{{- $root := index . 0 -}}
{{- $secret := include "windtunnel.secret.airflow" $root -}}
{{- range list "AIRFLOW__CORE__FERNET_KEY" "AIRFLOW__API__SECRET_KEY" "AIRFLOW__API_AUTH__JWT_SECRET" -}}
{{ include "windtunnel.secretEnv" (list . $secret .) }}
{{ end -}}
{{ include "windtunnel.secretEnv" (list "PGPASSWORD" (include "windtunnel.secret.postgres" $root) "airflow-password") }}
{{- end }}

{{/* Checksums that restart the control plane. */}}
{{- define "windtunnel.airflow.checksums" -}}
checksum/config: {{ include (print .Template.BasePath "/airflow/configmap.yaml") . | sha256sum }}
{{- range compact (list .Values.airflow.existingSecret (ternary .Values.postgres.existingSecret .Values.postgres.external.existingSecret .Values.postgres.enabled) (ternary .Values.objectStore.existingSecret .Values.objectStore.external.existingSecret .Values.objectStore.enabled)) }}
checksum/secret-{{ . }}: {{ include "windtunnel.secretChecksum" (list $ .) }}
{{- end }}
{{- end }}

{{/* What containers of the control plane share: image, environment, writable directories. */}}
{{- define "windtunnel.airflow.container" -}}
image: {{ include "windtunnel.image" (list . "airflow") }}
imagePullPolicy: {{ .Values.images.pullPolicy }}
{{ include "windtunnel.containerSecurity" . }}
envFrom:
  - configMapRef: {name: {{ include "windtunnel.name" (list . "airflow") }}}
{{- end }}

{{/* What those who make tasks and pods are hooked by, scheduler and api-server: the labels of stage pods, and a task's
     place in the queue. Airflow finds airflow_local_settings there. */}}
{{- define "windtunnel.airflow.hooksEnv" -}}
- {name: PYTHONPATH, value: /opt/windtunnel/src/windtunnel/airflow/config}
{{- end }}

{{- define "windtunnel.airflow.volumeMounts" -}}
- {name: home, mountPath: /home/windtunnel}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "windtunnel.airflow.volumes" -}}
- {name: home, emptyDir: {sizeLimit: 1Gi}}
- {name: tmp, emptyDir: {sizeLimit: 1Gi}}
{{- end }}

{{/* Init container that holds a component back until the database is at this version: (list $ resources). The Job that
     migrates is no hook, so `helm install --wait` has nothing to deadlock on. */}}
{{- define "windtunnel.airflow.waitForMigrations" -}}
{{- $root := index . 0 -}}
- name: wait-for-migrations
  {{- include "windtunnel.airflow.container" $root | nindent 2 }}
  command: [bash, -ec, '{{ include "windtunnel.waitForPostgres" $root }}; exec airflow db check-migrations --migration-wait-timeout 900']
  env: {{- include "windtunnel.airflow.containerEnv" (list $root) | nindent 4 }}
  resources: {{- toYaml (index . 1) | nindent 4 }}
  volumeMounts: {{- include "windtunnel.airflow.volumeMounts" $root | nindent 4 }}
{{- end }}

{{- define "windtunnel.airflow.env" -}}
HOME: /home/windtunnel
USER: windtunnel
AIRFLOW_HOME: /home/windtunnel/airflow
AIRFLOW__CORE__EXECUTOR: KubernetesExecutor
AIRFLOW__CORE__LOAD_EXAMPLES: "False"
AIRFLOW__CORE__AUTH_MANAGER: airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager
AIRFLOW__CORE__EXECUTION_API_SERVER_URL: {{ include "windtunnel.airflow.executionUrl" . }}
# Also the api-server's: it reads the logs of running stages there.
AIRFLOW__KUBERNETES_EXECUTOR__NAMESPACE: {{ include "windtunnel.stages.namespace" . }}
AIRFLOW__CORE__PARALLELISM: {{ .Values.airflow.parallelism | quote }}
AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG: {{ .Values.airflow.parallelism | quote }}
{{ include "windtunnel.airflow.dagsEnv" . }}
AIRFLOW__DATABASE__SQL_ALCHEMY_CONN: {{ include "windtunnel.postgres.url" (list . "airflow") }}
AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS: "False"
{{- if not .Values.postgres.enabled }}
PGSSLMODE: {{ .Values.postgres.external.sslMode }}
{{- end }}
AIRFLOW__API__PORT: "8080"
AIRFLOW__API__WORKERS: "1"
AIRFLOW__API__BASE_URL: {{ .Values.airflow.baseUrl }}
# Logs of finished stages are read from the object store; without it they would be gone with the pod.
AIRFLOW__LOGGING__REMOTE_LOGGING: "True"
AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER: {{ include "windtunnel.objectStore.url" . }}/logs
AIRFLOW__LOGGING__COLORED_CONSOLE_LOG: "False"
{{- if .Values.statsdExporter.enabled }}
AIRFLOW__METRICS__STATSD_ON: "True"
AIRFLOW__METRICS__STATSD_HOST: {{ printf "%s.%s" (include "windtunnel.name" (list . "statsd-exporter")) .Release.Namespace }}
AIRFLOW__METRICS__STATSD_PORT: "9125"
AIRFLOW__METRICS__STATSD_PREFIX: airflow
# Tags in place of names that hold the DAG's; files/statsd-mapping.yaml says what becomes of each metric.
AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED: "True"
AIRFLOW__METRICS__LEGACY_NAMES_ON: "False"
AIRFLOW__METRICS__STATSD_DISABLED_TAGS: job_id,run_id,run_type,queue,team_name,executor_class_name,file_path,file_name,bundle_name
{{- end }}
{{ include "windtunnel.objectStore.env" . }}
WINDTUNNEL_LIFECYCLES: /opt/windtunnel/dags/lifecycles
{{- end }}

{{/* The pod that migrates the database, makes the pools of the stage classes, and makes the admin or sets its password. */}}
{{- define "windtunnel.airflow.migrate" -}}
{{- $admin := include "windtunnel.secret.admin" . -}}
{{ include "windtunnel.pod" (list . "airflow-migrate" 10001) }}
restartPolicy: OnFailure
containers:
  - name: migrate
    {{- include "windtunnel.airflow.container" . | nindent 4 }}
    command: [bash, -ec, '{{ include "windtunnel.waitForPostgres" . }}; airflow db migrate; python -m windtunnel.airflow.pools /opt/windtunnel/pod-templates/pools.json; exec python -m windtunnel.airflow.admin_user']
    env:
      {{- include "windtunnel.airflow.containerEnv" (list .) | nindent 6 }}
      {{- include "windtunnel.secretEnv" (list "AIRFLOW_ADMIN_USERNAME" $admin "username") | nindent 6 }}
      {{- include "windtunnel.secretEnv" (list "AIRFLOW_ADMIN_PASSWORD" $admin "password") | nindent 6 }}
    resources: {{- toYaml .Values.airflow.migrate.resources | nindent 6 }}
    volumeMounts:
      {{- include "windtunnel.airflow.volumeMounts" . | nindent 6 }}
      - {name: pod-templates, mountPath: /opt/windtunnel/pod-templates, readOnly: true}
volumes:
  {{- include "windtunnel.airflow.volumes" . | nindent 2 }}
  - name: pod-templates
    configMap: {name: {{ include "windtunnel.name" (list . "pod-templates") }}}
{{- end }}
