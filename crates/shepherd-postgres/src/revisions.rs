//! Revisions of machines: reading them.

use async_trait::async_trait;
use shepherd_domain::ids::{TicketId, VmId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::revisions::{RevisionQueries, RevisionRecord, ShapedBy, StoredRevision};

use crate::errors::{mismatch, store_error};
use crate::statement::{Filter, List, fetch_one, row, select_all, select_one, values};
use crate::store::PgStore;

macro_rules! columns {
    () => {
        "r.id, r.vm_id, r.vm_name, r.revision, r.spec_sha256, r.change_reason, r.ticket_id, r.changed_by, r.created_at"
    };
}

const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM vm_revisions r WHERE {where} ORDER BY r.revision DESC {limit}"
);

/// The document travels beside the rest: bytes have no place in JSON.
const ONE: &str = concat!(
    "SELECT (SELECT to_jsonb(head) FROM (SELECT ",
    columns!(),
    ") AS head) AS doc, r.spec_snapshot FROM vm_revisions r WHERE r.vm_id = $1 AND r.revision = $2"
);

const OF_TICKET: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM vm_revisions r WHERE r.ticket_id = $1 ORDER BY r.created_at, r.revision"
);

const SHAPED_BY: &str = "SELECT t.request_type, coalesce(t.modified_spec, e.payload -> 'spec') AS spec, \
         t.instance_size_snapshot \
     FROM approval_tickets t JOIN domain_events e ON e.id = t.event_id \
     WHERE t.vm_id = $1 AND t.request_type IN ('CREATE_VM', 'MODIFY_VM') AND t.status = 'COMPLETED' \
         AND t.instance_size_snapshot IS NOT NULL \
     ORDER BY t.decided_at DESC, t.id DESC LIMIT 1";

#[async_trait]
impl RevisionQueries for PgStore {
    async fn list_revisions(&self, vm: VmId, page: PageRequest) -> Result<Page<RevisionRecord>, RepositoryError> {
        let mut filter = Filter::default();
        filter.and("r.vm_id = ?", values![vm]);
        let list = List {
            rows: LIST,
            counted: "vm_revisions r",
            filter,
        };
        list.page(&self.db, page).await
    }

    async fn get_revision(&self, vm: VmId, revision: i32) -> Result<Option<StoredRevision>, RepositoryError> {
        let Some(found) = row(&self.db, ONE, values![vm, revision]).await? else {
            return Ok(None);
        };
        let document: serde_json::Value = found.try_get_by_index(0).map_err(store_error)?;
        Ok(Some(StoredRevision {
            record: serde_json::from_value(document).map_err(mismatch)?,
            snapshot: found.try_get_by_index(1).map_err(store_error)?,
        }))
    }

    async fn revisions_of_ticket(&self, ticket: TicketId) -> Result<Vec<RevisionRecord>, RepositoryError> {
        select_all(&self.db, OF_TICKET, values![ticket]).await
    }

    async fn newest_revision(&self, vm: VmId) -> Result<i32, RepositoryError> {
        let sql = "SELECT to_jsonb(coalesce(max(revision), 0)) AS doc FROM vm_revisions WHERE vm_id = $1";
        Ok(fetch_one(&self.db, sql, values![vm]).await?.unwrap_or_default())
    }

    async fn shaped_by(&self, vm: VmId) -> Result<Option<ShapedBy>, RepositoryError> {
        select_one(&self.db, SHAPED_BY, values![vm]).await
    }
}
