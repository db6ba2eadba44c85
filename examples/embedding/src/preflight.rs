//! The check: names, rights, size and policy, all by the functions the product itself asks. There is no IO here.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use shepherd_domain::access::{
    self, Denial, Grant, Permission, ResourceAction, ResourceRole, Scope, Subject, Target, Term,
};
use shepherd_domain::catalog::SizeDraft;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::ids::{InstanceSizeId, SystemId, UserId};
use shepherd_domain::naming::{NamingRules, VmName};
use shepherd_domain::notification::{Audience, NotificationDraft, NotificationType, Severity};
use shepherd_domain::policy::{Decision, SelfApproval, default_decision};
use shepherd_domain::problem::Warning;
use shepherd_domain::ticket::RequestType;
use shepherd_domain::{Environment, Problem};
use shepherd_ports::notifications::NotificationRepository;
use shepherd_ports::{IdSource, RepositoryError};

/// What somebody wants to ask for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Wish {
    pub(crate) namespace: String,
    pub(crate) environment: Environment,
    pub(crate) system: String,
    pub(crate) service: String,
    pub(crate) cpu_cores: i32,
    /// Equal to the cores when absent.
    pub(crate) cpu_request: Option<i32>,
    pub(crate) memory_mb: i32,
    pub(crate) disk_gb: i32,
}

/// Who asks, and the System they ask for.
#[derive(Debug)]
pub(crate) struct Requester {
    subject: Subject,
    system: SystemId,
}

impl Requester {
    /// Somebody who may request machines in both environments, and has this role on the System.
    pub(crate) fn with_role(role: ResourceRole, ids: &dyn IdSource) -> Self {
        let system = SystemId::from_bits(ids.next());
        let operator = Grant {
            scope: Scope::Global,
            environments: EnvironmentSet::ALL,
            permissions: [Permission::ServiceRead, Permission::VmRead, Permission::VmCreate]
                .into_iter()
                .collect(),
            term: Term::Open,
        };
        Self {
            subject: Subject::new(UserId::from_bits(ids.next()), vec![operator], [(system, role)]),
            system,
        }
    }
}

/// What Shepherd would do with the wish.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) vm_name: String,
    pub(crate) decision: Decision,
    pub(crate) warnings: Vec<Warning>,
}

/// Why it would do nothing.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// A rule is broken; the code is the one the API answers with.
    Problem(Problem),
    /// The requester may not.
    Denied(Denial),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problem(problem) => problem.fmt(f),
            Self::Denied(Denial::Invisible) => f.write_str("the System does not exist for the requester"),
            Self::Denied(Denial::MissingPermission(permission, _)) => write!(f, "needs {}", permission.as_str()),
            Self::Denied(Denial::MissingRole(role)) => write!(f, "needs the role {role} on the System"),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Checks a wish for a first machine of its Service.
pub(crate) fn check(wish: &Wish, requester: &Requester, ids: &dyn IdSource) -> Result<Verdict, Refusal> {
    let target = Target {
        system: Some(requester.system),
        environment: Some(wish.environment),
        action: Some(ResourceAction::Create),
        own: false,
    };
    access::authorize(
        &requester.subject,
        Permission::VmCreate,
        Permission::ServiceRead,
        target,
    )
    .map_err(Refusal::Denied)?;

    let rules = NamingRules::default();
    let mut warnings = Vec::new();
    for (entity, name) in [
        ("namespace", &wish.namespace),
        ("system", &wish.system),
        ("service", &wish.service),
    ] {
        warnings.extend(rules.parse(entity, name)?.length_warning(entity));
    }
    let vm_name = VmName::generate(&wish.namespace, &wish.system, &wish.service, 1)?;
    size_of(wish)
        .into_size(InstanceSizeId::from_bits(ids.next()))?
        .check_disk(wish.disk_gb)?;
    Ok(Verdict {
        vm_name: vm_name.as_str().to_owned(),
        decision: default_decision(RequestType::CreateVm, wish.environment),
        warnings,
    })
}

/// The wish as a size of its own, with the disks an ordinary size offers.
fn size_of(wish: &Wish) -> SizeDraft {
    SizeDraft {
        name: "wished-for".to_owned(),
        display_name: None,
        description: None,
        cpu_cores: Some(wish.cpu_cores),
        memory_mb: Some(wish.memory_mb),
        disk_gb: 100,
        min_disk_gb: 50,
        max_disk_gb: 500,
        cpu_request: wish.cpu_request,
        memory_request_mb: None,
        dedicated_cpu: None,
        requires_gpu: None,
        requires_sriov: None,
        requires_hugepages: None,
        hugepages_size: None,
        gpu_devices: None,
        spec_overrides: Default::default(),
        sort_order: 0,
        enabled: true,
    }
}

/// Tells the approvers about a wish that would wait for one, through whatever stores notifications.
pub(crate) async fn announce(
    wish: &Wish,
    requester: &Requester,
    verdict: &Verdict,
    store: &mut dyn NotificationRepository,
    at: DateTime<Utc>,
) -> Result<(), RepositoryError> {
    match verdict.decision {
        Decision::AutoApproved => return Ok(()),
        Decision::RequiresApproval => {}
    }
    let may_decide_it_alone = SelfApproval::default().permits(wish.environment);
    let approvers = Audience::Approvers {
        environment: wish.environment,
        except: (!may_decide_it_alone).then(|| requester.subject.user()),
    };
    let title = format!("{} will wait for a decision", verdict.vm_name);
    let draft = NotificationDraft::new(
        NotificationType::ApprovalPending,
        Severity::Info,
        &title,
        "A request is planned.",
    );
    store.insert_for(approvers, &draft, at).await.map(drop)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use shepherd_domain::ErrorCode;
    use shepherd_domain::ids::NotificationId;

    use super::*;
    use crate::adapters::Numbers;

    fn wish() -> Wish {
        Wish {
            namespace: "dev".to_owned(),
            environment: Environment::Test,
            system: "shop".to_owned(),
            service: "web".to_owned(),
            cpu_cores: 2,
            cpu_request: None,
            memory_mb: 4096,
            disk_gb: 60,
        }
    }

    fn checked(wish: &Wish, role: ResourceRole) -> Result<Verdict, Refusal> {
        let ids = Numbers::default();
        check(wish, &Requester::with_role(role, &ids), &ids)
    }

    fn code(wish: &Wish) -> ErrorCode {
        match checked(wish, ResourceRole::Member).unwrap_err() {
            Refusal::Problem(problem) => problem.code,
            Refusal::Denied(denial) => panic!("denied: {denial:?}"),
        }
    }

    #[test]
    fn a_members_wish_is_named_and_waits_for_an_approver() {
        let verdict = checked(&wish(), ResourceRole::Member).unwrap();
        assert_eq!(verdict.vm_name, "dev-shop-web-01");
        assert_eq!(verdict.decision, Decision::RequiresApproval);
        assert!(verdict.warnings.is_empty());
    }

    #[test]
    fn a_viewer_is_told_the_role_that_is_missing() {
        let refusal = checked(&wish(), ResourceRole::Viewer).unwrap_err();
        assert_eq!(refusal, Refusal::Denied(Denial::MissingRole(ResourceRole::Member)));
    }

    #[test]
    fn broken_rules_have_the_codes_of_the_api() {
        let system = "Shop".to_owned();
        assert_eq!(code(&Wish { system, ..wish() }), ErrorCode::NameInvalid);
        assert_eq!(code(&Wish { disk_gb: 5, ..wish() }), ErrorCode::DiskSizeOutOfRange);
        let cpu_request = Some(3);
        assert_eq!(code(&Wish { cpu_request, ..wish() }), ErrorCode::OvercommitInvalid);
    }

    /// Remembers who would have been told what.
    #[derive(Default)]
    struct Told(Vec<(Audience, String)>);

    #[async_trait]
    impl NotificationRepository for Told {
        async fn insert_for(
            &mut self,
            audience: Audience,
            draft: &NotificationDraft,
            _at: DateTime<Utc>,
        ) -> Result<u64, RepositoryError> {
            self.0.push((audience, draft.title().to_owned()));
            Ok(1)
        }

        async fn mark_read(&mut self, _: UserId, _: NotificationId, _: DateTime<Utc>) -> Result<bool, RepositoryError> {
            Ok(false)
        }

        async fn mark_all_read(&mut self, _: UserId, _: DateTime<Utc>) -> Result<(), RepositoryError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn approvers_of_production_are_told_and_the_requester_is_left_out() {
        let (ids, mut told) = (Numbers::default(), Told::default());
        let requester = Requester::with_role(ResourceRole::Owner, &ids);
        let wish = Wish {
            environment: Environment::Prod,
            ..wish()
        };
        let verdict = check(&wish, &requester, &ids).unwrap();
        announce(&wish, &requester, &verdict, &mut told, DateTime::UNIX_EPOCH)
            .await
            .unwrap();
        let approvers = Audience::Approvers {
            environment: Environment::Prod,
            except: Some(requester.subject.user()),
        };
        let title = "dev-shop-web-01 will wait for a decision".to_owned();
        assert_eq!(told.0, [(approvers, title)]);
    }
}
