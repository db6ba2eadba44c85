//! Everything that goes wrong on purpose, switched on and off while the cluster runs.

pub(crate) mod control;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::access::{Attempt, Refusal};
use crate::cluster::{Cluster, lock};
use crate::resources::{INSTANCES, VIRTUAL_MACHINES};
use crate::status::ApiError;

/// What a [`FaultRule`] does to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FaultEffect {
    /// Answer with a Kubernetes `Status` instead of doing anything.
    Status {
        /// HTTP status, 400-599.
        code: u16,
        /// Kubernetes reason, for example `TooManyRequests`.
        reason: String,
        /// The message a person reads.
        #[serde(default)]
        message: String,
        /// Seconds for the `Retry-After` header.
        #[serde(default)]
        retry_after_seconds: Option<u64>,
    },
    /// Close the connection without an answer. Nothing is done.
    DropConnection,
    /// Accept the request and never answer. Nothing is done.
    Hang,
    /// Do the work, then answer with the first half of the JSON document.
    TruncateBody,
    /// Wait before going on as usual.
    Delay {
        /// Milliseconds to wait.
        milliseconds: u64,
    },
    /// Open the console stream, and let nothing more through after some bytes. Other requests go on as usual.
    StallStream {
        /// Bytes sent to the client before, WebSocket frames counted as they are on the wire.
        #[serde(default)]
        after_bytes: u64,
    },
    /// Open the console stream, and cut its connection after some bytes. Other requests go on as usual.
    DropStream {
        /// Bytes sent to the client before, WebSocket frames counted as they are on the wire.
        #[serde(default)]
        after_bytes: u64,
    },
    /// Open the screen of a machine, and ring its bell without end once the client is greeted: a stream of RFB
    /// messages of one byte each (`2`), beside everything the client asks for. Serial lines go on as usual.
    RingBells {
        /// Rings, and so bytes, per second as long as the client takes them; WebSocket frames come on top.
        per_second: u64,
    },
}

impl FaultEffect {
    /// A refusal with a code and a reason.
    pub fn status(code: u16, reason: impl Into<String>) -> Self {
        Self::Status {
            code,
            reason: reason.into(),
            message: "simulated fault".to_owned(),
            retry_after_seconds: None,
        }
    }

    /// 429 with `Retry-After`.
    pub fn throttled(retry_after_seconds: u64) -> Self {
        Self::Status {
            code: 429,
            reason: "TooManyRequests".to_owned(),
            message: "Too many requests, please try again later.".to_owned(),
            retry_after_seconds: Some(retry_after_seconds),
        }
    }
}

/// Which requests an effect hits, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultRule {
    /// HTTP method, any when absent.
    #[serde(default)]
    pub method: Option<String>,
    /// What the path must contain; the empty string hits every path.
    #[serde(default)]
    pub path_contains: String,
    /// How many more requests are hit; all of them when absent.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    pub effect: FaultEffect,
}

impl FaultRule {
    /// Hits the next `times` matching requests.
    pub fn next(times: u32, method: &str, path_contains: &str, effect: FaultEffect) -> Self {
        Self {
            times: Some(times),
            ..Self::always(method, path_contains, effect)
        }
    }

    /// Hits every matching request until cleared. An empty method means any.
    pub fn always(method: &str, path_contains: &str, effect: FaultEffect) -> Self {
        let method = (!method.is_empty()).then(|| method.to_owned());
        Self {
            method,
            path_contains: path_contains.to_owned(),
            times: None,
            effect,
        }
    }

    fn hits(&self, method: &str, path: &str) -> bool {
        self.times != Some(0)
            && self
                .method
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
            && path.contains(&self.path_contains)
    }
}

/// Names a rule so that it can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(u64);

#[derive(Debug, Default)]
struct Switches {
    latency: Duration,
    rules: BTreeMap<FaultId, FaultRule>,
    last_id: u64,
    refused: BTreeSet<Refusal>,
    quota: BTreeSet<String>,
}

/// The fault switches of one cluster. Clones share the same switches.
#[derive(Debug, Clone)]
pub struct Faults {
    cluster: Arc<Cluster>,
    switches: Arc<Mutex<Switches>>,
}

/// What happens to a console stream on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamFault {
    /// It ends before its time.
    Breaks {
        /// Bytes the client still gets.
        after_bytes: u64,
        /// Whether the connection is cut then, instead of standing still.
        cuts: bool,
    },
    /// The bell of the screen rings without end.
    Rings {
        /// How often.
        per_second: u64,
    },
}

/// What the switches say about a request.
pub(crate) enum Verdict {
    /// Go on.
    Pass,
    /// Go on; this happens to a console stream that is opened.
    Stream(StreamFault),
    /// Go on, but break the answer off.
    Truncate,
    /// Answer with this.
    Refuse(ApiError),
    /// Do not answer.
    Drop,
}

impl Faults {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            switches: Arc::default(),
        }
    }

    /// Delays every request by this much; zero switches it off.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.switches).latency = latency;
    }

    /// Adds a rule. The oldest matching rule decides about a request.
    pub fn inject(&self, rule: FaultRule) -> FaultId {
        let mut switches = lock(&self.switches);
        switches.last_id += 1;
        let id = FaultId(switches.last_id);
        switches.rules.insert(id, rule);
        id
    }

    /// How many rules have not been used up or taken back.
    pub fn rules(&self) -> usize {
        lock(&self.switches).rules.len()
    }

    /// Takes a rule back; requests hanging because of it stay unanswered.
    pub fn revoke(&self, id: FaultId) {
        lock(&self.switches).rules.remove(&id);
    }

    /// Answers 403 to a Kubernetes verb (`list`, `patch`, `update` for power actions, `get` for consoles) on a
    /// plural resource name, for everybody and everywhere; `*` stands for all. Subresources can be named one
    /// by one: `virtualmachines/start`, `virtualmachineinstances/vnc`.
    pub fn refuse(&self, verb: &str, resource: &str) {
        self.refuse_some(Refusal::new(verb, resource));
    }

    /// Takes a [`Faults::refuse`] back.
    pub fn allow(&self, verb: &str, resource: &str) {
        self.allow_some(&Refusal::new(verb, resource));
    }

    /// Answers 403 to what a refusal names, which may be only one user's requests, or only one namespace's.
    pub fn refuse_some(&self, refusal: Refusal) {
        lock(&self.switches).refused.insert(refusal);
    }

    /// Takes a [`Faults::refuse_some`] back.
    pub fn allow_some(&self, refusal: &Refusal) {
        lock(&self.switches).refused.remove(refusal);
    }

    /// Answers 403 "exceeded quota" to every creation in a namespace.
    pub fn exceed_quota(&self, namespace: &str) {
        lock(&self.switches).quota.insert(namespace.to_owned());
    }

    /// Cuts the connection of every open watch, once.
    pub fn drop_watches(&self) {
        self.cluster.drop_watches();
    }

    /// Cuts the connection of every open console stream, once.
    pub fn drop_streams(&self) {
        self.cluster.drop_streams();
    }

    /// Lets nothing through on any console stream, open or new, until switched off again.
    pub fn stall_streams(&self, stalled: bool) {
        self.cluster.stall_streams(stalled);
    }

    /// Makes every `resourceVersion` and continue token handed out so far too old; open watches end with 410.
    pub fn expire_resource_versions(&self) {
        self.cluster.write(crate::store::Store::expire);
    }

    /// Stops the controllers' work on a virtual machine.
    pub fn freeze_vm(&self, namespace: &str, name: &str) {
        self.cluster.write(|store| store.set_frozen(namespace, name, true));
    }

    /// Lets the controllers go on with a virtual machine.
    pub fn thaw_vm(&self, namespace: &str, name: &str) {
        self.cluster.write(|store| store.set_frozen(namespace, name, false));
        self.cluster.nudge();
    }

    /// Makes a virtual machine and its instance vanish without a deletion; watches see `DELETED`.
    pub fn lose_vm(&self, namespace: &str, name: &str) {
        self.cluster.write(|store| {
            store.remove(&VIRTUAL_MACHINES, namespace, name);
            store.remove(&INSTANCES, namespace, name);
        });
    }

    /// Switches everything off and thaws every machine.
    pub fn clear(&self) {
        let mut switches = lock(&self.switches);
        let last_id = switches.last_id;
        *switches = Switches {
            last_id,
            ..Switches::default()
        };
        drop(switches);
        self.cluster.stall_streams(false);
        self.cluster.write(|store| store.freeze_only(BTreeSet::new()));
        self.cluster.nudge();
    }

    pub(crate) fn is_refused(&self, attempt: &Attempt<'_>) -> bool {
        lock(&self.switches).refused.iter().any(|refusal| refusal.hits(attempt))
    }

    pub(crate) fn is_quota_exceeded(&self, namespace: &str) -> bool {
        lock(&self.switches).quota.contains(namespace)
    }

    /// Waits as long as the switches demand, and says what becomes of the request.
    pub(crate) async fn judge(&self, method: &str, path: &str) -> Verdict {
        let (latency, effect) = self.pick(method, path);
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        match effect {
            None => Verdict::Pass,
            Some(FaultEffect::Status {
                code,
                reason,
                message,
                retry_after_seconds,
            }) => {
                let mut error = ApiError::new(code, reason, message);
                error.retry_after = retry_after_seconds;
                Verdict::Refuse(error)
            }
            Some(FaultEffect::DropConnection) => Verdict::Drop,
            Some(FaultEffect::Hang) => {
                self.cluster.shutdown.cancelled().await;
                Verdict::Drop
            }
            Some(FaultEffect::TruncateBody) => Verdict::Truncate,
            Some(FaultEffect::Delay { milliseconds }) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                Verdict::Pass
            }
            Some(FaultEffect::StallStream { after_bytes }) => Verdict::Stream(StreamFault::Breaks {
                after_bytes,
                cuts: false,
            }),
            Some(FaultEffect::DropStream { after_bytes }) => Verdict::Stream(StreamFault::Breaks {
                after_bytes,
                cuts: true,
            }),
            Some(FaultEffect::RingBells { per_second }) => Verdict::Stream(StreamFault::Rings { per_second }),
        }
    }

    fn pick(&self, method: &str, path: &str) -> (Duration, Option<FaultEffect>) {
        let mut switches = lock(&self.switches);
        let latency = switches.latency;
        let Some((&id, rule)) = switches.rules.iter_mut().find(|(_, rule)| rule.hits(method, path)) else {
            return (latency, None);
        };
        let effect = rule.effect.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
        }
        if rule.times == Some(0) {
            switches.rules.remove(&id);
        }
        (latency, Some(effect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterSeed;
    use crate::schema::Schemas;
    use crate::store::Store;

    fn faults() -> Faults {
        let cluster = Cluster::new(ClusterSeed::default(), Schemas::default(), Store::default());
        Faults::new(Arc::new(cluster))
    }

    #[tokio::test]
    async fn a_counted_rule_is_used_up() {
        let faults = faults();
        faults.inject(FaultRule::next(
            1,
            "POST",
            "/virtualmachines",
            FaultEffect::throttled(3),
        ));
        assert!(matches!(faults.judge("GET", "/x/virtualmachines").await, Verdict::Pass));
        let Verdict::Refuse(error) = faults.judge("POST", "/x/virtualmachines").await else {
            panic!("the rule should hit")
        };
        assert_eq!((error.code, error.retry_after), (429, Some(3)));
        assert!(matches!(
            faults.judge("POST", "/x/virtualmachines").await,
            Verdict::Pass
        ));
    }

    #[test]
    fn refusals_are_switched_on_and_off() {
        let faults = faults();
        let attempt = Attempt {
            user: "somebody",
            verb: "update",
            group: "subresources.kubevirt.io",
            resource: "virtualmachines",
            subresource: "start",
            namespace: "shop",
        };
        faults.refuse("update", "virtualmachines/start");
        assert!(faults.is_refused(&attempt));
        faults.allow("update", "virtualmachines/start");
        assert!(!faults.is_refused(&attempt));
        faults.refuse("*", "virtualmachines");
        assert!(faults.is_refused(&attempt));
        faults.clear();
        assert!(!faults.is_refused(&attempt));
    }
}
