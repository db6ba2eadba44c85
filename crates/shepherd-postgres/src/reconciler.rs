//! Runs of the reconciler and what they found.
//!
//! Runs begin one at a time under an advisory lock, so that each sees those that exclude it. Everything a run writes
//! is written under a lock of its row and only while it is RUNNING: a process that was taken for dead writes nothing
//! any more. Signs of life and due times are measured by the database's own clock.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{ClusterId, ReconcilerRunId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::reconciler::{FindingKind, ReconcilerMode, RunStatus};
use shepherd_ports::RepositoryError;
use shepherd_ports::reconciler::{
    ClusterFindings, DEAD_AFTER_SECONDS, ExaminedVm, FindingRecord, Ghost, NewRun, Orphan, ReconcilerQueries,
    ReconcilerRepository, RunRecord, RunStart, Skipped,
};
use uuid::Uuid;

use crate::errors::mismatch;
use crate::statement::{Filter, List, Texts, Uuids, execute, fetch_all, fetch_one, select_all, values};
use crate::store::PgStore;
use crate::unit_of_work::{PgUnitOfWork, Transaction};

/// Key of the advisory lock under which runs begin.
const BEGIN: i64 = 0x7265_636f_6e63_696c;

const FAIL_DEAD: &str = "UPDATE reconciler_runs SET status = 'FAILED', \
         error = 'whoever worked on the run gave no sign of life', finished_at = clock_timestamp() \
     WHERE status = 'RUNNING' AND heartbeat_at < clock_timestamp() - $1::bigint * interval '1 second'";

/// A run of all clusters excludes every other one, and every other one excludes it.
const EXCLUDING: &str = "SELECT to_jsonb(r.id) AS doc FROM reconciler_runs r \
     WHERE r.status = 'RUNNING' AND (r.cluster_id IS NULL OR $1::uuid IS NULL OR r.cluster_id = $1) \
     ORDER BY r.created_at, r.id LIMIT 1";

const INSERT: &str = "INSERT INTO reconciler_runs (id, mode, cluster_id, started_by, heartbeat_at, claimed_at) \
     VALUES ($1, $2, $3, $4, clock_timestamp(), CASE WHEN $5 THEN clock_timestamp() END)";

/// NULL without any cluster.
const IS_DUE: &str = "SELECT to_jsonb(coalesce( \
         (SELECT max(r.created_at) FROM reconciler_runs r WHERE r.started_by = $1), \
         (SELECT min(c.created_at) FROM clusters c) \
     ) <= clock_timestamp() - $2::bigint * interval '1 second') AS doc";

macro_rules! run_columns {
    () => {
        "r.id, r.mode, r.cluster_id, r.status, r.examined, r.ghosts, r.orphans, r.skipped, r.halted_cluster_ids, \
         r.error, r.started_by, r.created_at, r.finished_at"
    };
}

const CLAIM: &str = concat!(
    "WITH claimed AS ( \
         UPDATE reconciler_runs r SET claimed_at = clock_timestamp(), heartbeat_at = clock_timestamp() \
         WHERE r.status = 'RUNNING' AND r.claimed_at IS NULL RETURNING ",
    run_columns!(),
    ") SELECT to_jsonb(claimed) AS doc FROM claimed ORDER BY claimed.created_at, claimed.id"
);

const LOCK: &str =
    "SELECT to_jsonb(r.id) AS doc FROM reconciler_runs r WHERE r.id = $1 AND r.status = 'RUNNING' FOR UPDATE";

/// What a run looks for on a cluster.
macro_rules! examined {
    () => {
        "v.status <> 'DELETING' AND v.created_at <= clock_timestamp() - interval '10 minutes' \
         AND NOT (v.status = 'CREATING' AND EXISTS (SELECT FROM approval_tickets t \
             WHERE (t.vm_id = v.id OR t.id = v.ticket_id) \
                 AND t.status IN ('SUBMITTED', 'PENDING_APPROVAL', 'APPROVED', 'EXECUTING')))"
    };
}

/// A row that meanwhile was given an object, or is no longer examined, is no ghost.
const KEEP_GHOSTS: &str = concat!(
    "WITH kept AS ( \
         INSERT INTO reconciler_findings (id, run_id, kind, cluster_id, namespace, name, vm_id, details) \
         SELECT g.id, $1, 'GHOST', $2, v.namespace, v.name, v.id, jsonb_strip_nulls(jsonb_build_object( \
             'status', v.status, 'k8s_uid', v.k8s_uid, 'observed_at', v.observed_at, 'marked_at', v.marked_at)) \
         FROM jsonb_to_recordset($3) AS g (id uuid, vm_id uuid, uid text) JOIN vms v ON v.id = g.vm_id \
         WHERE v.cluster_id = $2 AND v.k8s_uid IS NOT DISTINCT FROM g.uid AND ",
    examined!(),
    " RETURNING vm_id \
     ) SELECT coalesce(jsonb_agg(vm_id), '[]') AS doc FROM kept"
);

/// An object that meanwhile has a row is no orphan.
const KEEP_ORPHANS: &str = "INSERT INTO reconciler_findings (id, run_id, kind, cluster_id, namespace, name, details) \
     SELECT o.id, $1, 'ORPHAN', $2, o.namespace, o.name, o.details \
     FROM jsonb_to_recordset($3) AS o (id uuid, namespace text, name text, details jsonb) \
     WHERE NOT EXISTS (SELECT FROM vms v WHERE v.cluster_id = $2 AND v.namespace = o.namespace AND v.name = o.name) \
     ON CONFLICT (run_id, kind, cluster_id, namespace, name) DO NOTHING";

// Rows are taken in the order of their ids, as projection takes them, so that neither waits for the other.
const MARK: &str = concat!(
    "WITH taken AS ( \
         SELECT v.id FROM vms v WHERE v.cluster_id = $1 AND v.id = ANY($2) AND v.reconcile_mark IS NULL AND ",
    examined!(),
    " ORDER BY v.id FOR NO KEY UPDATE OF v \
     ) UPDATE vms v SET reconcile_mark = 'GHOST', marked_at = $3 FROM taken WHERE v.id = taken.id"
);

const CLEAR_MARKS: &str = "WITH taken AS ( \
         SELECT v.id FROM vms v WHERE v.cluster_id = $1 AND v.reconcile_mark IS NOT NULL AND NOT v.id = ANY($2) \
         ORDER BY v.id FOR NO KEY UPDATE OF v \
     ) UPDATE vms v SET reconcile_mark = NULL, marked_at = NULL FROM taken WHERE v.id = taken.id";

const COUNT: &str = "UPDATE reconciler_runs SET examined = examined + $2, ghosts = ghosts + $3, \
         orphans = orphans + $4, \
         halted_cluster_ids = halted_cluster_ids || CASE WHEN $6 THEN ARRAY[$5]::uuid[] ELSE '{}'::uuid[] END, \
         heartbeat_at = clock_timestamp() \
     WHERE id = $1";

const FINISH: &str = "WITH ended AS ( \
         UPDATE reconciler_runs SET finished_at = $3, error = left($2, 512), \
             status = CASE WHEN $2 IS NOT NULL THEN 'FAILED' WHEN cardinality(halted_cluster_ids) > 0 THEN 'HALTED' \
                 ELSE 'COMPLETED' END \
         WHERE id = $1 AND status = 'RUNNING' RETURNING status \
     ) SELECT to_jsonb(status) AS doc FROM ended";

const RUNS: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM reconciler_runs r LEFT JOIN clusters c ON c.id = r.cluster_id WHERE {where} \
     ORDER BY r.created_at DESC, r.id DESC {limit}"
);

const RUN: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM reconciler_runs r LEFT JOIN clusters c ON c.id = r.cluster_id WHERE {where}"
);

const FINDINGS: &str = "SELECT f.id, f.kind, f.cluster_id, c.name AS cluster_name, f.namespace, f.name, f.vm_id, \
         f.details \
     FROM reconciler_findings f LEFT JOIN clusters c ON c.id = f.cluster_id WHERE {where} \
     ORDER BY f.cluster_id, f.namespace, f.name {limit}";

const EXAMINED: &str = concat!(
    "SELECT v.id, v.namespace, v.name, v.k8s_uid AS uid FROM vms v WHERE v.cluster_id = $1 AND ",
    examined!()
);

async fn one_at_a_time(tx: &Transaction) -> Result<(), RepositoryError> {
    execute(tx, "SELECT pg_advisory_xact_lock($1)", values![BEGIN]).await?;
    execute(tx, FAIL_DEAD, values![DEAD_AFTER_SECONDS]).await.map(drop)
}

async fn begin(tx: &Transaction, run: &NewRun) -> Result<RunStart, RepositoryError> {
    if let Some(other) = fetch_one(tx, EXCLUDING, values![run.cluster]).await? {
        return Ok(RunStart::Excluded(other));
    }
    let values = values![run.id, run.mode.as_str(), run.cluster, run.started_by, run.claimed];
    execute(tx, INSERT, values).await?;
    Ok(RunStart::Started)
}

async fn keep_ghosts(
    tx: &Transaction,
    run: ReconcilerRunId,
    cluster: ClusterId,
    ghosts: &[Ghost],
) -> Result<Vec<Uuid>, RepositoryError> {
    let found = serde_json::to_value(ghosts).map_err(mismatch)?;
    let kept = fetch_one(tx, KEEP_GHOSTS, values![run, cluster, found]).await?;
    Ok(kept.unwrap_or_default())
}

async fn keep_orphans(
    tx: &Transaction,
    run: ReconcilerRunId,
    cluster: ClusterId,
    orphans: &[Orphan],
) -> Result<u64, RepositoryError> {
    let found = serde_json::to_value(orphans).map_err(mismatch)?;
    execute(tx, KEEP_ORPHANS, values![run, cluster, found]).await
}

fn number(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

#[async_trait]
impl ReconcilerRepository for PgUnitOfWork {
    async fn start(&mut self, run: &NewRun) -> Result<RunStart, RepositoryError> {
        one_at_a_time(&self.tx).await?;
        begin(&self.tx, run).await
    }

    async fn start_if_due(&mut self, run: &NewRun, interval: i64) -> Result<bool, RepositoryError> {
        one_at_a_time(&self.tx).await?;
        let due: Option<Option<bool>> = fetch_one(&self.tx, IS_DUE, values![run.started_by, interval]).await?;
        if due.flatten() != Some(true) {
            return Ok(false);
        }
        Ok(begin(&self.tx, run).await? == RunStart::Started)
    }

    async fn claim(&mut self) -> Result<Vec<RunRecord>, RepositoryError> {
        let claimed = fetch_all(&self.tx, CLAIM, values![]).await?;
        execute(&self.tx, FAIL_DEAD, values![DEAD_AFTER_SECONDS]).await?;
        Ok(claimed)
    }

    async fn beat(&mut self, id: ReconcilerRunId) -> Result<bool, RepositoryError> {
        let sql = "UPDATE reconciler_runs SET heartbeat_at = clock_timestamp() WHERE id = $1 AND status = 'RUNNING'";
        Ok(execute(&self.tx, sql, values![id]).await? > 0)
    }

    async fn record(
        &mut self,
        id: ReconcilerRunId,
        mode: ReconcilerMode,
        found: &ClusterFindings,
        at: DateTime<Utc>,
    ) -> Result<bool, RepositoryError> {
        if fetch_one::<ReconcilerRunId>(&self.tx, LOCK, values![id])
            .await?
            .is_none()
        {
            return Ok(false);
        }
        let cluster = found.cluster;
        let ghosts = keep_ghosts(&self.tx, id, cluster, &found.ghosts).await?;
        let orphans = keep_orphans(&self.tx, id, cluster, &found.orphans).await?;
        let ghost_count = number(ghosts.len());
        if mode == ReconcilerMode::Mark && !found.halted {
            execute(&self.tx, CLEAR_MARKS, values![cluster, Uuids(ghosts.clone())]).await?;
            execute(&self.tx, MARK, values![cluster, Uuids(ghosts), at]).await?;
        }
        let values = values![
            id,
            number(found.examined),
            ghost_count,
            number(orphans),
            cluster,
            found.halted
        ];
        execute(&self.tx, COUNT, values).await?;
        Ok(true)
    }

    async fn skip(&mut self, id: ReconcilerRunId, skipped: &Skipped) -> Result<bool, RepositoryError> {
        let sql = "UPDATE reconciler_runs SET skipped = skipped || jsonb_build_array($2::jsonb), \
                   heartbeat_at = clock_timestamp() WHERE id = $1 AND status = 'RUNNING'";
        let skipped = serde_json::to_value(skipped).map_err(mismatch)?;
        Ok(execute(&self.tx, sql, values![id, skipped]).await? > 0)
    }

    async fn finish(
        &mut self,
        id: ReconcilerRunId,
        error: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<Option<RunStatus>, RepositoryError> {
        fetch_one(&self.tx, FINISH, values![id, error, at]).await
    }
}

/// A run of a cluster that is gone is of all environments, like a run of all clusters.
fn visible_runs(visible: EnvironmentSet) -> Filter {
    let mut shown = Filter::default();
    shown.and(
        "CASE WHEN c.id IS NULL THEN ? ELSE c.environment = ANY(?) END",
        values![visible.covers(EnvironmentSet::ALL), Texts::environments(visible)],
    );
    shown
}

#[async_trait]
impl ReconcilerQueries for PgStore {
    async fn list_runs(&self, visible: EnvironmentSet, page: PageRequest) -> Result<Page<RunRecord>, RepositoryError> {
        List {
            rows: RUNS,
            counted: "reconciler_runs r LEFT JOIN clusters c ON c.id = r.cluster_id",
            filter: visible_runs(visible),
        }
        .page(&self.db, page)
        .await
    }

    async fn get_run(
        &self,
        visible: EnvironmentSet,
        id: ReconcilerRunId,
    ) -> Result<Option<RunRecord>, RepositoryError> {
        let mut wanted = visible_runs(visible);
        wanted.and("r.id = ?", values![id]);
        wanted.first(&self.db, RUN).await
    }

    async fn list_findings(
        &self,
        run: ReconcilerRunId,
        kind: FindingKind,
        page: PageRequest,
    ) -> Result<Page<FindingRecord>, RepositoryError> {
        let mut wanted = Filter::default();
        wanted.and("f.run_id = ? AND f.kind = ?", values![run, kind.as_str()]);
        List {
            rows: FINDINGS,
            counted: "reconciler_findings f",
            filter: wanted,
        }
        .page(&self.db, page)
        .await
    }

    async fn examined(&self, cluster: ClusterId) -> Result<Vec<ExaminedVm>, RepositoryError> {
        select_all(&self.db, EXAMINED, values![cluster]).await
    }
}
