//! What administrators change: the audit log, limits, policies, systems that decide, clusters, templates and sizes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{AGENT, Actor, Walk, all_entries};
use crate::client::send;
use crate::external_approvals;
use crate::world::{User, text};

impl Walk<'_> {
    pub(super) async fn audit_log(&mut self) {
        let admin = self.is(User::Admin);
        let path = "/admin/audit-logs/export?start_time=2026-01-01T00:00:00Z&end_time=2026-02-01T00:00:00Z";
        self.does(&admin, "GET /admin/audit-logs/export", path, Value::Null)
            .await;

        let hooks = "/admin/audit-logs/webhooks";
        let body = json!({"name": "archive", "url": "https://127.0.0.1:9/audit", "enabled": false});
        let hook = self.does(&admin, "POST /admin/audit-logs/webhooks", hooks, body).await;
        let path = format!("{hooks}/{}", text(&hook["id"]));
        let operation = "PATCH /admin/audit-logs/webhooks/{webhook_id}";
        self.does(&admin, operation, &path, json!({"batch_size": 10})).await;
        let operation = "POST /admin/audit-logs/webhooks/{webhook_id}/test";
        self.does(&admin, operation, &format!("{path}/test"), Value::Null).await;
        let operation = "DELETE /admin/audit-logs/webhooks/{webhook_id}";
        self.does(&admin, operation, &path, Value::Null).await;

        let holds = "/admin/audit-logs/legal-holds";
        let body = json!({"name": "case 1", "filter": {"action": "vm.create"}});
        let hold = self
            .does(&admin, "POST /admin/audit-logs/legal-holds", holds, body)
            .await;
        let path = format!("{holds}/{}/release", text(&hold["id"]));
        let operation = "POST /admin/audit-logs/legal-holds/{hold_id}/release";
        self.does(&admin, operation, &path, json!({"reason": "closed"})).await;
    }

    pub(super) async fn rate_limits(&mut self) {
        let admin = self.is(User::Admin);
        let user = self.world.id(User::Alice).to_owned();
        let exemptions = "/admin/rate-limits/exemptions";
        let body = json!({"user_id": user, "reason": "a migration"});
        let operation = "POST /admin/rate-limits/exemptions";
        self.does(&admin, operation, exemptions, body).await;
        let operation = "DELETE /admin/rate-limits/exemptions/{user_id}";
        self.does(&admin, operation, &format!("{exemptions}/{user}"), Value::Null)
            .await;
        let path = format!("/admin/rate-limits/users/{user}");
        let operation = "PUT /admin/rate-limits/users/{user_id}";
        self.does(&admin, operation, &path, json!({"cooldown_seconds": 0}))
            .await;
    }

    pub(super) async fn approval_policies(&mut self) {
        let admin = self.is(User::Admin);
        let policies = "/admin/approval-policies";
        let body = json!({"name": "nights", "operation": "STOP_VM", "environment": "test", "enabled": false});
        let policy = self.does(&admin, "POST /admin/approval-policies", policies, body).await;
        let body = json!({"operation": "STOP_VM", "environment": "test"});
        let operation = "POST /admin/approval-policies/explain";
        self.does(&admin, operation, &format!("{policies}/explain"), body).await;
        let path = format!("{policies}/{}", text(&policy["id"]));
        let operation = "PATCH /admin/approval-policies/{policy_id}";
        self.does(&admin, operation, &path, json!({"priority": 7})).await;
        let operation = "DELETE /admin/approval-policies/{policy_id}";
        self.does(&admin, operation, &path, Value::Null).await;
    }

    pub(super) async fn external_approvals(&mut self) {
        const CALLBACK: &str = "POST /webhooks/approval-callback";
        let admin = self.is(User::Admin);
        let systems = "/admin/external-approval-systems";
        let body = json!({
            "name": "board", "system_type": "webhook", "webhook_url": "https://127.0.0.1:9/board",
            "webhook_secret": "a secret of the board", "enabled": true,
        });
        let operation = "POST /admin/external-approval-systems";
        let system = text(&self.does(&admin, operation, systems, body).await["id"]);
        let path = format!("{systems}/{system}");
        let operation = "PATCH /admin/external-approval-systems/{external_system_id}";
        self.does(&admin, operation, &path, json!({"retry_count": 5})).await;
        let operation = "POST /admin/external-approval-systems/{external_system_id}/test";
        self.does(&admin, operation, &format!("{path}/test"), Value::Null).await;

        let request = json!({
            "service_id": self.world.service, "template_id": self.world.template("ubuntu-24-04"),
            "instance_size_id": self.world.size("medium"), "namespace": "dev", "reason": "for the board",
        });
        let accepted = self.world.as_(User::Alice).post("/vms", &request).await.ok(202);
        let ticket = text(&accepted["ticket_id"]);
        external_approvals::hand_over(&self.world.home, &ticket, &system).await;
        let answer = json!({"shepherd_ticket_id": ticket, "external_ticket_id": ticket, "status": "rejected"});
        let request = external_approvals::callback(&self.world.anonymous(), "a secret of the board", &answer)
            .header("x-request-id", "audited-callback")
            .header("user-agent", AGENT);
        send(request).await.ok(200);
        self.performed.insert(CALLBACK);
        let (_, expected) = all_entries().find(|(name, _)| *name == CALLBACK).expect("an entry");
        let found = self.rows_of("audited-callback", "system:external:board").await;
        assert_eq!(found, expected, "{CALLBACK}");

        let operation = "DELETE /admin/external-approval-systems/{external_system_id}";
        self.does(&admin, operation, &path, Value::Null).await;
    }

    pub(super) async fn reconciliation(&mut self) {
        let admin = self.is(User::Admin);
        let adoption = crate::adoption::found(self.world, "77").await;
        let (path, scan) = ("/admin/pending-adoptions", "/admin/pending-adoptions/scan");
        self.does(&admin, "POST /admin/pending-adoptions/scan", scan, Value::Null)
            .await;
        let operation = "POST /admin/pending-adoptions/{adoption_id}/ignore";
        let ignore = format!("{path}/{adoption}/ignore");
        self.does(&admin, operation, &ignore, json!({"reason": "not ours"}))
            .await;
        self.does(&admin, operation, &ignore, json!({"restore": true})).await;
        let operation = "POST /admin/pending-adoptions/{adoption_id}/adopt";
        self.does(&admin, operation, &format!("{path}/{adoption}/adopt"), Value::Null)
            .await;
        let keys = "/admin/encryption-keys/rotate";
        self.does(&admin, "POST /admin/encryption-keys/rotate", keys, Value::Null)
            .await;
        let runs = "/admin/reconciler/runs";
        let body = json!({"mode": "dry-run"});
        self.does(&admin, "POST /admin/reconciler/runs", runs, body).await;
    }

    /// Comes last: another cluster makes approvers choose.
    pub(super) async fn infrastructure(&mut self) {
        let admin = self.is(User::Admin);
        let namespaces = "/admin/namespaces";
        let body = json!({"name": "spare", "environment": "test"});
        let made = self.does(&admin, "POST /admin/namespaces", namespaces, body).await;
        let path = format!("{namespaces}/{}", text(&made["id"]));
        let operation = "PUT /admin/namespaces/{namespace_id}";
        self.does(&admin, operation, &path, json!({"description": "audited"}))
            .await;
        let operation = "DELETE /admin/namespaces/{namespace_id}";
        self.does(&admin, operation, &format!("{path}?confirm_name=spare"), Value::Null)
            .await;

        let source = json!({"container_disk": {"image": "quay.io/containerdisks/debian:13"}});
        let body = json!({"name": "audited", "os_family": "debian", "spec": {"image_source": source}});
        let made = self
            .does(&admin, "POST /admin/templates", "/admin/templates", body)
            .await;
        self.template(&admin, &text(&made["id"])).await;
        let body = json!({
            "name": "audited", "cpu_cores": 4, "memory_mb": 8192,
            "disk_gb": 40, "min_disk_gb": 10, "max_disk_gb": 500,
        });
        let sizes = "/admin/instance-sizes";
        let made = self.does(&admin, "POST /admin/instance-sizes", sizes, body).await;
        self.size(&admin, &format!("{sizes}/{}", text(&made["id"]))).await;

        let kubeconfig = STANDARD.encode(self.world.test.kubeconfig());
        let body = json!({"name": "spare", "kubeconfig": kubeconfig, "environment": "test"});
        let spare = self.does(&admin, "POST /admin/clusters", "/admin/clusters", body).await;
        self.cluster(&admin, &format!("/admin/clusters/{}", text(&spare["id"])))
            .await;
    }

    /// Changed, retired, and removed.
    async fn size(&mut self, admin: &Actor, path: &str) {
        let operation = "PATCH /admin/instance-sizes/{instance_size_id}";
        self.does(admin, operation, path, json!({"memory_mb": 4096})).await;
        let expected = ["instance_size.deprecate on instance_size"];
        self.leaves(admin, operation, path, json!({"enabled": false}), &expected)
            .await;
        let operation = "DELETE /admin/instance-sizes/{instance_size_id}";
        self.does(admin, operation, path, Value::Null).await;
    }

    /// An active version, and two drafts that are made of it.
    async fn template(&mut self, admin: &Actor, id: &str) {
        let active = format!("/admin/templates/{id}");
        let operation = "PATCH /admin/templates/{template_id}";
        self.does(admin, operation, &active, json!({"display_name": "Audited"}))
            .await;
        let operation = "POST /admin/templates/{template_id}/validate";
        self.does(admin, operation, &format!("{active}/validate"), Value::Null)
            .await;
        let operation = "POST /admin/templates/{template_id}/new-version";
        let path = format!("{active}/new-version");
        let next = text(&self.does(admin, operation, &path, Value::Null).await["id"]);
        let next = format!("/admin/templates/{next}");
        let operation = "POST /admin/templates/{template_id}/publish";
        self.does(admin, operation, &format!("{next}/publish"), Value::Null)
            .await;
        let operation = "POST /admin/templates/{template_id}/archive";
        self.does(admin, operation, &format!("{active}/archive"), Value::Null)
            .await;
        let operation = "POST /admin/templates/{template_id}/deprecate";
        self.does(admin, operation, &format!("{next}/deprecate"), Value::Null)
            .await;
        let mut document = admin.caller.get(&format!("{next}/export?format=json")).await.ok(200);
        document["name"] = json!("audited-too");
        let operation = "POST /admin/templates/import";
        let path = "/admin/templates/import";
        self.does(admin, operation, path, json!({"documents": [document]}))
            .await;
        let listed = admin.caller.get("/admin/templates?name=audited-too").await.ok(200);
        let operation = "DELETE /admin/templates/{template_id}";
        let path = format!("/admin/templates/{}", text(&listed["items"][0]["id"]));
        self.does(admin, operation, &path, Value::Null).await;
    }

    pub(super) async fn cluster(&mut self, admin: &Actor, path: &str) {
        let operation = "POST /admin/clusters/{cluster_id}/check";
        self.does(admin, operation, &format!("{path}/check"), Value::Null).await;
        let operation = "PATCH /admin/clusters/{cluster_id}";
        self.does(admin, operation, path, json!({"scheduling_weight": 7})).await;
        let namespace = json!({"name": "fresh", "environment": "test"});
        admin.caller.post("/admin/namespaces", &namespace).await.ok(201);
        let operation = "POST /admin/clusters/{cluster_id}/namespaces";
        let body = json!({"name": "fresh"});
        self.does(admin, operation, &format!("{path}/namespaces"), body).await;
        let operation = "PUT /admin/clusters/{cluster_id}/environment";
        let body = json!({"environment": "prod"});
        self.does(admin, operation, &format!("{path}/environment"), body).await;
        let operation = "POST /admin/clusters/{cluster_id}/rotate-credential";
        let body = json!({"kubeconfig": STANDARD.encode(self.world.test.kubeconfig())});
        self.does(admin, operation, &format!("{path}/rotate-credential"), body)
            .await;
        let operation = "DELETE /admin/clusters/{cluster_id}";
        self.does(admin, operation, &format!("{path}?confirm_name=spare"), Value::Null)
            .await;
    }
}
