{{- define "conduit.labels" -}}
app.kubernetes.io/name: conduit
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "conduit.cluster" -}}
{{ .Release.Name }}-db
{{- end }}

{{- define "conduit.image" -}}
{{ .Values.image.repository }}{{ if not (contains "@" .Values.image.repository) }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* What the server and the migration share. $(…) is expanded by Kubernetes. */}}
{{- define "conduit.container" -}}
image: {{ include "conduit.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
env:
  - { name: HOST, value: 0.0.0.0 }
  - { name: PORT, value: "3000" }
  - { name: METRICS_PORT, value: "9090" }
  - { name: METRICS_HOST, value: 0.0.0.0 }
  - { name: NODE_ENV, value: production }
  {{- range $name, $value := .Values.settings }}
  - { name: {{ $name }}, value: {{ $value | quote }} }
  {{- end }}
  - name: JWT_SECRET
    valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: JWT_SECRET } }
  - name: SMTP_URL
    valueFrom: { secretKeyRef: { name: {{ .Values.existingSecret }}, key: SMTP_URL, optional: true } }
  # CloudNativePG creates this secret, with a password of letters and digits.
  - name: DB_PASSWORD
    valueFrom: { secretKeyRef: { name: {{ include "conduit.cluster" . }}-app, key: password } }
  - name: DATABASE_URL
    value: postgres://conduit:$(DB_PASSWORD)@{{ include "conduit.cluster" . }}-rw:5432/conduit?target_session_attrs=read-write&sslmode=verify-full&sslrootcert=/etc/postgres-ca/ca.crt
volumeMounts:
  - { name: postgres-ca, mountPath: /etc/postgres-ca, readOnly: true }
{{- end }}
