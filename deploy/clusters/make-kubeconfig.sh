#!/bin/sh
# Makes the account by which Shepherd manages a cluster, and prints its kubeconfig.
#
#   make-kubeconfig.sh [--features LIST] [--namespace NAME] [--server URL] [--duration TIME] >cluster.yaml
#
#   --features   what is bound beside shepherd-core, by commas: consoles, snapshots, clones, migrations,
#                owner-references; none binds nothing (default: consoles,snapshots,clones,migrations)
#   --namespace  where the account lies (default: shepherd-access)
#   --server     address under which Shepherd reaches the API server (default: that of the current context)
#   --duration   a token that ends, as 24h, asked from the API server; without it the token of a Secret, which lasts
#
# It runs with kubectl and the rights of the current context, and may be run again: what exists is brought up to date, and
# features that are no longer named are unbound. The kubeconfig holds one context with everything inline, as Shepherd
# demands: no files, no plugins, no proxy, HTTPS with a certificate that verifies.
#
# The lasting token is rotated by deleting its Secret and running this again; the old token ends with the Secret:
#
#   kubectl --namespace shepherd-access delete secret shepherd-token
#
# Then the new kubeconfig is uploaded to the cluster in Shepherd.
set -eu

name=shepherd
features=consoles,snapshots,clones,migrations
namespace=shepherd-access
server=
duration=
roles=$(dirname "$0")/clusterrole.yaml

fail() {
    echo "make-kubeconfig.sh: $*" >&2
    exit 1
}

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value, or is unknown"
    case $1 in
        --features) features=$2 ;;
        --namespace) namespace=$2 ;;
        --server) server=$2 ;;
        --duration) duration=$2 ;;
        *) fail "unknown option $1" ;;
    esac
    shift 2
done
[ "$features" != none ] || features=
# Blanks divide as commas do.
features=$(printf %s "$features" | tr -s ' \t\n,' ',,,,')
command -v kubectl >/dev/null || fail "kubectl is not installed"

# What is bound: the account is bound to one role after the other, so that a feature can be taken back alone.
bind() {
    kubectl apply --filename - >&2 <<MANIFEST
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: shepherd-$1
  labels: {app.kubernetes.io/name: shepherd, app.kubernetes.io/component: managed-cluster}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: shepherd-$1}
subjects:
  - {kind: ServiceAccount, name: $name, namespace: $namespace}
MANIFEST
}

is_wanted() {
    case ",$features," in
        *",$1,"*) return 0 ;;
        *) return 1 ;;
    esac
}

known="consoles snapshots clones migrations owner-references"
for feature in $(echo "$features" | tr , ' '); do
    case " $known " in
        *" $feature "*) ;;
        *) fail "unknown feature $feature; known are: $known" ;;
    esac
done

kubectl apply --filename "$roles" >&2
kubectl apply --filename - >&2 <<MANIFEST
apiVersion: v1
kind: Namespace
metadata:
  name: $namespace
  labels: {app.kubernetes.io/name: shepherd, app.kubernetes.io/component: managed-cluster}
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: $name
  namespace: $namespace
  labels: {app.kubernetes.io/name: shepherd, app.kubernetes.io/component: managed-cluster}
automountServiceAccountToken: false
MANIFEST
bind core
for feature in $known; do
    if is_wanted "$feature"; then
        bind "$feature"
    else
        kubectl delete clusterrolebinding "shepherd-$feature" --ignore-not-found >&2
    fi
done

current() {
    kubectl config view --raw --flatten --minify --output "jsonpath={.clusters[0].cluster.$1}"
}

[ -n "$server" ] || server=$(current server)
authority=$(current certificate-authority-data)
name_in_certificate=$(current tls-server-name)
# A context that does not look at the certificate need not know who signed it; every namespace does.
if [ -z "$authority" ] && [ "$(current insecure-skip-tls-verify)" = true ]; then
    authority=$(
        kubectl --namespace kube-system get configmap kube-root-ca.crt --output 'jsonpath={.data.ca\.crt}' |
            base64 | tr -d '\n'
    )
    [ -n "$authority" ] || fail "the current context does not verify its server, and the cluster names no authority"
fi

if [ -n "$duration" ]; then
    token=$(kubectl --namespace "$namespace" create token "$name" --duration "$duration")
else
    kubectl apply --filename - >&2 <<MANIFEST
apiVersion: v1
kind: Secret
metadata:
  name: $name-token
  namespace: $namespace
  labels: {app.kubernetes.io/name: shepherd, app.kubernetes.io/component: managed-cluster}
  annotations: {kubernetes.io/service-account.name: $name}
type: kubernetes.io/service-account-token
MANIFEST
    # The cluster's token controller fills the Secret.
    token=
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        token=$(kubectl --namespace "$namespace" get secret "$name-token" --output 'jsonpath={.data.token}')
        [ -z "$token" ] || break
        sleep 1
    done
    [ -n "$token" ] || fail "the cluster put no token into the Secret $name-token; try --duration"
    token=$(printf %s "$token" | base64 -d)
fi

cat <<KUBECONFIG
apiVersion: v1
kind: Config
current-context: shepherd
clusters:
  - name: cluster
    cluster:
      server: "$server"
KUBECONFIG
# A server whose certificate a public authority signed needs none of its own.
[ -z "$authority" ] || echo "      certificate-authority-data: $authority"
[ -z "$name_in_certificate" ] || echo "      tls-server-name: \"$name_in_certificate\""
cat <<KUBECONFIG
users:
  - name: shepherd
    user:
      token: "$token"
contexts:
  - name: shepherd
    context: {cluster: cluster, user: shepherd}
KUBECONFIG
