-- At least one row in every table of the schema, ids chosen so that tests can name them.
INSERT INTO system_secrets (key_name, key_value, source) VALUES ('SESSION_SECRET', 'c2VjcmV0', 'db_generated');
INSERT INTO encryption_keys (key_id, source, sealed_material) VALUES ('0a1b2c3d', 'sealed', '\x01');
INSERT INTO leader_leases (name, holder, generation, expires_at) VALUES ('health', 'replica-1', 2, now());
INSERT INTO heartbeats (kind, instance) VALUES ('worker', 'replica-1');
INSERT INTO periodic_jobs (job, succeeded_at) VALUES ('notification_cleanup', now());

INSERT INTO roles (id, key, name, permissions, built_in)
VALUES ('00000000-0000-7000-8000-000000000001', 'role-viewer', 'Viewer', '{system:read,vm:read}', true);
INSERT INTO auth_providers (id, name, auth_type, config, secrets, default_role_id, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000002', 'corporate', 'oidc', '{}', '\x01',
    '00000000-0000-7000-8000-000000000001', 'system:test'
);
INSERT INTO users (id, username, email, password_hash, created_by)
VALUES ('00000000-0000-7000-8000-000000000003', 'Ada', 'ada@example.org', '$argon2id$', 'system:test');
INSERT INTO user_sessions (id, user_id, issued_at, expires_at, last_seen_at, ip, auth_method)
VALUES (
    '00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000003', now(), now(), now(),
    '192.0.2.1', 'password'
);
INSERT INTO login_attempts (id, subject_kind, subject, succeeded)
VALUES ('00000000-0000-7000-8000-000000000005', 'ip', '192.0.2.1', true);
INSERT INTO role_bindings (id, user_id, role_id, source, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000006', '00000000-0000-7000-8000-000000000003',
    '00000000-0000-7000-8000-000000000001', 'manual', 'system:test'
);

INSERT INTO namespace_registry (id, name, environment, created_by)
VALUES ('00000000-0000-7000-8000-000000000010', 'dev', 'test', 'system:test');
INSERT INTO clusters (id, name, api_server_url, encrypted_kubeconfig, encryption_key_id, created_by)
VALUES ('00000000-0000-7000-8000-000000000011', 'c1', 'https://c1.example.org', '\x01', '0a1b2c3d', 'system:test');
INSERT INTO cluster_watches (cluster_id, state, since) VALUES ('00000000-0000-7000-8000-000000000011', 'LIVE', now());
INSERT INTO systems (id, name, created_by) VALUES ('00000000-0000-7000-8000-000000000012', 'shop', 'system:test');
INSERT INTO services (id, system_id, name, next_instance_index, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000013', '00000000-0000-7000-8000-000000000012', 'redis', 2, 'system:test'
);
INSERT INTO vms (id, service_id, name, instance_index, instance, namespace, cluster_id, hostname, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000014', '00000000-0000-7000-8000-000000000013', 'dev-shop-redis-01', 1, '01',
    'dev', '00000000-0000-7000-8000-000000000011', 'dev-shop-redis-01', '00000000-0000-7000-8000-000000000003'
);
INSERT INTO vm_revisions (id, vm_id, vm_name, revision, spec_snapshot, spec_sha256, changed_by)
VALUES (
    '00000000-0000-7000-8000-000000000015', '00000000-0000-7000-8000-000000000014', 'dev-shop-redis-01', 1, '\x01',
    'abc', '00000000-0000-7000-8000-000000000003'
);
INSERT INTO resource_role_bindings (id, user_id, resource_type, resource_id, role, granted_by)
VALUES (
    '00000000-0000-7000-8000-000000000007', '00000000-0000-7000-8000-000000000003', 'system',
    '00000000-0000-7000-8000-000000000012', 'owner', 'system:test'
);

INSERT INTO templates (id, name, version, spec, content_sha256)
VALUES ('00000000-0000-7000-8000-000000000020', 'ubuntu', 1, '{}', 'abc');
INSERT INTO instance_sizes (id, name, cpu_cores, memory_mb, cpu_request, derived_sha256, created_by)
VALUES ('00000000-0000-7000-8000-000000000021', 'small', 2, 4096, 1, 'stamp-1', 'system:test');

INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, environment, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000030', 'VM_CREATION_REQUESTED', 'service',
    '00000000-0000-7000-8000-000000000013', '{"schema": 1}', 'PENDING', 'test',
    '00000000-0000-7000-8000-000000000003'
);
INSERT INTO approval_tickets (
    id, event_id, request_type, status, environment, requester_id, service_id, template_id, instance_size_id,
    namespace, context_snapshot
)
VALUES (
    '00000000-0000-7000-8000-000000000031', '00000000-0000-7000-8000-000000000030', 'CREATE_VM', 'PENDING_APPROVAL',
    'test', '00000000-0000-7000-8000-000000000003', '00000000-0000-7000-8000-000000000013',
    '00000000-0000-7000-8000-000000000020', '00000000-0000-7000-8000-000000000021', 'dev', '{}'
);
INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind)
VALUES
    (
        '00000000-0000-7000-8000-000000000032', '00000000-0000-7000-8000-000000000031', 1, NULL, 'SUBMITTED',
        '00000000-0000-7000-8000-000000000003', 'USER'
    ),
    (
        '00000000-0000-7000-8000-000000000033', '00000000-0000-7000-8000-000000000031', 2, 'SUBMITTED',
        'PENDING_APPROVAL', 'system:policy', 'SYSTEM'
    );
INSERT INTO confirmation_failures (id, user_id)
VALUES ('00000000-0000-7000-8000-000000000034', '00000000-0000-7000-8000-000000000003');
INSERT INTO idempotency_keys (user_id, key, method, path, request_hash, expires_at)
VALUES ('00000000-0000-7000-8000-000000000003', 'k1', 'POST', '/api/v1/vms', 'abc', now());

INSERT INTO notifications (id, user_id, type, severity, title, message)
VALUES (
    '00000000-0000-7000-8000-000000000040', '00000000-0000-7000-8000-000000000003', 'APPROVAL_PENDING', 'info',
    'A title', 'A message'
);
INSERT INTO audit_legal_holds (id, name, filter, created_by)
VALUES ('00000000-0000-7000-8000-000000000041', 'case 1', '{"action": "vm.create"}', 'system:test');
INSERT INTO audit_logs (
    id, action, action_code, performed_by, performed_by_name, resource_type, resource_id, environment, outcome, ip,
    retention_class, retain_until
)
VALUES (
    '00000000-0000-7000-8000-000000000042', 'vm.request', 'REQUEST_SUBMITTED',
    '00000000-0000-7000-8000-000000000003', 'Ada', 'vm', '00000000-0000-7000-8000-000000000014', 'test', 'success',
    '192.0.2.1', 'test', now() - interval '1 day'
);
INSERT INTO audit_webhooks (id, name, url, method, secret, secret_key_id, cursor, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000043', 'archive', 'https://archive.example.org/audit', 'POST', '\x01', '0a1b2c3d', 0,
    'system:test'
);

INSERT INTO vm_snapshots (id, vm_id, name, k8s_name, ticket_id, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000060', '00000000-0000-7000-8000-000000000014', 'before', 'snapshot-1',
    '00000000-0000-7000-8000-000000000031', '00000000-0000-7000-8000-000000000003'
);
INSERT INTO vm_clones (id, source_vm_id, target_vm_id, k8s_name, ticket_id, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000061', '00000000-0000-7000-8000-000000000014', NULL, 'clone-1',
    '00000000-0000-7000-8000-000000000031', '00000000-0000-7000-8000-000000000003'
);
INSERT INTO vm_migrations (id, vm_id, k8s_name, ticket_id, cancel_event_id, created_by)
VALUES (
    '00000000-0000-7000-8000-000000000062', '00000000-0000-7000-8000-000000000014', 'migration-1',
    '00000000-0000-7000-8000-000000000031', '00000000-0000-7000-8000-000000000030',
    '00000000-0000-7000-8000-000000000003'
);

INSERT INTO adoption_scans (cluster_id, requested_at) VALUES ('00000000-0000-7000-8000-000000000011', now());
INSERT INTO pending_adoptions (
    id, cluster_id, namespace, resource_name, k8s_uid, system, service, instance, resource_spec, labels, last_seen_at
)
VALUES (
    '00000000-0000-7000-8000-000000000063', '00000000-0000-7000-8000-000000000011', 'dev', 'dev-shop-redis-02', 'uid-2',
    'shop', 'redis', '02', '{}', '{}', now()
);
INSERT INTO reconciler_runs (id, mode, started_by, heartbeat_at)
VALUES ('00000000-0000-7000-8000-000000000064', 'dry-run', 'system:reconciler', now());
INSERT INTO reconciler_findings (id, run_id, kind, cluster_id, namespace, name, vm_id)
VALUES (
    '00000000-0000-7000-8000-000000000065', '00000000-0000-7000-8000-000000000064', 'GHOST',
    '00000000-0000-7000-8000-000000000011', 'dev', 'dev-shop-redis-01', '00000000-0000-7000-8000-000000000014'
);

INSERT INTO kubevirt_schemas (minor_version, schema, source, sha256)
VALUES ('1.6', '{}', 'cluster', repeat('0', 64));

INSERT INTO vm_initial_credentials (vm_id, username, password, password_key_id, hash, hash_key_id, expires_at)
VALUES (
    '00000000-0000-7000-8000-000000000014', 'cloud-user', '\x01', '0a1b2c3d', '\x02', '0a1b2c3d', now()
);

INSERT INTO external_approval_systems (
    id, name, system_type, webhook_url, webhook_secret, secret_key_id, header_names, webhook_headers, headers_key_id,
    created_by
)
VALUES (
    '00000000-0000-7000-8000-0000000000e1', 'board', 'webhook', 'https://board.example.org', '\x01', '0a1b2c3d',
    '{X-Key}', '\x02', '0a1b2c3d', '00000000-0000-7000-8000-000000000003'
);
INSERT INTO approval_policies (id, name, operation, environment, created_by)
VALUES (gen_random_uuid(), 'small machines', 'CREATE_VM', 'test', 'system:test');
INSERT INTO external_approval_submissions (id, ticket_id, system_id)
VALUES (
    '00000000-0000-7000-8000-0000000000e2', '00000000-0000-7000-8000-000000000031',
    '00000000-0000-7000-8000-0000000000e1'
);

INSERT INTO rate_limit_exemptions (user_id, exempted_by, reason, expires_at)
VALUES ('00000000-0000-7000-8000-000000000003', 'system:test', 'a migration', now());
INSERT INTO rate_limit_user_overrides (user_id, max_pending_parents, cooldown_seconds, updated_by)
VALUES ('00000000-0000-7000-8000-000000000003', 5, 0, 'system:test');
INSERT INTO rate_limit_counters (scope, subject_id, limit_type, window_start, current_value)
VALUES ('global', '', 'global_request_rate', date_trunc('minute', now()), 1);

INSERT INTO batch_approval_tickets (
    id, number, batch_type, environment, child_count, pending_count, request_id, request_hash, created_by
)
VALUES (
    '00000000-0000-7000-8000-000000000031', next_batch_number(now()), 'BATCH_CREATE', 'test', 2, 2,
    '00000000-0000-7000-8000-0000000000f0', 'abc', '00000000-0000-7000-8000-000000000003'
);

INSERT INTO console_grants (id, vm_id, user_id, environment, granted_by, granted_at, expires_at)
VALUES (
    '00000000-0000-7000-8000-0000000000f1', '00000000-0000-7000-8000-000000000014',
    '00000000-0000-7000-8000-000000000003', 'test', 'system:policy', now(), now() + interval '2 hours'
);
INSERT INTO vnc_access_tokens (token_id, grant_id, session_id, user_id, vm_id, issued_at, expires_at)
VALUES (
    '00000000-0000-7000-8000-0000000000f2', '00000000-0000-7000-8000-0000000000f1',
    '00000000-0000-7000-8000-000000000004', '00000000-0000-7000-8000-000000000003',
    '00000000-0000-7000-8000-000000000014', now(), now() + interval '2 hours'
);
INSERT INTO console_sessions (id, token_id, grant_id, user_id, vm_id, replica, started_at, seen_at)
VALUES (
    '00000000-0000-7000-8000-0000000000f3', '00000000-0000-7000-8000-0000000000f2',
    '00000000-0000-7000-8000-0000000000f1', '00000000-0000-7000-8000-000000000003',
    '00000000-0000-7000-8000-000000000014', 'replica-1', now(), now()
);
