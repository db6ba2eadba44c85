//! Versions, immutable columns, append-only tables and the shape of single rows.

use crate::{Database, TestResult};

#[tokio::test]
async fn an_update_raises_the_version_only_when_it_changes_something() -> TestResult {
    const SYSTEM: &str = "SELECT row_version FROM systems";
    const TICKET: &str = "SELECT row_version FROM approval_tickets";
    const SIZE: &str = "SELECT row_version FROM instance_sizes";
    let database = Database::filled().await?;

    database
        .run("UPDATE systems SET description = description, updated_at = now()")
        .await?;
    database.run("UPDATE approval_tickets SET status = status").await?;
    database.run("UPDATE instance_sizes SET enabled = enabled").await?;
    assert_eq!(database.number(SYSTEM).await?, 1);
    assert_eq!(database.number(TICKET).await?, 1);
    assert_eq!(database.number(SIZE).await?, 1);

    database
        .run("UPDATE systems SET description = 'new', row_version = 77")
        .await?;
    database.run("UPDATE approval_tickets SET reason = 'new'").await?;
    database.run("UPDATE instance_sizes SET enabled = false").await?;
    assert_eq!(database.number(SYSTEM).await?, 2);
    assert_eq!(database.number(TICKET).await?, 2);
    assert_eq!(database.number(SIZE).await?, 2);
    Ok(())
}

#[tokio::test]
async fn append_only_tables_refuse_every_other_change() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            ("trg_domain_events_append_only", "DELETE FROM domain_events"),
            ("trg_domain_events_append_only", "TRUNCATE domain_events CASCADE"),
            (
                "trg_domain_events_immutable",
                r#"UPDATE domain_events SET payload = '{"schema": 2}'"#,
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET event_type = 'VM_ADOPTED'",
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET aggregate_type = 'vm'",
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET aggregate_id = 'x'",
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET environment = NULL",
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET created_by = 'x'",
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET created_at = now() + interval '1 day'",
            ),
            (
                "trg_domain_events_immutable",
                "UPDATE domain_events SET causation_id = id",
            ),
            (
                "trg_ticket_transitions_append_only",
                "UPDATE ticket_transitions SET reason = 'x'",
            ),
            ("trg_ticket_transitions_append_only", "DELETE FROM ticket_transitions"),
            ("trg_ticket_transitions_append_only", "TRUNCATE ticket_transitions"),
            (
                "trg_vm_revisions_append_only",
                "UPDATE vm_revisions SET change_reason = 'x'",
            ),
            ("trg_vm_revisions_append_only", "DELETE FROM vm_revisions"),
            ("trg_vm_revisions_append_only", "TRUNCATE vm_revisions"),
        ])
        .await
}

#[tokio::test]
async fn an_event_may_still_run_through_its_states() -> TestResult {
    let database = Database::filled().await?;
    database.run("UPDATE domain_events SET status = 'PROCESSING'").await?;
    database
        .run("UPDATE domain_events SET status = 'FAILED', error_code = 'X', processed_at = now(), archived_at = now()")
        .await?;
    Ok(())
}

#[tokio::test]
async fn immutable_columns_stay() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            ("trg_systems_immutable", "UPDATE systems SET name = 'other'"),
            ("trg_services_immutable", "UPDATE services SET name = 'other'"),
            (
                "trg_services_next_instance_index",
                "UPDATE services SET next_instance_index = 1",
            ),
            ("trg_vms_immutable", "UPDATE vms SET name = 'other', hostname = 'other'"),
            (
                "trg_namespace_registry_immutable",
                "UPDATE namespace_registry SET name = 'other'",
            ),
            (
                "trg_namespace_registry_environment",
                "UPDATE namespace_registry SET environment = 'prod'",
            ),
            ("trg_clusters_immutable", "UPDATE clusters SET name = 'other'"),
            ("trg_clusters_environment", "UPDATE clusters SET environment = 'prod'"),
            (
                "trg_clusters_default_storage_class",
                "UPDATE clusters SET default_storage_class = 'fast'",
            ),
            ("trg_roles_immutable", "UPDATE roles SET built_in = false"),
            (
                "trg_auth_providers_immutable",
                "UPDATE auth_providers SET auth_type = 'ldap'",
            ),
            (
                "trg_users_immutable",
                "UPDATE users SET id = '00000000-0000-7000-8000-0000000000ff'",
            ),
            (
                "trg_leader_leases_generation",
                "UPDATE leader_leases SET generation = 1",
            ),
        ])
        .await
}

#[tokio::test]
async fn a_default_storage_class_outlives_its_absence() -> TestResult {
    let database = Database::filled().await?;
    database
        .run("UPDATE clusters SET storage_classes = '{fast}', default_storage_class = 'fast'")
        .await?;
    database.run("UPDATE clusters SET storage_classes = '{}'").await?;
    Ok(())
}

#[tokio::test]
async fn the_first_time_a_vm_ran_is_kept() -> TestResult {
    let database = Database::filled().await?;
    database.run("UPDATE vms SET first_running_at = now()").await?;
    database
        .refuses(&[
            (
                "trg_vms_first_running_at",
                "UPDATE vms SET first_running_at = now() + interval '1 day'",
            ),
            ("trg_vms_first_running_at", "UPDATE vms SET first_running_at = NULL"),
        ])
        .await
}

#[tokio::test]
async fn derived_columns_change_with_their_source_or_their_stamp() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            ("trg_instance_sizes_derived", "UPDATE instance_sizes SET cpu_cores = 4"),
            (
                "trg_instance_sizes_derived",
                "UPDATE instance_sizes SET memory_mb = 8192",
            ),
            (
                "trg_instance_sizes_derived",
                "UPDATE instance_sizes SET dedicated_cpu = true",
            ),
            (
                "trg_instance_sizes_derived",
                "UPDATE instance_sizes SET requires_gpu = true",
            ),
            (
                "trg_instance_sizes_derived",
                "UPDATE instance_sizes SET requires_sriov = true",
            ),
            (
                "trg_instance_sizes_derived",
                r#"UPDATE instance_sizes SET gpu_devices = '[{"name": "a"}]'"#,
            ),
            (
                "trg_instance_sizes_derived",
                "UPDATE instance_sizes SET capabilities = '{gpu}'",
            ),
            (
                "trg_instance_sizes_derived",
                "UPDATE instance_sizes SET requires_hugepages = true, hugepages_size = '2Mi'",
            ),
        ])
        .await?;
    database
        .run("UPDATE instance_sizes SET cpu_cores = 4, derived_sha256 = 'stamp-2'")
        .await?;
    database
        .run(r#"UPDATE instance_sizes SET memory_mb = 8192, spec_overrides = '{"spec.x": 1}'"#)
        .await?;
    database
        .run("UPDATE instance_sizes SET disk_gb = 200, description = 'larger'")
        .await?;
    Ok(())
}

#[tokio::test]
async fn overcommit_is_computed() -> TestResult {
    const OVERCOMMITTED: &str = "
        SELECT count(*) FROM instance_sizes WHERE cpu_overcommit_enabled AND NOT memory_overcommit_enabled";
    let database = Database::filled().await?;
    assert_eq!(database.number(OVERCOMMITTED).await?, 1);
    database
        .run("UPDATE instance_sizes SET cpu_request = cpu_cores")
        .await?;
    assert_eq!(database.number(OVERCOMMITTED).await?, 0);
    Ok(())
}

#[tokio::test]
async fn malformed_rows_are_refused_by_name() -> TestResult {
    let database = Database::filled().await?;
    database
        .refuses(&[
            (
                "ck_systems_name_length",
                "INSERT INTO systems (id, name, created_by) VALUES (gen_random_uuid(), 'sixteen-letters1', 'x')",
            ),
            (
                "ck_systems_name_format",
                "INSERT INTO systems (id, name, created_by) VALUES (gen_random_uuid(), 'a--b', 'x')",
            ),
            (
                "uq_systems_name",
                "INSERT INTO systems (id, name, created_by) VALUES (gen_random_uuid(), 'shop', 'x')",
            ),
            (
                "uq_users_username",
                "INSERT INTO users (id, username, created_by) VALUES (gen_random_uuid(), 'ADA', 'x')",
            ),
            ("ck_roles_permissions", "UPDATE roles SET permissions = '{vm:*}'"),
            (
                "ck_roles_permissions",
                "UPDATE roles SET permissions = '{vm:read,NULL}'",
            ),
            (
                "ck_role_bindings_allowed_environments",
                "UPDATE role_bindings SET allowed_environments = '{}'",
            ),
            (
                "ck_role_bindings_allowed_environments",
                "UPDATE role_bindings SET allowed_environments = '{stage}'",
            ),
            (
                "ck_role_bindings_scope_id",
                "UPDATE role_bindings SET scope_type = 'system'",
            ),
            (
                "uq_role_bindings_grant",
                "INSERT INTO role_bindings (id, user_id, role_id, source, created_by)
                 SELECT gen_random_uuid(), user_id, role_id, source, 'x' FROM role_bindings",
            ),
            (
                "ck_resource_role_bindings_owner_never_expires",
                "UPDATE resource_role_bindings SET expires_at = now()",
            ),
            ("ck_vms_instance", "UPDATE vms SET instance = '1'"),
            ("ck_vms_hostname", "UPDATE vms SET hostname = 'other'"),
            ("fk_vms_cluster_id", "DELETE FROM clusters"),
            (
                "ck_instance_sizes_disk_range",
                "UPDATE instance_sizes SET min_disk_gb = 101",
            ),
            (
                "ck_instance_sizes_cpu_request",
                "UPDATE instance_sizes SET cpu_request = 3",
            ),
            (
                "ck_instance_sizes_hugepages",
                "UPDATE instance_sizes SET hugepages_size = '2Mi', derived_sha256 = 's'",
            ),
            (
                "pk_idempotency_keys",
                "INSERT INTO idempotency_keys (user_id, key, method, path, request_hash, expires_at)
                 SELECT user_id, key, method, path, 'other', expires_at FROM idempotency_keys",
            ),
        ])
        .await
}

#[tokio::test]
async fn one_version_of_a_template_is_active() -> TestResult {
    let database = Database::filled().await?;
    database
        .run(
            "UPDATE templates SET status = 'active';
             INSERT INTO templates (id, name, version, spec, content_sha256)
             SELECT '00000000-0000-7000-8000-000000000022', name, 2, spec, 'def' FROM templates",
        )
        .await?;
    database
        .refuses(&[
            (
                "uq_templates_active_name",
                "UPDATE templates SET status = 'active' WHERE version = 2",
            ),
            (
                "uq_templates_name_version",
                "UPDATE templates SET version = 1 WHERE version = 2",
            ),
        ])
        .await
}
