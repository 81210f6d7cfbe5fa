{{/* Names. Every name of a resource is made here. Arguments are lists: (list $ "component"). */}}

{{- define "windtunnel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Name of what belongs to a component. */}}
{{- define "windtunnel.name" -}}
{{- printf "%s-%s" (include "windtunnel.fullname" (index . 0)) (index . 1) -}}
{{- end }}

{{- define "windtunnel.stages.namespace" -}}
{{- default (printf "%s-stages" .Release.Name) .Values.stages.namespace.name -}}
{{- end }}

{{/* Secrets: the user's, or the one that the release generates. */}}
{{- define "windtunnel.secret.airflow" -}}
{{- default (include "windtunnel.name" (list . "airflow")) .Values.airflow.existingSecret -}}
{{- end }}

{{- define "windtunnel.secret.admin" -}}
{{- default (include "windtunnel.name" (list . "airflow-admin")) .Values.airflow.admin.existingSecret -}}
{{- end }}

{{- define "windtunnel.secret.grafana" -}}
{{- default (include "windtunnel.name" (list . "grafana")) .Values.grafana.existingSecret -}}
{{- end }}

{{- define "windtunnel.secret.postgres" -}}
{{- $postgres := .Values.postgres -}}
{{- ternary (default (include "windtunnel.name" (list . "postgres")) $postgres.existingSecret) $postgres.external.existingSecret $postgres.enabled -}}
{{- end }}

{{- define "windtunnel.secret.objectStore" -}}
{{- $store := .Values.objectStore -}}
{{- ternary (default (include "windtunnel.name" (list . "object-store")) $store.existingSecret) $store.external.existingSecret $store.enabled -}}
{{- end }}

{{- define "windtunnel.secret.onlineStore" -}}
{{- $valkey := .Values.valkey -}}
{{- ternary (default (include "windtunnel.name" (list . "online-store")) $valkey.existingSecret) $valkey.external.existingSecret $valkey.enabled -}}
{{- end }}

{{/* Addresses. */}}
{{- define "windtunnel.postgres.host" -}}
{{- ternary (printf "%s.%s" (include "windtunnel.name" (list . "postgres")) .Release.Namespace) .Values.postgres.external.host .Values.postgres.enabled -}}
{{- end }}

{{- define "windtunnel.postgres.port" -}}
{{- ternary 5432 (int .Values.postgres.external.port) .Values.postgres.enabled -}}
{{- end }}

{{/* URL without a password, for (list $ "airflow"|"mlflow"); libpq reads that from PGPASSWORD. */}}
{{- define "windtunnel.postgres.url" -}}
{{- $root := index . 0 -}}
{{- $database := ternary (dict "database" (index . 1) "username" (index . 1)) (index $root.Values.postgres.external (index . 1)) $root.Values.postgres.enabled -}}
{{- printf "postgresql+psycopg2://%s@%s:%s/%s" (urlquery $database.username) (include "windtunnel.postgres.host" $root) (include "windtunnel.postgres.port" $root) (urlquery $database.database) -}}
{{- end }}

{{- define "windtunnel.objectStore.url" -}}
{{- printf "s3://%s" .Values.objectStore.bucket -}}
{{- end }}

{{/* Empty for Amazon's own. */}}
{{- define "windtunnel.objectStore.endpoint" -}}
{{- ternary (printf "http://%s.%s:9000" (include "windtunnel.name" (list . "object-store")) .Release.Namespace) .Values.objectStore.external.endpoint .Values.objectStore.enabled -}}
{{- end }}

{{- define "windtunnel.onlineStore.url" -}}
{{- $external := .Values.valkey.external -}}
{{- if .Values.valkey.enabled -}}
{{- printf "redis://%s.%s:6379/0" (include "windtunnel.name" (list . "valkey")) .Release.Namespace -}}
{{- else -}}
{{- printf "%s://%s:%d/%d" (ternary "rediss" "redis" $external.tls) $external.host (int $external.port) (int $external.database) -}}
{{- end -}}
{{- end }}

{{- define "windtunnel.mlflow.url" -}}
{{- printf "http://%s.%s:5000" (include "windtunnel.name" (list . "mlflow")) .Release.Namespace -}}
{{- end }}

{{- define "windtunnel.airflow.executionUrl" -}}
{{- printf "http://%s.%s:8080/execution/" (include "windtunnel.name" (list . "airflow-api-server")) .Release.Namespace -}}
{{- end }}

{{/* Images: (list $ "stage") for Windtunnel's own, (list $ "postgres") for upstream ones. */}}
{{- define "windtunnel.image" -}}
{{- $images := (index . 0).Values.images -}}
{{- $image := index $images (index . 1) -}}
{{- $repository := ternary (printf "%s/%s" ($images.registry | trimSuffix "/") $image.repository) $image.repository (ne $images.registry "") -}}
{{- printf "%s:%s" $repository (coalesce $image.tag $images.tag (index . 0).Chart.AppVersion) -}}
{{- end }}

{{- define "windtunnel.upstreamImage" -}}
{{- $image := index (index . 0).Values.images (index . 1) -}}
{{- printf "%s:%s" $image.repository $image.tag -}}
{{- end }}
