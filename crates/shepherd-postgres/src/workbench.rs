//! The workbench of approvers, and what requesters are offered.
//!
//! Urgency grows with age, so "urgent first, then the oldest" is one order, `(created_at, id)`, and the partial index
//! `ix_approval_tickets_workbench` has it for exactly the tickets that can be shown.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::SystemId;
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::PriorityTier;
use shepherd_ports::RepositoryError;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::workbench::{
    MAX_OFFERED, RequestPlaces, TicketFacts, TicketReferences, TierCounts, WorkbenchFilter, WorkbenchQueries,
    WorkbenchView,
};

use crate::policies::role_keys;
use crate::sizes::size_rows;
use crate::statement::{Filter, List, Texts, Uuids, empty_page, fetch_one, uuid_in, values};
use crate::store::PgStore;
use crate::tickets::ticket_rows;

/// As the partial index has it: a literal, because the planner must see that the index holds all of these. A child is
/// decided with its parent, until the parent is no longer pending because others of its children were decided alone.
/// The batches that wait are few, and are looked up once for the whole statement.
macro_rules! left_to_decide {
    () => {
        "t.status = 'PENDING_APPROVAL' AND (t.parent_ticket_id IS NULL OR t.parent_ticket_id <> ALL(ARRAY( \
             SELECT b.id FROM batch_approval_tickets b WHERE b.status = 'PENDING_APPROVAL')))"
    };
}
pub(crate) use left_to_decide;

/// The approvers that the policy named at submission are user ids and keys of roles, as `policy::is_eligible` has it. The
/// array of the caller's own in an environment is made once for the whole statement. Parameters: user as text, then
/// twice user and time.
const DECIDABLE: &str = concat!(
    "(t.eligible_approvers = '{}' OR ?::text = ANY(t.eligible_approvers) \
         OR t.eligible_approvers && CASE t.environment WHEN 'test' THEN ARRAY(",
    role_keys!("?", "'test'", "", "?"),
    ") WHEN 'prod' THEN ARRAY(",
    role_keys!("?", "'prod'", "", "?"),
    ") END)"
);

const ROWS: &str = concat!(ticket_rows!(), " WHERE {where} ORDER BY t.created_at, t.id {limit}");

/// Further parameters: the ends of the normal and of the warning tier. Three ranges of the index are counted in a third of
/// the time that one pass with three conditions takes.
const COUNTS: &str = "SELECT \
         (SELECT count(*) FROM approval_tickets t WHERE {where} AND t.created_at > {+1}) AS normal, \
         (SELECT count(*) FROM approval_tickets t WHERE {where} AND t.created_at <= {+1} AND t.created_at > {+2}) \
             AS warning, \
         (SELECT count(*) FROM approval_tickets t WHERE {where} AND t.created_at <= {+2}) AS urgent";

const FACTS: &str = concat!(
    "SELECT jsonb_build_object( \
         'templates', COALESCE((SELECT jsonb_agg(jsonb_build_object('id', p.id, 'name', p.name, \
             'version', p.version, 'status', p.status)) FROM templates p WHERE p.id = ANY($1)), '[]'), \
         'sizes', COALESCE((SELECT jsonb_agg(to_jsonb(r)) FROM (",
    size_rows!(),
    " WHERE z.id = ANY($2)) r), '[]'), \
         'vms', COALESCE((SELECT jsonb_agg(jsonb_build_object('id', v.id, 'name', v.name, 'status', v.status, \
             'cluster_id', v.cluster_id)) FROM vms v WHERE v.id = ANY($3)), '[]'), \
         'children', COALESCE((SELECT jsonb_agg(to_jsonb(r)) FROM (SELECT c.parent_ticket_id AS ticket_id, \
             count(*) AS count FROM approval_tickets c WHERE c.parent_ticket_id = ANY($4) \
             GROUP BY c.parent_ticket_id) r), '[]')) AS doc"
);

const PLACES: &str = "SELECT jsonb_build_object( \
         'namespaces', COALESCE((SELECT jsonb_agg(to_jsonb(r) ORDER BY r.name) FROM ( \
             SELECT n.name, n.environment FROM namespace_registry n \
             WHERE n.enabled AND n.environment = ANY($1) ORDER BY n.name LIMIT $3) r), '[]'), \
         'services', COALESCE((SELECT jsonb_agg(to_jsonb(r) ORDER BY r.system_name, r.name) FROM ( \
             SELECT s.id, s.name, s.system_id, y.name AS system_name \
             FROM services s JOIN systems y ON y.id = s.system_id \
             WHERE $2::uuid[] IS NULL OR s.system_id = ANY($2) \
             ORDER BY y.name, s.name LIMIT $3) r), '[]')) AS doc";

/// A ticket that was submitted no later has left the tier.
fn end_of(tier: PriorityTier, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (_, end) = tier.days();
    end.and_then(|days| now.checked_sub_signed(TimeDelta::days(days)))
}

/// A ticket that was submitted later is not in the tier yet.
fn start_of(tier: PriorityTier, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (start, _) = tier.days();
    (start > 0)
        .then(|| now.checked_sub_signed(TimeDelta::days(start)))
        .flatten()
}

fn shown(view: &WorkbenchView, filter: &WorkbenchFilter) -> Filter {
    let WorkbenchView { user, visible, now } = *view;
    let WorkbenchFilter {
        environment,
        request_types,
        requester,
        namespace,
        tier,
    } = filter;
    let mut shown = Filter::default();
    shown.and(left_to_decide!(), values![]);
    if visible != EnvironmentSet::ALL {
        shown.and("t.environment = ANY(?)", values![Texts::environments(visible)]);
    }
    shown.and(DECIDABLE, values![user.to_string(), user, now, user, now]);
    shown.and_some("t.environment = ?", *environment);
    if let Some(types) = request_types {
        let names = types.iter().map(|kind| kind.as_str().to_owned()).collect();
        shown.and("t.request_type = ANY(?)", values![Texts(names)]);
    }
    if let Some(requester) = requester {
        let by_id_or_name = "(t.requester_id = ? \
             OR t.requester_id IN (SELECT u.id::text FROM users u WHERE lower(u.username) = lower(?)))";
        shown.and(by_id_or_name, values![requester, requester]);
    }
    shown.and_some("t.namespace = ?", namespace.as_deref());
    if let Some(tier) = *tier {
        shown.and_some("t.created_at <= ?", start_of(tier, now));
        shown.and_some("t.created_at > ?", end_of(tier, now));
    }
    shown
}

#[async_trait]
impl WorkbenchQueries for PgStore {
    async fn workbench(
        &self,
        view: &WorkbenchView,
        filter: &WorkbenchFilter,
        page: PageRequest,
    ) -> Result<(Page<TicketRecord>, TierCounts), RepositoryError> {
        if view.visible.is_empty() {
            return Ok((empty_page(page), TierCounts::default()));
        }
        let list = List {
            rows: ROWS,
            counted: "approval_tickets t",
            filter: shown(view, filter),
        };
        let items = list.items(&self.db, page).await?;
        let ends = values![
            end_of(PriorityTier::Normal, view.now),
            end_of(PriorityTier::Warning, view.now)
        ];
        let counts: Option<TierCounts> = list.filter.first_with(&self.db, COUNTS, ends).await?;
        let counts = counts.unwrap_or_default();
        let page = Page {
            items,
            total: counts.total(),
            request: page,
        };
        Ok((page, counts))
    }

    async fn ticket_facts(&self, references: &TicketReferences) -> Result<TicketFacts, RepositoryError> {
        let TicketReferences {
            templates,
            sizes,
            vms,
            parents,
        } = references;
        let values = values![
            Uuids(templates.iter().map(|id| id.as_uuid()).collect()),
            Uuids(sizes.iter().map(|id| id.as_uuid()).collect()),
            Uuids(vms.iter().map(|id| id.as_uuid()).collect()),
            Uuids(parents.iter().map(|id| id.as_uuid()).collect())
        ];
        Ok(fetch_one(&self.db, FACTS, values).await?.unwrap_or_default())
    }

    async fn request_places(
        &self,
        environments: EnvironmentSet,
        systems: Option<&[SystemId]>,
    ) -> Result<RequestPlaces, RepositoryError> {
        let values = values![
            Texts::environments(environments),
            systems.map(Uuids::systems),
            MAX_OFFERED
        ];
        Ok(fetch_one(&self.db, PLACES, values).await?.unwrap_or_default())
    }
}
