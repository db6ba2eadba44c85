#!/bin/sh
# The walk through the API with curl and nothing else: one virtual machine from the request to its end.
#
#   sh examples/walkthrough/walk.sh [target/demo/demo.json]
#
# The file is what `cargo xtask demo` writes about itself. Where jq is at hand, `jq -r .name` does what `field` does here.
set -eu

demo=${1:-target/demo/demo.json}
name=shop

# What a demo says about itself: one field per line.
url=$(sed -n 's/.*"url": "\(http[^"]*\)".*/\1/p' "$demo")
password() { sed -n "/\"$1\": {/,/}/s/.*\"password\": \"\([^\"]*\)\".*/\1/p" "$demo"; }

# The first field of that name in an answer.
field() {
    value=$(grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4)
    [ -n "$value" ] || { echo "the answer has no $1" >&2; return 1; }
    printf '%s\n' "$value"
}

send() { curl -sS --fail-with-body --max-time 30 -H 'Content-Type: application/json' "$@"; }
login() { send "$url/api/v1/auth/login" -d "{\"username\":\"$1\",\"password\":\"$(password "$1")\"}" | field token; }
call() {
    token=$1 method=$2 path=$3
    shift 3
    send -X "$method" "$url/api/v1$path" -H "Authorization: Bearer $token" "$@"
}

# Asks until the status of something is the one that is waited for.
wait_for() {
    seconds=0
    until [ "$(call "$1" GET "$2" | field status)" = "$3" ]; do
        seconds=$((seconds + 1))
        [ "$seconds" -lt 90 ] || { echo "$2 does not become $3" >&2; return 1; }
        sleep 1
    done
    echo "$2 is $3"
}

admin=$(login admin)
approver=$(login approver)
requester=$(login requester)

# A team has a System, a System has Services. Whoever creates a System owns it.
system=$(call "$requester" POST /systems -d "{\"name\":\"$name\"}" | field id)
service=$(call "$requester" POST "/systems/$system/services" -d '{"name":"web"}' | field id)

# A template says what boots, a size on which hardware. The request is accepted, and waits. With the same key it can be
# sent again, and is carried out once.
template=$(call "$requester" GET /templates | field id)
size=$(call "$requester" GET /instance-sizes | field id)
ticket=$(call "$requester" POST /vms -H "Idempotency-Key: walk-$service" -d "{\"service_id\":\"$service\",
    \"template_id\":\"$template\",\"instance_size_id\":\"$size\",\"namespace\":\"dev\",\"reason\":\"a first machine\"}" |
    field ticket_id)

# The approver decides. A worker creates the machine, and the watcher sees it start.
call "$approver" POST "/approvals/$ticket/approve" -d '{"comment":"go ahead"}'
wait_for "$requester" "/approvals/$ticket" COMPLETED
vm=$(call "$requester" GET "/approvals/$ticket" | field target_vm_id)
wait_for "$requester" "/vms/$vm" RUNNING

# Whoever asked for the machine is shown its first password, once.
account=$(call "$requester" POST "/vms/$vm/initial-password" | field username)
echo "the first password of $account was shown"

# In test an owner stops a machine without asking anybody.
call "$requester" POST "/vms/$vm/stop" -d '{}' >/dev/null
wait_for "$requester" "/vms/$vm" STOPPED

# Deleting is a request, too, and is decided like one.
ticket=$(call "$admin" DELETE "/vms/$vm?confirm=true" | field ticket_id)
call "$approver" POST "/approvals/$ticket/approve" -d '{}'
wait_for "$admin" "/approvals/$ticket" COMPLETED

# Errors are stable codes with parameters.
call "$requester" GET "/vms/$vm" 2>/dev/null | grep -o '"code":"VM_NOT_FOUND"'

# Everything that happened is in the audit log.
call "$admin" GET "/audit-logs?ticket_id=$ticket&per_page=100" | grep -o '"action":"[^"]*"'

# Only what is empty can be deleted, and somebody has to mean it.
call "$admin" DELETE "/systems/$system/services/$service?confirm=true"
call "$admin" DELETE "/systems/$system?confirm_name=$name"
echo "done: nothing is left but the record"
