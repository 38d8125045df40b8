{{- define "callscreen.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "callscreen.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "callscreen.verifierSelector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: verifier
{{- end }}

{{- define "callscreen.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "callscreen.labels" -}}
{{ include "callscreen.selector" . }}
{{ include "callscreen.release" . }}
{{- end }}

{{- define "callscreen.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "callscreen.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "callscreen.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "callscreen.nats" -}}
{{- $nats := dict "url" .Values.nats.url }}
{{- if .Values.nats.tokenSecret }}{{ $_ := set $nats "token" "$(NATS_TOKEN)" }}
- name: NATS_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.nats.tokenSecret }}, key: token}}
{{- end }}
{{- if .Values.verifiers.replicas }}{{ $_ := set $nats "verifier_pool" true }}{{ end }}
- name: CALLSCREEN_NATS
  value: {{ $nats | toJson | quote }}
{{- end }}

{{- define "callscreen.secret" -}}
{{- if .Values.auth.existingSecret }}{{ .Values.auth.existingSecret }}{{ else if .Values.auth.token }}{{ include "callscreen.fullname" . }}{{ else if not .Values.auth.fromConfig }}{{ fail "auth: expected one of existingSecret, token and fromConfig" }}{{ end }}
{{- end }}

{{- define "callscreen.scheme" -}}
{{ if .Values.tls.secretName }}HTTPS{{ else }}HTTP{{ end }}
{{- end }}

{{- define "callscreen.rtpPorts" -}}
{{- range $port := untilStep (int (index .Values.telephony.rtp 0)) (add1 (int (index .Values.telephony.rtp 1)) | int) 1 }}
- {name: rtp-{{ $port }}, port: {{ $port }}, targetPort: {{ $port }}, protocol: UDP}
{{- end }}
{{- end }}
