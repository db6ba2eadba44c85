//! Which operations leave which audit rows, and the few that leave none.

/// What each operation leaves: actions and kinds of objects.
pub const AUDITED: &[(&str, &[&str])] = &[
    ("POST /auth/login", &["user.login on user"]),
    ("POST /auth/logout", &["user.logout on user"]),
    ("POST /auth/change-password", &["user.password_change on user"]),
    ("DELETE /auth/sessions/{session_id}", &["auth.token_revoke on session"]),
    ("POST /auth/sessions/revoke-all", &["auth.revoke_all on user"]),
    ("POST /systems", &["system.create on system"]),
    ("PATCH /systems/{system_id}", &["system.update on system"]),
    (
        "DELETE /systems/{system_id}",
        &["system.delete_executed on system", "system.delete_submitted on system"],
    ),
    (
        "POST /systems/{system_id}/members",
        &["system.member_add on system_member"],
    ),
    (
        "PATCH /systems/{system_id}/members/{user_id}",
        &["system.member_update on system_member"],
    ),
    (
        "DELETE /systems/{system_id}/members/{user_id}",
        &["system.member_remove on system_member"],
    ),
    ("POST /systems/{system_id}/services", &["service.create on service"]),
    (
        "PATCH /systems/{system_id}/services/{service_id}",
        &["service.update on service"],
    ),
    (
        "DELETE /systems/{system_id}/services/{service_id}",
        &[
            "service.delete_executed on service",
            "service.delete_submitted on service",
        ],
    ),
    ("POST /vms", &["vm.request on approval_ticket"]),
    ("POST /vms/request", &["vm.request on approval_ticket"]),
    (
        "POST /vms/{vm_id}/start",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "vm.start_submitted on vm",
        ],
    ),
    (
        "POST /vms/{vm_id}/stop",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "vm.stop_submitted on vm",
        ],
    ),
    (
        "POST /vms/{vm_id}/restart",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "vm.restart_submitted on vm",
        ],
    ),
    (
        "POST /vms/{vm_id}/console/request",
        &["vnc.access on vm", "vnc.request_submitted on vm"],
    ),
    (
        "DELETE /admin/console-grants/{grant_id}",
        &["vnc.revoke on console_grant"],
    ),
    (
        "POST /vms/{vm_id}/snapshots",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "vm.snapshot_submitted on vm",
        ],
    ),
    (
        "DELETE /snapshots/{snapshot_id}",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "vm.snapshot_delete_submitted on vm",
        ],
    ),
    ("POST /snapshots/{snapshot_id}/restore", &["vm.restore_submitted on vm"]),
    ("POST /vms/{vm_id}/clone", &["vm.clone_submitted on vm"]),
    (
        "POST /vms/{vm_id}/migrate",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "vm.migrate_submitted on vm",
        ],
    ),
    (
        "POST /migrations/{migration_id}/cancel",
        &["vm.migrate_cancel_submitted on vm"],
    ),
    (
        "POST /vms/{vm_id}/initial-password",
        &["vm.initial_password_reveal on vm"],
    ),
    ("DELETE /vms/{vm_id}", &["vm.delete_submitted on vm"]),
    ("PATCH /vms/{vm_id}", &["vm.modify_submitted on vm"]),
    // It stores nothing at all.
    ("POST /vms/validate", &[]),
    // It shows and stores nothing.
    ("POST /admin/approvals/{ticket_id}/preview", &[]),
    (
        "PUT /admin/approvals/{ticket_id}/modified-spec",
        &["approval.modify on approval_ticket"],
    ),
    (
        "DELETE /admin/approvals/{ticket_id}/modified-spec",
        &["approval.modify on approval_ticket"],
    ),
    (
        "POST /approvals/{ticket_id}/approve",
        &["approval.approve on approval_ticket"],
    ),
    (
        "POST /approvals/{ticket_id}/reject",
        &["approval.reject on approval_ticket"],
    ),
    (
        "POST /approvals/{ticket_id}/cancel",
        &["approval.cancel on approval_ticket"],
    ),
    (
        "POST /admin/approvals/bulk-approve",
        &["approval.approve on approval_ticket"],
    ),
    ("POST /vms/batch", &["vm.batch.submit on batch"]),
    ("POST /approvals/batch", &["vm.batch.submit on batch"]),
    (
        "POST /vms/batch/power",
        &[
            "approval.approve on approval_ticket, by system:policy",
            "approval.approve on approval_ticket, by system:policy",
            "vm.batch.power.submit on batch",
        ],
    ),
    (
        "POST /vms/batch/{batch_id}/cancel",
        &["approval.cancel on approval_ticket", "vm.batch.cancel on batch"],
    ),
    ("POST /vms/batch/{batch_id}/retry", &["vm.batch.retry on batch"]),
    ("POST /admin/reconciler/runs", &["reconciler.run on reconciler_run"]),
    ("POST /admin/dead-letters/{job_id}/retry", &["job.retry on job"]),
    ("DELETE /admin/dead-letters/{job_id}", &["job.discard on job"]),
    (
        "POST /admin/encryption-keys/rotate",
        &["encryption_key.rotate on encryption_key"],
    ),
    (
        "POST /admin/pending-adoptions/scan",
        &["adoption.scan on adoption_scan"],
    ),
    (
        "POST /admin/pending-adoptions/{adoption_id}/ignore",
        &["adoption.ignore on pending_adoption"],
    ),
    ("POST /admin/pending-adoptions/{adoption_id}/adopt", &["vm.adopt on vm"]),
    ("POST /admin/clusters", &["cluster.register on cluster"]),
    ("PATCH /admin/clusters/{cluster_id}", &["cluster.update on cluster"]),
    ("DELETE /admin/clusters/{cluster_id}", &["cluster.delete on cluster"]),
    (
        "PUT /admin/clusters/{cluster_id}/environment",
        &["cluster.update on cluster"],
    ),
    (
        "POST /admin/clusters/{cluster_id}/rotate-credential",
        &["cluster.credential_rotate on cluster"],
    ),
    (
        "POST /admin/clusters/{cluster_id}/namespaces",
        &["namespace.create on namespace"],
    ),
    ("POST /admin/namespaces", &["namespace.create on namespace"]),
    (
        "PUT /admin/namespaces/{namespace_id}",
        &["namespace.update on namespace"],
    ),
    (
        "DELETE /admin/namespaces/{namespace_id}",
        &["namespace.delete on namespace"],
    ),
    ("POST /admin/templates", &["template.create on template"]),
    ("POST /admin/templates/import", &["template.import on template"]),
    ("PATCH /admin/templates/{template_id}", &["template.update on template"]),
    (
        "POST /admin/templates/{template_id}/publish",
        &["template.update on template"],
    ),
    (
        "POST /admin/templates/{template_id}/new-version",
        &["template.create on template"],
    ),
    (
        "POST /admin/templates/{template_id}/deprecate",
        &["template.deprecate on template"],
    ),
    (
        "POST /admin/templates/{template_id}/archive",
        &["template.archive on template"],
    ),
    (
        "DELETE /admin/templates/{template_id}",
        &["template.delete on template"],
    ),
    ("POST /admin/instance-sizes", &["instance_size.create on instance_size"]),
    (
        "PATCH /admin/instance-sizes/{instance_size_id}",
        &["instance_size.update on instance_size"],
    ),
    (
        "DELETE /admin/instance-sizes/{instance_size_id}",
        &["instance_size.delete on instance_size"],
    ),
    ("POST /admin/users", &["user.create on user"]),
    ("PATCH /admin/users/{user_id}", &["user.update on user"]),
    ("DELETE /admin/users/{user_id}", &["user.delete on user"]),
    (
        "POST /admin/users/{user_id}/sessions/revoke-all",
        &["auth.revoke_all on user"],
    ),
    ("DELETE /admin/sessions/{session_id}", &["auth.token_revoke on session"]),
    (
        "POST /admin/users/{user_id}/role-bindings",
        &["role.assign on role_binding"],
    ),
    (
        "DELETE /admin/users/{user_id}/role-bindings/{binding_id}",
        &["role.revoke on role_binding"],
    ),
    ("POST /admin/roles", &["role.create on role"]),
    ("PATCH /admin/roles/{role_id}", &["role.update on role"]),
    ("PUT /admin/roles/{role_id}/permissions", &["role.update on role"]),
    ("DELETE /admin/roles/{role_id}", &["role.delete on role"]),
    (
        "POST /admin/approval-policies",
        &["approval_policy.create on approval_policy"],
    ),
    // A question.
    ("POST /admin/approval-policies/explain", &[]),
    (
        "PATCH /admin/approval-policies/{policy_id}",
        &["approval_policy.update on approval_policy"],
    ),
    (
        "DELETE /admin/approval-policies/{policy_id}",
        &["approval_policy.delete on approval_policy"],
    ),
    (
        "POST /admin/external-approval-systems",
        &["external_approval.configure on external_approval_system"],
    ),
    (
        "PATCH /admin/external-approval-systems/{external_system_id}",
        &["external_approval.update on external_approval_system"],
    ),
    (
        "POST /admin/external-approval-systems/{external_system_id}/test",
        // Nobody answers there.
        &["external_approval.submit on external_approval_system, failure"],
    ),
    (
        "DELETE /admin/external-approval-systems/{external_system_id}",
        &["external_approval.delete on external_approval_system"],
    ),
    (
        "POST /webhooks/approval-callback",
        &[
            "approval.reject on approval_ticket",
            "external_approval.callback on approval_ticket",
        ],
    ),
    (
        "POST /admin/audit-logs/webhooks",
        &["audit.webhook.create on audit_webhook"],
    ),
    (
        "PATCH /admin/audit-logs/webhooks/{webhook_id}",
        &["audit.webhook.update on audit_webhook"],
    ),
    (
        "POST /admin/audit-logs/webhooks/{webhook_id}/test",
        // Nobody answers there, and that is what is recorded.
        &["audit.webhook.test on audit_webhook, failure"],
    ),
    (
        "DELETE /admin/audit-logs/webhooks/{webhook_id}",
        &["audit.webhook.delete on audit_webhook"],
    ),
    (
        "POST /admin/audit-logs/legal-holds",
        &["audit.legal_hold.create on audit_legal_hold"],
    ),
    (
        "POST /admin/audit-logs/legal-holds/{hold_id}/release",
        &["audit.legal_hold.release on audit_legal_hold"],
    ),
    (
        "POST /admin/rate-limits/exemptions",
        &["admin.rate_limit.exemption.upsert on user"],
    ),
    (
        "DELETE /admin/rate-limits/exemptions/{user_id}",
        &["admin.rate_limit.exemption.delete on user"],
    ),
    (
        "PUT /admin/rate-limits/users/{user_id}",
        &["admin.rate_limit.override.upsert on user"],
    ),
];

/// What changes something and says nothing, and why.
pub const SILENT: &[(&str, &str)] = &[
    ("PATCH /notifications/{notification_id}/read", "one's own inbox"),
    ("POST /notifications/mark-all-read", "one's own inbox"),
    (
        "POST /admin/clusters/{cluster_id}/check",
        "what it finds would be found by itself, too",
    ),
    (
        "POST /admin/templates/{template_id}/validate",
        "a question, whose answer is stored nowhere",
    ),
];

/// The list above only shrinks.
const MOST_SILENT: usize = 4;
const _: () = assert!(SILENT.len() <= MOST_SILENT, "a change leaves no audit row");

/// Reads that are recorded.
pub const AUDITED_READS: &[(&str, &[&str])] = &[("GET /admin/audit-logs/export", &["audit.export on audit_log"])];
