{{/* The alerts: the groups of alerts/*.yaml, as a Prometheus rule file has them, with what the values say of them: thresholds
     filled in, unwanted ones and those without their metrics left out, labels added, and the link to the runbook, which is named after the alert. */}}
{{- define "windtunnel.alerts" -}}
{{- $alerts := .Values.monitoring.alerts -}}
{{- $groups := list -}}
{{- range $path, $_ := .Files.Glob "alerts/*.yaml" -}}
  {{- $text := $.Files.Get $path -}}
  {{- range $name, $value := $alerts.thresholds -}}
    {{- $text = replace (printf "${%s}" $name) (toJson $value) $text -}}
  {{- end -}}
  {{- $group := fromYaml $text -}}
  {{- $rules := list -}}
  {{- range $rule := $group.rules -}}
    {{- $counted := or $.Values.statsdExporter.enabled (not (contains "airflow_" $rule.expr)) -}}
    {{- if and $counted (not (has $rule.alert $alerts.disabled)) -}}
      {{- with regexFind "[$][{][a-zA-Z]+[}]" $rule.expr -}}
        {{- $threshold := trimSuffix "}" (trimPrefix "${" .) -}}
        {{- fail (printf "monitoring.alerts.thresholds.%s: is null; give a number, or add %s to monitoring.alerts.disabled" $threshold $rule.alert) -}}
      {{- end -}}
      {{- $page := kebabcase (trimPrefix "Windtunnel" $rule.alert) -}}
      {{- $annotations := set $rule.annotations "runbook_url" (printf "%s/%s.md" $alerts.runbooks $page) -}}
      {{- $rules = append $rules (merge (dict "annotations" $annotations "labels" (merge $rule.labels $alerts.labels)) $rule) -}}
    {{- end -}}
  {{- end -}}
  {{- $groups = append $groups (dict "name" $group.name "rules" $rules) -}}
{{- end -}}
{{- dict "groups" $groups | toYaml -}}
{{- end }}
