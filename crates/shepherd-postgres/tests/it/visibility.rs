//! What lists show is what the rule allows: every filter in SQL against the decision in the domain.
//!
//! 48 random universes of 6 users: 288 users, each of whom is compared with everything there is to see in their
//! universe (Systems, Services, machines, tickets, events, namespaces, clusters, audit rows), in what a page holds and
//! in what its total says. Rights are read back from the database, as every request does, and must be what the
//! universe meant by them: no disabled role, nothing that has ended.

mod universe;

use std::fmt::Debug;

use futures::future::try_join_all;
use proptest::test_runner::{Config, TestCaseError, TestCaseResult, TestRunner};
use proptest::{prop_assert, prop_assert_eq};
use sea_orm::{ConnectionTrait as _, DatabaseConnection};
use shepherd_domain::Environment;
use shepherd_domain::access::{Grant, Permission, ResourceAction, Subject, Target, Term, authorize};
use shepherd_domain::ids::{EventId, SystemId, UserId};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_ports::RepositoryError;
use shepherd_ports::audit::{AuditFilter, AuditQueries as _};
use shepherd_ports::clusters::ClusterQueries as _;
use shepherd_ports::events::{EventAudience, EventFilter, EventQueries as _};
use shepherd_ports::identity::{Holdings, IdentityQueries as _};
use shepherd_ports::namespaces::NamespaceQueries as _;
use shepherd_ports::services::ServiceQueries as _;
use shepherd_ports::systems::{NameOrCreated, SystemQueries as _};
use shepherd_ports::tickets::{TicketFilter, TicketQueries as _};
use shepherd_ports::vms::{VmFilter, VmQueries as _, VmSort};
use shepherd_postgres::PgStore;
use shepherd_testkit::postgres::TestDatabase;

use crate::TestResult;
use crate::world::{Outcome, at};
use universe::{About, PERMISSIONS, SYSTEMS, USERS, Universe};

const UNIVERSES: u32 = 48;
/// Steps towards a smaller universe when one does not fit.
const SHRINKING: u32 = 400;

/// Tables that only grow are emptied between universes; nothing else in this database is guarded by their triggers.
const LIFT_GUARDS: &str = "ALTER TABLE domain_events DISABLE TRIGGER USER; \
     ALTER TABLE ticket_transitions DISABLE TRIGGER USER; \
     ALTER TABLE audit_logs DISABLE TRIGGER USER;";
const EMPTY: &str = "TRUNCATE users, roles, role_bindings, resource_role_bindings, systems, services, \
     namespace_registry, clusters, vms, domain_events, approval_tickets, ticket_transitions, audit_logs CASCADE;\n";

#[test]
fn lists_show_exactly_what_the_rule_allows() -> TestResult {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let place = runtime.block_on(Place::create())?;
    let config = Config {
        cases: UNIVERSES,
        failure_persistence: None,
        max_shrink_iters: SHRINKING,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&universe::universes(), |universe| {
        runtime.block_on(place.examine(&universe))
    });
    // Leaving a database needs the runtime that entered it.
    let guard = runtime.enter();
    drop(place);
    drop(guard);
    outcome.map_err(|failure| failure.to_string().into())
}

/// A database whose universe is replaced again and again.
struct Place {
    store: PgStore,
    db: DatabaseConnection,
    _database: TestDatabase,
}

impl Place {
    async fn create() -> Outcome<Self> {
        let database = TestDatabase::create().await;
        let db = database.connect().await;
        db.execute_unprepared(LIFT_GUARDS).await?;
        db.execute_unprepared("INSERT INTO encryption_keys (key_id, source) VALUES ('k1', 'external')")
            .await?;
        Ok(Self {
            store: PgStore::new(database.connect().await),
            db,
            _database: database,
        })
    }

    async fn examine(&self, universe: &Universe) -> TestCaseResult {
        self.db
            .execute_unprepared(&format!("{EMPTY}{}", universe.rows()))
            .await?;
        self.services_belong_to_their_system(universe).await?;
        try_join_all((0..USERS).map(|number| self.shows_what_is_allowed(universe, number))).await?;
        self.single_events_follow_the_list(universe, 0).await
    }

    /// Whoever may read a System's Services sees all of its Services and no other.
    async fn services_belong_to_their_system(&self, universe: &Universe) -> TestCaseResult {
        for system in (0..SYSTEMS).map(universe::system) {
            let list = async |page| self.store.list_services(system, None, page).await;
            let expected = numbers(&universe.services)
                .filter(|number| universe.system_of(*number) == Some(system))
                .map(universe::service);
            same("services", shown(list).await?, |row| row.id, expected)?;
        }
        Ok(())
    }

    async fn shows_what_is_allowed(&self, universe: &Universe, number: usize) -> TestCaseResult {
        let user = universe::user(number);
        let subject = subject_of(user, self.store.holdings(user, at(0)).await?);
        same_rights(&subject, &universe.subject(number))?;
        self.systems_and_machines(universe, &subject).await?;
        self.tickets(universe, &subject).await?;
        self.events(universe, &subject).await?;
        self.places(universe, &subject).await?;
        self.audit_rows(universe, &subject).await
    }

    async fn systems_and_machines(&self, universe: &Universe, subject: &Subject) -> TestCaseResult {
        let visible = subject.visibility(Permission::SystemRead);
        let list = async |page| {
            let by_name = NameOrCreated::Name;
            self.store.list_systems(&visible, None, by_name, false, page).await
        };
        let expected = (0..SYSTEMS)
            .map(universe::system)
            .filter(|system| may_view(subject, Permission::SystemRead, *system, None));
        same("systems", shown(list).await?, |row| row.id, expected)?;

        let visible = subject.visibility(Permission::VmRead);
        let list = async |page| {
            let (all, by_name) = (VmFilter::default(), VmSort::Name);
            self.store.list_vms(&visible, &all, by_name, false, page).await
        };
        let machines = universe.machines();
        let expected = machines
            .iter()
            .filter(|(_, system, environment)| may_view(subject, Permission::VmRead, *system, Some(*environment)))
            .map(|(id, _, _)| *id);
        same("machines", shown(list).await?, |row| row.id, expected)
    }

    async fn tickets(&self, universe: &Universe, subject: &Subject) -> TestCaseResult {
        let filter = TicketFilter {
            include_children: true,
            include_archived: true,
            ..TicketFilter::default()
        };
        let visible = subject.environments(Permission::ApprovalView, None);
        let list = async |page| self.store.list_tickets(visible, &filter, page).await;
        let of_others = numbers(&universe.events)
            .filter(|number| ticket_is_visible(universe, subject, *number))
            .map(universe::ticket);
        same("tickets", shown(list).await?, |row| row.id, of_others)?;

        let list = async |page| self.store.my_tickets(subject.user(), &filter, page).await;
        let own = universe.events.iter().enumerate().filter_map(|(number, event)| {
            let own = event.ticket.is_some() && universe::user(event.requester()) == subject.user();
            own.then(|| universe::ticket(number))
        });
        same("own tickets", shown(list).await?, |row| row.id, own)
    }

    async fn events(&self, universe: &Universe, subject: &Subject) -> TestCaseResult {
        let filter = EventFilter {
            include_archived: true,
            ..EventFilter::default()
        };
        let audience = audience(subject);
        let list = async |page| self.store.list_events(&audience, &filter, page).await;
        let expected = visible_events(universe, subject).into_iter();
        same("events", shown(list).await?, |row| row.id, expected)
    }

    async fn places(&self, universe: &Universe, subject: &Subject) -> TestCaseResult {
        let visible = subject.environments(Permission::ClusterRead, None);
        let may_read = |environment: Environment| may(subject, Permission::ClusterRead, Some(environment));

        let list = async |page| self.store.list_namespaces(visible, None, page).await;
        let namespaces = universe.namespaces.iter().enumerate();
        let expected = namespaces
            .filter(|(_, of)| may_read(**of))
            .map(|(number, _)| universe::namespace(number));
        same("namespaces", shown(list).await?, |row| row.id, expected)?;

        let list = async |page| self.store.list_clusters(visible, None, None, page).await;
        let clusters = universe.clusters.iter().enumerate();
        let expected = clusters
            .filter(|(_, of)| may_read(**of))
            .map(|(number, _)| universe::cluster(number));
        same("clusters", shown(list).await?, |row| row.id, expected)
    }

    /// Rows belong to no System, so a binding to one shows none of them, with an environment or without.
    async fn audit_rows(&self, universe: &Universe, subject: &Subject) -> TestCaseResult {
        let filter = AuditFilter {
            visible: subject.environments(Permission::AuditRead, None),
            ..AuditFilter::default()
        };
        let list = async |page| self.store.list_audit(&filter, page).await;
        let rows = universe.audit.iter().enumerate();
        let expected = rows
            .filter(|(_, environment)| may(subject, Permission::AuditRead, **environment))
            .map(|(number, _)| universe::audit_row(number));
        same("audit rows", shown(list).await?, |row| row.id, expected)
    }

    /// An event or a task that is asked for by its id is there exactly when the list has it.
    async fn single_events_follow_the_list(&self, universe: &Universe, number: usize) -> TestCaseResult {
        let subject = universe.subject(number);
        let audience = audience(&subject);
        let visible = visible_events(universe, &subject);
        for (number, happening) in universe.events.iter().enumerate() {
            let id = universe::event(number);
            let found = self.store.get_event(&audience, id).await?.is_some();
            prop_assert_eq!(found, visible.contains(&id), "event {}", number);
            let found = self.store.get_task(&audience, id).await?.is_some();
            let expected = happening.is_work() && visible.contains(&id);
            prop_assert_eq!(found, expected, "task {}", number);
        }
        Ok(())
    }
}

/// What the store makes of a user for a request.
fn subject_of(user: UserId, holdings: Holdings) -> Subject {
    let grants = holdings.bindings.into_iter().map(|binding| Grant {
        scope: binding.scope,
        environments: binding.environments,
        permissions: binding.permissions,
        term: Term::from(binding.hands_on_until),
    });
    Subject::new(user, grants.collect(), holdings.memberships)
}

/// What was read back decides as what was written.
fn same_rights(read: &Subject, meant: &Subject) -> TestCaseResult {
    prop_assert_eq!(read.is_platform_admin(), meant.is_platform_admin());
    for permission in PERMISSIONS {
        prop_assert_eq!(read.visibility(permission), meant.visibility(permission));
        let systems = (0..SYSTEMS).map(|number| Some(universe::system(number)));
        for system in systems.chain([None]) {
            let (read, meant) = (
                read.environments(permission, system),
                meant.environments(permission, system),
            );
            prop_assert_eq!(read, meant, "{:?} on {:?}", permission, system);
        }
    }
    for system in (0..SYSTEMS).map(universe::system) {
        prop_assert_eq!(read.role_on(system), meant.role_on(system));
    }
    Ok(())
}

/// The decision about an object of a System.
fn may_view(subject: &Subject, read: Permission, system: SystemId, environment: Option<Environment>) -> bool {
    let target = Target {
        system: Some(system),
        environment,
        action: Some(ResourceAction::View),
        own: false,
    };
    authorize(subject, read, read, target).is_ok()
}

/// The decision about an object of no System.
fn may(subject: &Subject, read: Permission, environment: Option<Environment>) -> bool {
    let target = Target {
        environment,
        ..Target::default()
    };
    authorize(subject, read, read, target).is_ok()
}

fn ticket_is_visible(universe: &Universe, subject: &Subject, number: usize) -> bool {
    let environment = universe.events.get(number).and_then(|event| event.ticket);
    environment.is_some_and(|environment| may(subject, Permission::ApprovalView, Some(environment)))
}

/// As the API asks for events.
fn audience(subject: &Subject) -> EventAudience {
    EventAudience {
        user: subject.user(),
        vms: subject.visibility(Permission::VmRead),
        systems: subject.visibility(Permission::SystemRead),
        approvals: subject.environments(Permission::ApprovalView, None),
    }
}

/// Own events, those of visible machines, Systems and Services, and those of visible tickets and what followed from
/// them (access.md §10).
fn visible_events(universe: &Universe, subject: &Subject) -> Vec<EventId> {
    let visible = |number: &usize| {
        let Some(event) = universe.events.get(*number) else {
            return false;
        };
        let own = event.by.map(universe::user) == Some(subject.user());
        let mut of_ticket = [Some(*number), universe.cause(*number)].into_iter().flatten();
        subject.is_platform_admin()
            || own
            || shows_its_object(universe, subject, event.about)
            || of_ticket.any(|number| ticket_is_visible(universe, subject, number))
    };
    numbers(&universe.events).filter(visible).map(universe::event).collect()
}

fn shows_its_object(universe: &Universe, subject: &Subject, about: About) -> bool {
    let of_system = |system| may_view(subject, Permission::SystemRead, system, None);
    match about {
        About::Machine(number) => universe
            .machines()
            .get(number)
            .is_some_and(|(_, system, environment)| may_view(subject, Permission::VmRead, *system, Some(*environment))),
        About::System(number) => of_system(universe::system(number)),
        About::Service(number) => universe.system_of(number).is_some_and(of_system),
        About::Request(_) | About::Namespace(_) => false,
    }
}

fn numbers<T>(of: &[T]) -> std::ops::Range<usize> {
    0..of.len()
}

/// The rows of a page that holds everything, and the total that a page of one tells.
async fn shown<R>(
    list: impl AsyncFn(PageRequest) -> Result<Page<R>, RepositoryError>,
) -> Result<(Vec<R>, u64), TestCaseError> {
    let whole = PageRequest::new(1, PageRequest::MAX_PER_PAGE).unwrap_or_default();
    let single = PageRequest::new(1, 1).unwrap_or_default();
    let items = list(whole).await?.items;
    let total = list(single).await?.total;
    Ok((items, total))
}

fn same<R, T: Ord + Debug>(
    what: &str,
    (rows, total): (Vec<R>, u64),
    id: impl Fn(&R) -> T,
    expected: impl Iterator<Item = T>,
) -> TestCaseResult {
    let mut shown: Vec<T> = rows.iter().map(id).collect();
    let mut expected: Vec<T> = expected.collect();
    shown.sort();
    expected.sort();
    prop_assert!(
        shown == expected,
        "{} shown: {:?}, allowed: {:?}",
        what,
        shown,
        expected
    );
    prop_assert_eq!(total, expected.len() as u64, "total of {}", what);
    Ok(())
}
