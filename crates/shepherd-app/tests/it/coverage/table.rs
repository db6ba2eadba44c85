//! Every operation and what it asks of its caller (access.md §10), as data.

use serde_json::{Value, json};
use shepherd_domain::access::{Permission, ResourceAction};

use super::fixtures::Ids;
use super::row::{Elsewhere, Passes, Row, delete, get, patch, post, put};

/// Operations that anybody may call, and why they have no row.
pub const PUBLIC: &[(&str, &str)] = &[
    ("GET /health/live", "probes have no session"),
    ("GET /health/ready", "probes have no session"),
    ("GET /openapi.json", "clients are made from it"),
    ("POST /auth/login", "it is where a session comes from"),
    (
        "POST /webhooks/approval-callback",
        "it is signed by an external approval system",
    ),
    (
        "GET /vms/{vm_id}/vnc",
        "it is authenticated by the cookie of a console, which names a session",
    ),
];

/// The list above only shrinks: an operation without a session needs a better reason than a red test.
const MOST_PUBLIC: usize = 6;
const _: () = assert!(PUBLIC.len() <= MOST_PUBLIC, "an operation lost its session");

/// All operations but the public ones.
pub fn table() -> Vec<Row> {
    [
        own(),
        systems(),
        services(),
        machines(),
        approvals(),
        approval_policies(),
        external_approvals(),
        infrastructure(),
        catalogue(),
        users(),
        roles(),
        audit(),
        rate_limits(),
        reconciliation(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What every session may do with what is its own.
fn own() -> Vec<Row> {
    use Permission::{RbacRead, UserManage};
    vec![
        get("/auth/me"),
        get("/me/permissions"),
        get("/auth/sessions"),
        delete("/auth/sessions/{session_id}").private().passes(Passes::Passerby),
        post("/auth/sessions/revoke-all").passes(Passes::Passerby),
        post("/auth/change-password")
            .passes(Passes::Passerby)
            .body(|_| json!({"old_password": "not it", "new_password": "a fine new password"})),
        post("/auth/logout").passes(Passes::Passerby),
        get("/users/search").needs(&[UserManage, RbacRead]).query("q=al"),
        get("/notifications"),
        get("/notifications/unread-count"),
        patch("/notifications/{notification_id}/read")
            .private()
            .passes(Passes::Owner),
        post("/notifications/mark-all-read").passes(Passes::Owner),
        get("/tasks"),
        get("/tasks/{task_id}").private().placed(Elsewhere::Missing),
        get("/schema"),
        get("/mask"),
        get("/events"),
        get("/events/{event_id}").private().placed(Elsewhere::Missing),
    ]
}

fn systems() -> Vec<Row> {
    use Permission::{SystemDelete, SystemRead, SystemWrite};
    use ResourceAction::{Delete, Members, Update, View};
    vec![
        get("/systems").needs(&[SystemRead]),
        post("/systems")
            .needs(&[SystemWrite])
            .body(|_| json!({"name": "covered"})),
        get("/systems/{system_id}").needs(&[SystemRead]).does(View),
        patch("/systems/{system_id}")
            .needs(&[SystemWrite])
            .does(Update)
            .body(|_| json!({"description": "covered"})),
        delete("/systems/{system_id}").needs(&[SystemDelete]).does(Delete),
        get("/systems/{system_id}/members").needs(&[SystemRead]).does(View),
        post("/systems/{system_id}/members")
            .needs(&[SystemRead])
            .does(Members)
            .body(|ids| json!({"user_id": ids["new_member"], "role": "viewer"})),
        patch("/systems/{system_id}/members/{user_id}")
            .needs(&[SystemRead])
            .does(Members)
            .body(|_| json!({"role": "member"})),
        delete("/systems/{system_id}/members/{user_id}")
            .needs(&[SystemRead])
            .does(Members),
    ]
}

fn services() -> Vec<Row> {
    use Permission::{ServiceCreate, ServiceDelete, ServiceRead};
    use ResourceAction::{Create, Delete, Update, View};
    vec![
        get("/systems/{system_id}/services").needs(&[ServiceRead]).does(View),
        post("/systems/{system_id}/services")
            .needs(&[ServiceCreate])
            .does(Create)
            .body(|_| json!({"name": "covered"})),
        get("/systems/{system_id}/services/{service_id}")
            .needs(&[ServiceRead])
            .does(View),
        patch("/systems/{system_id}/services/{service_id}")
            .needs(&[ServiceCreate])
            .does(Update)
            .body(|_| json!({"description": "covered"})),
        delete("/systems/{system_id}/services/{service_id}")
            .needs(&[ServiceDelete])
            .does(Delete),
    ]
}

fn machines() -> Vec<Row> {
    use Permission::{VmCreate, VmDelete, VmMigrate, VmModify, VmOperate, VmRead, VmSnapshot, VncAccess, VncManage};
    use ResourceAction::{Create, Delete, Operate, View};
    let request: fn(&Ids) -> Value = |ids| {
        json!({
            "service_id": ids["service_id"], "template_id": ids["template_id"],
            "instance_size_id": ids["instance_size_id"], "namespace": ids["namespace"], "reason": "to be covered",
        })
    };
    let batch: fn(&Ids) -> Value = |ids| {
        let item = json!({
            "service_id": ids["service_id"], "template_id": ids["template_id"],
            "instance_size_id": ids["instance_size_id"], "namespace": ids["namespace"],
        });
        json!({"operation": "CREATE", "reason": "to be covered", "items": [item]})
    };
    let asks = |path| {
        post(path)
            .needs(&[VmCreate])
            .does(Create)
            .placed(Elsewhere::Forbidden("NAMESPACE_ENV_FORBIDDEN"))
            .body(request)
    };
    let reads = |path: &'static str| get(path).needs(&[VmRead]).does(View).placed(Elsewhere::Missing);
    let operates = |path: &'static str, needs: &'static [Permission]| {
        post(path)
            .needs(needs)
            .does(Operate)
            .placed(Elsewhere::Missing)
            .body(|_| json!({}))
    };
    vec![
        operates("/vms/{vm_id}/start", &[VmOperate]),
        operates("/vms/{vm_id}/stop", &[VmOperate]),
        operates("/vms/{vm_id}/restart", &[VmOperate]),
        operates("/vms/{vm_id}/console/request", &[VncAccess]),
        get("/vms/{vm_id}/console/status")
            .needs(&[VncAccess])
            .does(Operate)
            .placed(Elsewhere::Missing),
        get("/admin/console-grants").needs(&[VncManage]),
        delete("/admin/console-grants/{grant_id}").needs(&[VncManage]),
        reads("/vms/{vm_id}/snapshots"),
        operates("/vms/{vm_id}/snapshots", &[VmSnapshot]).body(|_| json!({"name": "covered"})),
        delete("/snapshots/{snapshot_id}")
            .needs(&[VmSnapshot])
            .does(Operate)
            .placed(Elsewhere::Missing),
        operates("/snapshots/{snapshot_id}/restore", &[VmSnapshot]),
        post("/vms/{vm_id}/clone")
            .needs(&[VmCreate])
            .does(Create)
            .placed(Elsewhere::Missing)
            .body(|_| json!({"reason": "to be covered"})),
        reads("/clones/{clone_id}"),
        operates("/vms/{vm_id}/migrate", &[VmMigrate]),
        reads("/vms/{vm_id}/migrations"),
        reads("/migrations/{migration_id}"),
        post("/migrations/{migration_id}/cancel")
            .needs(&[VmMigrate])
            .does(Operate)
            .placed(Elsewhere::Missing),
        get("/vms").needs(&[VmRead]),
        get("/vms/request-context").needs(&[VmCreate]),
        // System and environment are asked item by item, and the answer is about the items.
        post("/vms/batch").needs(&[VmCreate, VmDelete]).body(batch),
        post("/approvals/batch").needs(&[VmCreate, VmDelete]).body(batch),
        post("/vms/batch/power")
            .needs(&[VmOperate])
            .body(|ids| json!({"operation": "RESTART", "items": [{"vm_id": ids["vm_id"]}]})),
        get("/vms/batch"),
        get("/vms/batch/{batch_id}").private().placed(Elsewhere::Missing),
        asks("/vms"),
        asks("/vms/request"),
        asks("/vms/validate"),
        reads("/vms/{vm_id}/revisions"),
        reads("/vms/{vm_id}/revisions/{revision}"),
        reads("/vms/{vm_id}/revisions/diff").query("from=1&to=1"),
        patch("/vms/{vm_id}")
            .needs(&[VmModify])
            .does(Operate)
            .placed(Elsewhere::Missing)
            .body(|_| json!({"disk_gb": 40, "reason": "to be covered"})),
        get("/vms/{vm_id}")
            .needs(&[VmRead])
            .does(View)
            .placed(Elsewhere::Missing),
        post("/vms/{vm_id}/initial-password")
            .needs(&[VmRead])
            .does(View)
            .placed(Elsewhere::Missing)
            .passes(Passes::Owner),
        delete("/vms/{vm_id}")
            .needs(&[VmDelete])
            .does(Delete)
            .placed(Elsewhere::Missing),
    ]
}

fn approvals() -> Vec<Row> {
    use Permission::{ApprovalApprove, ApprovalView};
    vec![
        get("/approvals").needs(&[ApprovalView]),
        get("/admin/approvals").needs(&[ApprovalView]),
        get("/approvals/mine"),
        get("/approvals/{ticket_id}").private().placed(Elsewhere::Missing),
        post("/approvals/{ticket_id}/approve")
            .needs(&[ApprovalApprove])
            .placed(Elsewhere::Missing)
            .body(|_| json!({})),
        get("/approvals/{ticket_id}/suggested-clusters")
            .needs(&[ApprovalApprove])
            .placed(Elsewhere::Missing),
        post("/admin/approvals/{ticket_id}/preview")
            .needs(&[ApprovalApprove])
            .placed(Elsewhere::Missing)
            .body(|_| json!({})),
        put("/admin/approvals/{ticket_id}/modified-spec")
            .needs(&[ApprovalApprove])
            .placed(Elsewhere::Missing)
            .body(|_| json!({"modified_spec": {}, "modification_reason": "to be covered"})),
        delete("/admin/approvals/{ticket_id}/modified-spec")
            .needs(&[ApprovalApprove])
            .placed(Elsewhere::Missing),
        post("/approvals/{ticket_id}/reject")
            .needs(&[ApprovalApprove])
            .placed(Elsewhere::Missing)
            .body(|_| json!({"reason": "to be covered"})),
        post("/approvals/{ticket_id}/cancel")
            .private()
            .placed(Elsewhere::Missing)
            .passes(Passes::Owner)
            .body(|_| json!({})),
        post("/admin/approvals/bulk-approve")
            .needs(&[ApprovalApprove])
            .body(|ids| json!({"ticket_ids": [ids["ticket_id"]]})),
        post("/vms/batch/{batch_id}/retry")
            .private()
            .placed(Elsewhere::Missing)
            .passes(Passes::Owner)
            .body(|_| json!({})),
        post("/vms/batch/{batch_id}/cancel")
            .private()
            .placed(Elsewhere::Missing)
            .passes(Passes::Owner)
            .body(|_| json!({})),
    ]
}

fn infrastructure() -> Vec<Row> {
    use Permission::{ClusterManage, ClusterRead, ClusterWrite};
    let forbidden = Elsewhere::Forbidden("FORBIDDEN");
    vec![
        get("/admin/clusters").needs(&[ClusterRead]),
        post("/admin/clusters")
            .needs(&[ClusterWrite])
            .placed(forbidden)
            .body(|ids| json!({"name": "covered", "kubeconfig": "bm90aGluZw==", "environment": ids["environment"]})),
        get("/admin/clusters/{cluster_id}")
            .needs(&[ClusterRead])
            .placed(Elsewhere::Missing),
        patch("/admin/clusters/{cluster_id}")
            .needs(&[ClusterWrite])
            .placed(Elsewhere::Missing)
            .body(|_| json!({"scheduling_weight": 100})),
        put("/admin/clusters/{cluster_id}/environment")
            .needs(&[ClusterWrite])
            .placed(Elsewhere::Missing)
            .body(|ids| json!({"environment": ids["environment"]})),
        post("/admin/clusters/{cluster_id}/rotate-credential")
            .needs(&[ClusterManage])
            .placed(Elsewhere::Missing)
            .body(|_| json!({"kubeconfig": "bm90aGluZw=="})),
        post("/admin/clusters/{cluster_id}/check")
            .needs(&[ClusterWrite])
            .placed(Elsewhere::Missing),
        delete("/admin/clusters/{cluster_id}")
            .needs(&[ClusterManage])
            .placed(Elsewhere::Missing),
        get("/admin/clusters/{cluster_id}/storage-classes")
            .needs(&[ClusterRead])
            .placed(Elsewhere::Missing),
        get("/admin/clusters/{cluster_id}/instancetypes")
            .needs(&[ClusterRead])
            .placed(Elsewhere::Missing),
        get("/admin/clusters/{cluster_id}/preferences")
            .needs(&[ClusterRead])
            .placed(Elsewhere::Missing),
        get("/admin/clusters/{cluster_id}/namespaces/{name}/exists")
            .needs(&[ClusterRead])
            .placed(Elsewhere::Missing),
        post("/admin/clusters/{cluster_id}/namespaces")
            .needs(&[ClusterWrite])
            .placed(Elsewhere::Missing)
            .body(|ids| json!({"name": ids["namespace"]})),
        get("/admin/namespaces").needs(&[ClusterRead]),
        post("/admin/namespaces")
            .needs(&[ClusterWrite])
            .placed(forbidden)
            .body(|ids| json!({"name": "covered", "environment": ids["environment"]})),
        get("/admin/namespaces/{namespace_id}")
            .needs(&[ClusterRead])
            .placed(Elsewhere::Missing),
        put("/admin/namespaces/{namespace_id}")
            .needs(&[ClusterWrite])
            .placed(Elsewhere::Missing)
            .body(|_| json!({"description": "covered"})),
        delete("/admin/namespaces/{namespace_id}")
            .needs(&[ClusterWrite])
            .placed(Elsewhere::Missing),
    ]
}

fn catalogue() -> Vec<Row> {
    use Permission::{InstanceSizeRead, InstanceSizeWrite, TemplateRead, TemplateWrite, VmCreate};
    vec![
        get("/templates").needs(&[VmCreate, TemplateRead]),
        get("/admin/templates").needs(&[TemplateRead]),
        post("/admin/templates").needs(&[TemplateWrite]).body(|_| {
            let source = json!({"container_disk": {"image": "quay.io/containerdisks/debian:13"}});
            json!({"name": "covered", "os_family": "debian", "spec": {"image_source": source}})
        }),
        post("/admin/templates/import").needs(&[TemplateWrite]).body(|_| {
            let source = json!({"container_disk": {"image": "quay.io/containerdisks/debian:13"}});
            json!({"documents": [{
                "apiVersion": "shepherd/v1", "kind": "Template", "name": "covered-too", "spec": {"image_source": source},
            }]})
        }),
        get("/admin/templates/{template_id}").needs(&[TemplateRead]),
        get("/admin/templates/{template_id}/export").needs(&[TemplateRead]),
        patch("/admin/templates/{template_id}")
            .needs(&[TemplateWrite])
            .body(|_| json!({"display_name": "Covered"})),
        post("/admin/templates/{template_id}/validate").needs(&[TemplateWrite]),
        post("/admin/templates/{template_id}/publish").needs(&[TemplateWrite]),
        post("/admin/templates/{template_id}/new-version").needs(&[TemplateWrite]),
        post("/admin/templates/{template_id}/deprecate").needs(&[TemplateWrite]),
        post("/admin/templates/{template_id}/archive").needs(&[TemplateWrite]),
        delete("/admin/templates/{template_id}").needs(&[TemplateWrite]),
        get("/instance-sizes").needs(&[VmCreate, InstanceSizeRead]),
        get("/admin/instance-sizes").needs(&[InstanceSizeRead]),
        post("/admin/instance-sizes").needs(&[InstanceSizeWrite]).body(|_| {
            json!({
                "name": "covered", "cpu_cores": 4, "memory_mb": 8192,
                "disk_gb": 40, "min_disk_gb": 10, "max_disk_gb": 500,
            })
        }),
        get("/admin/instance-sizes/{instance_size_id}").needs(&[InstanceSizeRead]),
        patch("/admin/instance-sizes/{instance_size_id}")
            .needs(&[InstanceSizeWrite])
            .body(|_| json!({"description": "covered"})),
        delete("/admin/instance-sizes/{instance_size_id}").needs(&[InstanceSizeWrite]),
    ]
}

fn users() -> Vec<Row> {
    use Permission::{RbacRead, SessionManage, UserManage};
    vec![
        get("/admin/users").needs(&[UserManage, RbacRead]),
        post("/admin/users")
            .needs(&[UserManage])
            .body(|_| json!({"username": "covered", "password": "green bicycle bell 43"})),
        get("/admin/users/{user_id}").needs(&[UserManage, RbacRead]),
        patch("/admin/users/{user_id}")
            .needs(&[UserManage])
            .body(|_| json!({"display_name": "Covered"})),
        get("/admin/users/{user_id}/sessions").needs(&[SessionManage]),
        post("/admin/users/{user_id}/sessions/revoke-all").needs(&[SessionManage]),
        delete("/admin/sessions/{session_id}").needs(&[SessionManage]),
        delete("/admin/users/{user_id}").needs(&[UserManage]),
    ]
}

fn roles() -> Vec<Row> {
    use Permission::{RbacManage, RbacRead};
    vec![
        get("/admin/users/{user_id}/role-bindings").needs(&[RbacRead]),
        post("/admin/users/{user_id}/role-bindings")
            .needs(&[RbacManage])
            .body(|_| json!({"role_id": "role-operator"})),
        delete("/admin/users/{user_id}/role-bindings/{binding_id}").needs(&[RbacManage]),
        get("/admin/role-bindings").needs(&[RbacRead]),
        get("/admin/roles").needs(&[RbacRead]),
        post("/admin/roles")
            .needs(&[RbacManage])
            .body(|_| json!({"name": "covered", "permissions": ["system:read"]})),
        get("/admin/roles/{role_id}").needs(&[RbacRead]),
        patch("/admin/roles/{role_id}")
            .needs(&[RbacManage])
            .body(|_| json!({"description": "covered"})),
        put("/admin/roles/{role_id}/permissions")
            .needs(&[RbacManage])
            .body(|_| json!({"permissions": ["system:read", "vm:read"]})),
        delete("/admin/roles/{role_id}").needs(&[RbacManage]),
        get("/admin/permissions").needs(&[RbacRead]),
    ]
}

fn audit() -> Vec<Row> {
    use Permission::{AuditExport, AuditManage, AuditRead};
    vec![
        get("/audit-logs").needs(&[AuditRead]),
        get("/admin/audit-logs/export")
            .needs(&[AuditExport])
            .query("start_time=2026-01-01T00:00:00Z&end_time=2026-02-01T00:00:00Z"),
        get("/admin/audit-logs/webhooks").needs(&[AuditManage]),
        post("/admin/audit-logs/webhooks")
            .needs(&[AuditManage])
            .body(|_| json!({"name": "covered", "url": "https://127.0.0.1:9/audit", "enabled": false})),
        patch("/admin/audit-logs/webhooks/{webhook_id}")
            .needs(&[AuditManage])
            .body(|_| json!({"enabled": false})),
        post("/admin/audit-logs/webhooks/{webhook_id}/test").needs(&[AuditManage]),
        delete("/admin/audit-logs/webhooks/{webhook_id}").needs(&[AuditManage]),
        get("/admin/audit-logs/legal-holds").needs(&[AuditManage]),
        post("/admin/audit-logs/legal-holds")
            .needs(&[AuditManage])
            .body(|_| json!({"name": "covered", "filter": {"action": "vm.create"}})),
        post("/admin/audit-logs/legal-holds/{hold_id}/release")
            .needs(&[AuditManage])
            .body(|_| json!({"reason": "covered"})),
    ]
}

fn rate_limits() -> Vec<Row> {
    use Permission::RateLimitManage;
    vec![
        get("/admin/rate-limits/status").needs(&[RateLimitManage]),
        post("/admin/rate-limits/exemptions")
            .needs(&[RateLimitManage])
            .body(|ids| json!({"user_id": ids["user_id"], "reason": "covered"})),
        delete("/admin/rate-limits/exemptions/{user_id}").needs(&[RateLimitManage]),
        put("/admin/rate-limits/users/{user_id}")
            .needs(&[RateLimitManage])
            .body(|_| json!({"cooldown_seconds": 0})),
    ]
}

fn approval_policies() -> Vec<Row> {
    use Permission::ApprovalPolicy;
    vec![
        get("/admin/approval-policies").needs(&[ApprovalPolicy]),
        post("/admin/approval-policies")
            .needs(&[ApprovalPolicy])
            .body(|_| json!({"name": "covered", "operation": "STOP_VM", "environment": "test", "enabled": false})),
        post("/admin/approval-policies/explain")
            .needs(&[ApprovalPolicy])
            .body(|_| json!({"operation": "STOP_VM", "environment": "test"})),
        get("/admin/approval-policies/{policy_id}").needs(&[ApprovalPolicy]),
        patch("/admin/approval-policies/{policy_id}")
            .needs(&[ApprovalPolicy])
            .body(|_| json!({"priority": 1})),
        delete("/admin/approval-policies/{policy_id}").needs(&[ApprovalPolicy]),
    ]
}

fn external_approvals() -> Vec<Row> {
    use Permission::ApprovalExternal;
    vec![
        get("/admin/external-approval-systems").needs(&[ApprovalExternal]),
        post("/admin/external-approval-systems")
            .needs(&[ApprovalExternal])
            .body(|_| json!({"name": "covered", "system_type": "webhook", "webhook_url": "https://127.0.0.1:9/a"})),
        patch("/admin/external-approval-systems/{external_system_id}")
            .needs(&[ApprovalExternal])
            .body(|_| json!({"enabled": false})),
        post("/admin/external-approval-systems/{external_system_id}/test").needs(&[ApprovalExternal]),
        delete("/admin/external-approval-systems/{external_system_id}").needs(&[ApprovalExternal]),
    ]
}

fn reconciliation() -> Vec<Row> {
    use Permission::{AdoptionManage, ConfigRead, JobManage, PlatformAdmin, ReconcilerManage};
    vec![
        get("/admin/config").needs(&[ConfigRead]),
        get("/admin/encryption-keys").needs(&[PlatformAdmin]),
        post("/admin/encryption-keys/rotate").needs(&[PlatformAdmin]),
        get("/admin/reconciler/runs").needs(&[ReconcilerManage]),
        post("/admin/reconciler/runs")
            .needs(&[ReconcilerManage])
            .body(|ids| json!({"mode": "dry-run", "cluster_id": ids["cluster_id"]})),
        get("/admin/reconciler/runs/{run_id}")
            .needs(&[ReconcilerManage])
            .placed(Elsewhere::Missing),
        get("/admin/dead-letters").needs(&[JobManage]),
        post("/admin/dead-letters/{job_id}/retry")
            .needs(&[JobManage])
            .placed(Elsewhere::Missing),
        delete("/admin/dead-letters/{job_id}")
            .needs(&[JobManage])
            .placed(Elsewhere::Missing),
        get("/admin/pending-adoptions").needs(&[AdoptionManage]),
        post("/admin/pending-adoptions/scan")
            .needs(&[AdoptionManage])
            .body(|ids| json!({"cluster_id": ids["cluster_id"]})),
        post("/admin/pending-adoptions/{adoption_id}/adopt")
            .needs(&[AdoptionManage])
            .placed(Elsewhere::Missing),
        post("/admin/pending-adoptions/{adoption_id}/ignore")
            .needs(&[AdoptionManage])
            .placed(Elsewhere::Missing)
            .body(|_| json!({"reason": "covered"})),
    ]
}
