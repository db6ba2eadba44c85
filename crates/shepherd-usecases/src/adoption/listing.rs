//! The platform's machines on a cluster, page by page, and what each of them is to the platform.

use shepherd_domain::adoption::{Claim, Standing, annotated_row, standing};
use shepherd_domain::ids::ClusterId;
use shepherd_domain::infrastructure::ListedVm;
use shepherd_domain::labels;
use shepherd_domain::vm::{ObservedCondition, ObservedVm, VmStatus};
use shepherd_ports::RepositoryError;
use shepherd_ports::adoptions::Sighting;
use shepherd_ports::clusters::ClusterRecord;
use shepherd_ports::providers::{ListOptions, ProviderError};

use crate::Platform;

/// Machines of one page.
const PAGE: u32 = 500;
/// How often a list is started over whose pages have become too old.
const MOST_RESTARTS: u32 = 3;
/// Most pages of a list; a server that always has another one never ends.
const MOST_PAGES: u32 = 400;

/// A step of a list.
pub(crate) enum Step {
    /// Some machines.
    Page(Vec<ListedVm>),
    /// The list became too old before its end and begins anew: whatever was seen of it counts for nothing.
    StartsOver,
}

/// A list of the machines that carry the platform's label. Only one that was read to its end says what is missing.
pub(crate) struct Pages<'a> {
    platform: &'a Platform,
    cluster: ClusterId,
    options: ListOptions,
    restarts: u32,
    pages: u32,
    ended: bool,
}

impl<'a> Pages<'a> {
    pub(crate) fn of(platform: &'a Platform, cluster: ClusterId) -> Self {
        let options = ListOptions {
            label_selector: Some(format!("{}={}", labels::MANAGED_BY, labels::MANAGER)),
            limit: Some(PAGE),
            ..ListOptions::default()
        };
        Self {
            platform,
            cluster,
            options,
            restarts: 0,
            pages: 0,
            ended: false,
        }
    }

    /// The next step; `None` at the end.
    ///
    /// # Errors
    /// As the provider says; the list is of no use then.
    pub(crate) async fn next(&mut self) -> Result<Option<Step>, ProviderError> {
        if self.ended {
            return Ok(None);
        }
        match self.platform.provider.list_vms(self.cluster, &self.options).await {
            Ok(_) if self.pages >= MOST_PAGES => Err(ProviderError::Schema("a list does not end".to_owned())),
            Ok(page) => {
                self.pages += 1;
                self.ended = page.continue_token.is_none();
                self.options.continue_token = page.continue_token;
                Ok(Some(Step::Page(page.items)))
            }
            Err(ProviderError::Conflict(_))
                if self.options.continue_token.is_some() && self.restarts < MOST_RESTARTS =>
            {
                self.restarts += 1;
                self.pages = 0;
                self.options.continue_token = None;
                Ok(Some(Step::StartsOver))
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the object is on its way out.
pub(crate) fn being_deleted(vm: &ObservedVm) -> bool {
    vm.condition == ObservedCondition::Is(VmStatus::Deleting)
}

/// What machines of a cluster are, in the given order.
pub(crate) async fn standings(
    platform: &Platform,
    cluster: &ClusterRecord,
    machines: &[ListedVm],
) -> Result<Vec<Standing>, RepositoryError> {
    if machines.is_empty() {
        return Ok(Vec::new());
    }
    let sightings: Vec<Sighting> = machines.iter().map(sighting).collect();
    let surroundings = platform.read.surroundings(cluster.id, &sightings).await?;
    let standings = machines.iter().zip(&surroundings).map(|(machine, around)| {
        let vm = &machine.vm;
        standing(
            &machine.labels,
            vm.vm_id.as_deref(),
            being_deleted(vm),
            cluster.environment,
            around,
        )
    });
    Ok(standings.collect())
}

fn sighting(machine: &ListedVm) -> Sighting {
    let vm = &machine.vm;
    Sighting {
        namespace: vm.namespace.clone(),
        name: vm.name.clone(),
        uid: vm.uid.clone(),
        vm_id: annotated_row(vm.vm_id.as_deref()).ok().flatten(),
        claim: Claim::read(&machine.labels).ok(),
    }
}
