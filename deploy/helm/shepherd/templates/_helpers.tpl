{{- define "shepherd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "shepherd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What never changes over the life of a release. */}}
{{- define "shepherd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "shepherd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shepherd.labels" -}}
{{ include "shepherd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "shepherd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "shepherd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "shepherd.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The port of the API, which the configuration may move. */}}
{{- define "shepherd.apiPort" -}}
{{- dig "server" "port" 8080 .Values.config | int -}}
{{- end -}}

{{/* A stop that is cut short loses what it was for. */}}
{{- define "shepherd.checkGrace" -}}
{{- $timeout := dig "server" "shutdown_timeout" "30s" .Values.config | toString -}}
{{- if regexMatch "^[0-9]+s$" $timeout -}}
{{- $needed := add (trimSuffix "s" $timeout | int) (int .Values.preStopSeconds) -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds must be more than config.server.shutdown_timeout and preStopSeconds together, %d" (int $needed)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Secrets, by reference; and what the chart has to fix. */}}
{{- define "shepherd.env" -}}
{{- with .Values.secrets.database }}
{{- $secret := required "secrets.database.existingSecret names the Secret with the access to the database" .existingSecret }}
{{- if .urlKey }}
- name: DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ .urlKey }}}
{{- else }}
- name: DATABASE_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret }}, key: {{ .passwordKey }}}
{{- end }}
{{- end }}
{{- if .Values.secrets.databaseCa.existingSecret }}
- name: PGSSLROOTCERT
  value: /etc/shepherd/database-ca/ca.crt
{{- end }}
{{- with .Values.secrets.keys }}
{{- if .existingSecret }}
- name: ENCRYPTION_KEY
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .encryptionKeyKey }}}
- name: SESSION_SECRET
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret }}, key: {{ .sessionSecretKey }}}
{{- end }}
{{- end }}
- name: METRICS_BIND
  value: "0.0.0.0"
- name: METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "shepherd.volumeMounts" -}}
- name: config
  mountPath: /etc/shepherd/config
  readOnly: true
{{- if .Values.secrets.databaseCa.existingSecret }}
- name: database-ca
  mountPath: /etc/shepherd/database-ca
  readOnly: true
{{- end }}
{{- end -}}

{{/* Takes a list of the root and the name of the ConfigMap. The file is mounted as a folder, because single files are
never brought up to date. */}}
{{- define "shepherd.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap:
    name: {{ index . 1 }}
{{- with $root.Values.secrets.databaseCa }}
{{- if .existingSecret }}
- name: database-ca
  secret:
    secretName: {{ .existingSecret }}
    items:
      - {key: {{ .key }}, path: ca.crt}
{{- end }}
{{- end }}
{{- end -}}
