//! The cluster's controllers: what makes a stored virtual machine run.
//!
//! One task looks at everything whenever something changed or a phase's time is over. Each look moves an
//! object by at most one phase, so that watches see every phase. Nothing here knows HTTP.
//!
//! - [`machine`], [`intent`]: virtual machines; [`instance`], [`capacity`]: instances and where they fit
//! - [`instancetype`]: what an instance type adds to a machine; [`migration`]: moving an instance
//! - [`volume`]: data volumes; [`snapshot`], [`restore`], [`cloning`]: saving, bringing back and copying machines
//! - [`garbage`]: owners and namespaces
//! - [`conditions`], [`timers`]: what all of them use

pub(crate) mod capacity;
pub(crate) mod cloning;
pub(crate) mod conditions;
pub(crate) mod garbage;
pub(crate) mod instance;
pub(crate) mod instancetype;
pub(crate) mod intent;
pub(crate) mod machine;
pub(crate) mod migration;
pub(crate) mod restore;
pub(crate) mod snapshot;
pub(crate) mod timers;
pub(crate) mod volume;

use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::config::Timing;
use crate::resources::{
    CLAIMS, CLONES, DATA_VOLUMES, INSTANCES, MIGRATIONS, RESTORES, Registry, ResourceDef, SNAPSHOTS, VIRTUAL_MACHINES,
};
use crate::store::Store;
use crate::{host, object};
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

impl Context<'_> {
    /// Removes a finalizer from an object that is being deleted, and the object when it was the last one.
    pub fn let_go(&mut self, def: &ResourceDef, object: &Value, finalizer: &str) {
        let mut freed = object.clone();
        object::remove_finalizer(&mut freed, finalizer);
        let freed = self.store.put(def, freed);
        if object::finalizers(&freed).is_empty() {
            self.store.remove(def, object::namespace(object), object::name(object));
        }
    }

    /// Whether the controllers must leave a virtual machine and everything about it alone.
    pub fn is_frozen(&self, namespace: &str, name: &str) -> bool {
        self.store.frozen().contains(&(namespace.to_owned(), name.to_owned()))
    }
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
        for claim in context.store.list(&CLAIMS, "") {
            volume::expand(context.store, &claim);
        }
        for snapshot in context.store.list(&SNAPSHOTS, "") {
            snapshot::advance(&mut context, &snapshot);
        }
        for restore in context.store.list(&RESTORES, "") {
            restore::advance(&mut context, &restore);
        }
        for clone in context.store.list(&CLONES, "") {
            cloning::advance(&mut context, &clone);
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
