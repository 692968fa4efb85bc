{{/* A name of at most 63 characters: what a label and a DNS name may have. The longest suffix, -admin, must fit as well. */}}
{{- define "swaptide.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 57 | trimSuffix "-" }}
{{- end }}

{{- define "swaptide.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 57 | trimSuffix "-" }}
{{- else if contains (include "swaptide.name" .) .Release.Name }}
{{- .Release.Name | trunc 57 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "swaptide.name" .) | trunc 57 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "swaptide.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "swaptide.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What a Deployment's selector may hold: it can never be changed. */}}
{{- define "swaptide.selectorLabels" -}}
app.kubernetes.io/name: {{ include "swaptide.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "swaptide.labels" -}}
{{ include "swaptide.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}
