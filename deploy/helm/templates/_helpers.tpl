{{- define "jpush-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Leaves room for "-metrics" within the 63 letters of a Service. */}}
{{- define "jpush-gateway.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $default := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $default .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- end -}}

{{- define "jpush-gateway.selector" -}}
app.kubernetes.io/name: {{ include "jpush-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "jpush-gateway.storeSelector" -}}
app.kubernetes.io/name: {{ include "jpush-gateway.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: store
{{- end -}}

{{- define "jpush-gateway.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "jpush-gateway.podsMax" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end -}}

{{/* What would break the vendor's limits, or would not start. */}}
{{- define "jpush-gateway.validate" -}}
{{- $pods := int (include "jpush-gateway.podsMax" .) -}}
{{- $redis := .Values.sharedBudgets.redis -}}
{{- if and (gt $pods 1) (not .Values.sharedBudgets.enabled) -}}
{{- fail (printf "sharedBudgets.enabled is false, and up to %d pods may run: each would use the vendor's whole budgets. Enable it, or set replicaCount: 1 and autoscaling.enabled: false" $pods) -}}
{{- end -}}
{{- if and .Values.persistence.enabled (gt $pods 1) -}}
{{- fail (printf "persistence.enabled is true, and up to %d pods may run: one pod alone can have the state file. Set replicaCount: 1 and autoscaling.enabled: false" $pods) -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- $given := or $redis.url $redis.urls $redis.sentinel -}}
{{- if and .Values.sharedBudgets.enabled (not .Values.store.enabled) (not $given) -}}
{{- fail "store.enabled is false, and sharedBudgets.redis names no store: set its url, urls or sentinel" -}}
{{- end -}}
{{- if and .Values.sharedBudgets.enabled .Values.store.enabled $given -}}
{{- fail "sharedBudgets.redis names a store: set store.enabled: false" -}}
{{- end -}}
{{- end -}}

{{/* What docs/configuration.md says needs a restart. The pods take over everything else while they run. */}}
{{- define "jpush-gateway.needsRestart" -}}
{{- pick (include "jpush-gateway.config" . | fromYaml) "listeners" "workers" "state_file" "shared_budgets" "tracing" "limits" "drain" "audit" "log" | toYaml -}}
{{- end -}}

{{- define "jpush-gateway.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $listeners := list (dict "address" "0.0.0.0:8080") -}}
{{- if .Values.tls.secretName -}}
{{- $pair := dict "certificate" "/run/tls/tls.crt" "private_key" "/run/tls/tls.key" -}}
{{- $tls := dict "certificates" (list $pair) "http2" .Values.tls.http2 -}}
{{- if .Values.tls.clientCa -}}{{- $_ := set $tls "client_ca" "/run/tls/ca.crt" -}}{{- end -}}
{{- $listeners = append $listeners (dict "address" "0.0.0.0:8443" "tls" $tls) -}}
{{- end -}}
{{- $_ := set $config "listeners" $listeners -}}
{{- $_ := set $config "admin" (dict "address" "0.0.0.0:9090" "token" (dict "sha256" .Values.admin.tokenSha256)) -}}
{{- $_ := set $config "drain" (dict "delay" (printf "%ds" (int .Values.drain.delaySeconds)) "deadline" (printf "%ds" (int .Values.drain.deadlineSeconds))) -}}
{{- if .Values.persistence.enabled -}}
{{- $_ := set $config "state_file" "/var/lib/jpush-gateway/state" -}}
{{- end -}}
{{- if .Values.sharedBudgets.enabled -}}
{{- /* In an update all new pods may run while all old ones drain. */ -}}
{{- $replicas := mul 2 (include "jpush-gateway.podsMax" . | int) -}}
{{- if .Values.persistence.enabled -}}{{- $replicas = 1 -}}{{- end -}}
{{- $redis := merge (dict "replicas" $replicas) .Values.sharedBudgets.redis -}}
{{- if .Values.store.enabled -}}
{{- $_ := set $redis "url" (printf "redis://%s-store:6379" (include "jpush-gateway.fullname" .)) -}}
{{- end -}}
{{- $_ := set $config "shared_budgets" (dict "redis" $redis) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}
