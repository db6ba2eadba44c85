//! Rules of audit webhooks: globs, headers and the pauses between attempts.

use shepherd_domain::EnvironmentSet;
use shepherd_domain::audit_webhook::{ActionGlob, HeaderPart, PushFilters, header_parts, is_header_name, retry_delay};

#[test]
fn globs_hold_the_characters_of_actions_and_stars() {
    for glob in ["*", "vm.*", "audit.webhook.create", "*.delete_*"] {
        assert!(glob.parse::<ActionGlob>().is_ok(), "{glob}");
    }
    let long = "a".repeat(65);
    for text in ["", "VM.create", "vm%", "vm ", "vm\\", long.as_str()] {
        assert!(text.parse::<ActionGlob>().is_err(), "{text}");
    }
}

#[test]
fn filters_without_environments_reach_all_of_them() {
    let all: PushFilters = serde_json::from_str("{}").unwrap();
    assert_eq!(all.reach(), EnvironmentSet::ALL);
    let test: PushFilters = serde_json::from_str(r#"{"environments": ["test"]}"#).unwrap();
    assert_eq!(test.reach(), EnvironmentSet::TEST);
    assert!(serde_json::from_str::<PushFilters>(r#"{"action": []}"#).is_err());
    assert!(serde_json::from_str::<PushFilters>(r#"{"actions": ["VM"]}"#).is_err());
}

#[test]
fn headers_of_the_connection_and_of_the_platform_are_not_set() {
    for name in ["authorization", "X-Api-Key", "x-tenant", "User-Agent"] {
        assert!(is_header_name(name), "{name}");
    }
    let long = "a".repeat(65);
    for name in [
        "",
        "two words",
        "colon:",
        "umlaut-ä",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Proxy-Authorization",
        "X-Shepherd-Timestamp",
        "x-signature-256",
        long.as_str(),
    ] {
        assert!(!is_header_name(name), "{name}");
    }
}

#[test]
fn values_name_variables_in_one_form_only() {
    use HeaderPart::{Text, Variable};
    assert_eq!(header_parts("plain text"), Ok(vec![Text("plain text")]));
    assert_eq!(
        header_parts("Bearer ${ENV:SIEM_TOKEN}!"),
        Ok(vec![Text("Bearer "), Variable("SIEM_TOKEN"), Text("!")])
    );
    assert_eq!(
        header_parts("${ENV:A}${ENV:_b1}"),
        Ok(vec![Variable("A"), Variable("_b1")])
    );
    for value in [
        "",
        " a",
        "a ",
        "a\r\nb: c",
        "a\tb",
        "ä",
        "${HOME}",
        "${ENV:}",
        "${ENV:A",
        "${ENV:1A}",
        "${ENV:A B}",
        "${ENV:${ENV:A}}",
    ] {
        assert!(header_parts(value).is_err(), "{value:?}");
    }
}

#[test]
fn pauses_double_from_ten_seconds_to_fifteen_minutes() {
    let seconds: Vec<u64> = (0..10).map(|failures| retry_delay(failures).as_secs()).collect();
    assert_eq!(seconds, [10, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    assert_eq!(retry_delay(u32::MAX).as_secs(), 900);
}
