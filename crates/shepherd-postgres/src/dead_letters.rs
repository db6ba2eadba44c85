//! Jobs that were given up. They are rows of the queue library; nothing else reads them (domain.md §3.17).
//!
//! A dead letter has no attempt left and nobody works on it. Two kinds of rows look like one and are none: what is left
//! of a job whose event has a live successor, and of one whose ticket is COMPLETED; both are left to the clean-up.

use async_trait::async_trait;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::EventType;
use shepherd_domain::ids::{EventId, TicketId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::TicketStatus;
use shepherd_domain::transition::Transition;
use shepherd_ports::RepositoryError;
use shepherd_ports::dead_letters::{DeadLetter, DeadLetterQueries, DeadLetterRepository, JobId};

use crate::queue::TASK;
use crate::statement::{Filter, List, Texts, empty_page, execute, uuid_in, values};
use crate::store::PgStore;
use crate::unit_of_work::PgUnitOfWork;

/// The job `j` will never be tried again, and no other job of its event will be.
macro_rules! given_up {
    () => {
        "j.attempts >= j.max_attempts AND j.locked_at IS NULL AND NOT EXISTS ( \
             SELECT FROM graphile_worker._private_jobs s \
             WHERE s.key = j.payload ->> 'event_id' AND s.id <> j.id \
                 AND (s.attempts < s.max_attempts OR s.locked_at IS NOT NULL))"
    };
}

macro_rules! dead_letters {
    () => {
        concat!(
            "graphile_worker._private_jobs j JOIN graphile_worker._private_tasks k ON k.id = j.task_id \
             LEFT JOIN domain_events e ON e.id = ",
            uuid_in!("(j.payload ->> 'event_id')"),
            " LEFT JOIN approval_tickets t ON t.event_id = e.id"
        )
    };
}

macro_rules! dead_letter_rows {
    () => {
        concat!(
            "SELECT j.id AS job_id, ",
            uuid_in!("(j.payload ->> 'event_id')"),
            " AS event_id, e.event_type, t.id AS ticket_id, t.status AS ticket_status, t.environment, \
             CASE WHEN t.status = 'FAILED' THEN t.attempt_count ELSE j.attempts END AS attempts, \
             COALESCE(CASE WHEN t.status = 'FAILED' THEN NULLIF(t.last_error, '') END, j.last_error) AS last_error, \
             COALESCE(CASE WHEN t.status = 'FAILED' THEN e.processed_at END, t.last_attempt_at, j.updated_at) \
                 AS finalized_at FROM ",
            dead_letters!()
        )
    };
}

const SHOWN: &str = concat!(
    "k.identifier = ? AND ",
    given_up!(),
    " AND (t.id IS NULL OR t.status <> 'COMPLETED')"
);

/// How many there are, for metrics: as [`SHOWN`] has them.
pub(crate) const COUNT: &str = concat!(
    "SELECT count(*) FROM ",
    dead_letters!(),
    " WHERE k.identifier = 'event_job' AND ",
    given_up!(),
    " AND (t.id IS NULL OR t.status <> 'COMPLETED')"
);

/// Whoever deletes the row has the letter; everybody else finds none once that is committed.
const TAKE: &str = concat!(
    "DELETE FROM graphile_worker._private_jobs j \
     WHERE j.id = $1 AND j.task_id = (SELECT k.id FROM graphile_worker._private_tasks k WHERE k.identifier = $2) AND ",
    given_up!()
);

const TAKE_ALL: &str = concat!(
    "DELETE FROM graphile_worker._private_jobs j \
     WHERE j.payload ->> 'event_id' = $1 \
         AND j.task_id = (SELECT k.id FROM graphile_worker._private_tasks k WHERE k.identifier = $2) AND ",
    given_up!()
);

const RETRY_TICKET: &str = "UPDATE approval_tickets SET status = $3, retry_count = retry_count + 1, attempt_count = 0, \
         next_attempt_at = NULL, unavailable_since = NULL, error_code = NULL, error_params = NULL, last_error = NULL, \
         archived_at = NULL \
     WHERE id = $1 AND status = $2 AND retry_count = $4";

const FORGET_ATTEMPTS: &str = "UPDATE approval_tickets SET attempt_count = 0, next_attempt_at = NULL, \
         unavailable_since = NULL \
     WHERE id = $1 AND status IN ('APPROVED', 'EXECUTING')";

/// The phases are those that the failure of the ticket gave them; what the cluster says about their objects is looked
/// at when the job runs.
const REOPEN: &str = "WITH snapshot AS ( \
         UPDATE vm_snapshots SET error = NULL WHERE ticket_id = $1 AND NOT ready AND error IS NOT NULL \
     ), clone AS ( \
         UPDATE vm_clones SET phase = 'PENDING', error = NULL WHERE ticket_id = $1 AND phase = 'FAILED' \
     ), migration AS ( \
         UPDATE vm_migrations SET phase = CASE WHEN k8s_uid IS NULL THEN 'PENDING' ELSE 'RUNNING' END, error = NULL, \
             cancel_event_id = NULL \
         WHERE ticket_id = $1 AND phase = 'FAILED' \
     ) \
     UPDATE domain_events SET archived_at = NULL \
     WHERE id = (SELECT t.event_id FROM approval_tickets t WHERE t.id = $1) AND archived_at IS NOT NULL";

#[async_trait]
impl DeadLetterRepository for PgUnitOfWork {
    async fn take(&mut self, job: JobId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, TAKE, values![job.get(), TASK]).await? > 0)
    }

    async fn take_all(&mut self, event: EventId) -> Result<u64, RepositoryError> {
        execute(&self.tx, TAKE_ALL, values![event.to_string(), TASK]).await
    }

    async fn retry_ticket(
        &mut self,
        ticket: TicketId,
        step: Transition<TicketStatus>,
        retries: i32,
    ) -> Result<bool, RepositoryError> {
        let values = values![ticket, step.from(), step.to(), retries];
        Ok(execute(&self.tx, RETRY_TICKET, values).await? > 0)
    }

    async fn forget_attempts(&mut self, ticket: TicketId) -> Result<bool, RepositoryError> {
        Ok(execute(&self.tx, FORGET_ATTEMPTS, values![ticket]).await? > 0)
    }

    async fn reopen(&mut self, ticket: TicketId) -> Result<(), RepositoryError> {
        execute(&self.tx, REOPEN, values![ticket]).await.map(drop)
    }
}

#[async_trait]
impl DeadLetterQueries for PgStore {
    async fn list_dead_letters(
        &self,
        visible: EnvironmentSet,
        event_type: Option<EventType>,
        page: PageRequest,
    ) -> Result<Page<DeadLetter>, RepositoryError> {
        if visible.is_empty() {
            return Ok(empty_page(page));
        }
        let mut shown = Filter::default();
        shown.and(SHOWN, values![TASK]);
        if visible != EnvironmentSet::ALL {
            shown.and("t.environment = ANY(?)", values![Texts::environments(visible)]);
        }
        shown.and_some("e.event_type = ?", event_type);
        List {
            rows: concat!(
                dead_letter_rows!(),
                " WHERE {where} ORDER BY finalized_at DESC, j.id DESC {limit}"
            ),
            counted: dead_letters!(),
            filter: shown,
        }
        .page(&self.db, page)
        .await
    }

    async fn get_dead_letter(&self, job: JobId) -> Result<Option<DeadLetter>, RepositoryError> {
        let mut shown = Filter::default();
        shown.and(SHOWN, values![TASK]);
        shown.and("j.id = ?", values![job.get()]);
        shown
            .first(&self.db, concat!(dead_letter_rows!(), " WHERE {where}"))
            .await
    }
}
