api=@URL@/api/v1
json='Content-Type: application/json'
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }    # the first field of that name in an answer
login() { curl -sS "$api/auth/login" -H "$json" -d "{\"username\":\"$1\",\"password\":\"$2\"}" | field token; }
call() { token=$1 method=$2 route=$3; shift 3; curl -sS -X "$method" "$api$route" -H "Authorization: Bearer $token" -H "$json" "$@"; }

admin=$(login admin @ADMIN_PASSWORD@)
approver=$(login approver @APPROVER_PASSWORD@)
requester=$(login requester @REQUESTER_PASSWORD@)

# A team's system and service, then a request for a machine. It waits for an approval.
system=$(call "$requester" POST /systems -d '{"name":"shop"}' | field id)
service=$(call "$requester" POST "/systems/$system/services" -d '{"name":"web"}' | field id)
template=$(call "$requester" GET /templates | field id)
size=$(call "$requester" GET /instance-sizes | field id)
ticket=$(call "$requester" POST /vms -d "{\"service_id\":\"$service\",\"template_id\":\"$template\",
  \"instance_size_id\":\"$size\",\"namespace\":\"dev\",\"reason\":\"a first machine\"}" | field ticket_id)

# The approver says yes; one cluster fits, so it need not be named. A worker creates the machine; the watcher sees it start.
call "$approver" POST "/approvals/$ticket/approve" -d '{}'
until call "$requester" GET /vms | grep -o '"status":"RUNNING"'; do sleep 1; done

# Deleting it is a request too. What happened stays in the audit log.
vm=$(call "$requester" GET /vms | field id)
ticket=$(call "$admin" DELETE "/vms/$vm?confirm=true" | field ticket_id)
call "$approver" POST "/approvals/$ticket/approve" -d '{}'
while call "$requester" GET "/vms/$vm" | grep -q '"status":"'; do sleep 1; done
call "$admin" GET '/audit-logs?per_page=100' | grep -o '"action":"[^"]*"'

# Only what is empty can be deleted, and somebody has to mean it. Nothing is left, and the next walk can use the name again.
call "$admin" DELETE "/systems/$system/services/$service?confirm=true"
call "$admin" DELETE "/systems/$system?confirm_name=shop"
call "$requester" GET /systems
