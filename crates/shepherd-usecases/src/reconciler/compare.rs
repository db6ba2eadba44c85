//! What is missing on one cluster, and what is there that should not be. Nothing is written here.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use serde_json::json;
use shepherd_domain::adoption::{Claim, Standing};
use shepherd_domain::cluster::{ClusterStatus, WatchState};
use shepherd_domain::infrastructure::ListedVm;
use shepherd_domain::reconciler::{SkipReason, halts};
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::ProviderError;
use shepherd_ports::reconciler::{ClusterFindings, ExaminedVm, Ghost, Orphan};

use crate::adoption::listing::{Pages, Step, standings};
use crate::{Platform, UseCaseError};

/// Machines that are looked at directly at the same time.
const PARALLEL_READS: usize = 8;

/// What became of a cluster.
pub(super) enum Compared {
    /// It was compared.
    Done(Comparison),
    /// It could not be; nothing is known.
    Skipped(SkipReason),
}

/// A cluster that was compared.
pub(super) struct Comparison {
    /// What is kept of it.
    pub(super) findings: ClusterFindings,
    /// How many of the examined rows its list did not show.
    pub(super) missing: u32,
}

/// Compares a cluster whose rows follow it.
///
/// # Errors
/// When the store fails.
pub(super) async fn cluster(platform: &Platform, cluster: &ClusterRecord) -> Result<Compared, UseCaseError> {
    if let Some(reason) = unfit(cluster) {
        return Ok(Compared::Skipped(reason));
    }
    // The rows come first: an object that is made while the list is read belongs to a row that is too young.
    let mut rows = Rows::of(platform.read.examined(cluster.id).await?);
    let mut orphans = Vec::new();
    let mut pages = Pages::of(platform, cluster.id);
    loop {
        match pages.next().await {
            Ok(Some(Step::Page(machines))) => {
                let unexpected = rows.strike(machines);
                orphans.extend(orphans_of(platform, cluster, unexpected).await?);
            }
            Ok(Some(Step::StartsOver)) => {
                rows.start_over();
                orphans.clear();
            }
            Ok(None) => break,
            Err(error) => {
                tracing::info!(cluster = %cluster.name, %error, "a list for the reconciler was broken off");
                return Ok(Compared::Skipped(SkipReason::ListFailed));
            }
        }
    }
    let examined = count(rows.expected.len());
    let unseen = rows.unseen();
    let missing = count(unseen.len());
    let halted = halts(examined, missing, platform.settings().reconciler.halt_ratio);
    let ghosts = if halted {
        Vec::new()
    } else {
        match look(platform, cluster, unseen).await {
            Ok(ghosts) => ghosts,
            Err(error) => {
                tracing::info!(cluster = %cluster.name, %error, "a missing machine could not be looked at");
                return Ok(Compared::Skipped(SkipReason::ReadFailed));
            }
        }
    };
    let findings = ClusterFindings {
        cluster: cluster.id,
        examined,
        ghosts,
        orphans,
        halted,
    };
    Ok(Compared::Done(Comparison { findings, missing }))
}

/// Why nothing that this cluster says could be held against its rows.
fn unfit(cluster: &ClusterRecord) -> Option<SkipReason> {
    if !cluster.enabled {
        return Some(SkipReason::Disabled);
    }
    if cluster.status != ClusterStatus::Healthy {
        return Some(SkipReason::NotHealthy);
    }
    (cluster.watch_state != WatchState::Live).then_some(SkipReason::NotLive)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The rows that are looked for, by namespace and name, and whether they were seen.
struct Rows {
    expected: HashMap<String, (ExaminedVm, bool)>,
}

/// Neither part of it can hold a slash.
fn key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

impl Rows {
    fn of(rows: Vec<ExaminedVm>) -> Self {
        let expected = rows
            .into_iter()
            .map(|row| (key(&row.namespace, &row.name), (row, false)));
        Self {
            expected: expected.collect(),
        }
    }

    /// Notes which rows were seen; answers the machines that are of none of them.
    fn strike(&mut self, machines: Vec<ListedVm>) -> Vec<ListedVm> {
        let mut unexpected = Vec::new();
        for machine in machines {
            match self.expected.get_mut(&key(&machine.vm.namespace, &machine.vm.name)) {
                Some((_, seen)) => *seen = true,
                None => unexpected.push(machine),
            }
        }
        unexpected
    }

    fn start_over(&mut self) {
        for (_, seen) in self.expected.values_mut() {
            *seen = false;
        }
    }

    fn unseen(self) -> Vec<ExaminedVm> {
        let rows = self.expected.into_values();
        rows.filter(|(_, seen)| !seen).map(|(row, _)| row).collect()
    }
}

async fn orphans_of(
    platform: &Platform,
    cluster: &ClusterRecord,
    machines: Vec<ListedVm>,
) -> Result<Vec<Orphan>, UseCaseError> {
    let standings = standings(platform, cluster, &machines).await?;
    let orphans = machines
        .into_iter()
        .zip(standings)
        .filter_map(|(machine, standing)| orphan(platform, machine, standing));
    Ok(orphans.collect())
}

fn orphan(platform: &Platform, machine: ListedVm, standing: Standing) -> Option<Orphan> {
    let reason = match standing {
        Standing::Foreign | Standing::Known => return None,
        Standing::Candidate(_) => "adoptable",
        Standing::Orphan(obstacle) => obstacle.as_str(),
    };
    let ListedVm { vm, labels } = machine;
    let claim = Claim::read(&labels).ok();
    let details = json!({
        "reason": reason, "k8s_uid": vm.uid, "status": vm.condition.status(false),
        "system": claim.as_ref().map(|claim| &claim.system), "service": claim.as_ref().map(|claim| &claim.service),
        "instance": claim.as_ref().map(|claim| &claim.instance), "vm_id": vm.vm_id,
    });
    Some(Orphan {
        id: platform.ids.id(),
        namespace: vm.namespace,
        name: vm.name,
        details,
    })
}

/// Looks at each machine that the list did not show; those that the cluster says do not exist are ghosts. The first
/// one that cannot be looked at ends it: the cluster is not well.
async fn look(
    platform: &Platform,
    cluster: &ClusterRecord,
    unseen: Vec<ExaminedVm>,
) -> Result<Vec<Ghost>, ProviderError> {
    let looks: Vec<_> = unseen.into_iter().map(|row| look_at(platform, cluster, row)).collect();
    let mut looks = stream::iter(looks).buffer_unordered(PARALLEL_READS);
    let mut ghosts = Vec::new();
    while let Some(looked) = looks.next().await {
        ghosts.extend(looked?);
    }
    Ok(ghosts)
}

async fn look_at(
    platform: &Platform,
    cluster: &ClusterRecord,
    row: ExaminedVm,
) -> Result<Option<Ghost>, ProviderError> {
    match platform.provider.get_vm(cluster.id, &row.namespace, &row.name).await {
        Ok(None) => Ok(Some(Ghost {
            id: platform.ids.id(),
            vm_id: row.id,
            uid: row.uid,
        })),
        // It is there, whatever it looks like.
        Ok(Some(_)) | Err(ProviderError::Schema(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use shepherd_domain::ids::VmId;

    use super::*;

    fn row(bits: u128, name: &str) -> ExaminedVm {
        ExaminedVm {
            id: VmId::from_bits(bits),
            namespace: "dev".to_owned(),
            name: name.to_owned(),
            uid: None,
        }
    }

    #[test]
    fn a_list_that_starts_over_has_shown_nothing() {
        let mut rows = Rows::of(vec![row(1, "a"), row(2, "b")]);
        for (_, seen) in rows.expected.values_mut() {
            *seen = true;
        }
        rows.start_over();
        assert_eq!(rows.unseen().len(), 2);
    }

    #[test]
    fn rows_that_nobody_showed_are_unseen() {
        let mut rows = Rows::of(vec![row(1, "a"), row(2, "b")]);
        if let Some((_, seen)) = rows.expected.get_mut("dev/a") {
            *seen = true;
        }
        assert_eq!(rows.unseen(), [row(2, "b")]);
    }
}
