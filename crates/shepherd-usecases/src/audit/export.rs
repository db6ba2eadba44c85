//! The audit log is copied out, which is itself on record before the first row leaves.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::stream::{self, Stream};
use serde_json::{Value, json};
use shepherd_domain::access::Permission;
use shepherd_domain::audit::{ActionPattern, AuditAction, AuditEntry, check_export_range};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::audit::{AuditFilter, ExportPosition};
use shepherd_ports::context::Caller;
use strum::{EnumString, IntoStaticStr};

use crate::{Platform, UseCaseError};

/// Rows that are in memory at once while a whole range is read.
const BATCH: u32 = 2_000;

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// One document with a page of rows.
    Json,
    /// One row in each line.
    Ndjson,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct ExportAudit {
    /// First moment.
    pub start: DateTime<Utc>,
    /// First moment that no longer belongs to it; at most 92 days after the start.
    pub end: DateTime<Utc>,
    /// Only these actions.
    pub action: Option<ActionPattern>,
    /// Only what this user id or `system:<component>` did.
    pub actor: Option<String>,
    /// How it is written.
    pub format: Format,
    /// One page; `None` for the whole range.
    pub page: Option<PageRequest>,
}

/// An export that is on record and may be read. It ends where it began in time: what is written while it is read does
/// not belong to it, and neither does its own row.
#[derive(Debug)]
pub struct Export {
    filter: AuditFilter,
}

/// Puts the export on record, in a transaction that has ended before anything is read.
///
/// # Errors
/// FORBIDDEN, VALIDATION_FAILED for the range.
pub async fn begin(platform: &Platform, caller: &Caller, command: ExportAudit) -> Result<Export, UseCaseError> {
    caller.require(Permission::AuditExport)?;
    check_export_range(command.start, command.end)?;
    let now = platform.now();
    let entry = AuditEntry::new(AuditAction::AuditExport, "audit_log", "export").details(details(&command));
    let mut uow = platform.begin().await?;
    platform.audit(&mut *uow, &caller.context, now, [entry]).await?;
    uow.commit().await?;
    Ok(Export {
        filter: AuditFilter {
            action: command.action,
            actor: command.actor,
            from: Some(command.start),
            to: Some(command.end.min(now)),
            visible: caller.subject.environments(Permission::AuditExport, None),
            ..AuditFilter::default()
        },
    })
}

fn details(command: &ExportAudit) -> Value {
    let format: &'static str = command.format.into();
    let action = command.action.as_ref().map(|pattern| match pattern {
        ActionPattern::Exactly(action) => action.clone(),
        ActionPattern::StartingWith(prefix) => format!("{prefix}*"),
    });
    json!({
        "start_time": command.start,
        "end_time": command.end,
        "action": action,
        "actor_id": command.actor,
        "format": format,
        "page": command.page.map(PageRequest::page),
        "per_page": command.page.map(PageRequest::per_page),
    })
}

impl Export {
    /// One page of exported objects as JSON text, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn page(&self, platform: &Platform, request: PageRequest) -> Result<Page<String>, UseCaseError> {
        Ok(platform.read.export_audit_page(&self.filter, request).await?)
    }

    /// All exported objects as JSON text, newest first, some at a time. The next ones are read when they are asked
    /// for, each time in a statement of its own, so neither memory nor a transaction grows with the range.
    pub fn batches(self, platform: Arc<Platform>) -> impl Stream<Item = Result<Vec<String>, UseCaseError>> + 'static {
        let reader = Reader {
            platform,
            filter: self.filter,
            after: None,
            ended: false,
        };
        stream::try_unfold(reader, Reader::next)
    }
}

/// How far an export was read.
struct Reader {
    platform: Arc<Platform>,
    filter: AuditFilter,
    after: Option<ExportPosition>,
    ended: bool,
}

impl Reader {
    async fn next(mut self) -> Result<Option<(Vec<String>, Self)>, UseCaseError> {
        if self.ended {
            return Ok(None);
        }
        let read = &self.platform.read;
        let batch = read.export_audit_batch(&self.filter, self.after, BATCH).await?;
        if batch.last.is_none() {
            return Ok(None);
        }
        self.after = batch.last;
        self.ended = u32::try_from(batch.objects.len()).is_ok_and(|rows| rows < BATCH);
        Ok(Some((batch.objects, self)))
    }
}
