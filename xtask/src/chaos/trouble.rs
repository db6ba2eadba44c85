//! What goes wrong, one thing after another, and that it goes well again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use shepherd_testkit::proxy::Traffic;

use super::dice::Dice;
use super::stage::Stage;

/// Pause between two troubles, in milliseconds.
const PAUSE: (usize, usize) = (2_000, 6_000);
/// How long the database is out of reach, in milliseconds.
const OUTAGE: (usize, usize) = (500, 8_000);
/// Latency of slow clusters, in milliseconds, and for how long.
const SLOW: (usize, usize) = (200, 2_000);
const SLOW_FOR: Duration = Duration::from_secs(5);
/// Most requests that one fault of a cluster hits.
const BURST: usize = 12;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// A replica is killed, or asked to stop: what its process was made for.
    Replica,
    /// PostgreSQL is stopped in order and started again.
    DatabaseRestart,
    /// PostgreSQL ends at once and recovers from its log.
    DatabaseCrash,
    /// All connections to the database are cut.
    Cut,
    /// The database accepts connections and says nothing.
    Stall,
    /// The database accepts no connection.
    Refusal,
    /// Clusters answer late.
    SlowClusters,
    /// All watches are cut.
    DroppedWatches,
    /// All versions are too old.
    ExpiredVersions,
    /// A cluster fails, throttles, hangs up, answers by halves, or is silent.
    Calls,
}

/// Everything, the likelier ones more than once.
const TROUBLES: [Trouble; 15] = [
    Trouble::Replica,
    Trouble::Replica,
    Trouble::Replica,
    Trouble::Replica,
    Trouble::DatabaseRestart,
    Trouble::DatabaseCrash,
    Trouble::Cut,
    Trouble::Stall,
    Trouble::Refusal,
    Trouble::SlowClusters,
    Trouble::DroppedWatches,
    Trouble::ExpiredVersions,
    Trouble::Calls,
    Trouble::Calls,
    Trouble::Calls,
];

impl Trouble {
    fn name(self) -> &'static str {
        match self {
            Self::Replica => "replica replaced",
            Self::DatabaseRestart => "database restarted",
            Self::DatabaseCrash => "database crashed",
            Self::Cut => "database connections cut",
            Self::Stall => "database stalled",
            Self::Refusal => "database refused",
            Self::SlowClusters => "clusters slow",
            Self::DroppedWatches => "watches dropped",
            Self::ExpiredVersions => "versions expired",
            Self::Calls => "cluster calls failed",
        }
    }

    async fn happen(self, stage: &Stage, dice: &mut Dice) -> anyhow::Result<()> {
        let outage = dice.between(OUTAGE.0, OUTAGE.1);
        match self {
            Self::Replica => {
                let number = dice.below(stage.ports.len());
                stage.replicas.lock().await.replace(number).await?;
            }
            Self::DatabaseRestart => stage.database.restart(false).await?,
            Self::DatabaseCrash => stage.database.restart(true).await?,
            Self::Cut => stage.database.wire.cut(),
            Self::Stall => pull(stage, Traffic::Stalls, outage).await,
            Self::Refusal => pull(stage, Traffic::Refused, outage).await,
            Self::SlowClusters => {
                let latency = dice.between(SLOW.0, SLOW.1).as_millis();
                stage.order(&format!("latency {latency}")).await?;
                tokio::time::sleep(SLOW_FOR).await;
                stage.order("latency 0").await?;
            }
            Self::DroppedWatches => drop(stage.order("drop-watches").await?),
            Self::ExpiredVersions => drop(stage.order("expire-versions").await?),
            Self::Calls => {
                let rule = rule(dice);
                stage.order(&format!("fault {rule}")).await?;
            }
        }
        Ok(())
    }
}

async fn pull(stage: &Stage, traffic: Traffic, outage: Duration) {
    stage.database.wire.set(traffic);
    tokio::time::sleep(outage).await;
    stage.database.wire.set(Traffic::Flows);
}

/// Something that clusters do to some requests, as one word.
fn rule(dice: &mut Dice) -> String {
    let effect = match dice.below(6) {
        0 => json!({"type": "status", "code": 500, "reason": "InternalError"}),
        1 => json!({"type": "status", "code": 503, "reason": "ServiceUnavailable"}),
        2 => json!({"type": "status", "code": 429, "reason": "TooManyRequests", "retry_after_seconds": 1}),
        3 => json!({"type": "drop_connection"}),
        // The work is done, and nobody hears of it.
        4 => json!({"type": "truncate_body"}),
        _ => json!({"type": "hang"}),
    };
    let method: Option<&str> = dice.one_of([None, Some("GET"), Some("PATCH"), Some("PUT"), Some("DELETE")]);
    let times = 1 + dice.below(BURST);
    let rule: Value = json!({"method": method, "path_contains": "/virtualmachine", "times": times, "effect": effect});
    rule.to_string()
}

/// Lets things go wrong until a moment, and makes everything well again. Answers how often what happened.
pub(super) async fn disturb(
    stage: &Stage,
    mut dice: Dice,
    until: Instant,
) -> anyhow::Result<BTreeMap<&'static str, u32>> {
    let mut happened = BTreeMap::new();
    while Instant::now() < until {
        let trouble = dice.one_of(TROUBLES);
        trouble.happen(stage, &mut dice).await?;
        *happened.entry(trouble.name()).or_default() += 1;
        tokio::time::sleep(dice.between(PAUSE.0, PAUSE.1)).await;
        stage.replicas.lock().await.revive()?;
    }
    stage.database.wire.set(Traffic::Flows);
    stage.order("calm").await?;
    stage.replicas.lock().await.revive()?;
    Ok(happened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_one_word_of_an_order() {
        let mut dice = Dice::new(1);
        for _ in 0..50 {
            let rule = rule(&mut dice);
            assert!(!rule.contains(char::is_whitespace), "{rule}");
        }
    }
}
