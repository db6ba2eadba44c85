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
app.kubernetes.io/name: {{ include "shepherd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "shepherd.labels" -}}
{{ include "shepherd.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
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

{{/* The ports of the database: those of the values, and those the configuration names. */}}
{{- define "shepherd.databasePorts" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.database.ports -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- if not .Values.secrets.database.urlKey -}}
{{- $ports = append $ports (dig "database" "port" 5432 .Values.config | int) -}}
{{- end -}}
{{- with dig "database" "worker_port" 0 .Values.config -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* A time as the schema lets it be written, in seconds and rounded up. */}}
{{- define "shepherd.seconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+ ?[a-z]+" . -1 -}}
{{- $milliseconds = add $milliseconds (mul (regexFind "[0-9]+" . | atoi) (get $units (regexFind "[a-z]+" .))) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end -}}

{{/* What the schema cannot say, because it is about two values. */}}
{{- define "shepherd.check" -}}
{{- /* A stop that is cut short loses what it was for. Connections, traces and threads get five seconds each at its end. */}}
{{- $stop := include "shepherd.seconds" (dig "server" "shutdown_timeout" "30s" .Values.config) | int -}}
{{- $needed := add $stop (int .Values.preStopSeconds) 15 -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $needed) -}}
{{- fail (printf "terminationGracePeriodSeconds must be more than config.server.shutdown_timeout, preStopSeconds and 15 seconds for connections, traces and threads together, %d" (int $needed)) -}}
{{- end -}}
{{- if eq (include "shepherd.apiPort" . | int) (int .Values.metrics.port) -}}
{{- fail (printf "metrics.port must not be the port of the API, %d" (int .Values.metrics.port)) -}}
{{- end -}}
{{- range $role := list "api" "worker" -}}
{{- $scaling := (index $.Values $role).autoscaling -}}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) -}}
{{- fail (printf "%s.autoscaling.minReplicas must not be more than maxReplicas" $role) -}}
{{- end -}}
{{- end -}}
{{- with .Values.secrets.keys -}}
{{- if and .existingSecret (not .encryptionKeyKey) (not .sessionSecretKey) -}}
{{- fail "secrets.keys.existingSecret is of no use without encryptionKeyKey or sessionSecretKey" -}}
{{- end -}}
{{- if and (or .rotateFromDb .rotateFromSecret) (not (and .existingSecret .encryptionKeyKey)) -}}
{{- fail "secrets.keys.existingSecret and encryptionKeyKey name the new encryption key, which rotateFromDb and rotateFromSecret need" -}}
{{- end -}}
{{- if and .rotateFromDb .rotateFromSecret -}}
{{- fail "secrets.keys.rotateFromDb and rotateFromSecret exclude each other: the present key is in one place" -}}
{{- end -}}
{{- if and .rotateFromSecret (eq .rotateFromSecret .existingSecret) -}}
{{- fail "secrets.keys.rotateFromSecret holds the present key, existingSecret the new one: they are two Secrets" -}}
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
    secretKeyRef: {name: {{ $secret | quote }}, key: {{ .urlKey | quote }}}
{{- else }}
- name: DATABASE_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $secret | quote }}, key: {{ .passwordKey | quote }}}
{{- end }}
{{- end }}
{{- if .Values.secrets.databaseCa.existingSecret }}
- name: PGSSLROOTCERT
  value: /etc/shepherd/database-ca/ca.crt
{{- end }}
{{- with .Values.secrets.keys }}
{{- if and .existingSecret .encryptionKeyKey }}
- name: ENCRYPTION_KEY
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .encryptionKeyKey | quote }}}
{{- end }}
{{- if and .existingSecret .sessionSecretKey }}
- name: SESSION_SECRET
  valueFrom:
    secretKeyRef: {name: {{ .existingSecret | quote }}, key: {{ .sessionSecretKey | quote }}}
{{- end }}
{{- end }}
- name: METRICS_BIND
  value: {{ .Values.metrics.bind | quote }}
- name: METRICS_PORT
  value: {{ .Values.metrics.port | quote }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The configuration lies where every command of the binary looks for it, seen from the root folder: also those that
somebody runs in a pod. */}}
{{- define "shepherd.volumeMounts" -}}
- name: config
  mountPath: /config
  readOnly: true
{{- if .Values.secrets.databaseCa.existingSecret }}
- name: database-ca
  mountPath: /etc/shepherd/database-ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Takes a list of the root and the name of the ConfigMap. The file is mounted as a folder, because single files are
never brought up to date. */}}
{{- define "shepherd.volumes" -}}
{{- $root := index . 0 -}}
- name: config
  configMap:
    name: {{ index . 1 | quote }}
{{- with $root.Values.secrets.databaseCa }}
{{- if .existingSecret }}
- name: database-ca
  secret:
    secretName: {{ .existingSecret | quote }}
    items:
      - {key: {{ .key | quote }}, path: ca.crt}
{{- end }}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where pods may run. Takes the values of a role, or of the Jobs. */}}
{{- define "shepherd.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
