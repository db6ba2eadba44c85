//! Precedence, types and refusals of values from files and the environment.

use serde_json::json;

use super::*;

fn with(environment: &[(&str, &str)], file: Option<&str>) -> Result<Loaded, ConfigError> {
    let environment: BTreeMap<String, String> = environment
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
        .collect();
    let file = file.map(|text| ConfigFile {
        path: PathBuf::from("/etc/config.yaml"),
        text: text.to_owned(),
    });
    load_file(file, |name| environment.get(name).cloned())
}

/// The findings as they are printed.
fn found(environment: &[(&str, &str)], file: Option<&str>) -> Vec<String> {
    match with(environment, file) {
        Err(ConfigError::Findings(findings)) => findings.iter().map(ToString::to_string).collect(),
        other => panic!("no findings: {other:?}"),
    }
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let file = "database:\n  max_conns: 9\n  min_conns: 3\nserver:\n";
    let loaded = with(&[("DATABASE_MAX_CONNS", "7")], Some(file)).unwrap();
    let database = &loaded.config.database;
    assert_eq!(
        (database.max_conns, database.min_conns, loaded.config.server.port),
        (7, 3, 8080)
    );
    let variable = Source::Environment("DATABASE_MAX_CONNS".to_owned());
    assert_eq!(loaded.source("database.max_conns"), variable);
    let path = PathBuf::from("/etc/config.yaml");
    assert_eq!(loaded.source("database.min_conns"), Source::File(path));
    assert_eq!(loaded.source("server.port"), Source::Default);
}

#[test]
fn variables_are_read_in_the_type_of_their_key() {
    let key = "0123456789abcdef0123456789abcdef0123456789ab";
    let loaded = with(
        &[
            ("SECURITY_OUTBOUND_ALLOWLIST", "127.0.0.1/32, 10.0.0.0/8"),
            ("K8S_HEALTH_INTERVAL", "5s"),
            ("SESSION_SECRET", key),
            ("RECONCILER_HALT_RATIO", "0.7"),
            ("DATABASE_WORKER_HOST", "sessions.db"),
            ("DATABASE_WORKER_PORT", "5433"),
            ("DATABASE_PASSWORD", "12345"),
            ("SERVER_ALLOWED_ORIGINS", ""),
            ("FEATURES_CLONES", "true"),
        ],
        None,
    )
    .unwrap()
    .config;
    assert_eq!(loaded.security.outbound_allowlist.len(), 2);
    assert_eq!(loaded.k8s.health_interval.as_secs(), 5);
    assert_eq!(loaded.security.session_secret.as_deref(), Some(key));
    assert_eq!(loaded.values()["reconciler.halt_ratio"], json!(0.7));
    assert_eq!(loaded.database.worker_port, Some(5433));
    assert_eq!(loaded.database.password.as_deref(), Some("12345"));
    assert!(loaded.server.allowed_origins.is_empty());
    assert!(loaded.features.clones);
}

#[test]
fn all_unknown_keys_are_named_with_what_was_perhaps_meant() {
    let file = "server:\n  prot: 1\n  colour: red\nsever:\n  bind: 0.0.0.0\nport: 80\n";
    let mut said = found(&[], Some(file));
    said.sort();
    assert_eq!(
        said,
        [
            "port (/etc/config.yaml): unknown key; did you mean server.port?",
            "server.colour (/etc/config.yaml): unknown key",
            "server.prot (/etc/config.yaml): unknown key; did you mean server.port?",
            "sever.bind (/etc/config.yaml): unknown key; did you mean server.bind?",
        ]
    );
    let said = found(&[], Some("server: 8080\n"));
    assert_eq!(said, ["server (/etc/config.yaml): a section, not a key"]);
}

#[test]
fn every_wrong_value_is_named_with_what_it_says_and_where() {
    let said = found(
        &[("SERVER_PORT", "http"), ("K8S_CALL_TIMEOUT", "soon")],
        Some("queue:\n  max_workers: many\n"),
    );
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(
        said[0].starts_with("k8s.call_timeout is soon (K8S_CALL_TIMEOUT): "),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("queue.max_workers is many (/etc/config.yaml): "),
        "{said:?}"
    );
    assert!(
        said[2].starts_with("server.port is http (SERVER_PORT): ") && said[2].contains("u16"),
        "{said:?}"
    );

    let said = found(&[("QUEUE_MAX_WORKERS", "0")], Some("server:\n  max_body_bytes: 1\n"));
    assert_eq!(
        said,
        [
            "server.max_body_bytes is 1 (/etc/config.yaml): at least 1024",
            "queue.max_workers is 0 (QUEUE_MAX_WORKERS): at least 1",
        ]
    );
}

#[test]
fn secrets_are_not_repeated_and_not_read_from_the_file() {
    let said = found(&[("SESSION_SECRET", "hunter2")], None);
    assert_eq!(
        said,
        ["security.session_secret is ******** (SESSION_SECRET): at least 32 characters"]
    );
    let said = found(
        &[],
        Some("security:\n  jwt_verification_keys: hunter2\n  session_secret: hunter3\n"),
    );
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|said| !said.contains("hunter")), "{said:?}");
}

#[test]
fn what_is_no_yaml_is_not_repeated() {
    for (text, place) in [
        // Secrets beside, before and behind what is wrong.
        ("database:\n  password: planted-1: planted-2\n", "line 2"),
        ("database:\n  password: \"planted\n  host: db\n", ""),
        ("database: {password: planted, password: planted}\n", "there before"),
        ("database:\n  password: planted\n host: planted\n", "line "),
        ("database:\n  password: planted\n  port: *planted\n", "line 3"),
        ("database:\n  password: 'planted' planted\n", "line "),
        ("database:\n  password: !planted [planted\n", ""),
        ("a: planted\n---\nb: planted\n", "a second document"),
        ("planted", ""),
    ] {
        let error = with(&[], Some(text)).unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{text:?}: {error}");
        for said in [error.to_string(), format!("{error:?}")] {
            assert!(!said.contains("planted"), "{text:?}: {said}");
            assert!(
                said.contains("/etc/config.yaml") && said.contains(place),
                "{text:?}: {said}"
            );
        }
    }
}

#[test]
fn the_text_of_a_file_is_not_shown() {
    let text = "database:\n  password: planted\nlog:\n  level: planted-too\n";
    let file = ConfigFile {
        path: PathBuf::from("/etc/config.yaml"),
        text: text.to_owned(),
    };
    assert_eq!(format!("{file:?}"), "ConfigFile { path: \"/etc/config.yaml\", .. }");
    let loaded = with(&[], Some("database:\n  password: planted\n")).unwrap();
    assert!(!format!("{loaded:?}").contains("planted"), "{loaded:?}");
}

#[test]
fn keys_of_the_file_are_counted_whoever_wins() {
    let file = "server: {port: 81}\nlog:\n  level: debug\nbatch: {}\n";
    assert_eq!(with(&[("LOG_LEVEL", "info")], Some(file)).unwrap().in_file, 2);
    for empty in ["", "# nothing\n", "{}\n", "server: {}\nlog:\n"] {
        assert_eq!(
            with(&[("LOG_LEVEL", "info")], Some(empty)).unwrap().in_file,
            0,
            "{empty:?}"
        );
    }
}

#[test]
fn what_is_no_map_is_no_configuration() {
    for text in [": [", "- a\n", "text"] {
        assert!(
            matches!(with(&[], Some(text)), Err(ConfigError::Syntax { .. })),
            "{text}"
        );
    }
    for text in ["", "# nothing\n", "server: {}\n"] {
        assert!(with(&[], Some(text)).is_ok(), "{text:?}");
    }
}
