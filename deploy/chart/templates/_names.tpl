{{- define "cofferdam.labels" -}}
app.kubernetes.io/name: cofferdam
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "cofferdam.selector" -}}
app.kubernetes.io/name: cofferdam
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* NAMESPACE/NAME as the end of a name that is a label as well: what is long ends in a hash of the whole. */}}
{{- define "cofferdam.short" -}}
{{- $text := . | replace "/" "-" | replace "." "-" }}
{{- printf "%s-%s" ($text | trunc 24 | trimSuffix "-") (. | sha256sum | trunc 8) }}
{{- end }}

{{- /* Component of the process that serves one Gateway alone. */}}
{{- define "cofferdam.separate" -}}
ingress-gateway-{{ include "cofferdam.short" . }}
{{- end }}

{{- /* Not empty where the controller needs a catalog: for providers, or for private zones that it would not take for such by itself. */}}
{{- define "cofferdam.catalog" -}}
{{- $own := without .Values.agent.dns.privateZones "cluster.local" "clusterset.local" }}
{{- if or .Values.catalog.providers $own }}needed{{ end }}
{{- end }}

{{- define "cofferdam.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- /* What agents and gateways count money by, and share budgets through: arguments, mounts, volumes. */}}
{{- define "cofferdam.spending.args" -}}
{{- if .Values.prices.list }}
- --prices=/run/secrets/cofferdam/prices/prices.yaml
{{- end }}
{{- with .Values.budgetStore }}
{{- if .url }}
- --budget-store={{ .url }}
- --budget-store-down={{ .down }}
{{- if .secret }}
- --budget-store-password=/run/secrets/cofferdam/budget-store/password
{{- end }}
{{- if .ca }}
- --budget-store-ca=/run/secrets/cofferdam/budget-store/ca.crt
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cofferdam.spending.mounts" -}}
{{- if .Values.prices.list }}
- {name: prices, mountPath: /run/secrets/cofferdam/prices, readOnly: true}
{{- end }}
{{- if .Values.budgetStore.secret }}
- {name: budget-store, mountPath: /run/secrets/cofferdam/budget-store, readOnly: true}
{{- end }}
{{- end }}

{{- define "cofferdam.spending.volumes" -}}
{{- if .Values.prices.list }}
- name: prices
  configMap: {name: cofferdam-prices}
{{- end }}
{{- if .Values.budgetStore.secret }}
- name: budget-store
  secret: {secretName: {{ .Values.budgetStore.secret }}}
{{- end }}
{{- end }}
