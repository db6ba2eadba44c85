//! Every reason a kubeconfig is refused for, and what is left of one that is not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

/// A kubeconfig of one context with these fields; JSON is YAML.
fn kubeconfig(cluster: Value, user: Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "main", "preferences": {},
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    })
    .to_string()
}

fn server() -> Value {
    json!({"server": "https://10.0.0.1:6443", "certificate-authority-data": encoded(CERTIFICATE)})
}

fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn token() -> Value {
    json!({"token": "abc.def"})
}

fn refusal(text: &str) -> Option<Refusal> {
    Intake::new(false, Vec::new()).reduce(text, false).err()
}

#[test]
fn a_sound_kubeconfig_is_reduced_to_what_is_needed() {
    let text = kubeconfig(with(server(), "tls-server-name", json!("api.internal")), token());
    let accepted = Intake::new(false, Vec::new()).accept(&text, false).unwrap();
    assert_eq!(accepted.api_server_url, "https://10.0.0.1:6443");
    let reduced: Value = serde_saphyr::from_str(&accepted.reduced).unwrap();
    assert_eq!(
        reduced,
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "cluster",
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": "cluster"}}],
            "clusters": [{"name": "cluster", "cluster": {
                "server": "https://10.0.0.1:6443", "certificate-authority-data": encoded(CERTIFICATE), "tls-server-name": "api.internal",
            }}],
            "users": [{"name": "cluster", "user": {"token": "abc.def"}}],
        })
    );
}

#[test]
fn client_certificates_are_accepted_in_folded_lines() {
    let certificate = encoded(CERTIFICATE);
    let (head, tail) = certificate.split_at(20);
    let text = kubeconfig(
        server(),
        json!({"client-certificate-data": format!("{head}\n{tail}\n"), "client-key-data": encoded(KEY)}),
    );
    let accepted = Intake::new(false, Vec::new()).accept(&text, false).unwrap();
    let kubeconfig = kube::config::Kubeconfig::from_yaml(&accepted.reduced).unwrap();
    let user = kubeconfig.auth_infos[0].auth_info.clone().unwrap();
    assert_eq!(user.client_certificate_data, Some(certificate));
    assert!(user.client_key_data.is_some() && user.token.is_none());
}

#[test]
fn broken_documents_are_syntax() {
    let long_token = "x".repeat(MAX_BYTES);
    let double = |list: &str, entry: Value| {
        let mut document: Value = serde_json::from_str(&kubeconfig(server(), token())).unwrap();
        document[list].as_array_mut().unwrap().push(entry);
        document.to_string()
    };
    let texts = [
        "{".to_owned(),
        "contexts: 1".to_owned(),
        "current-context: a\ncurrent-context: b\n".to_owned(),
        kubeconfig(server(), json!({"token": long_token})),
        kubeconfig(server(), json!({"token": "two words"})),
        kubeconfig(json!({}), token()),
        kubeconfig(with(server(), "certificate-authority-data", json!("%%%")), token()),
        kubeconfig(
            with(server(), "certificate-authority-data", json!(encoded("no pem"))),
            token(),
        ),
        kubeconfig(
            with(server(), "certificate-authority-data", json!(encoded(KEY))),
            token(),
        ),
        kubeconfig(with(server(), "insecure-skip-tls-verify", json!("perhaps")), token()),
        kubeconfig(server(), json!({"client-certificate-data": encoded(CERTIFICATE)})),
        kubeconfig(server(), json!({"client-key-data": encoded(KEY)})),
        kubeconfig(
            server(),
            json!({"client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded("no key")}),
        ),
        double("contexts", json!({"name": "main"})),
        double("clusters", json!({"name": "c"})),
        double("users", json!({"name": "u"})),
    ];
    for text in texts {
        assert_eq!(
            refusal(&text),
            Some(Refusal::Syntax),
            "{}",
            text.chars().take(300).collect::<String>()
        );
    }
}

#[test]
fn alias_bombs_end_early() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = level - 1;
        bomb.push_str(&format!(
            "a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}, *a{below}, *a{below}]\n"
        ));
    }
    assert!(refusal(&bomb).is_some());
}

#[test]
fn a_current_context_is_needed() {
    let document: Value = serde_json::from_str(&kubeconfig(server(), token())).unwrap();
    for current in [json!(null), json!(""), json!("elsewhere")] {
        let text = with(document.clone(), "current-context", current).to_string();
        assert_eq!(refusal(&text), Some(Refusal::NoCurrentContext));
    }
}

#[test]
fn users_that_reach_further_are_refused() {
    let rows = [
        ("exec", json!({"command": "aws"}), Refusal::ExecPlugin),
        ("auth-provider", json!({"name": "gcp"}), Refusal::AuthProviderPlugin),
        ("username", json!("admin"), Refusal::BasicAuth),
        ("password", json!("hunter2"), Refusal::BasicAuth),
        ("tokenFile", json!("/var/run/token"), Refusal::FileReference),
        ("client-certificate", json!("/etc/cert"), Refusal::FileReference),
        ("client-key", json!("/etc/key"), Refusal::FileReference),
        ("as", json!("root"), Refusal::Impersonation),
        ("as-uid", json!("0"), Refusal::Impersonation),
        ("as-groups", json!(["system:masters"]), Refusal::Impersonation),
        ("as-user-extra", json!({"scopes": ["all"]}), Refusal::Impersonation),
    ];
    for (field, value, expected) in rows {
        assert_eq!(
            refusal(&kubeconfig(server(), with(token(), field, value))),
            Some(expected),
            "{field}"
        );
        assert_eq!(
            refusal(&kubeconfig(server(), with(token(), field, json!(null)))),
            None,
            "{field}: null is absent"
        );
    }
}

#[test]
fn clusters_that_reach_further_are_refused() {
    let rows = [
        ("certificate-authority", json!("/etc/ca"), Refusal::FileReference),
        ("proxy-url", json!("http://proxy:3128"), Refusal::Proxy),
        ("insecure-skip-tls-verify", json!(true), Refusal::InsecureTls),
        ("server", json!("http://10.0.0.1"), Refusal::InsecureUrl),
        ("server", json!("https://169.254.169.254"), Refusal::InsecureUrl),
    ];
    for (field, value, expected) in rows {
        assert_eq!(
            refusal(&kubeconfig(with(server(), field, value), token())),
            Some(expected),
            "{field}"
        );
    }
}

#[test]
fn insecure_tls_needs_both_permissions() {
    let text = kubeconfig(with(server(), "insecure-skip-tls-verify", json!(true)), token());
    for (configured, asked, passes) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (true, true, true),
    ] {
        let accepted = Intake::new(configured, Vec::new()).accept(&text, asked);
        assert_eq!(accepted.is_ok(), passes, "{configured} {asked}");
        if let Ok(accepted) = accepted {
            let reduced: Value = serde_saphyr::from_str(&accepted.reduced).unwrap();
            assert_eq!(reduced["clusters"][0]["cluster"]["insecure-skip-tls-verify"], true);
        }
    }
}

#[test]
fn what_other_contexts_hold_is_dropped() {
    let mut document: Value = serde_json::from_str(&kubeconfig(server(), token())).unwrap();
    document["contexts"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "other", "context": {"cluster": "oc", "user": "ou"}}));
    document["clusters"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "oc", "cluster": {"server": "http://localhost", "certificate-authority": "/etc/ca"}}));
    document["users"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "ou", "user": {"exec": {"command": "evil"}, "password": "other-secret"}}));
    let accepted = Intake::new(false, Vec::new())
        .accept(&document.to_string(), false)
        .unwrap();
    assert!(!accepted.reduced.contains("evil") && !accepted.reduced.contains("other-secret"));
}

#[test]
fn a_refusal_says_nothing_but_its_reason() {
    let problem = Intake::new(false, Vec::new())
        .accept(
            &kubeconfig(server(), with(token(), "password", json!("hunter2"))),
            false,
        )
        .err()
        .unwrap();
    assert_eq!(
        problem,
        Problem::new(ErrorCode::InvalidKubeconfig).with("reason", "basic_auth")
    );
}

/// A kubeconfig with something else in one of its places.
fn changed() -> impl Strategy<Value = String> {
    let place = proptest::sample::select(vec![
        "/clusters",
        "/clusters/0",
        "/clusters/0/name",
        "/clusters/0/cluster",
        "/clusters/0/cluster/server",
        "/clusters/0/cluster/certificate-authority-data",
        "/users",
        "/users/0/name",
        "/users/0/user",
        "/users/0/user/token",
        "/contexts",
        "/contexts/0/context",
        "/contexts/0/context/cluster",
        "/contexts/0/context/user",
        "/current-context",
        "",
    ]);
    let other = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,40}".prop_map(Value::from),
        "https?://[a-z0-9.:@/\\[\\]%-]{0,40}".prop_map(Value::from),
        "[A-Za-z0-9+/=]{0,60}".prop_map(Value::from),
        Just(json!({})),
        Just(json!([{}])),
        Just(json!({"exec": {"command": "sh"}, "proxy-url": "http://10.0.0.1", "tokenFile": "/etc/passwd"})),
    ];
    (place, other).prop_map(|(place, other)| {
        let mut document: Value = serde_saphyr::from_str(&kubeconfig(server(), token())).unwrap();
        if let Some(found) = document.pointer_mut(place) {
            *found = other;
        }
        document.to_string()
    })
}

#[test]
fn another_list_of_networks_holds_for_the_next_kubeconfig() {
    let text = kubeconfig(with(server(), "server", json!("https://127.0.0.1:6443")), token());
    let intake = Intake::new(false, Vec::new());
    assert_eq!(intake.reduce(&text, false).err(), Some(Refusal::InsecureUrl));
    intake.set_allowlist(vec!["127.0.0.0/8".parse().unwrap()]);
    assert!(intake.reduce(&text, false).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    /// Whatever is accepted runs nothing, reads nothing and goes through nobody.
    #[test]
    fn a_changed_kubeconfig_is_refused_or_harmless(text in changed()) {
        if let Ok(accepted) = Intake::new(false, Vec::new()).accept(&text, false) {
            for word in ["exec:", "proxy-url:", "tokenFile:", "/etc/passwd"] {
                prop_assert!(!accepted.reduced.contains(word), "{:?}", accepted.reduced);
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = refusal(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn yaml_like_text_does_not_either(text in "[a-z:\\-{}\\[\\]&*!|>'\" \n#%@,0-9]{0,400}") {
        let _ = refusal(&text);
    }

    #[test]
    fn what_was_accepted_is_accepted_again(token in "[!-~]{1,80}", name in "[!-~]{1,20}", host in "[a-z]{1,10}\\.[a-z]{2,5}", port in 1u16..) {
        let cluster = json!({"server": format!("https://{host}:{port}"), "tls-server-name": name, "certificate-authority-data": encoded(CERTIFICATE)});
        let intake = Intake::new(false, Vec::new());
        if let Ok(first) = intake.accept(&kubeconfig(cluster, json!({"token": token})), false) {
            let second = intake.accept(&first.reduced, false);
            prop_assert_eq!(second.as_ref().map(|second| second.reduced.as_str()), Ok(first.reduced.as_str()));
            let kubeconfig = kube::config::Kubeconfig::from_yaml(&first.reduced);
            prop_assert!(kubeconfig.is_ok());
        }
    }
}
