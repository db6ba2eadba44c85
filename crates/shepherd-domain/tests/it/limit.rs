//! Limits of batches, against the tables of batch.md §2 and §3.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use shepherd_domain::limit::{
    Exemption, LimitType, Limits, Override, Standing, Submission, UserLimits, minute_of, whole_seconds,
};
use shepherd_domain::problem::{ErrorCode, Problem};
use strum::IntoEnumIterator as _;

/// The defaults of the table.
const LIMITS: Limits = Limits {
    max_global_pending_parents: 100,
    max_global_per_minute: 1000,
    user: UserLimits {
        max_pending_parents: 3,
        max_pending_children: 30,
        cooldown: TimeDelta::seconds(120),
    },
};
const TEN: Submission = Submission {
    children: 10,
    this_minute: Some(1),
};

fn at(milliseconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_760_000_000_000 + milliseconds)
}

/// What a refusal says: which limit, where it stands, and for how long to wait.
fn said(refused: Problem) -> (String, u64, u64, u64, bool) {
    assert_eq!(refused.code, ErrorCode::RateLimitExceeded);
    let number = |name: &str| refused.params[name].as_u64().unwrap();
    (
        refused.params["limit_type"].as_str().unwrap().to_owned(),
        number("current_value"),
        number("max_value"),
        number("retry_after"),
        refused.params["contact_admin"].as_bool().unwrap(),
    )
}

fn refusal(submission: Submission, standing: &Standing, now: DateTime<Utc>) -> (String, u64, u64, u64, bool) {
    said(LIMITS.check(submission, standing, now).unwrap_err())
}

/// Everything is exceeded.
fn overrun() -> Standing {
    Standing {
        global_pending_parents: 100,
        pending_parents: 3,
        pending_children: 30,
        last_accepted_at: Some(at(0)),
        ..Standing::default()
    }
}

#[test]
fn the_first_limit_in_the_order_of_the_table_is_the_one_that_is_told() {
    let now = at(1_000);
    let submission = Submission {
        this_minute: Some(1001),
        ..TEN
    };
    let mut standing = overrun();
    let expected = |name: &str, current, max, wait, admin| (name.to_owned(), current, max, wait, admin);
    assert_eq!(
        refusal(submission, &standing, now),
        expected("global_pending_parents", 100, 100, 60, false)
    );
    standing.global_pending_parents = 99;
    assert_eq!(
        refusal(submission, &standing, now),
        expected("user_pending_parents", 3, 3, 60, true)
    );
    standing.pending_parents = 2;
    let (name, current, max, _, admin) = refusal(submission, &standing, now);
    assert_eq!(
        (name.as_str(), current, max, admin),
        ("global_request_rate", 1001, 1000, false)
    );
    let submission = TEN;
    assert_eq!(
        refusal(submission, &standing, now),
        expected("user_pending_children", 30, 30, 60, true)
    );
    standing.pending_children = 20;
    assert_eq!(
        refusal(submission, &standing, now),
        expected("user_cooldown", 1, 120, 119, true)
    );
    standing.last_accepted_at = None;
    assert!(LIMITS.check(submission, &standing, now).is_ok());
}

#[test]
fn machines_that_start_are_not_counted_and_not_held_up_by_others() {
    let standing = Standing {
        pending_children: 30,
        ..Standing::default()
    };
    let power = Submission { children: 0, ..TEN };
    assert!(LIMITS.check(power, &standing, at(0)).is_ok());
    let one = Submission { children: 1, ..TEN };
    assert_eq!(refusal(one, &standing, at(0)).0, "user_pending_children");
}

#[test]
fn an_exemption_lifts_the_limits_of_the_user_alone_and_only_until_its_end() {
    let mut standing = Standing {
        exemption: Some(Exemption {
            expires_at: Some(at(10_000)),
        }),
        ..overrun()
    };
    assert_eq!(refusal(TEN, &standing, at(9_999)).0, "global_pending_parents");
    standing.global_pending_parents = 0;
    assert!(LIMITS.check(TEN, &standing, at(9_999)).is_ok());
    let rushed = Submission {
        this_minute: Some(1001),
        ..TEN
    };
    assert_eq!(refusal(rushed, &standing, at(9_999)).0, "global_request_rate");
    assert_eq!(refusal(TEN, &standing, at(10_000)).0, "user_pending_parents");
    standing.exemption = Some(Exemption { expires_at: None });
    assert!(LIMITS.check(TEN, &standing, at(i64::from(u32::MAX))).is_ok());
}

#[test]
fn an_override_replaces_the_numbers_it_names() {
    let standing = |numbers| Standing {
        override_numbers: Some(numbers),
        ..Standing::default()
    };
    let nothing = Override::default();
    assert_eq!(LIMITS.overridden(&standing(nothing)), LIMITS.user);
    let parents = Override {
        max_pending_parents: Some(7),
        ..nothing
    };
    assert_eq!(
        LIMITS.overridden(&standing(parents)),
        UserLimits {
            max_pending_parents: 7,
            ..LIMITS.user
        }
    );
    let impatient = Override {
        cooldown_seconds: Some(0),
        ..nothing
    };
    let standing = Standing {
        last_accepted_at: Some(at(0)),
        ..standing(impatient)
    };
    assert!(LIMITS.check(TEN, &standing, at(0)).is_ok());
}

#[test]
fn a_cooldown_without_end_is_survived() {
    let limits = Limits {
        user: UserLimits {
            cooldown: TimeDelta::MAX,
            ..LIMITS.user
        },
        ..LIMITS
    };
    let standing = Standing {
        last_accepted_at: Some(at(1_000)),
        ..Standing::default()
    };
    assert!(limits.check(TEN, &standing, at(0)).is_err());
}

#[test]
fn the_names_on_the_wire_are_those_of_the_contract() {
    let names: Vec<&str> = LimitType::iter().map(LimitType::as_str).collect();
    assert_eq!(
        names,
        [
            "global_pending_parents",
            "global_request_rate",
            "user_pending_parents",
            "user_pending_children",
            "user_cooldown",
            "delete_confirmation",
            "login",
            "api_requests",
            "console_tokens",
        ]
    );
}

proptest! {
    #[test]
    fn who_waits_as_long_as_told_is_let_in_by_that_limit(
        accepted in 0_i64..600_000,
        asked in 0_i64..600_000,
        attempts in 1_u32..3_000,
    ) {
        let standing = Standing { last_accepted_at: Some(at(accepted)), ..Standing::default() };
        let submission = Submission { this_minute: Some(attempts), ..TEN };
        let now = at(asked);
        if let Err(refused) = LIMITS.check(submission, &standing, now) {
            let (name, current, max, wait, _) = said(refused);
            let later = now + TimeDelta::seconds(i64::try_from(wait).unwrap());
            prop_assert!(wait >= 1);
            if name == "user_cooldown" {
                prop_assert!(LIMITS.check(submission, &standing, later).is_ok());
                let earlier = later - TimeDelta::seconds(1);
                prop_assert!(LIMITS.check(submission, &standing, earlier).is_err());
            } else {
                prop_assert_eq!(name, "global_request_rate");
                prop_assert!(current > max && wait <= 60);
                prop_assert!(minute_of(later) > minute_of(now));
            }
        }
    }

    #[test]
    fn a_wait_is_rounded_up(milliseconds in -5_000_i64..5_000) {
        let whole = whole_seconds(TimeDelta::milliseconds(milliseconds));
        let told = i64::try_from(whole).unwrap() * 1_000;
        prop_assert!(told >= milliseconds);
        prop_assert!(told == 0 || told - milliseconds < 1_000);
    }
}
