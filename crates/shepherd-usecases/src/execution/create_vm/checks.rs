//! Everything a decision about a new machine is checked for, in the order of requests.md §5. No transaction is open
//! meanwhile, and at the end the cluster is asked.

use serde_json::Value;
use shepherd_domain::Environment;
use shepherd_domain::catalog::{InstanceSize, TemplateStatus};
use shepherd_domain::ids::TemplateId;
use shepherd_domain::placement;
use shepherd_domain::problem::{ErrorCode, FieldCode, Problem, Warning, WarningCode};
use shepherd_domain::rendering::{VmDocument, VmIdentity};
use shepherd_domain::spec::{CreatePayload, CreateSpec, EffectiveNumbers};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::namespaces::NamespaceRecord;
use shepherd_ports::templates::TemplateRecord;
use shepherd_ports::tickets::{ServiceFacts, TicketRecord};

use super::fit::{check_offered, judge};
use super::{render, stored, vm_name};
use crate::approval::approve::Choice;
use crate::approval::suggest;
use crate::cluster::gate;
use crate::execution::findings::{Depth, Examined, Findings};
use crate::execution::operation::{Placed, required};
use crate::execution::specs;
use crate::vm::dry_run::{self, DryRun};
use crate::{Platform, UseCaseError, schema};

/// What the machine would be, as far as it is known.
struct Sketch<'a> {
    ticket: &'a TicketRecord,
    namespace: &'a str,
    service: Option<&'a ServiceFacts>,
    template: Option<&'a TemplateRecord>,
    size: Option<&'a InstanceSize>,
    numbers: Option<EffectiveNumbers>,
    storage_class: Option<String>,
}

pub(super) async fn examine(
    platform: &Platform,
    ticket: &TicketRecord,
    payload: &Value,
    choice: &Choice,
    depth: Depth,
) -> Result<Examined, UseCaseError> {
    let original: CreatePayload = stored(payload, "payload")?;
    let spec = specs::create(ticket, payload)?;
    let facts = platform
        .read
        .create_facts(
            spec.service_id,
            &spec.namespace,
            spec.template_id,
            spec.instance_size_id,
        )
        .await?;
    let mut findings = Findings::default();
    let namespace = findings.check(check_namespace(facts.namespace, &spec.namespace));
    let service = facts
        .service
        .ok_or_else(|| Problem::not_found(ErrorCode::ServiceNotFound, spec.service_id));
    let service = findings.check(service);
    let size = facts.size.map(|record| record.size);

    let cluster = choose_cluster(platform, ticket, &spec, size.as_ref(), choice).await;
    let cluster = findings.keep(cluster)?.flatten();
    let cluster = cluster.and_then(|cluster| findings.check(within_reach(cluster, ticket, &spec.namespace)));
    if let Some(cluster) = &cluster {
        check_cluster(cluster, &mut findings);
    }
    check_environment(ticket, namespace.as_ref(), cluster.as_ref(), &mut findings);
    let requested = original.spec.template_id;
    let template = choose_template(
        platform,
        facts.template,
        &spec,
        requested,
        choice,
        &mut findings.warnings,
    )
    .await;
    let template = findings.keep(template)?;
    let found = size.ok_or_else(|| Problem::not_found(ErrorCode::InstanceSizeNotFound, spec.instance_size_id));
    let size = findings.check(found);
    if let Some(size) = &size {
        check_offered(size, &[original.spec.instance_size_id], &mut findings);
    }
    if let (Some(cluster), Some(size)) = (&cluster, &size) {
        findings.check(cluster.candidate().admit_size(size));
    }
    let storage_class = match &cluster {
        Some(cluster) => choose_storage(platform, cluster, choice, &mut findings),
        None => None,
    };
    let numbers = size.as_ref().map(|size| EffectiveNumbers::of(&spec, size));
    if let (Some(size), Some(numbers)) = (&size, numbers) {
        judge(numbers, size, ticket.environment, &mut findings);
    }

    let sketch = Sketch {
        ticket,
        namespace: &spec.namespace,
        service: service.as_ref(),
        template: template.as_ref(),
        size: size.as_ref(),
        numbers,
        storage_class: storage_class.clone(),
    };
    let Some((identity, document)) = findings.keep(sketch.draw(platform))?.flatten() else {
        return Ok(Examined {
            findings,
            ..Examined::default()
        });
    };
    let mut dry_run = None;
    if let Some(cluster) = &cluster
        && findings.let_ask(depth)
    {
        let answer = dry_run::ask(platform, cluster, &spec.namespace, &document).await;
        dry_run = Some((&answer).into());
        hear(platform, cluster, &document, answer, &mut findings).await?;
    }
    let placed = cluster.map(|cluster| Placed {
        cluster: cluster.id,
        vm_id: identity.vm_id,
        storage_class,
        template,
        size,
        numbers,
        operation: None,
        warnings: Vec::new(),
    });
    Ok(Examined {
        findings,
        placed,
        document: Some(document),
        dry_run,
    })
}

impl Sketch<'_> {
    /// The document, when everything it is made of is there.
    fn draw(&self, platform: &Platform) -> Result<Option<(VmIdentity, VmDocument)>, UseCaseError> {
        let (Some(service), Some(template), Some(size), Some(numbers)) =
            (self.service, self.template, self.size, self.numbers)
        else {
            return Ok(None);
        };
        let name = vm_name(
            self.namespace,
            &service.system_name,
            &service.name,
            service.next_instance_index,
        )?;
        let identity = VmIdentity {
            vm_id: platform.ids.id(),
            event_id: self.ticket.event_id,
            name: name.as_str().to_owned(),
            namespace: self.namespace.to_owned(),
            system: service.system_name.clone(),
            service: service.name.clone(),
            instance: name.instance().to_owned(),
            ticket_number: self.ticket.number.clone(),
            created_by: required(
                self.ticket.requester_id.as_user(),
                "a create ticket was not requested by a user",
            )?,
            revision: 1,
        };
        let document = render(
            platform,
            &identity,
            &template.spec,
            size,
            numbers,
            self.storage_class.clone(),
            None,
        );
        Ok(Some((identity, document)))
    }
}

/// What the dry run means for the decision.
async fn hear(
    platform: &Platform,
    cluster: &ClusterRecord,
    document: &VmDocument,
    answer: DryRun,
    findings: &mut Findings,
) -> Result<(), UseCaseError> {
    match answer {
        DryRun::Accepted(warnings) => {
            let is_unseen = warnings
                .iter()
                .any(|warning| warning.code == WarningCode::NamespaceWillBeCreated);
            findings.warnings.extend(warnings);
            if is_unseen {
                hold_against_schema(platform, cluster, document, findings).await?;
            }
        }
        DryRun::Rejected(problem) => findings.blocking.push(problem),
        DryRun::Unreachable => findings
            .blocking
            .push(Problem::new(ErrorCode::ClusterUnreachable).with("cluster", cluster.name.as_str())),
    }
    Ok(())
}

/// The server cannot look at an object whose namespace is not there; its schema can.
async fn hold_against_schema(
    platform: &Platform,
    cluster: &ClusterRecord,
    document: &VmDocument,
    findings: &mut Findings,
) -> Result<(), UseCaseError> {
    let version = cluster.kubevirt_version.as_deref().unwrap_or_default();
    let known = schema::of_version(platform, version).await?;
    let refused = known.schema.check_document(&document.object).into_iter().next();
    findings
        .blocking
        .extend(refused.map(|finding| finding.problem(known.schema.minor_version())));
    Ok(())
}

pub(in crate::execution) fn check_namespace(
    found: Option<NamespaceRecord>,
    name: &str,
) -> Result<NamespaceRecord, Problem> {
    let namespace = found.ok_or_else(|| Problem::new(ErrorCode::NamespaceNotRegistered).with("namespace", name))?;
    if namespace.enabled {
        Ok(namespace)
    } else {
        Err(Problem::new(ErrorCode::NamespaceDisabled).with("namespace", name))
    }
}

/// The namespace was registered anew with another environment than the request was judged by.
pub(in crate::execution) fn environment_changed(namespace: &NamespaceRecord, requested: Environment) -> Problem {
    Problem::new(ErrorCode::NamespaceClusterEnvMismatch)
        .with("namespace", namespace.name.as_str())
        .with("namespace_env", namespace.environment.as_str())
        .with("cluster_env", requested.as_str())
}

/// The cluster that was chosen, or the only one that is eligible; none when that cannot be found out. Where the
/// environment has a single cluster it is that one, eligible or not: what speaks against it says more than that somebody
/// has to choose.
async fn choose_cluster(
    platform: &Platform,
    ticket: &TicketRecord,
    spec: &CreateSpec,
    size: Option<&InstanceSize>,
    choice: &Choice,
) -> Result<Option<ClusterRecord>, UseCaseError> {
    if let Some(id) = choice.cluster {
        let found = platform.read.get_cluster(id).await?;
        let cluster = found.ok_or_else(|| Problem::invalid_field("selected_cluster_id", FieldCode::NotFound))?;
        return Ok(Some(cluster));
    }
    let Some(size) = size else { return Ok(None) };
    let mut clusters = platform.read.enabled_clusters().await?;
    clusters.retain(|cluster| cluster.environment == ticket.environment);
    let open = clusters.iter().filter(|cluster| gate::open(cluster).is_ok());
    let candidates: Vec<_> = open.map(ClusterRecord::candidate).collect();
    let eligible = placement::eligible(&candidates, &spec.namespace, ticket.environment, size);
    let only = match (&eligible[..], &clusters[..]) {
        ([only], _) => Some(only.id),
        ([], [only]) => Some(only.id),
        _ => None,
    };
    let found = only.and_then(|id| clusters.into_iter().find(|cluster| cluster.id == id));
    let found = found.ok_or_else(|| Problem::invalid_field("selected_cluster_id", FieldCode::Required))?;
    Ok(Some(found))
}

/// A cluster that takes no part, or not in the environment of the ticket, is not looked into: whoever decides about one
/// environment learns nothing of the other's clusters, not even their names.
fn within_reach(cluster: ClusterRecord, ticket: &TicketRecord, namespace: &str) -> Result<ClusterRecord, Problem> {
    cluster.candidate().admit_enabled()?;
    if cluster.environment == ticket.environment {
        return Ok(cluster);
    }
    Err(Problem::new(ErrorCode::NamespaceClusterEnvMismatch)
        .with("namespace", namespace)
        .with("namespace_env", ticket.environment.as_str())
        .with("cluster_env", cluster.environment.as_str()))
}

/// Not HEALTHY, or rebuilding what is known of it: the first that holds.
fn check_cluster(cluster: &ClusterRecord, findings: &mut Findings) {
    let candidate = cluster.candidate();
    findings.check(candidate.admit_health().and_then(|()| gate::open(cluster)));
}

fn check_environment(
    ticket: &TicketRecord,
    namespace: Option<&NamespaceRecord>,
    cluster: Option<&ClusterRecord>,
    findings: &mut Findings,
) {
    let Some(namespace) = namespace else { return };
    if let Some(cluster) = cluster {
        let candidate = cluster.candidate();
        findings.check(candidate.admit_environment(&namespace.name, namespace.environment));
    }
    if namespace.environment != ticket.environment {
        findings
            .blocking
            .push(environment_changed(namespace, ticket.environment));
    }
}

/// The version that is wanted, or the one that was chosen instead of it. A deprecated version is good enough for
/// whoever asked for it while it was active.
async fn choose_template(
    platform: &Platform,
    wanted: Option<TemplateRecord>,
    spec: &CreateSpec,
    requested: TemplateId,
    choice: &Choice,
    warnings: &mut Vec<Warning>,
) -> Result<TemplateRecord, UseCaseError> {
    let wanted = wanted.ok_or_else(|| Problem::not_found(ErrorCode::TemplateNotFound, spec.template_id))?;
    let template = match choice.template_version {
        Some(version) if version != wanted.version => {
            let other = platform.read.get_template_version(&wanted.name, version).await?;
            other.ok_or_else(|| Problem::invalid_field("selected_template_version", FieldCode::NotFound))?
        }
        Some(_) | None => wanted,
    };
    match template.status {
        TemplateStatus::Active => Ok(template),
        TemplateStatus::Deprecated if template.id == requested => {
            warnings.push(
                Warning::new(WarningCode::TemplateDeprecated)
                    .with("template", template.name.as_str())
                    .with("version", template.version),
            );
            Ok(template)
        }
        TemplateStatus::Draft | TemplateStatus::Deprecated | TemplateStatus::Archived => {
            Err(Problem::new(ErrorCode::TemplateNotActive)
                .with("template_id", template.id.to_string())
                .with("version", template.version)
                .with("status", template.status.as_str())
                .into())
        }
    }
}

fn choose_storage(
    platform: &Platform,
    cluster: &ClusterRecord,
    choice: &Choice,
    findings: &mut Findings,
) -> Option<String> {
    let resolved = cluster.candidate().storage_class(choice.storage_class.as_deref());
    let (storage_class, warning) = findings.check(resolved)?;
    findings.warnings.extend(warning);
    findings
        .warnings
        .extend(suggest::stale_storage(cluster, platform.now()));
    storage_class
}
