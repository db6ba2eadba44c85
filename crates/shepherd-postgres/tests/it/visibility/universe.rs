//! A random universe: who holds what, everything there is to see, and the rows that make it so.
//!
//! Things are named by their number; the same number is the same id in every universe.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, Utc};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::sample::{select, subsequence};
use shepherd_domain::Environment;
use shepherd_domain::access::{Grant, Permission, ResourceRole, Scope, Subject, Term};
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{
    AuditId, ClusterId, EventId, MembershipId, NamespaceId, RoleBindingId, RoleId, ServiceId, SystemId, TemplateId,
    TicketId, UserId, VmId,
};

use crate::world::at;

pub const USERS: usize = 6;
pub const SYSTEMS: usize = 4;
const ROLES: usize = 5;
const SERVICES: usize = 6;
const NAMESPACES: usize = 4;
const CLUSTERS: usize = 3;
const MACHINES: usize = 16;
const EVENTS: usize = 24;
const AUDIT_ROWS: usize = 8;

/// What the lists ask for, what implies it, and what makes a System-scoped binding count as more than a viewer.
pub const PERMISSIONS: [Permission; 12] = [
    Permission::SystemRead,
    Permission::SystemWrite,
    Permission::ServiceRead,
    Permission::VmRead,
    Permission::VmDelete,
    Permission::ApprovalView,
    Permission::ApprovalApprove,
    Permission::ClusterRead,
    Permission::ClusterManage,
    Permission::AuditRead,
    Permission::AuditManage,
    Permission::RbacManage,
];

/// When a binding or membership ends, seen from the moment of the test.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Never,
    Passed,
    /// What ends now has ended.
    Now,
    Coming,
}

impl End {
    fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Never => None,
            Self::Passed => Some(at(-60)),
            Self::Now => Some(at(0)),
            Self::Coming => Some(at(60)),
        }
    }

    fn is_ahead(self) -> bool {
        match self {
            Self::Never | Self::Coming => true,
            Self::Passed | Self::Now => false,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Role {
    permissions: Vec<Permission>,
    enabled: bool,
}

/// What an event is about.
#[derive(Clone, Copy, Debug)]
pub enum About {
    /// A machine; beyond the last one it is gone.
    Machine(usize),
    System(usize),
    /// A fact about a Service.
    Service(usize),
    /// A request for a machine of a Service.
    Request(usize),
    Namespace(usize),
}

#[derive(Clone, Debug)]
pub struct Happening {
    pub about: About,
    /// A user, or the worker.
    pub by: Option<usize>,
    /// The event that caused it, when that is an earlier one.
    after: Option<usize>,
    /// The environment of its ticket, when it has one.
    pub ticket: Option<Environment>,
}

#[derive(Clone, Debug)]
pub struct Universe {
    roles: Vec<Role>,
    /// By user, role and System.
    bindings: BTreeMap<(usize, usize, Option<usize>), (EnvironmentSet, End)>,
    /// By user and System.
    memberships: BTreeMap<(usize, usize), (ResourceRole, End)>,
    /// The System of each Service.
    pub services: Vec<usize>,
    pub namespaces: Vec<Environment>,
    pub clusters: Vec<Environment>,
    /// Service and namespace of each machine.
    machines: Vec<(usize, usize)>,
    pub events: Vec<Happening>,
    /// The environment of each audit row.
    pub audit: Vec<Option<Environment>>,
}

pub fn universes() -> impl Strategy<Value = Universe> {
    let binding = (0..USERS, 0..ROLES, option::of(0..SYSTEMS));
    (
        vec(role(), ROLES),
        btree_map(binding, (environments(), end()), 2..16),
        btree_map((0..USERS, 0..SYSTEMS), membership(), 2..14),
        vec(0..SYSTEMS, SERVICES),
        vec(environment(), NAMESPACES),
        vec(environment(), CLUSTERS),
        vec((0..SERVICES, 0..NAMESPACES), 0..=MACHINES),
        vec(happening(), 0..=EVENTS),
        vec(option::of(environment()), 0..=AUDIT_ROWS),
    )
        .prop_map(
            |(roles, bindings, memberships, services, namespaces, clusters, machines, events, audit)| Universe {
                roles,
                bindings,
                memberships,
                services,
                namespaces,
                clusters,
                machines,
                events,
                audit,
            },
        )
}

fn role() -> impl Strategy<Value = Role> {
    let administrates = proptest::bool::weighted(0.08);
    let enabled = proptest::bool::weighted(0.85);
    (subsequence(PERMISSIONS.to_vec(), 0..=6), administrates, enabled).prop_map(
        |(mut permissions, administrates, enabled)| {
            if administrates {
                permissions.push(Permission::PlatformAdmin);
            }
            Role { permissions, enabled }
        },
    )
}

fn environment() -> impl Strategy<Value = Environment> {
    select(Environment::ALL.to_vec())
}

fn environments() -> impl Strategy<Value = EnvironmentSet> {
    let prod = EnvironmentSet::from(vec![Environment::Prod]);
    select(vec![EnvironmentSet::TEST, prod, EnvironmentSet::ALL])
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Never),
        1 => Just(End::Passed),
        1 => Just(End::Now),
        1 => Just(End::Coming),
    ]
}

fn membership() -> impl Strategy<Value = (ResourceRole, End)> {
    let roles = vec![
        ResourceRole::Viewer,
        ResourceRole::Member,
        ResourceRole::Admin,
        ResourceRole::Owner,
    ];
    (select(roles), end()).prop_map(|(role, end)| match role {
        ResourceRole::Owner => (role, End::Never),
        ResourceRole::Viewer | ResourceRole::Member | ResourceRole::Admin => (role, end),
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let about = prop_oneof![
        3 => (0..MACHINES + 2).prop_map(About::Machine),
        1 => (0..SYSTEMS).prop_map(About::System),
        1 => (0..SERVICES).prop_map(About::Service),
        2 => (0..SERVICES).prop_map(About::Request),
        1 => (0..NAMESPACES).prop_map(About::Namespace),
    ];
    let by = option::of(0..USERS);
    let ticket = option::of(environment());
    (about, by, option::of(0..EVENTS), ticket).prop_map(|(about, by, after, ticket)| Happening {
        about,
        by,
        after,
        ticket,
    })
}

/// Ids of a kind, by number.
macro_rules! numbered {
    ($($name:ident: $id:ident = $kind:literal),+ $(,)?) => {$(
        pub fn $name(number: usize) -> $id {
            $id::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0000 | ($kind << 32) | number as u128)
        }
    )+};
}

numbered! {
    user: UserId = 1,
    role_id: RoleId = 2,
    binding_id: RoleBindingId = 3,
    membership_id: MembershipId = 4,
    system: SystemId = 5,
    service: ServiceId = 6,
    namespace: NamespaceId = 7,
    cluster: ClusterId = 8,
    machine: VmId = 9,
    event: EventId = 10,
    ticket: TicketId = 11,
    template: TemplateId = 12,
    audit_row: AuditId = 13,
}

impl Universe {
    /// What the rows should make of a user, without asking the database.
    pub fn subject(&self, number: usize) -> Subject {
        let bindings = self.bindings.iter().filter(|((owner, role, _), (_, end))| {
            let enabled = self.roles.get(*role).is_some_and(|role| role.enabled);
            *owner == number && enabled && end.is_ahead()
        });
        let grants = bindings.map(|((_, role, scope), (environments, _))| Grant {
            scope: scope.map_or(Scope::Global, |of| Scope::System(system(of))),
            environments: *environments,
            permissions: self
                .roles
                .get(*role)
                .into_iter()
                .flat_map(|role| role.permissions.iter().copied())
                .collect(),
            term: Term::Open,
        });
        let memberships = self
            .memberships
            .iter()
            .filter(|((member, _), (_, end))| *member == number && end.is_ahead())
            .map(|((_, of), (role, _))| (system(*of), *role));
        Subject::new(user(number), grants.collect(), memberships)
    }

    /// Every machine with its System and environment.
    pub fn machines(&self) -> Vec<(VmId, SystemId, Environment)> {
        let placed = self.machines.iter().enumerate().filter_map(|(number, (of, within))| {
            let environment = *self.namespaces.get(*within)?;
            Some((machine(number), self.system_of(*of)?, environment))
        });
        placed.collect()
    }

    /// The System of a Service.
    pub fn system_of(&self, service: usize) -> Option<SystemId> {
        self.services.get(service).copied().map(system)
    }

    /// The event that caused another.
    pub fn cause(&self, number: usize) -> Option<usize> {
        self.events.get(number)?.after.filter(|earlier| *earlier < number)
    }

    /// Statements that insert everything.
    pub fn rows(&self) -> String {
        [self.people(), self.places(), self.history()].concat()
    }

    fn people(&self) -> String {
        let users = (0..USERS).map(|number| format!("'{}', 'user-{number}', 'system:test'", user(number)));
        let roles = self.roles.iter().enumerate().map(|(number, role)| {
            let permissions = array(role.permissions.iter().map(|permission| permission.as_str()));
            format!(
                "'{}', 'role-{number}', {permissions}, {}",
                role_id(number),
                role.enabled
            )
        });
        let bindings = self.bindings.iter().enumerate();
        let bindings = bindings.map(|(number, ((owner, role, scope), (environments, end)))| {
            let kind = if scope.is_some() { "system" } else { "global" };
            format!(
                "'{}', '{}', '{}', '{kind}', {}, {}, 'manual', {}, 'system:test'",
                binding_id(number),
                user(*owner),
                role_id(*role),
                or_null(scope.map(system)),
                array(environments.iter().map(Environment::as_str)),
                or_null(end.at()),
            )
        });
        let memberships = self.memberships.iter().enumerate();
        let memberships = memberships.map(|(number, ((member, of), (role, end)))| {
            format!(
                "'{}', '{}', 'system', '{}', '{role}', {}, 'system:test'",
                membership_id(number),
                user(*member),
                system(*of),
                or_null(end.at()),
            )
        });
        [
            insert("users (id, username, created_by)", users),
            insert("roles (id, name, permissions, enabled)", roles),
            insert(
                "role_bindings (id, user_id, role_id, scope_type, scope_id, allowed_environments, source, expires_at, \
                 created_by)",
                bindings,
            ),
            insert(
                "resource_role_bindings (id, user_id, resource_type, resource_id, role, expires_at, granted_by)",
                memberships,
            ),
        ]
        .concat()
    }

    fn places(&self) -> String {
        let systems = (0..SYSTEMS).map(|number| format!("'{}', 'system-{number}', 'system:test'", system(number)));
        let services = self.services.iter().enumerate().map(|(number, of)| {
            format!(
                "'{}', '{}', 'service-{number}', 'system:test'",
                service(number),
                system(*of)
            )
        });
        let namespaces = self.namespaces.iter().enumerate().map(|(number, environment)| {
            format!(
                "'{}', 'space-{number}', '{environment}', 'system:test'",
                namespace(number)
            )
        });
        let clusters = self.clusters.iter().enumerate().map(|(number, environment)| {
            format!(
                "'{}', 'cluster-{number}', 'https://192.0.2.{number}', '\\x01', 'k1', '{environment}', 'system:test'",
                cluster(number)
            )
        });
        let machines = self.machines.iter().enumerate().map(|(number, (of, within))| {
            let index = number + 1;
            format!(
                "'{}', '{}', 'vm-{number}', {index}, '{index:02}', 'space-{within}', '{}', 'vm-{number}', 'system:test'",
                machine(number),
                service(*of),
                cluster(number % CLUSTERS),
            )
        });
        [
            insert("systems (id, name, created_by)", systems),
            insert("services (id, system_id, name, created_by)", services),
            insert("namespace_registry (id, name, environment, created_by)", namespaces),
            insert(
                "clusters (id, name, api_server_url, encrypted_kubeconfig, encryption_key_id, environment, created_by)",
                clusters,
            ),
            insert(
                "vms (id, service_id, name, instance_index, instance, namespace, cluster_id, hostname, created_by)",
                machines,
            ),
        ]
        .concat()
    }

    fn history(&self) -> String {
        let events = self.events.iter().enumerate().map(|(number, happening)| {
            let [kind, aggregate, id, environment] = happening.columns();
            let by = happening
                .by
                .map_or_else(|| "system:worker".to_owned(), |by| user(by).to_string());
            let cause = or_null(self.cause(number).map(event));
            format!(
                "'{}', '{kind}', '{aggregate}', '{id}', '{{}}', 'PENDING', {cause}, {environment}, '{by}'",
                event(number)
            )
        });
        let requests = self.events.iter().enumerate();
        let tickets = requests.filter_map(|(number, happening)| {
            let environment = happening.ticket?;
            // A template of its own for each, or two of them would be the same request.
            Some(format!(
                "'{}', '{}', 'CREATE_VM', 'PENDING_APPROVAL', '{environment}', '{}', '{}', '{}', '{}', 'space-0', '{{}}'",
                ticket(number),
                event(number),
                user(happening.requester()),
                service(0),
                template(number),
                template(number),
            ))
        });
        let audit = self.audit.iter().enumerate().map(|(number, environment)| {
            format!(
                "'{}', 'vm.request', 'REQUEST_SUBMITTED', 'system:test', 'test', 'vm', 'some', {}, 'success', 'test', \
                 now()",
                audit_row(number),
                or_null(*environment)
            )
        });
        [
            insert(
                "domain_events (id, event_type, aggregate_type, aggregate_id, payload, status, causation_id, \
                 environment, created_by)",
                events,
            ),
            insert(
                "approval_tickets (id, event_id, request_type, status, environment, requester_id, service_id, \
                 template_id, instance_size_id, namespace, context_snapshot)",
                tickets,
            ),
            insert(
                "audit_logs (id, action, action_code, performed_by, performed_by_name, resource_type, resource_id, \
                 environment, outcome, retention_class, retain_until)",
                audit,
            ),
        ]
        .concat()
    }
}

impl Happening {
    /// Who asked for its ticket.
    pub fn requester(&self) -> usize {
        self.by.unwrap_or(0)
    }

    /// Whether it is a wish, which people see as a task.
    pub fn is_work(&self) -> bool {
        match self.about {
            About::Machine(_) | About::Request(_) => true,
            About::System(_) | About::Service(_) | About::Namespace(_) => false,
        }
    }

    /// Type, kind and id of what it is about, and its environment as SQL.
    fn columns(&self) -> [String; 4] {
        let placed = or_null(Some(self.ticket.unwrap_or(Environment::Test)));
        let nowhere = "NULL".to_owned();
        let (kind, aggregate, id, environment) = match self.about {
            About::Machine(number) => ("VM_DELETION_REQUESTED", "vm", machine(number).to_string(), placed),
            About::System(number) => ("SYSTEM_CREATED", "system", system(number).to_string(), nowhere),
            About::Service(number) => ("SERVICE_CREATED", "service", service(number).to_string(), nowhere),
            About::Request(number) => ("VM_CREATION_REQUESTED", "service", service(number).to_string(), placed),
            About::Namespace(number) => ("NAMESPACE_CREATED", "namespace", format!("space-{number}"), placed),
        };
        [kind.to_owned(), aggregate.to_owned(), id, environment]
    }
}

/// One INSERT, or nothing when there are no rows.
fn insert(into: &str, rows: impl Iterator<Item = String>) -> String {
    let rows: Vec<String> = rows.map(|row| format!("({row})")).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("INSERT INTO {into} VALUES {};\n", rows.join(", "))
}

fn or_null(value: Option<impl Display>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| format!("'{value}'"))
}

fn array<'a>(names: impl Iterator<Item = &'a str>) -> String {
    format!("'{{{}}}'", names.collect::<Vec<_>>().join(","))
}
