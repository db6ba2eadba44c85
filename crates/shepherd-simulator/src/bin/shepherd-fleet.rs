//! `shepherd-fleet`: many clusters with many machines in one process, for benches and soaks.
//!
//! Objects are what the command line says and stay so until they are told otherwise: no controllers run, unless
//! `--live` asks for them. Prints one line `ready` and then obeys the lines of its standard input, answering each with
//! one line that begins with `done`; it ends with its input.
//!
//! - `flip RATE SECONDS`: so many machines per second, one after the other over all clusters, become paused or running
//!   again and say when, in microseconds since 1970
//! - `chaos SEED SECONDS`: trouble at random
//! - `ring RATE`: consoles that are opened from now on stream so many bytes per second
//! - `fault RULE`: every cluster treats some requests by this rule, which is JSON
//! - `latency MILLISECONDS`, `drop-watches`, `expire-versions`: the same for every cluster
//! - `calm`: nothing is wrong any more
//! - `state`: one line `NAME STATUS` per machine
//! - `objects`: one line `CLUSTER NAME ID` per machine, whose id is that of its annotation

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::Parser;
use serde_json::{Value, json};
use shepherd_simulator::{
    Chaos, ClusterSeed, FaultEffect, FaultRule, Faults, NodeSeed, Simulator, SimulatorConfig, Timing,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often machines are flipped, so many at a time as the rate asks for.
const BEAT: Duration = Duration::from_millis(20);
const NAMESPACE: &str = "fleet";
/// Nodes of each cluster, enough for a thousand small machines that controllers find a place for.
const NODES: u32 = 16;

/// Simulates many clusters at once.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many clusters
    #[arg(long)]
    clusters: u32,
    /// Machines of each
    #[arg(long)]
    machines: u32,
    /// Where the kubeconfigs go, as `fleet-1.kubeconfig` and so on
    #[arg(long)]
    directory: PathBuf,
    /// Label of every machine, as KEY=VALUE
    #[arg(long, value_parser = pair)]
    label: (String, String),
    /// Annotation that carries the id of each machine
    #[arg(long)]
    id_annotation: String,
    /// Let controllers act on what the clusters are told, every phase within milliseconds
    #[arg(long)]
    live: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut fleet = Vec::new();
    for cluster in 1..=arguments.clusters {
        let simulator = start(&arguments, cluster).await?;
        let path = arguments.directory.join(format!("fleet-{cluster}.kubeconfig"));
        simulator.write_kubeconfig(&path).context("write a kubeconfig")?;
        fleet.push(simulator);
    }
    println!("ready");
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        obey(&fleet, &arguments, &order).await?;
    }
    for simulator in fleet {
        simulator.stop().await;
    }
    Ok(())
}

async fn start(arguments: &Arguments, cluster: u32) -> anyhow::Result<Simulator> {
    let machines = (1..=arguments.machines).flat_map(|machine| objects(arguments, cluster, machine));
    let nodes = (1..=NODES).map(|node| NodeSeed {
        name: format!("node-{node}"),
        ..NodeSeed::default()
    });
    let seed = ClusterSeed {
        nodes: nodes.collect(),
        namespaces: vec![NAMESPACE.to_owned()],
        objects: machines.collect(),
        ..ClusterSeed::default()
    };
    let config = SimulatorConfig {
        name: format!("fleet-{cluster}"),
        bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        seed,
        controllers: arguments.live,
        timing: Timing::instant(),
        ..SimulatorConfig::default()
    };
    Simulator::start(config).await.context("start a cluster")
}

/// The id of a machine is made of the numbers of its cluster and its own; whoever makes the rows does the same.
fn id(cluster: u32, machine: u32) -> String {
    format!("{cluster:08x}-0000-7000-8000-{machine:012x}")
}

fn name(cluster: u32, machine: u32) -> String {
    format!("fleet-{cluster}-{machine}")
}

/// A running machine and its instance, with what real ones carry.
fn objects(arguments: &Arguments, cluster: u32, machine: u32) -> [Value; 2] {
    let (id, name) = (id(cluster, machine), name(cluster, machine));
    let (key, value) = &arguments.label;
    let metadata = |uid: String| {
        json!({
            "name": name, "namespace": NAMESPACE, "uid": uid, "labels": {key: value},
            "annotations": {arguments.id_annotation.as_str(): id},
        })
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let template = json!({
        "domain": {
            "cpu": {"cores": 2}, "memory": {"guest": "2Gi"},
            "devices": {"disks": [{"name": "root", "disk": {"bus": "virtio"}}], "interfaces": [{"name": "default", "masquerade": {}}]},
        },
        "networks": [{"name": "default", "pod": {}}],
        "volumes": [{"name": "root", "dataVolume": {"name": name}}],
    });
    let conditions: Vec<Value> = ["Ready", "LiveMigratable", "AgentConnected", "DataVolumesReady"]
        .map(condition)
        .into();
    let vm = json!({
        "kind": "VirtualMachine",
        "metadata": metadata(format!("vm-{id}")),
        "spec": {"runStrategy": "Always", "template": {"spec": template}},
        "status": {"printableStatus": "Running", "created": true, "ready": true, "conditions": conditions},
    });
    let instance = json!({
        "kind": "VirtualMachineInstance",
        "metadata": metadata(format!("vmi-{id}")),
        "spec": template,
        "status": {
            "phase": "Running", "nodeName": format!("node-{}", machine % 16), "conditions": conditions,
            "interfaces": [{"name": "default", "ipAddress": format!("10.{}.{}.{}", cluster % 256, machine / 256, machine % 256)}],
        },
    });
    [vm, instance]
}

async fn obey(fleet: &[Simulator], arguments: &Arguments, order: &str) -> anyhow::Result<()> {
    let machines = arguments.machines;
    let words: Vec<&str> = order.split_whitespace().collect();
    match words.as_slice() {
        ["flip", rate, seconds] => {
            let flipped = flip(fleet, machines, rate.parse()?, seconds.parse()?).await?;
            println!("done {flipped}");
        }
        ["chaos", seed, seconds] => {
            let clusters: Vec<&Simulator> = fleet.iter().collect();
            let duration = Duration::from_secs(seconds.parse()?);
            let events = Chaos::new(seed.parse()?).disturb(&clusters, duration).await;
            println!("done {events}");
        }
        ["ring", rate] => {
            let effect = FaultEffect::RingBells {
                per_second: rate.parse()?,
            };
            for cluster in fleet {
                cluster
                    .faults()
                    .inject(FaultRule::always("GET", "/vnc", effect.clone()));
            }
            println!("done");
        }
        ["fault", rule] => {
            let rule: FaultRule = serde_json::from_str(rule).context("a rule")?;
            on_all(fleet, |faults| {
                faults.inject(rule.clone());
            });
        }
        ["latency", milliseconds] => {
            let latency = Duration::from_millis(milliseconds.parse()?);
            on_all(fleet, |faults| faults.set_latency(latency));
        }
        ["drop-watches"] => on_all(fleet, Faults::drop_watches),
        ["expire-versions"] => on_all(fleet, Faults::expire_resource_versions),
        ["calm"] => on_all(fleet, Faults::clear),
        ["objects"] => {
            for (number, cluster) in fleet.iter().enumerate() {
                for machine in cluster.cluster().list("VirtualMachine", "") {
                    let metadata = &machine["metadata"];
                    let id = &metadata["annotations"][arguments.id_annotation.as_str()];
                    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
                    println!("{} {} {}", number + 1, text(&metadata["name"]), text(id));
                }
            }
            println!("done");
        }
        ["state"] => {
            for machine in fleet
                .iter()
                .flat_map(|one| one.cluster().list("VirtualMachine", NAMESPACE))
            {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                println!(
                    "{} {}",
                    text(&machine["metadata"]["name"]),
                    text(&machine["status"]["printableStatus"])
                );
            }
            println!("done");
        }
        _ => bail!("{order:?} is no order"),
    }
    Ok(())
}

/// Does something to the faults of every cluster.
fn on_all(fleet: &[Simulator], change: impl Fn(&Faults)) {
    for cluster in fleet {
        change(cluster.faults());
    }
    println!("done");
}

/// Answers how many machines were flipped.
async fn flip(fleet: &[Simulator], machines: u32, rate: f64, seconds: f64) -> anyhow::Result<u32> {
    let clusters = u32::try_from(fleet.len())?.max(1);
    let started = Instant::now();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flipped = 0;
    while started.elapsed().as_secs_f64() < seconds {
        beat.tick().await;
        while f64::from(flipped) < rate * started.elapsed().as_secs_f64().min(seconds) {
            let (cluster, machine) = (flipped % clusters, flipped / clusters);
            let paused = (machine / machines).is_multiple_of(2);
            let name = name(cluster + 1, machine % machines + 1);
            let simulator = fleet.get(usize::try_from(cluster)?).context("a cluster of the fleet")?;
            let status = flipped_status(paused, now());
            simulator
                .cluster()
                .put_status("VirtualMachine", NAMESPACE, &name, status);
            flipped += 1;
        }
    }
    Ok(flipped)
}

/// Paused or running, and when that was said.
fn flipped_status(paused: bool, at: DateTime<Utc>) -> Value {
    let printable = if paused { "Paused" } else { "Running" };
    let moment = at.timestamp_micros();
    json!({
        "printableStatus": printable,
        "conditions": [{"type": "Ready", "status": "False", "message": moment.to_string()}],
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of a change is what a bench compares with"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}
