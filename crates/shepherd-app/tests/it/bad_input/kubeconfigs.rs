//! Kubeconfigs that run programs, read files, go through others or point inside this host.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::json;

use super::{Case, case};
use crate::client::Caller;
use crate::server::Replica;
use crate::world::{User, World};

/// Kubeconfigs that run programs, read files, go through others or point inside this host.
pub(super) fn kubeconfigs(world: &World, closed: &Replica) -> Vec<Case> {
    let user = "token: abc";
    let server = "server: https://10.0.0.1:6443";
    let written = |cluster: &str, user: &str| {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: here\n\
             contexts: [{{name: here, context: {{cluster: c, user: u}}}}]\n\
             clusters:\n- name: c\n  cluster:\n    {}\nusers:\n- name: u\n  user:\n    {}\n",
            cluster.replace('\n', "\n    "),
            user.replace('\n', "\n    ")
        )
    };
    let on = |address: &str| written(&format!("server: {address}"), user);
    let also = |line: &str| written(&format!("{server}\n{line}"), user);
    let documents = [
        (
            written(server, "exec: {apiVersion: v1, command: /bin/sh}"),
            "exec_plugin",
        ),
        (written(server, "auth-provider: {name: gcp}"), "auth_provider_plugin"),
        (written(server, "tokenFile: /etc/shadow"), "file_reference"),
        (written(server, "client-certificate: /etc/shadow"), "file_reference"),
        (written(server, "client-key: /etc/shadow"), "file_reference"),
        (also("certificate-authority: /etc/shadow"), "file_reference"),
        (written(server, "username: admin\npassword: secret"), "basic_auth"),
        (written(server, "token: abc\nas: system:admin"), "impersonation"),
        (
            written(server, "token: abc\nas-groups: [system:masters]"),
            "impersonation",
        ),
        (also("insecure-skip-tls-verify: true"), "insecure_tls"),
        (also("proxy-url: http://10.0.0.2:3128"), "proxy"),
        (on("http://10.0.0.1:8080"), "insecure_url"),
        (on("https://127.0.0.2:6443"), "insecure_url"),
        (on("https://169.254.169.254"), "insecure_url"),
        (on("https://[::1]:6443"), "insecure_url"),
        (on("https://0.0.0.0:6443"), "insecure_url"),
        (on("https://user:secret@10.0.0.1:6443"), "insecure_url"),
        (on("https://metadata.google.internal"), "insecure_url"),
        (
            written(server, user).replace("current-context: here", "current-context: there"),
            "no_current_context",
        ),
        (
            written(server, user).replace("current-context: here\n", ""),
            "no_current_context",
        ),
        ("clusters: [".to_owned(), "syntax"),
        ("just a text".to_owned(), "syntax"),
    ];
    let admin = world.as_(User::Admin);
    let mut cases: Vec<Case> = documents
        .into_iter()
        .map(|(document, reason)| kubeconfig(&admin, &document, reason))
        .collect();
    // What this test's own clusters need is refused where nobody allowed it.
    let loopback = world.test.kubeconfig();
    cases.push(kubeconfig(&admin.at(closed), &loopback, "insecure_url"));
    let not_base64 = json!({"name": "wrong", "kubeconfig": "%%%"});
    let request = admin.request(Method::POST, "/admin/clusters").json(&not_base64);
    cases.push(case(
        "a kubeconfig that is not base64",
        request,
        400,
        "VALIDATION_FAILED",
    ));
    cases
}

fn kubeconfig(admin: &Caller, document: &str, reason: &str) -> Case {
    let body = json!({"name": "wrong", "kubeconfig": STANDARD.encode(document)});
    let request = admin.request(Method::POST, "/admin/clusters").json(&body);
    let name = format!("the kubeconfig\n{document}");
    case(name, request, 400, "INVALID_KUBECONFIG").with("reason", reason)
}
