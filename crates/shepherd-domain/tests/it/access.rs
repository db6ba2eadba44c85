//! The decision function against a second one, written from access.md §1 alone.

use proptest::prelude::*;
use shepherd_domain::access::{
    Denial, Grant, Permission, ResourceAction, ResourceRole, Scope, Subject, Target, Term, Visibility, authorize,
};
use shepherd_domain::ids::{SystemId, UserId};
use shepherd_domain::{Environment, EnvironmentSet};
use strum::IntoEnumIterator;

use crate::permissions::given_by;
use crate::resource_roles::{When, least_role, listed};

const USER: UserId = UserId::from_bits(1);
const SYSTEMS: [SystemId; 3] = [
    SystemId::from_bits(11),
    SystemId::from_bits(12),
    SystemId::from_bits(13),
];
/// Few keys, so that grants and questions meet often.
const KEYS: [Permission; 8] = [
    Permission::SystemRead,
    Permission::VmRead,
    Permission::VmOperate,
    Permission::VmDelete,
    Permission::RbacRead,
    Permission::RbacManage,
    Permission::ApprovalView,
    Permission::PlatformAdmin,
];

/// A binding as the specification describes it: nothing is closed or cached.
#[derive(Clone, Debug)]
struct Binding {
    system: Option<SystemId>,
    environments: Vec<Environment>,
    keys: Vec<Permission>,
}

impl Binding {
    fn gives(&self, key: &str) -> bool {
        self.keys.iter().any(|held| given_by(held.as_str()).contains(&key))
    }
}

#[derive(Clone, Debug)]
struct Person {
    bindings: Vec<Binding>,
    memberships: Vec<(SystemId, ResourceRole)>,
}

impl Person {
    fn subject(&self) -> Subject {
        let grants = self
            .bindings
            .iter()
            .map(|binding| Grant {
                scope: binding.system.map_or(Scope::Global, Scope::System),
                environments: binding.environments.iter().copied().collect(),
                permissions: binding.keys.iter().copied().collect(),
                term: Term::Open,
            })
            .collect();
        Subject::new(USER, grants, self.memberships.iter().copied())
    }

    /// Step 2: all three conditions on the same binding.
    fn holds(&self, permission: Permission, target: Target) -> bool {
        self.bindings.iter().any(|binding| {
            binding.gives(permission.as_str())
                && (binding.system.is_none() || binding.system == target.system)
                && target
                    .environment
                    .is_none_or(|environment| binding.environments.contains(&environment))
        })
    }

    fn is_platform_admin(&self) -> bool {
        self.bindings.iter().any(|binding| {
            binding.system.is_none() && binding.gives("platform:admin") && binding.environments.len() == 2
        })
    }

    /// Step 3: every role the person has on a System, whichever way.
    fn roles_on(&self, system: SystemId) -> Vec<ResourceRole> {
        let mut roles: Vec<ResourceRole> = self
            .memberships
            .iter()
            .filter(|membership| membership.0 == system)
            .map(|membership| membership.1)
            .collect();
        for binding in self.bindings.iter().filter(|binding| binding.system == Some(system)) {
            let only_reads = binding
                .keys
                .iter()
                .flat_map(|key| given_by(key.as_str()))
                .all(|key| key.ends_with(":read"));
            roles.push(if only_reads {
                ResourceRole::Viewer
            } else {
                ResourceRole::Member
            });
        }
        if self.is_platform_admin() {
            roles.push(ResourceRole::Owner);
        }
        roles
    }

    /// Steps 2 to 4 together.
    fn may(&self, permission: Permission, read: Permission, target: Target) -> Result<(), Denial> {
        let missing = Err(Denial::MissingPermission(permission, target.environment));
        let held = self.holds(permission, target);
        let (Some(system), Some(action)) = (target.system, target.action) else {
            return if held { Ok(()) } else { missing };
        };
        let roles = self.roles_on(system);
        if roles.is_empty() || !(held || self.holds(read, target)) {
            return Err(Denial::Invisible);
        }
        if !held {
            return missing;
        }
        let allowed = roles.iter().any(|role| match listed(*role, action) {
            When::Always => true,
            When::Own => target.own,
            When::Never => false,
        });
        match (allowed, least_role(action)) {
            (true, _) => Ok(()),
            (false, Some(role)) => Err(Denial::MissingRole(role)),
            (false, None) => panic!("some role allows everything"),
        }
    }
}

fn system() -> impl Strategy<Value = SystemId> {
    prop::sample::select(SYSTEMS.to_vec())
}

fn key() -> impl Strategy<Value = Permission> {
    prop::sample::select(KEYS.to_vec())
}

fn binding() -> impl Strategy<Value = Binding> {
    (
        prop::option::of(system()),
        prop::sample::subsequence(Environment::ALL.to_vec(), 0..=2),
        prop::sample::subsequence(KEYS.to_vec(), 0..=3),
    )
        .prop_map(|(system, environments, keys)| Binding {
            system,
            environments,
            keys,
        })
}

fn person() -> impl Strategy<Value = Person> {
    let role = prop::sample::select(ResourceRole::iter().collect::<Vec<_>>());
    (
        prop::collection::vec(binding(), 0..4),
        prop::collection::vec((system(), role), 0..4),
    )
        .prop_map(|(bindings, memberships)| Person { bindings, memberships })
}

fn target() -> impl Strategy<Value = Target> {
    (
        prop::option::of(system()),
        prop::option::of(prop::sample::select(Environment::ALL.to_vec())),
        prop::option::of(prop::sample::select(ResourceAction::iter().collect::<Vec<_>>())),
        any::<bool>(),
    )
        .prop_map(|(system, environment, action, own)| Target {
            system,
            environment,
            action,
            own,
        })
}

fn with_one_binding(system: Option<SystemId>, environments: &[Environment], keys: &[Permission]) -> Person {
    let binding = Binding {
        system,
        environments: environments.to_vec(),
        keys: keys.to_vec(),
    };
    Person {
        bindings: vec![binding],
        memberships: Vec::new(),
    }
}

#[test]
fn a_platform_administrator_may_do_everything_everywhere() {
    let admin = with_one_binding(None, &Environment::ALL, &[Permission::PlatformAdmin]).subject();
    assert!(admin.is_platform_admin());
    assert_eq!(admin.visibility(Permission::VmRead), Visibility::Everything);
    for action in ResourceAction::iter() {
        for environment in Environment::ALL {
            let target = Target {
                system: Some(SYSTEMS[0]),
                environment: Some(environment),
                action: Some(action),
                own: false,
            };
            for permission in Permission::iter() {
                assert_eq!(authorize(&admin, permission, Permission::VmRead, target), Ok(()));
            }
        }
    }
}

#[test]
fn the_key_of_the_platform_administrator_reaches_no_further_than_its_binding() {
    for person in [
        with_one_binding(Some(SYSTEMS[0]), &Environment::ALL, &[Permission::PlatformAdmin]),
        with_one_binding(None, &[Environment::Test], &[Permission::PlatformAdmin]),
    ] {
        let subject = person.subject();
        assert!(!subject.is_platform_admin());
        let elsewhere = Target {
            system: Some(SYSTEMS[1]),
            environment: Some(Environment::Prod),
            action: Some(ResourceAction::View),
            own: false,
        };
        assert_eq!(
            authorize(&subject, Permission::VmRead, Permission::VmRead, elsewhere),
            Err(Denial::Invisible),
            "{person:?}"
        );
    }
}

#[test]
fn scope_and_environment_must_come_from_the_same_binding() {
    let person = Person {
        bindings: vec![
            Binding {
                system: None,
                environments: vec![Environment::Test],
                keys: vec![Permission::VmOperate],
            },
            Binding {
                system: None,
                environments: vec![Environment::Prod],
                keys: vec![Permission::VmRead],
            },
        ],
        memberships: vec![(SYSTEMS[0], ResourceRole::Owner)],
    };
    let prod = Target {
        system: Some(SYSTEMS[0]),
        environment: Some(Environment::Prod),
        action: Some(ResourceAction::Operate),
        own: true,
    };
    assert_eq!(
        authorize(&person.subject(), Permission::VmOperate, Permission::VmRead, prod),
        Err(Denial::MissingPermission(
            Permission::VmOperate,
            Some(Environment::Prod)
        ))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_decision_is_what_the_specification_says(
        person in person(),
        permission in key(),
        read in key(),
        target in target(),
    ) {
        let decision = authorize(&person.subject(), permission, read, target);
        prop_assert_eq!(decision, person.may(permission, read, target));
    }

    #[test]
    fn a_list_shows_exactly_what_may_be_viewed(person in person(), read in key()) {
        let subject = person.subject();
        let visibility = subject.visibility(read);
        for system in SYSTEMS {
            for environment in [None, Some(Environment::Test), Some(Environment::Prod)] {
                let target =
                    Target { system: Some(system), environment, action: Some(ResourceAction::View), own: false };
                prop_assert_eq!(
                    visibility.shows(system, environment),
                    authorize(&subject, read, read, target).is_ok(),
                    "{} {:?}", system, environment
                );
            }
        }
    }

    #[test]
    fn what_a_person_holds_is_what_the_bindings_give(
        person in person(),
        permission in key(),
        system in prop::option::of(system()),
    ) {
        let subject = person.subject();
        prop_assert_eq!(subject.is_platform_admin(), person.is_platform_admin());
        prop_assert_eq!(subject.user(), USER);
        let anywhere = person.bindings.iter().any(|binding| binding.gives(permission.as_str()));
        prop_assert_eq!(subject.holds_anywhere(permission), anywhere);
        prop_assert_eq!(subject.all_permissions().contains(permission), anywhere);
        let expected: EnvironmentSet = Environment::ALL
            .into_iter()
            .filter(|environment| {
                person.holds(permission, Target { system, environment: Some(*environment), ..Target::default() })
            })
            .collect();
        prop_assert_eq!(subject.environments(permission, system), expected);
    }

    #[test]
    fn a_further_binding_or_membership_never_takes_anything_away(
        person in person(),
        more in person(),
        permission in key(),
        read in key(),
        target in target(),
    ) {
        let mut richer = person.clone();
        richer.bindings.extend(more.bindings);
        richer.memberships.extend(more.memberships);
        let before = authorize(&person.subject(), permission, read, target);
        let after = authorize(&richer.subject(), permission, read, target);
        prop_assert!(before.is_err() || after.is_ok());
    }
}
