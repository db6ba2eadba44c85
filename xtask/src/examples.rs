//! The examples that need a running product, run against a demo of their own: a stage of `cargo xtask test`.
//!
//! What they print is shown, and has to say what their READMEs promise. The others are covered by their own tests. The
//! same demo is walked through as the [`documents`] show it.

mod documents;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use shepherd_testkit::leash::{Leash, LeashedProcess};
use shepherd_testkit::postgres::random_token;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::compile::{self, Executables};
use crate::demo;
use crate::demo::api::Api;
use crate::progress::Step;
use crate::workspace::Workspace;

/// For all walks together.
const LIMIT: Duration = Duration::from_secs(900);
/// For one walk; those that wait without a limit of their own end with this one.
const WALK_LIMIT: Duration = Duration::from_secs(180);
/// How long the board may take to say something, and to stop.
const BOARD_LIMIT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

const WALK: &str = "walkthrough-example";
const BOARD: &str = "approval-handler-example";

/// Runs them all. Builds with the selection of the tests, so that nothing is compiled a second time with other features.
pub(crate) async fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let step = Step::begin("building");
    let built = compile::build(workspace, &["--workspace", "--all-targets"], &step).await?;
    step.done("");
    demo::during(workspace, "examples", &built, async |announcement| {
        let walks = run_all(workspace, &built, announcement);
        tokio::time::timeout(LIMIT, walks)
            .await
            .context("the examples take too long")?
    })
    .await
}

async fn run_all(workspace: &Workspace, built: &Executables, announcement: &Path) -> anyhow::Result<()> {
    let said = walk(built, announcement, &[]).await?;
    expect(&said, "nothing is left but the record")?;
    walk_with_curl(workspace, announcement).await?;
    documents::run(workspace, announcement).await?;
    board(built, announcement).await
}

/// The walk in Rust.
async fn walk(built: &Executables, announcement: &Path, more: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(built.path(WALK)?);
    command.arg("--demo").arg(announcement).args(more);
    output(WALK, command).await
}

/// The walk with curl, on a machine that has it.
async fn walk_with_curl(workspace: &Workspace, announcement: &Path) -> anyhow::Result<()> {
    if !is_curl_installed().await {
        eprintln!("-- walk.sh: SKIPPED (curl is not installed, or older than 7.76)");
        return Ok(());
    }
    let mut command = Command::new("sh");
    command
        .arg(workspace.root().join("examples/walkthrough/walk.sh"))
        .arg(announcement);
    let said = output("walk.sh", command).await?;
    expect(&said, "done: nothing is left but the record")
}

/// Old ones do not know the option that the walk needs.
async fn is_curl_installed() -> bool {
    let answer = Command::new("curl")
        .args(["--fail-with-body", "--version"])
        .stdin(Stdio::null())
        .output()
        .await;
    answer.is_ok_and(|output| output.status.success())
}

/// The approval handler: it decides about a small machine, and leaves a large one to people.
async fn board(built: &Executables, announcement: &Path) -> anyhow::Result<()> {
    let log = announcement.with_file_name("board.log");
    let secret = random_token(16)?;
    let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let leash = Leash::terminating(STOP_GRACE);
    let mut command = leash.command(built.path(BOARD)?);
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("APPROVAL_SECRET", &secret)
        .stdout(file.try_clone()?)
        .stderr(file);
    let board = LeashedProcess::spawn("the board", command, &leash)?;
    let outcome = hand_tickets_over(built, announcement, &secret, &log).await;
    board.stop().await;
    eprintln!("-- {BOARD}\n{}", read(&log));
    outcome
}

async fn hand_tickets_over(built: &Executables, announcement: &Path, secret: &str, log: &Path) -> anyhow::Result<()> {
    let ready = line_with(log, "ready ").await?;
    let address = ready.trim_start_matches("ready ");
    let mut connect = Command::new(built.path(BOARD)?);
    connect
        .args(["connect", "--url", address, "--demo"])
        .arg(announcement)
        .env("APPROVAL_SECRET", secret);
    let said = output("approval-handler-example connect", connect).await?;
    expect(&said, "a test reaches it")?;

    let small = ["--decided-elsewhere", "--system", "by-rule", "--size", "small"];
    let said = walk(built, announcement, &small).await?;
    expect(&said, "decided by EXTERNAL: the rule of the board in example-board")?;
    line_with(log, "BOARD-1 is reported: 200 {\"accepted\":true}").await?;

    let large = ["--decided-elsewhere", "--system", "by-people", "--size", "large"];
    let by_a_person = async {
        line_with(log, "left to people").await?;
        approve_what_waits(announcement).await
    };
    let (said, ()) = tokio::try_join!(walk(built, announcement, &large), by_a_person)?;
    expect(&said, "decided by USER: a person looked at it")?;
    line_with(log, "BOARD-2 is withdrawn").await.map(drop)
}

/// What the approver of the demo does about the one ticket that waits.
async fn approve_what_waits(announcement: &Path) -> anyhow::Result<()> {
    let demo: Value = serde_json::from_str(&std::fs::read_to_string(announcement)?)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("demo.json is not complete");
    let approver = &demo["users"]["approver"];
    let session = Api::new(&text(&demo["url"])?)?
        .log_in(&text(&approver["username"])?, &text(&approver["password"])?)
        .await?;
    let session = session.context("the approver of the demo cannot log in")?;
    let waiting = session.get("/approvals?status=PENDING_APPROVAL").await?;
    let ticket = waiting["items"][0]["id"].as_str();
    let ticket = ticket.context("no ticket waits for the approver")?;
    let path = format!("/approvals/{ticket}/approve");
    session
        .post(&path, json!({"comment": "a person looked at it"}))
        .await?
        .success()
        .map(drop)
}

/// Runs a program to its end, shows what it said, and fails when it fails or takes too long.
async fn output(name: &str, mut command: Command) -> anyhow::Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run {name}"))?;
    let mut stdout = child.stdout.take().context("the output of the program")?;
    let mut stderr = child.stderr.take().context("the words of the program")?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let ended = tokio::time::timeout(WALK_LIMIT, async {
        tokio::try_join!(stdout.read_to_end(&mut said), stderr.read_to_end(&mut complained))?;
        child.wait().await
    })
    .await;
    said.append(&mut complained);
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    eprintln!("-- {name}\n{said}");
    let status = ended
        .with_context(|| format!("{name} takes too long"))?
        .with_context(|| format!("run {name}"))?;
    ensure!(status.success(), "{name} failed with {status}");
    Ok(said)
}

fn expect(said: &str, words: &str) -> anyhow::Result<()> {
    ensure!(said.contains(words), "an example should have said \"{words}\"");
    Ok(())
}

/// Waits for the first line of a log with these words in it.
async fn line_with(log: &Path, words: &str) -> anyhow::Result<String> {
    let deadline = Instant::now() + BOARD_LIMIT;
    loop {
        let text = read(log);
        if let Some(line) = text.lines().find(|line| line.contains(words)) {
            return Ok(line.to_owned());
        }
        if Instant::now() > deadline {
            bail!("an example did not say \"{words}\"");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
