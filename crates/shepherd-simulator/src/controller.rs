//! The cluster's controllers: what makes a stored virtual machine run.
//!
//! One task looks at everything whenever something changed or a phase's time is over. Each look moves an
//! object by at most one phase, so that watches see every phase. Nothing here knows HTTP.
//!
//! - [`machine`], [`intent`]: virtual machines; [`instance`], [`capacity`]: instances and where they fit
//! - [`volume`]: data volumes; [`migration`]: moving an instance; [`garbage`]: owners and namespaces
//! - [`conditions`], [`timers`]: what all of them use

pub(crate) mod capacity;
pub(crate) mod conditions;
pub(crate) mod garbage;
pub(crate) mod instance;
pub(crate) mod intent;
pub(crate) mod machine;
pub(crate) mod migration;
pub(crate) mod timers;
pub(crate) mod volume;

use std::sync::Arc;
use std::time::Instant;

use crate::cluster::Cluster;
use crate::config::Timing;
use crate::host;
use crate::resources::{DATA_VOLUMES, INSTANCES, MIGRATIONS, Registry, VIRTUAL_MACHINES};
use crate::store::Store;
use timers::Timers;

/// What a controller works with during one look.
pub(crate) struct Context<'a> {
    /// The objects.
    pub store: &'a mut Store,
    /// The phases' clocks.
    pub timers: &'a mut Timers,
    /// How long phases last.
    pub timing: Timing,
    /// Whether data volumes are served.
    pub has_volumes: bool,
}

/// All controllers of one cluster.
#[derive(Debug)]
pub(crate) struct Controllers {
    timing: Timing,
    has_volumes: bool,
    timers: Timers,
}

impl Controllers {
    /// Controllers for what the registry serves.
    pub fn new(timing: Timing, registry: &Registry) -> Self {
        Self {
            timing,
            has_volumes: registry.serves(&DATA_VOLUMES),
            timers: Timers::default(),
        }
    }

    /// Looks at everything once and returns when to look again at the latest.
    pub fn look(&mut self, store: &mut Store, now: Instant) -> Option<Instant> {
        self.timers.begin(now);
        let mut context = Context {
            store,
            timers: &mut self.timers,
            timing: self.timing,
            has_volumes: self.has_volumes,
        };
        for volume in context.store.list(&DATA_VOLUMES, "") {
            volume::advance(&mut context, &volume);
        }
        for migration in context.store.list(&MIGRATIONS, "") {
            migration::advance(&mut context, &migration);
        }
        for instance in context.store.list(&INSTANCES, "") {
            instance::advance(&mut context, &instance);
        }
        for vm in context.store.list(&VIRTUAL_MACHINES, "") {
            machine::advance(&mut context, &vm);
        }
        garbage::collect(context.store);
        self.timers.end()
    }
}

/// Runs the controllers until the cluster shuts down.
pub(crate) async fn run(cluster: Arc<Cluster>, timing: Timing) {
    let mut controllers = Controllers::new(timing, &cluster.registry);
    let mut revisions = cluster.revisions();
    loop {
        // Changes made from here on, the controllers' own included, cause another look.
        revisions.mark_unchanged();
        let due = cluster.write(|store| controllers.look(store, host::monotonic()));
        tokio::select! {
            biased;
            () = cluster.shutdown.cancelled() => return,
            changed = revisions.changed() => if changed.is_err() { return },
            () = until(due) => {}
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
