//! Everything a decision about a modification is checked for, in the order of requests.md §5. No transaction is open
//! while the cluster is asked, which comes last.

use serde_json::Value;
use shepherd_domain::ids::InstanceSizeId;
use shepherd_domain::problem::{ErrorCode, FieldCode, FieldError, Problem};
use shepherd_domain::spec::{EffectiveNumbers, ModifyPayload, ModifySpec, check_growth};
use shepherd_domain::ticket::RequestType;
use shepherd_ports::tickets::TicketRecord;
use shepherd_ports::vms::VmRecord;

use crate::approval::approve::Choice;
use crate::cluster::gate;
use crate::execution::create_vm::{check_offered, judge, stored};
use crate::execution::findings::{Depth, Examined, Findings};
use crate::execution::modification::{self, Modification};
use crate::execution::operation::{Placed, vm_not_found};
use crate::execution::{existing, specs};
use crate::vm::dry_run::DryRun;
use crate::{Platform, UseCaseError};

pub(super) async fn examine(
    platform: &Platform,
    ticket: &TicketRecord,
    payload: &Value,
    choice: &Choice,
    depth: Depth,
) -> Result<Examined, UseCaseError> {
    let original: ModifyPayload = stored(payload, "payload")?;
    let spec = specs::modify(ticket, payload)?;
    let mut findings = Findings::default();
    let open = modification::check_namespace_now(platform, &spec.namespace, ticket.environment).await;
    findings.keep(open)?;
    let found = platform.read.get_vm(spec.vm_id).await?;
    let Some(vm) = findings.check(found.ok_or_else(|| vm_not_found(spec.vm_id))) else {
        return Ok(Examined {
            findings,
            ..Examined::default()
        });
    };
    findings.check(check_choice(&vm, choice));
    let requested = original.spec.instance_size_id;
    let modification = look(platform, ticket, &vm, &spec, requested, &mut findings).await?;
    findings.keep(existing::admit(&vm, RequestType::ModifyVm))?;
    let Some(modification) = modification else {
        return Ok(Examined {
            findings,
            ..Examined::default()
        });
    };
    let mut examined = Examined::default();
    if findings.let_ask(depth) {
        let requester = ticket.requester_id.as_user();
        let rehearsed = modification::rehearse(platform, &vm, requester, &modification).await;
        if let Some(rehearsed) = findings.keep(rehearsed)? {
            examined.dry_run = Some((&rehearsed.answer).into());
            examined.document = rehearsed.document;
            hear(rehearsed.answer, &modification, &mut findings);
        }
    }
    examined.placed = Some(Placed {
        cluster: modification.cluster.id,
        vm_id: vm.id,
        storage_class: vm.storage_class,
        template: Some(modification.template),
        size: Some(modification.size),
        numbers: Some(modification.numbers),
        operation: None,
        warnings: Vec::new(),
    });
    examined.findings = findings;
    Ok(examined)
}

/// What the dry run means for the decision.
fn hear(answer: DryRun, modification: &Modification, findings: &mut Findings) {
    match answer {
        DryRun::Accepted(warnings) => findings.warnings.extend(warnings),
        DryRun::Rejected(problem) => findings.blocking.push(problem),
        DryRun::Unreachable => findings
            .blocking
            .push(Problem::new(ErrorCode::ClusterUnreachable).with("cluster", modification.cluster.name.as_str())),
    }
}

/// The modification, when everything it is made of is there, refused or not.
async fn look(
    platform: &Platform,
    ticket: &TicketRecord,
    vm: &VmRecord,
    spec: &ModifySpec,
    requested: InstanceSizeId,
    findings: &mut Findings,
) -> Result<Option<Modification>, UseCaseError> {
    let found = platform.read.get_cluster(vm.cluster_id).await?;
    let found = found.ok_or_else(|| Problem::not_found(ErrorCode::ClusterNotFound, vm.cluster_id));
    let cluster = findings.check(found);
    if let Some(cluster) = &cluster {
        findings.check(gate::open(cluster));
    }
    let template = findings.keep(modification::template_of(platform, vm).await)?;
    let found = platform.read.get_size(spec.instance_size_id).await?;
    let found = found.ok_or_else(|| modification::size_not_found(spec.instance_size_id));
    let size = findings.check(found).map(|record| record.size);
    let Some(size) = size else { return Ok(None) };
    let kept: Vec<InstanceSizeId> = vm.instance_size_id.into_iter().chain([requested]).collect();
    check_offered(&size, &kept, findings);
    if let Some(cluster) = &cluster {
        findings.check(modification::check_capabilities(cluster, &size));
    }
    let numbers = EffectiveNumbers::of_modification(spec, &size, vm.disk_gb);
    findings.check(check_growth(vm.disk_gb, numbers.disk_gb));
    judge(numbers, &size, ticket.environment, findings);
    let (Some(cluster), Some(template)) = (cluster, template) else {
        return Ok(None);
    };
    Ok(Some(Modification {
        cluster,
        template,
        size,
        numbers,
        warnings: Vec::new(),
    }))
}

/// Where a machine is and what it was made from is settled: an empty or equal choice is accepted.
fn check_choice(vm: &VmRecord, choice: &Choice) -> Result<(), Problem> {
    let storage_class = choice.storage_class.as_deref().filter(|class| !class.is_empty());
    let others = [
        (
            "selected_cluster_id",
            choice.cluster.is_some_and(|cluster| cluster != vm.cluster_id),
        ),
        (
            "selected_storage_class",
            storage_class.is_some() && storage_class != vm.storage_class.as_deref(),
        ),
        (
            "selected_template_version",
            choice.template_version.is_some() && choice.template_version != vm.template_version,
        ),
    ];
    let errors: Vec<FieldError> = others
        .into_iter()
        .filter(|(_, is_another)| *is_another)
        .map(|(field, _)| FieldError::new(field, FieldCode::UnknownValue))
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::invalid(errors))
    }
}
