//! When a run must not go on, against kubernetes.md §9.

use proptest::prelude::*;
use shepherd_domain::reconciler::{ReconcilerMode, halts};

#[test]
fn half_is_not_more_than_half() {
    assert!(!halts(10, 5, 0.5));
    assert!(halts(10, 6, 0.5));
    assert!(!halts(11, 5, 0.5));
    assert!(halts(11, 6, 0.5));
    assert!(halts(1, 1, 0.5));
}

#[test]
fn nothing_missing_and_nothing_examined_halt_nothing() {
    for ratio in [0.0, 0.5, 1.0] {
        assert!(!halts(0, 0, ratio));
        assert!(!halts(100, 0, ratio));
    }
    assert!(halts(100, 1, 0.0));
    assert!(!halts(100, 100, 1.0));
}

#[test]
fn the_mode_that_deletes_does_not_exist() {
    assert_eq!("dry-run".parse::<ReconcilerMode>(), Ok(ReconcilerMode::DryRun));
    assert_eq!("mark".parse::<ReconcilerMode>(), Ok(ReconcilerMode::Mark));
    assert!("delete".parse::<ReconcilerMode>().is_err());
}

proptest! {
    #[test]
    fn one_half_is_exact_in_whole_numbers(examined in 0_u32..1_000_000, missing in 0_u32..1_000_000) {
        prop_assert_eq!(halts(examined, missing, 0.5), u64::from(missing) * 2 > u64::from(examined));
    }

    #[test]
    fn more_missing_never_lets_a_run_go_on(examined in 0_u32..100_000, missing in 0_u32..100_000, ratio in 0.0..=1.0_f64) {
        prop_assert!(!halts(examined, missing, ratio) || halts(examined, missing + 1, ratio));
    }
}
