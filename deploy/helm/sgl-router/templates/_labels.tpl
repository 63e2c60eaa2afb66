{{- define "sgl-router.name" -}}
{{- printf "%s" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sgl-router.selectorLabels" -}}
app.kubernetes.io/name: sgl-router
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sgl-router.labels" -}}
{{ include "sgl-router.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "sgl-router.serviceAccount" -}}
{{- default (include "sgl-router.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* A map of labels as a TOML list of KEY=VALUE. */}}
{{- define "sgl-router.tomlLabels" -}}
{{- $words := list -}}
{{- range $key, $value := . -}}
{{- $words = append $words (printf "%s=%s" $key $value | quote) -}}
{{- end -}}
[{{ join ", " $words }}]
{{- end -}}
