//! Lists of machines: the filter in SQL shows what the rule in the domain shows.

use shepherd_domain::Environment;
use shepherd_domain::access::{LimitedVisibility, Visibility};
use shepherd_domain::ids::{ServiceId, SystemId};
use shepherd_domain::page::PageRequest;
use shepherd_domain::vm::VmStatus;
use shepherd_ports::systems::{NameOrCreated, SystemQueries};
use shepherd_ports::vms::{VmFilter, VmQueries, VmSort};

use crate::TestResult;
use crate::world::{Outcome, World, id, insert_service, insert_system};

/// Two Systems with a Service each, and two machines of each Service in each environment.
struct Fleet {
    world: World,
    systems: [SystemId; 2],
}

impl Fleet {
    async fn create() -> Outcome<Self> {
        let world = World::create().await?;
        let (system, service): (SystemId, ServiceId) = (id(), id());
        let mut work = world.begin().await?;
        insert_system(work.as_mut(), system, "bank", world.requester).await?;
        insert_service(work.as_mut(), service, system, "ledger").await?;
        for service in [world.service, service] {
            for namespace in ["dev", "live", "dev", "live"] {
                world.insert_vm(work.as_mut(), namespace, service).await?;
            }
        }
        work.commit().await?;
        let systems = [world.system, system];
        Ok(Self { world, systems })
    }

    /// Every combination of the two Systems per environment, and everything.
    fn visibilities(&self) -> Vec<Visibility> {
        let subsets = [
            vec![],
            vec![self.systems[0]],
            vec![self.systems[1]],
            self.systems.to_vec(),
        ];
        let pairs = subsets
            .iter()
            .flat_map(|test| subsets.iter().map(move |prod| (test.clone(), prod.clone())));
        let limited = pairs.map(|(test, prod)| {
            Visibility::Limited(LimitedVisibility {
                systems: test.clone(),
                test,
                prod,
            })
        });
        limited.chain([Visibility::Everything]).collect()
    }
}

#[tokio::test]
async fn the_filter_of_lists_equals_the_rule_of_visibility() -> TestResult {
    let fleet = Fleet::create().await?;
    let store = &fleet.world.store;
    let page = PageRequest::default();
    let all = store
        .list_vms(&Visibility::Everything, &VmFilter::default(), VmSort::Name, false, page)
        .await?;
    assert_eq!(all.total, 8);
    let systems = store
        .list_systems(&Visibility::Everything, None, NameOrCreated::Name, false, page)
        .await?;
    for visibility in fleet.visibilities() {
        for environment in [None, Some(Environment::Test), Some(Environment::Prod)] {
            let filter = VmFilter {
                environment,
                ..VmFilter::default()
            };
            let shown = store.list_vms(&visibility, &filter, VmSort::Name, false, page).await?;
            let names: Vec<_> = shown.items.iter().map(|vm| vm.name.as_str()).collect();
            let expected: Vec<_> = all
                .items
                .iter()
                .filter(|vm| environment.is_none_or(|environment| vm.environment == environment))
                .filter(|vm| visibility.shows(vm.system_id, Some(vm.environment)))
                .map(|vm| vm.name.as_str())
                .collect();
            assert_eq!(names, expected, "{visibility:?} {environment:?}");
        }
        let shown = store
            .list_systems(&visibility, None, NameOrCreated::Name, false, page)
            .await?;
        let expected = systems
            .items
            .iter()
            .filter(|system| visibility.shows(system.id, None))
            .count();
        assert_eq!(shown.items.len(), expected, "{visibility:?}");
    }
    Ok(())
}

#[tokio::test]
async fn filters_narrow_and_pages_follow_each_other_in_every_order() -> TestResult {
    let fleet = Fleet::create().await?;
    let store = &fleet.world.store;
    let everything = Visibility::Everything;
    let filter = VmFilter {
        system_id: Some(fleet.systems[0]),
        service_id: Some(fleet.world.service),
        cluster_id: Some(fleet.world.cluster),
        namespace: Some("dev".to_owned()),
        status: Some(VmStatus::Creating),
        environment: Some(Environment::Test),
        q: Some("DEV".to_owned()),
    };
    assert_eq!(
        store
            .list_vms(&everything, &filter, VmSort::CreatedAt, true, PageRequest::default())
            .await?
            .total,
        2
    );
    let nowhere = VmFilter {
        system_id: Some(id()),
        ..VmFilter::default()
    };
    assert_eq!(
        store
            .list_vms(&everything, &nowhere, VmSort::Name, true, PageRequest::default())
            .await?
            .total,
        0
    );

    for sort in [VmSort::CreatedAt, VmSort::Name, VmSort::Status] {
        let mut seen = Vec::new();
        for number in 1..=3 {
            let request = PageRequest::new(number, 3).ok_or("no such page")?;
            let page = store
                .list_vms(&everything, &VmFilter::default(), sort, false, request)
                .await?;
            assert_eq!(page.total, 8, "{sort:?} page {number}");
            seen.extend(page.items.into_iter().map(|vm| vm.id));
        }
        let beyond = PageRequest::new(9, 3).ok_or("no such page")?;
        let page = store
            .list_vms(&everything, &VmFilter::default(), sort, false, beyond)
            .await?;
        assert_eq!((page.items.len(), page.total), (0, 8));
        let request = PageRequest::default();
        let mut backwards: Vec<_> = store
            .list_vms(&everything, &VmFilter::default(), sort, true, request)
            .await?
            .items
            .iter()
            .map(|vm| vm.id)
            .collect();
        backwards.reverse();
        assert_eq!(seen, backwards, "{sort:?}");
    }
    Ok(())
}
