//! cloud-init documents are YAML mappings within bounds, and what is in them is the guest's business.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{refusal, stored, with};

fn user_data(text: &str) -> Value {
    with("cloud_init", json!({"user_data": text}))
}

fn network_data(text: &str) -> Value {
    with("cloud_init", json!({"network_data": text}))
}

/// Lists in lists, ten to the power of `depth` entries when every alias is followed.
fn alias_bomb(depth: usize) -> String {
    let mut bomb = "#cloud-config\nl0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..depth {
        let alias = format!("*l{}", level - 1);
        let _ = writeln!(bomb, "l{level}: &l{level} [{}]", vec![alias; 10].join(", "));
    }
    bomb
}

#[test]
fn user_data_is_a_cloud_config() {
    for text in [
        "#cloud-config\n{}",
        "#cloud-config\r\npackages: [nginx]\r\n",
        "#cloud-config\n# nothing but one key\nhostname: a\n",
        "#cloud-config\nwrite_files:\n- path: /a\n  content: !!binary |\n    AAECAw==\n",
        "#cloud-config\nx: &x [a]\ny: *x\n",
    ] {
        assert_eq!(stored(&user_data(text))["cloud_init"]["user_data"], json!(text));
    }
    for text in [
        "",
        "#!/bin/sh\nreboot",
        "packages: []",
        "\n#cloud-config\npackages: []",
        "#cloud-config-archive\n- type: text/cloud-config\n",
        "## template: jinja\n#cloud-config",
        "#cloud-config\n",
        "#cloud-config\n- a\n- b\n",
        "#cloud-config\nhello",
        "#cloud-config\na: [b\n",
        "#cloud-config\na: 1\na: 2\n",
        "#cloud-config\na: 1\n---\nb: 2\n",
        "#cloud-config\na: *unknown\n",
        "#cloud-config\na: \u{1b}[31m\n",
    ] {
        assert_eq!(refusal(&user_data(text)).0, "spec.cloud_init.user_data", "{text:?}");
    }
}

#[test]
fn network_data_is_a_mapping() {
    stored(&network_data("version: 2\nethernets: {}\n"));
    for text in ["", "version", "- version: 2\n", "version: [2\n"] {
        assert_eq!(
            refusal(&network_data(text)).0,
            "spec.cloud_init.network_data",
            "{text:?}"
        );
    }
    for value in [json!(2), json!({"version": 2}), json!(["version: 2"])] {
        let document = with("cloud_init", json!({"network_data": value}));
        assert_eq!(refusal(&document).0, "spec.cloud_init.network_data");
    }
}

#[test]
fn a_document_that_is_no_yaml_is_not_quoted() {
    let (_, hint) = refusal(&user_data("#cloud-config\nusers: []\npassword: [hunter2\n"));
    assert!(!hint.contains("hunter2") && hint.contains("line"), "{hint}");
}

#[test]
fn both_documents_are_bounded() {
    let filled = |bytes: usize| {
        let start = "#cloud-config\na: ";
        format!("{start}{}", "x".repeat(bytes - start.len()))
    };
    stored(&user_data(&filled(64 * 1024)));
    assert_eq!(
        refusal(&user_data(&filled(64 * 1024 + 1))).0,
        "spec.cloud_init.user_data"
    );
    stored(&network_data(&filled(16 * 1024)));
    assert_eq!(
        refusal(&network_data(&filled(16 * 1024 + 1))).0,
        "spec.cloud_init.network_data"
    );
}

#[test]
fn documents_that_would_occupy_the_platform_are_refused() {
    let deep = format!("#cloud-config\na: {}{}\n", "[".repeat(500), "]".repeat(500));
    let nested: String = (0..200).map(|depth| format!("{}k:\n", " ".repeat(depth))).collect();
    let many: String = (0..21_000).map(|_| "- \n").collect();
    for text in [
        alias_bomb(9),
        deep,
        format!("#cloud-config\n{nested}"),
        format!("#cloud-config\na:\n{many}"),
    ] {
        assert_eq!(refusal(&user_data(&text)).0, "spec.cloud_init.user_data");
    }
}

#[test]
fn keys_inside_of_user_data_are_the_guests_business() {
    for key in ["memory", "domain", "metadata", "labels", "running", "resources"] {
        stored(&user_data(&format!("#cloud-config\n{key}: 1\n")));
    }
}
