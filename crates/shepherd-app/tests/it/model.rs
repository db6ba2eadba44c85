//! Random people give random commands, and after each of them the product says and has what a small model of the
//! specification says.
//!
//! One installation serves all sequences; each has a Service of its own, so that none disturbs another. Jobs are held
//! back until a sequence settles: until then every ticket, event, machine and object has one state it can be in.
//! `MODEL_CASES` asks for more sequences and `MODEL_SEED` for others.

mod commands;
mod reference;
mod rules;
mod stage;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::world::World;
use commands::Command;
use stage::Stage;

const CASES: u64 = 12;
const SEED: u64 = 6;
/// Sequences that are tried to find a shorter one that fails as well; each takes about a second.
const SHRINKS: u32 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_people_and_commands_get_what_the_specification_says() {
    let (cases, seed) = (setting("MODEL_CASES", CASES), setting("MODEL_SEED", SEED));
    let world = World::start().await;
    let mut stage = Stage::build(&world).await;
    let mut runner = runner(seed);
    for case in 0..cases {
        let mut tree = commands::sequence().new_tree(&mut runner).unwrap();
        let outcome = stage.play(&tree.current()).await;
        if let Err(difference) = outcome {
            eprintln!("MODEL_SEED={seed}, sequence {case}: {difference}");
            let shortest = shrink(&mut stage, &mut tree, difference).await;
            panic!(
                "MODEL_SEED={seed} MODEL_CASES={}, the last sequence: {shortest}",
                case + 1
            );
        }
    }
}

/// The first and the shortest failing sequence that few attempts find.
async fn shrink(stage: &mut Stage<'_>, tree: &mut impl ValueTree<Value = Vec<Command>>, first: String) -> String {
    let mut shortest = first;
    if !tree.simplify() {
        return shortest;
    }
    for _ in 0..SHRINKS {
        let goes_on = match stage.play(&tree.current()).await {
            Err(difference) => {
                shortest = difference;
                tree.simplify()
            }
            Ok(()) => tree.complicate(),
        };
        if !goes_on {
            break;
        }
    }
    shortest
}

/// The same sequences for the same seed.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("{name} is no number"))
    })
}
