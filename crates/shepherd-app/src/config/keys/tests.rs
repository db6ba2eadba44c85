//! The table of keys and the structures agree, and so do both with the specification.

use std::collections::BTreeSet;

use super::*;
use crate::config::Config;

/// What operations.md §2 marks with H.
const HOT: &[&str] = &[
    "server.allowed_origins",
    "server.allow_credentials",
    "server.unsafe_allow_all_origins",
    "server.portal_urls",
    "server.heavy_write_limit",
    "server.light_write_limit",
    "server.api_rate_per_user",
    "security.password_policy.mode",
    "security.password_policy.min_length",
    "security.password_policy.require_uppercase",
    "security.password_policy.require_lowercase",
    "security.password_policy.require_digit",
    "security.password_policy.require_special",
    "security.login.max_failures_user",
    "security.login.max_failures_ip",
    "security.login.window",
    "security.outbound_allowlist",
    "naming.reserved",
    "naming.reserved_prefixes",
    "approvals.self_approval",
    "approvals.allow_prod_auto_approval",
    "approvals.reminder_days",
    "confirmation.max_failures",
    "confirmation.window",
    "batch.max_create",
    "batch.max_delete",
    "batch.max_power",
    "batch.max_approve",
    "batch.max_global_pending_parents",
    "batch.max_global_per_minute",
    "batch.max_user_pending_parents",
    "batch.max_user_pending_children",
    "batch.user_cooldown",
    "k8s.cluster_concurrency",
    "k8s.qps",
    "k8s.burst",
    "k8s.health_interval",
    "k8s.health_timeout",
    "k8s.dry_run_warn",
    "vm.creation_timeout",
    "vm.initial_password_ttl",
    "console.token_ttl",
    "console.grant_ttl",
    "console.max_sessions",
    "adoption.scan_interval",
    "reconciler.interval",
    "reconciler.mode",
    "reconciler.halt_ratio",
    "notifications.retention_days",
    "events.archive_after_days",
    "log.level",
];
/// The same for keys that operations.md §2 does not list.
const FURTHER_HOT: &[&str] = &["console.check_interval"];

#[test]
fn the_table_and_the_structs_have_the_same_keys_in_order() {
    let in_structs: Vec<String> = Config::default().values().into_keys().collect();
    let in_table: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(in_table, in_structs);
    for key in KEYS {
        assert!(!key.what.is_empty() && !key.what.ends_with('.'), "{}", key.name);
        assert_eq!(find(key.name), Some(key));
    }
    assert_eq!(find("server"), None);
    assert!(is_section("server") && is_section("security.login"));
    assert!(!is_section("serv") && !is_section("server.port"));
}

#[test]
fn the_keys_that_change_at_run_time_are_those_of_the_specification() {
    let marked: BTreeSet<&str> = KEYS.iter().filter(|key| key.hot).map(|key| key.name).collect();
    let expected: BTreeSet<&str> = HOT.iter().chain(FURTHER_HOT).copied().collect();
    assert_eq!(marked, expected);
}

#[test]
fn what_may_hold_a_credential_is_secret() {
    let secret: Vec<&str> = KEYS.iter().filter(|key| key.secret).map(|key| key.name).collect();
    assert_eq!(
        secret,
        [
            "database.password",
            "database.url",
            "security.encryption_key",
            "security.jwt_verification_keys",
            "security.session_secret"
        ]
    );
    for name in ENVIRONMENT_ONLY {
        assert!(find(name).is_some_and(|key| key.secret), "{name}");
    }
}

#[test]
fn variables_that_almost_are_ours_are_noticed_and_those_of_others_are_not() {
    let names = [
        "SERVER_PROT",
        "DATABASE_MAX_CONN",
        "SERVER_PORT",
        "SESSION_SECRET",
        "SEED_ADMIN_PASSWORD",
        "DATABASE_PORT_5432_TCP_ADDR",
        "SERVER_SERVICE_HOST",
        "HOME",
    ];
    let stray = stray_variables(names.map(str::to_owned));
    let said: Vec<(&str, &str)> = stray
        .iter()
        .map(|stray| (stray.name.as_str(), stray.perhaps.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("DATABASE_MAX_CONN", "DATABASE_MAX_CONNS"),
            ("SERVER_PROT", "SERVER_PORT")
        ]
    );
}
