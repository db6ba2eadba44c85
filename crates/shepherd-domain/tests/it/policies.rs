//! Approval policies of requests.md §9: which one wins, and which requests it is for.

use std::cmp::Ordering;

use proptest::prelude::*;
use proptest::{collection, option, sample};
use shepherd_domain::Environment::{self, Prod, Test};
use shepherd_domain::ids::{ExternalSystemId, InstanceSizeId, PolicyId, ServiceId, SystemId, UserId};
use shepherd_domain::policy::Decision::{AutoApproved, RequiresApproval};
use shepherd_domain::policy::{
    Candidate, Decision, MatcherName, Matchers, NamespaceGlob, NotAllowed, Policy, PolicyEnvironment, PolicyFacts,
    PolicyOperation, admit, decide, default_decision, explain,
};
use shepherd_domain::ticket::RequestType;

const OPERATIONS: [RequestType; 4] = [
    RequestType::CreateVm,
    RequestType::StopVm,
    RequestType::BatchDelete,
    RequestType::DeleteVm,
];

fn policy(id: u128) -> Policy {
    Policy {
        id: PolicyId::from_bits(id),
        operation: PolicyOperation::Of(RequestType::CreateVm),
        environment: PolicyEnvironment::Test,
        matchers: Matchers::default(),
        requires_approval: true,
        approvers: Vec::new(),
        external_system_id: None,
        priority: 0,
        enabled: true,
    }
}

fn facts() -> PolicyFacts {
    PolicyFacts {
        requester: Some(UserId::from_bits(1)),
        roles: vec!["role-operator".to_owned()],
        namespace: Some("dev-web".to_owned()),
        system: Some(SystemId::from_bits(2)),
        service: Some(ServiceId::from_bits(3)),
        template_name: Some("ubuntu".to_owned()),
        size: Some(InstanceSizeId::from_bits(4)),
        cpu_cores: Some(4),
        memory_mb: Some(4096),
        disk_gb: Some(40),
        special_hardware: Some(false),
        ..PolicyFacts::new(RequestType::CreateVm, Test)
    }
}

fn glob(text: &str) -> NamespaceGlob {
    text.parse().unwrap_or_else(|_| panic!("{text} is a pattern"))
}

/// Each matcher alone: one that fits, and one that does not.
fn matchers() -> Vec<(MatcherName, Matchers, Matchers)> {
    let none = Matchers::default;
    let list = |fits: u128| [vec![fits, 99], vec![99, 98]];
    let [systems, no_systems] = list(2).map(|ids| Some(ids.into_iter().map(SystemId::from_bits).collect()));
    let [services, no_services] = list(3).map(|ids| Some(ids.into_iter().map(ServiceId::from_bits).collect()));
    let [sizes, no_sizes] = list(4).map(|ids| Some(ids.into_iter().map(InstanceSizeId::from_bits).collect()));
    let [users, no_users] = list(1).map(|ids| Some(ids.into_iter().map(UserId::from_bits).collect()));
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let globs = |globs: &[&str]| Some(globs.iter().map(|text| glob(text)).collect());
    #[rustfmt::skip]
    let all = vec![
        (MatcherName::Namespaces, Matchers { namespaces: globs(&["live", "dev-*"]), ..none() }, Matchers { namespaces: globs(&["dev"]), ..none() }),
        (MatcherName::SystemIds, Matchers { system_ids: systems, ..none() }, Matchers { system_ids: no_systems, ..none() }),
        (MatcherName::ServiceIds, Matchers { service_ids: services, ..none() }, Matchers { service_ids: no_services, ..none() }),
        (MatcherName::TemplateNames, Matchers { template_names: names(&["ubuntu"]), ..none() }, Matchers { template_names: names(&["debian"]), ..none() }),
        (MatcherName::InstanceSizeIds, Matchers { instance_size_ids: sizes, ..none() }, Matchers { instance_size_ids: no_sizes, ..none() }),
        (MatcherName::RequesterIds, Matchers { requester_ids: users, ..none() }, Matchers { requester_ids: no_users, ..none() }),
        (MatcherName::RequesterRoles, Matchers { requester_roles: names(&["role-operator"]), ..none() }, Matchers { requester_roles: names(&["role-viewer"]), ..none() }),
        (MatcherName::MaxCpuCores, Matchers { max_cpu_cores: Some(4), ..none() }, Matchers { max_cpu_cores: Some(3), ..none() }),
        (MatcherName::MaxMemoryMb, Matchers { max_memory_mb: Some(4096), ..none() }, Matchers { max_memory_mb: Some(4095), ..none() }),
        (MatcherName::MaxDiskGb, Matchers { max_disk_gb: Some(40), ..none() }, Matchers { max_disk_gb: Some(39), ..none() }),
        (MatcherName::SpecialHardware, Matchers { special_hardware: Some(false), ..none() }, Matchers { special_hardware: Some(true), ..none() }),
        (MatcherName::Batch, Matchers { batch: Some(false), ..none() }, Matchers { batch: Some(true), ..none() }),
    ];
    all
}

#[test]
fn a_matcher_fits_what_it_says_and_nothing_that_is_not_known() {
    let unknown = PolicyFacts::new(RequestType::CreateVm, Test);
    for (name, fits, fails) in matchers() {
        assert_eq!((fits.count(), fails.count()), (1, 1), "{name}");
        for waits in [true, false] {
            assert_eq!(fits.failed(&facts(), waits), None, "{name}");
            assert_eq!(fails.failed(&facts(), waits), Some(name));
            // Whether it is a batch is always known, and special hardware that is not known of is no way around waiting.
            let is_unknown = name != MatcherName::Batch && !(waits && name == MatcherName::SpecialHardware);
            let expected = is_unknown.then_some(name);
            assert_eq!(fits.failed(&unknown, waits), expected, "{name} of what is not known");
        }
    }
    assert_eq!(Matchers::default().failed(&unknown, false), None);
    assert_eq!(Matchers::default().count(), 0);
}

#[test]
fn matchers_with_unknown_keys_are_refused() {
    let read = |text: &str| serde_json::from_str::<Matchers>(text);
    assert!(read(r#"{"namespaces": ["dev-?"], "max_cpu_cores": 4}"#).is_ok());
    assert!(read(r#"{"colour": ["red"]}"#).is_err());
    assert!(read(r#"{"namespaces": ["Dev"]}"#).is_err());
    let written = serde_json::to_string(&Matchers::default()).expect("matchers are plain data");
    assert_eq!(written, "{}");
}

#[test]
fn patterns_match_whole_names() {
    let cases = [
        ("dev", "dev", true),
        ("dev", "dev-1", false),
        ("dev*", "dev", true),
        ("*", "x", true),
        ("d?v", "dev", true),
        ("d?v", "dv", false),
        ("*-a*-b", "x-a-b-a-b", true),
        ("a*b*c", "abcb", false),
        ("**", "anything", true),
        ("?*", "x", true),
    ];
    for (pattern, name, expected) in cases {
        assert_eq!(glob(pattern).matches(name), expected, "{pattern} on {name}");
    }
    for bad in ["", "Dev", "a.b", "a b", "[a]", &"a".repeat(64)] {
        assert!(bad.parse::<NamespaceGlob>().is_err(), "{bad}");
    }
    // What makes other matchers try everything.
    let hostile = glob(&"a*".repeat(31));
    assert!(!hostile.matches(&format!("{}b", "a".repeat(30))));
}

/// By the definition, trying everything.
fn matches_naively(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|taken| matches_naively(rest, &name[taken..])),
        Some((one, rest)) => name
            .split_first()
            .is_some_and(|(byte, left)| (*one == b'?' || one == byte) && matches_naively(rest, left)),
    }
}

#[test]
fn what_no_policy_can_do_is_not_saved() {
    let create = PolicyOperation::Of(RequestType::CreateVm);
    let batch = PolicyOperation::Of(RequestType::BatchDelete);
    let (test, prod, all) = (PolicyEnvironment::Test, PolicyEnvironment::Prod, PolicyEnvironment::All);
    assert_eq!(admit(create, test, false, false, false), Ok(()));
    assert_eq!(
        admit(PolicyOperation::Any, test, false, false, true),
        Err(NotAllowed::AutoApprovesAny)
    );
    assert_eq!(
        admit(batch, test, false, false, true),
        Err(NotAllowed::AutoApprovesBatchDelete)
    );
    for environment in [prod, all] {
        assert_eq!(
            admit(create, environment, false, false, false),
            Err(NotAllowed::AutoApprovesProd)
        );
        assert_eq!(admit(create, environment, false, false, true), Ok(()));
    }
    let before = Err(NotAllowed::AutoApprovesBeforeExternalSystem);
    assert_eq!(admit(create, test, false, true, false), before);
    assert_eq!(
        admit(PolicyOperation::Any, all, true, true, false),
        Ok(()),
        "whoever waits may wait for anybody"
    );
}

#[test]
fn priority_then_specificity_then_caution_then_age_decide() {
    let winner = |policies: &[Policy]| decide(&facts(), policies, false).policy;
    let older = Policy {
        requires_approval: false,
        ..policy(1)
    };
    let careful = policy(2);
    assert_eq!(
        winner(&[older.clone(), careful.clone()]),
        Some(careful.id),
        "a tie asks somebody"
    );
    assert_eq!(
        winner(&[policy(4), careful.clone(), policy(3)]),
        Some(careful.id),
        "the lowest id"
    );
    let matchers = Matchers {
        batch: Some(false),
        ..Matchers::default()
    };
    let specific = Policy { matchers, ..policy(5) };
    assert_eq!(winner(&[careful.clone(), specific.clone()]), Some(specific.id));
    let wide = Policy {
        operation: PolicyOperation::Any,
        ..policy(1)
    };
    assert_eq!(
        winner(&[wide.clone(), careful.clone()]),
        Some(careful.id),
        "an exact operation counts"
    );
    let everywhere = Policy {
        environment: PolicyEnvironment::All,
        ..policy(1)
    };
    assert_eq!(
        winner(&[everywhere, careful.clone()]),
        Some(careful.id),
        "an exact environment counts"
    );
    let urgent = Policy { priority: 1, ..wide };
    assert_eq!(winner(&[specific, urgent.clone()]), Some(urgent.id));
    let disabled = Policy {
        enabled: false,
        priority: 9,
        ..policy(1)
    };
    assert_eq!(winner(&[disabled, careful.clone()]), Some(careful.id));
}

#[test]
fn prod_waits_without_the_switch_and_keeps_the_policy() {
    let automatic = Policy {
        environment: PolicyEnvironment::All,
        requires_approval: false,
        approvers: vec!["role-approver".to_owned()],
        ..policy(1)
    };
    let in_prod = PolicyFacts {
        environment: Prod,
        ..facts()
    };
    let rule = decide(&in_prod, std::slice::from_ref(&automatic), false);
    assert_eq!((rule.decision, rule.policy), (RequiresApproval, Some(automatic.id)));
    assert_eq!(rule.approvers, automatic.approvers);
    assert_eq!(
        decide(&in_prod, std::slice::from_ref(&automatic), true).decision,
        AutoApproved
    );
    assert_eq!(decide(&facts(), &[automatic], false).decision, AutoApproved);
}

#[test]
fn special_hardware_that_is_not_known_of_makes_nothing_easier() {
    let unknown = PolicyFacts {
        special_hardware: None,
        ..facts()
    };
    for special in [true, false] {
        let matchers = Matchers {
            special_hardware: Some(special),
            ..Matchers::default()
        };
        let careful = Policy {
            matchers: matchers.clone(),
            ..policy(1)
        };
        let automatic = Policy {
            matchers,
            requires_approval: false,
            priority: 9,
            ..policy(2)
        };
        let explained = explain(&unknown, &[automatic.clone(), careful.clone()], true);
        assert_eq!(explained.rule.policy, Some(careful.id));
        let told = explained
            .candidates
            .iter()
            .map(|told| (told.policy_id, told.failed_matcher));
        let expected = [(careful.id, None), (automatic.id, Some(MatcherName::SpecialHardware))];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_explanation_says_what_failed() {
    let fits = Policy {
        external_system_id: Some(ExternalSystemId::from_bits(7)),
        ..policy(1)
    };
    let small = Policy {
        matchers: Matchers {
            max_cpu_cores: Some(2),
            batch: Some(true),
            ..Matchers::default()
        },
        priority: 50,
        ..policy(2)
    };
    let other = Policy {
        operation: PolicyOperation::Of(RequestType::StopVm),
        ..policy(3)
    };
    let explained = explain(&facts(), &[other, small.clone(), fits.clone()], false);
    assert_eq!(explained.rule.policy, Some(fits.id));
    assert_eq!(explained.rule.external_system, fits.external_system_id);
    assert_eq!(explained.default_rule, RequiresApproval);
    let candidate = |policy: &Policy, matched, specificity, failed_matcher| Candidate {
        policy_id: policy.id,
        matched,
        priority: policy.priority,
        specificity,
        failed_matcher,
    };
    assert_eq!(
        explained.candidates,
        [
            candidate(&fits, true, 2, None),
            candidate(&small, false, 4, Some(MatcherName::MaxCpuCores)),
        ]
    );
}

fn any_environment() -> impl Strategy<Value = PolicyEnvironment> {
    sample::select(vec![
        PolicyEnvironment::Test,
        PolicyEnvironment::Prod,
        PolicyEnvironment::All,
    ])
}

fn any_operation() -> impl Strategy<Value = PolicyOperation> {
    prop_oneof![
        1 => Just(PolicyOperation::Any),
        3 => sample::select(OPERATIONS.to_vec()).prop_map(PolicyOperation::Of),
    ]
}

fn any_matchers() -> impl Strategy<Value = Matchers> {
    let patterns = sample::select(vec!["dev-*", "live", "*"]);
    (
        option::weighted(0.3, patterns.prop_map(|text| vec![glob(text)])),
        option::weighted(0.3, 0..8_i32),
        option::weighted(0.3, any::<bool>()),
        option::weighted(0.3, any::<bool>()),
    )
        .prop_map(|(namespaces, max_cpu_cores, special_hardware, batch)| Matchers {
            namespaces,
            max_cpu_cores,
            special_hardware,
            batch,
            ..Matchers::default()
        })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    (
        any_operation(),
        any_environment(),
        any_matchers(),
        any::<bool>(),
        0..3_i32,
        prop::bool::weighted(0.9),
    )
        .prop_map(
            |(operation, environment, matchers, requires_approval, priority, enabled)| Policy {
                operation,
                environment,
                matchers,
                requires_approval,
                priority,
                enabled,
                ..policy(0)
            },
        )
}

fn any_facts() -> impl Strategy<Value = PolicyFacts> {
    (
        sample::select(OPERATIONS.to_vec()),
        sample::select(Environment::ALL.to_vec()),
        option::of(sample::select(vec!["dev-web", "live"])),
        option::of(0..8_i32),
        option::of(any::<bool>()),
    )
        .prop_map(
            |(operation, environment, namespace, cpu_cores, special_hardware)| PolicyFacts {
                namespace: namespace.map(str::to_owned),
                cpu_cores,
                special_hardware,
                ..PolicyFacts::new(operation, environment)
            },
        )
}

/// Written from the specification: is it for the request, and how specific is it.
fn for_request(policy: &Policy, facts: &PolicyFacts) -> Option<usize> {
    let (wanted, mut specificity) = (&policy.matchers, 0);
    if !policy.enabled {
        return None;
    }
    match policy.operation {
        PolicyOperation::Any => {}
        PolicyOperation::Of(operation) if operation == facts.operation => specificity += 1,
        PolicyOperation::Of(_) => return None,
    }
    match (policy.environment, facts.environment) {
        (PolicyEnvironment::All, _) => {}
        (PolicyEnvironment::Test, Test) | (PolicyEnvironment::Prod, Prod) => specificity += 1,
        (PolicyEnvironment::Test, Prod) | (PolicyEnvironment::Prod, Test) => return None,
    }
    if let Some(globs) = &wanted.namespaces {
        let name = facts.namespace.as_ref()?;
        if !globs
            .iter()
            .any(|glob| matches_naively(glob.as_str().as_bytes(), name.as_bytes()))
        {
            return None;
        }
        specificity += 1;
    }
    if let Some(most) = wanted.max_cpu_cores {
        if facts.cpu_cores? > most {
            return None;
        }
        specificity += 1;
    }
    if let Some(special) = wanted.special_hardware {
        let needed = facts.special_hardware;
        if !needed.map_or(policy.requires_approval, |needed| needed == special) {
            return None;
        }
        specificity += 1;
    }
    if let Some(batch) = wanted.batch {
        if (facts.operation == RequestType::BatchDelete) != batch {
            return None;
        }
        specificity += 1;
    }
    Some(specificity)
}

/// Whether the first comes before the second in the order of the specification.
fn beats(a: (&Policy, usize), b: (&Policy, usize)) -> bool {
    let order = a.0.priority.cmp(&b.0.priority);
    let order = order.then(a.1.cmp(&b.1));
    let order = order.then(a.0.requires_approval.cmp(&b.0.requires_approval));
    order.then(b.0.id.cmp(&a.0.id)) == Ordering::Greater
}

fn decide_naively(facts: &PolicyFacts, policies: &[Policy], switch: bool) -> (Decision, Option<PolicyId>) {
    let mut best: Option<(&Policy, usize)> = None;
    for policy in policies {
        if let Some(specificity) = for_request(policy, facts)
            && best.is_none_or(|best| beats((policy, specificity), best))
        {
            best = Some((policy, specificity));
        }
    }
    let Some((winner, _)) = best else {
        return (default_decision(facts.operation, facts.environment), None);
    };
    let never = winner.operation == PolicyOperation::Any || facts.operation == RequestType::BatchDelete;
    let not_here = facts.environment == Prod && !switch;
    let waits = winner.requires_approval || never || not_here;
    (if waits { RequiresApproval } else { AutoApproved }, Some(winner.id))
}

proptest! {
    #[test]
    fn a_pattern_matches_as_it_is_defined(pattern in "[ab*?]{1,8}", name in "[ab]{0,10}") {
        prop_assert_eq!(glob(&pattern).matches(&name), matches_naively(pattern.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn the_winner_is_the_one_of_the_specification(
        policies in collection::vec(any_policy(), 0..8),
        facts in any_facts(),
        switch: bool,
        offset in 0..8_usize,
    ) {
        let mut policies: Vec<Policy> = policies
            .into_iter()
            .enumerate()
            .map(|(index, policy)| Policy { id: PolicyId::from_bits(index as u128 + 1), ..policy })
            .collect();
        let rule = decide(&facts, &policies, switch);
        prop_assert_eq!((rule.decision, rule.policy), decide_naively(&facts, &policies, switch));

        // Neither the order of the policies nor those that are no candidates matter.
        if !policies.is_empty() {
            let places = policies.len();
            policies.rotate_left(offset % places);
        }
        let explained = explain(&facts, &policies, switch);
        prop_assert_eq!(&explained.rule, &rule);
        let first = explained.candidates.first().filter(|candidate| candidate.matched);
        prop_assert_eq!(first.map(|candidate| candidate.policy_id), rule.policy);
        for candidate in &explained.candidates {
            prop_assert_eq!(candidate.matched, candidate.failed_matcher.is_none());
        }
    }
}
