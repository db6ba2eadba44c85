//! What rendering takes, and what validating all sizes takes after a schema changed. `cargo xtask bench` runs it in a
//! release build; the numbers of any other build mean nothing.

use std::hint::black_box;
use std::time::Instant;

use serde_json::json;
use shepherd_domain::schema::VmSchema;

use crate::golden::{self, Golden};

/// How often every golden document is rendered.
const ROUNDS: usize = 400;
/// How many sizes are validated.
const SIZES: i32 = 1_000;

#[test]
#[ignore = "it measures: cargo xtask bench --only render"]
fn rendering_and_validation_are_timed() {
    let mut renders = rendered();
    renders.sort_by(f64::total_cmp);
    let at = |share: usize| renders.get(renders.len() * share / 100).copied();
    let (findings, seconds) = validated();
    let figures = json!({
        "renders": renders.len(),
        "render_p50_us": at(50),
        "render_p99_us": at(99),
        "sizes": SIZES,
        "findings": findings,
        "validation_s": seconds,
    });
    println!("\nmeasured {figures}");
    assert_eq!(findings, 0, "the sizes are sound");
}

/// The microseconds of each render.
fn rendered() -> Vec<f64> {
    let all = golden::all();
    let mut samples = Vec::with_capacity(ROUNDS * all.len());
    for _ in 0..ROUNDS {
        for golden in &all {
            let begun = Instant::now();
            black_box(golden.document());
            samples.push(begun.elapsed().as_secs_f64() * 1_000_000.0);
        }
    }
    samples
}

/// Reads a schema and holds every size against it: each override by itself, and the machine it makes of the smallest
/// template. Answers what was found, and the seconds.
fn validated() -> (usize, f64) {
    let sizes: Vec<Golden> = (1..=SIZES).map(sized).collect();
    let written = VmSchema::baseline().to_json();
    let begun = Instant::now();
    let schema = VmSchema::from_json("1.6", &written).expect("the schema can be read");
    let mut findings = 0;
    for golden in &sizes {
        let overrides = golden.size.spec_overrides.iter();
        findings += overrides
            .filter(|(path, value)| schema.check_path(path, value).is_err())
            .count();
        findings += schema.check_document(&golden.object()).len();
    }
    (findings, begun.elapsed().as_secs_f64())
}

/// A size of everything, unlike the others.
fn sized(number: i32) -> Golden {
    Golden::with("sized", |golden| {
        golden::everything(golden);
        golden.size.cpu_cores = number;
        golden.numbers.cpu_cores = number;
        golden.override_with(&json!({
            "spec.template.spec.domain.cpu.numa": {"guestMappingPassthrough": {}},
            "spec.template.spec.terminationGracePeriodSeconds": 30 + number % 60,
            "spec.template.spec.domain.memory.hugepages.pageSize": "2Mi",
            "spec.template.spec.domain.devices.disks[name=root].disk.bus": "scsi",
            "spec.template.spec.domain.devices.gpus[0].deviceName": format!("nvidia.com/A{number}"),
            "spec.template.spec.volumes[name=more].emptyDisk.capacity": format!("{number}Gi"),
        }));
    })
}
