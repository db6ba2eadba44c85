//! The service as it is run: a process that is asked by HTTP, and a command that answers once.

#![expect(
    clippy::unwrap_used,
    reason = "a failed step of a test should end it where it stands"
)]

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use shepherd_testkit::leash::{Leash, LeashedProcess};

const BINARY: &str = env!("CARGO_BIN_EXE_embedding-example");
const PATIENCE: Duration = Duration::from_secs(30);

fn wish() -> Value {
    json!({
        "namespace": "live", "environment": "prod", "system": "shop", "service": "web", "cpu_cores": 2,
        "memory_mb": 4096, "disk_gb": 60, "role": "member",
    })
}

#[tokio::test]
async fn the_service_says_what_shepherd_would_say_and_tells_the_approvers() {
    let directory = tempfile::tempdir().unwrap();
    let spool = directory.path().join("spool.jsonl");
    let log = directory.path().join("log");
    let leash = Leash::terminating(Duration::from_secs(5));
    let mut command = leash.command(BINARY);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--spool"])
        .arg(&spool)
        .stdout(File::create(&log).unwrap());
    let process = LeashedProcess::spawn("the service", command, &leash).unwrap();
    let address = address_in(&log).await;

    let verdict = json!({"vm_name": "live-shop-web-01", "decision": "REQUIRES_APPROVAL", "warnings": []});
    assert_eq!(ask(&address, &wish()).await, (200, verdict));
    let told = std::fs::read_to_string(&spool).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["title"], "live-shop-web-01 will wait for a decision");
    assert_eq!(told["to"]["approvers_of"], "prod");

    let mut large = wish();
    large["disk_gb"] = json!(5000);
    let (status, problem) = ask(&address, &large).await;
    assert_eq!((status, &problem["code"]), (422, &json!("DISK_SIZE_OUT_OF_RANGE")));
    let mut viewer = wish();
    viewer["role"] = json!("viewer");
    assert_eq!(ask(&address, &viewer).await.0, 403);
    assert_eq!(std::fs::read_to_string(&spool).unwrap().lines().count(), 1);
    process.stop().await;
}

#[test]
fn the_command_prints_the_verdict_or_why_there_is_none() {
    let run = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (succeeded, said) = run(&["check", "dev", "shop", "web"]);
    assert!(succeeded, "{said}");
    assert!(
        said.contains(r#""title":"dev-shop-web-01 will wait for a decision""#),
        "{said}"
    );
    assert!(said.contains(r#""vm_name":"dev-shop-web-01""#), "{said}");
    let (succeeded, said) = run(&["check", "dev", "Shop", "web"]);
    assert!(!succeeded && said.contains("refused: NAME_INVALID"), "{said}");
}

/// Waits for the line that says where the service is.
async fn address_in(log: &Path) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        let complete = text.ends_with('\n').then(|| text.trim_end().strip_prefix("ready "));
        if let Some(address) = complete.flatten() {
            return address.to_owned();
        }
        assert!(Instant::now() < deadline, "the service does not start: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn ask(address: &str, question: &Value) -> (u16, Value) {
    // The service speaks plain HTTP; the client still wants to know whose cryptography it would use.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
    let request = client.build().unwrap().post(format!("{address}/checks"));
    let answer = request.json(question).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}
