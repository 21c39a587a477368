{{- define "bowsprit.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "bowsprit" .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-bowsprit" .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "bowsprit.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "bowsprit.fullname" .) -}}
{{- end -}}

{{/* What selects the operator's pods: never changes over a release's life, as a Deployment's selector cannot. */}}
{{- define "bowsprit.selector" -}}
app.kubernetes.io/name: bowsprit
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "bowsprit.labels" -}}
{{ include "bowsprit.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image's full name: (list . .Values.image). */}}
{{- define "bowsprit.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "bowsprit.webhookService" -}}
{{- include "bowsprit.fullname" . }}-webhook
{{- end -}}

{{- define "bowsprit.webhookSecret" -}}
{{- include "bowsprit.fullname" . }}-webhook-tls
{{- end -}}

{{- define "bowsprit.ledger" -}}
{{- include "bowsprit.fullname" . }}-ledger
{{- end -}}

{{/* What selects the ledger service's pods. */}}
{{- define "bowsprit.ledgerSelector" -}}
app.kubernetes.io/name: bowsprit
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: ledger
{{- end -}}

{{- define "bowsprit.ledgerLabels" -}}
{{ include "bowsprit.ledgerSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}
