//! Watching machines: two feeds, of machines and of their instances, merged into one stream of observations.
//!
//! The stream never ends. Failures of the machine feed are reported, those of the instance feed are logged; both back
//! off and go on. The machine feed begins when the instances have been listed, or could not be: a machine without its
//! instance would look as if it had lost node and address, and every row would be written twice.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt};
use kube::core::DynamicObject;
use shepherd_domain::ids::ClusterId;
use shepherd_ports::providers::{ProviderError, VmWatchEvent};

use crate::errors::lacks;
use crate::machines::{instance_kind, machine_kind};
use crate::mapping::{InstanceView, MachineView};
use crate::registry::Registry;

mod backoff;
mod feed;
mod merge;

use feed::{Feed, Report, View};
use merge::Merger;

impl View for MachineView {
    fn read(object: &DynamicObject) -> Result<Self, ProviderError> {
        Self::read(object)
    }
}

impl View for InstanceView {
    fn read(object: &DynamicObject) -> Result<Self, ProviderError> {
        Self::read(object).ok_or_else(|| lacks("metadata.name"))
    }
}

struct Watch {
    cluster: ClusterId,
    machines: BoxStream<'static, Report<MachineView>>,
    instances: BoxStream<'static, Report<InstanceView>>,
    // Whether the instances have been listed, or could not be.
    instances_known: bool,
    merger: Merger,
    ready: VecDeque<VmWatchEvent>,
}

enum Signal {
    Machine(Report<MachineView>),
    Instance(Report<InstanceView>),
    Nothing,
}

/// The machines of a cluster, from now on.
pub(crate) fn machines(
    registry: Arc<Registry>,
    cluster: ClusterId,
) -> BoxStream<'static, Result<VmWatchEvent, ProviderError>> {
    let watch = Watch {
        cluster,
        machines: Feed::new(Arc::clone(&registry), cluster, &machine_kind(), true).reports(),
        instances: Feed::new(registry, cluster, &instance_kind(), false).reports(),
        instances_known: false,
        merger: Merger::default(),
        ready: VecDeque::new(),
    };
    stream::unfold(watch, |mut watch| async move {
        let next = watch.next().await;
        Some((next, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Result<VmWatchEvent, ProviderError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.signal().await {
                Signal::Machine(Report::Failed(error)) => return Err(error),
                Signal::Machine(report) => self.ready.extend(self.merger.machine(report)),
                Signal::Instance(report) => {
                    self.instances_known |= matches!(report, Report::Complete | Report::Failed(_));
                    if let Report::Failed(error) = report {
                        // Without instances nothing is known of nodes, addresses and pauses: that is no watch, either.
                        tracing::warn!(cluster = %self.cluster, %error, "the watch of instances was interrupted");
                        return Err(error);
                    }
                    if matches!(report, Report::Resumed) {
                        self.ready.push_back(VmWatchEvent::Resumed);
                    }
                    self.ready.extend(self.merger.instance(report));
                }
                Signal::Nothing => {}
            }
        }
    }

    async fn signal(&mut self) -> Signal {
        let signal = tokio::select! {
            report = self.machines.next(), if self.instances_known => report.map(Signal::Machine),
            report = self.instances.next() => report.map(Signal::Instance),
        };
        // Feeds do not end.
        signal.unwrap_or(Signal::Nothing)
    }
}
