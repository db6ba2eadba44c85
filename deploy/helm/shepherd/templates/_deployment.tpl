{{/* One role. Takes a list of the root, the role and its values. */}}
{{- define "shepherd.deployment" -}}
{{- $root := index . 0 -}}
{{- $role := index . 1 -}}
{{- $values := index . 2 -}}
{{- $scaled := dig "autoscaling" "enabled" false $values -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: "{{ include "shepherd.fullname" $root }}-{{ $role }}"
  namespace: {{ $root.Release.Namespace | quote }}
  labels:
    {{- include "shepherd.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $role }}
spec:
  {{- if not $scaled }}
  replicas: {{ $values.replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "shepherd.selectorLabels" $root | nindent 6 }}
      app.kubernetes.io/component: {{ $role }}
  template:
    metadata:
      labels:
        {{- include "shepherd.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ $role }}
        kubevirt-shepherd.io/metrics: "true"
      annotations:
        kubectl.kubernetes.io/default-container: shepherd
        {{- if $root.Values.restartOnConfigChange }}
        checksum/config: {{ toYaml $root.Values.config | sha256sum }}
        {{- end }}
        {{- with $values.podAnnotations }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    spec:
      serviceAccountName: {{ include "shepherd.serviceAccountName" $root | quote }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
      {{- with $root.Values.priorityClassName }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml $root.Values.podSecurityContext | nindent 8 }}
      containers:
        - name: shepherd
          image: {{ include "shepherd.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          workingDir: /
          args: [serve, --roles, {{ $role }}]
          env:
            {{- include "shepherd.env" $root | trim | nindent 12 }}
          {{- with $root.Values.extraEnvFrom }}
          envFrom:
            {{- toYaml . | nindent 12 }}
          {{- end }}
          ports:
            {{- if eq $role "api" }}
            - {name: http, containerPort: {{ include "shepherd.apiPort" $root }}, protocol: TCP}
            {{- end }}
            - {name: metrics, containerPort: {{ $root.Values.metrics.port }}, protocol: TCP}
          {{- /* A process without the API is alive while its metrics listener answers. */}}
          {{- $api := eq $role "api" }}
          startupProbe:
            httpGet: {path: {{ ternary "/api/v1/health/live" "/metrics" $api }}, port: {{ ternary "http" "metrics" $api }}}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: {{ ternary "/api/v1/health/live" "/metrics" $api }}, port: {{ ternary "http" "metrics" $api }}}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: {{ ternary "/api/v1/health/ready" "/metrics" $api }}, port: {{ ternary "http" "metrics" $api }}}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          {{- if and (gt (int $root.Values.preStopSeconds) 0) (semverCompare ">=1.30-0" $root.Capabilities.KubeVersion.Version) }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ $root.Values.preStopSeconds }}}
          {{- end }}
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- toYaml $root.Values.containerSecurityContext | nindent 12 }}
          volumeMounts:
            {{- include "shepherd.volumeMounts" $root | nindent 12 }}
      volumes:
        {{- include "shepherd.volumes" (list $root (include "shepherd.fullname" $root)) | nindent 8 }}
      topologySpreadConstraints:
        {{- range $root.Values.topologySpread.topologyKeys }}
        - maxSkew: 1
          topologyKey: {{ . | quote }}
          whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
          labelSelector:
            matchLabels:
              {{- include "shepherd.selectorLabels" $root | nindent 14 }}
              app.kubernetes.io/component: {{ $role }}
        {{- end }}
      {{- with include "shepherd.placement" $values | trim }}
      {{- . | nindent 6 }}
      {{- end }}
{{- end -}}
