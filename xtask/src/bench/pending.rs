//! Many requests that wait for an approver: what so many submissions would have written, inserted at once.
//!
//! The ids of an event, its ticket and its requester are made of numbers. Audit rows and notifications of the
//! submissions are left out: nothing that is measured here reads them.

use std::ops::RangeInclusive;

use anyhow::ensure;
use sqlx::PgConnection;

use super::bed::execute;

/// How many requests wait.
pub(super) const PENDING: u64 = 10_000;
/// Services they are for; their ids are 1 to this number.
pub(super) const SERVICES: u64 = 20;

/// 50 requesters, 5 Systems with 4 Services each, and a namespace per environment; the simulated clusters have that of
/// test.
const STOCK: &str = "
    INSERT INTO users (id, username, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'requester-' || n, 'system:bench' FROM generate_series(1, 50) AS n;
    INSERT INTO systems (id, name, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'sys' || n, 'system:bench' FROM generate_series(1, 5) AS n;
    INSERT INTO services (id, system_id, name, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(1 + n % 5), 32, '0')::uuid, 'svc' || n, 'system:bench'
        FROM generate_series(1, 20) AS n;
    INSERT INTO namespace_registry (id, name, environment, created_by) VALUES
        (gen_random_uuid(), 'fleet', 'test', 'system:bench'), (gen_random_uuid(), 'bench-prod', 'prod', 'system:bench');
";

/// As a submission writes them (usecases/vm/request.rs): event, ticket and the first two steps of its history, in the
/// course of the last ten days. Template and size change with every thousandth request, so that none is a duplicate.
/// `$first`, `$last`, `$prod` (one in so many is for production) and `$requester` are filled in.
const REQUESTS: &str = "
    WITH choices AS (
        SELECT row_number() OVER (ORDER BY z.sort_order, z.name, t.name) - 1 AS choice, count(*) OVER () AS choices,
            t.id AS template_id, t.name AS template, t.version, z.id AS size_id, z.name AS size, z.cpu_cores,
            z.memory_mb, z.disk_gb, z.min_disk_gb, z.max_disk_gb, COALESCE(z.cpu_request, z.cpu_cores) AS cpu_request,
            COALESCE(z.memory_request_mb, z.memory_mb) AS memory_request_mb
        FROM templates t CROSS JOIN instance_sizes z
        WHERE t.status = 'active' AND z.enabled AND z.capabilities = '{}' AND NOT z.dedicated_cpu
    ), asked AS MATERIALIZED (
        SELECT n, lpad(to_hex(n), 32, '0')::uuid AS id, ($requester)::text AS requester, s.id AS service_id,
            s.name AS service, y.id AS system_id, y.name AS system, place.namespace, place.environment,
            now() - (n % 10000) * interval '86 seconds' AS at, c.*
        FROM generate_series($first::bigint, $last::bigint) AS n
            JOIN services s ON s.id = lpad(to_hex(1 + n / 50 % 20), 32, '0')::uuid
            JOIN systems y ON y.id = s.system_id
            JOIN choices c ON c.choice = n / 1000 % c.choices
            CROSS JOIN LATERAL (
                SELECT CASE WHEN n % $prod = 0 THEN 'bench-prod' ELSE 'fleet' END,
                    CASE WHEN n % $prod = 0 THEN 'prod' ELSE 'test' END
            ) AS place (namespace, environment)
    ), events AS (
        INSERT INTO domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, environment,
            created_by, created_at, updated_at)
        SELECT id, 'VM_CREATION_REQUESTED', 'service', service_id::text, jsonb_build_object(
                'schema', 1, 'requester', requester, 'reason', 'bench',
                'template', jsonb_build_object('id', template_id, 'name', template, 'version', version),
                'instance_size', jsonb_build_object('id', size_id, 'name', size),
                'spec', jsonb_build_object('service_id', service_id, 'namespace', namespace,
                    'template_id', template_id, 'template_version', version, 'instance_size_id', size_id,
                    'disk_gb', disk_gb, 'cpu_cores', cpu_cores, 'memory_mb', memory_mb,
                    'cpu_request', cpu_request, 'memory_request_mb', memory_request_mb)),
            'PENDING', environment, requester, at, at
        FROM asked
    ), tickets AS (
        INSERT INTO approval_tickets (id, event_id, request_type, status, environment, requester_id, reason, system_id,
            service_id, template_id, instance_size_id, namespace, context_snapshot, created_at, updated_at)
        SELECT id, id, 'CREATE_VM', 'PENDING_APPROVAL', environment, requester, 'bench', system_id, service_id,
            template_id, size_id, namespace, jsonb_build_object(
                'requester', jsonb_build_object('id', requester, 'username', 'requester-' || (1 + n % 50)),
                'system', jsonb_build_object('id', system_id, 'name', system),
                'service', jsonb_build_object('id', service_id, 'name', service),
                'namespace', namespace, 'environment', environment,
                'template', jsonb_build_object('id', template_id, 'name', template, 'version', version),
                'instance_size', jsonb_build_object('id', size_id, 'name', size,
                    'summary', cpu_cores || ' CPU, ' || memory_mb || ' MiB, ' || disk_gb || ' GiB'),
                'cpu_cores', cpu_cores, 'memory_mb', memory_mb, 'cpu_request', cpu_request,
                'memory_request_mb', memory_request_mb, 'disk_gb', disk_gb, 'min_disk_gb', min_disk_gb,
                'max_disk_gb', max_disk_gb), at, at
        FROM asked
    )
    INSERT INTO ticket_transitions (id, ticket_id, seq, from_status, to_status, actor_id, actor_kind, at)
    SELECT gen_random_uuid(), id, step.seq, step.before, step.after, COALESCE(step.actor, requester), step.kind, at
    FROM asked CROSS JOIN (VALUES
        (1, NULL, 'SUBMITTED', NULL, 'USER'),
        (2, 'SUBMITTED', 'PENDING_APPROVAL', 'system:policy', 'SYSTEM')
    ) AS step (seq, before, after, actor, kind)
";

/// Whose requests they are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Requesters {
    /// The 50, one after the other.
    Fifty,
    /// Nobody's: an id per request, so that none is a duplicate of one that the product works with.
    Nobody,
}

/// What is inserted.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) numbers: RangeInclusive<u64>,
    pub(super) requesters: Requesters,
    /// Whether half of them are for production.
    pub(super) half_prod: bool,
}

/// Inserts what requests refer to.
pub(super) async fn stock(db: &mut PgConnection) -> anyhow::Result<()> {
    execute(db, STOCK).await
}

/// Inserts requests.
pub(super) async fn insert(db: &mut PgConnection, requests: &Requests) -> anyhow::Result<()> {
    let Requests {
        numbers,
        requesters,
        half_prod,
    } = requests;
    let requester = match requesters {
        Requesters::Fifty => "lpad(to_hex(1 + n % 50), 32, '0')::uuid",
        Requesters::Nobody => "lpad(to_hex(n), 32, '0')::uuid",
    };
    // Numbers are never as large as this.
    let prod = if *half_prod { "2" } else { "1000000000" };
    let sql = REQUESTS
        .replace("$first", &numbers.start().to_string())
        .replace("$last", &numbers.end().to_string())
        .replace("$prod", prod)
        .replace("$requester", requester);
    execute(db, &sql).await
}

/// Fails unless so many wait.
pub(super) async fn ensure_pending(db: &mut PgConnection, wanted: u64) -> anyhow::Result<()> {
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM approval_tickets WHERE status = 'PENDING_APPROVAL'")
        .fetch_one(db)
        .await?;
    ensure!(
        u64::try_from(found)? == wanted,
        "{found} requests wait instead of {wanted}"
    );
    Ok(())
}

/// The id that a number stands for.
pub(super) fn id(number: u64) -> String {
    format!("00000000-0000-0000-0000-{number:012x}")
}
