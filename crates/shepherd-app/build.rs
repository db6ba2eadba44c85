//! Says in a release which commit it was built from: SHEPHERD_COMMIT, as builds without a repository give it, or what
//! git says. Other builds say so, and are not built anew at each commit.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=SHEPHERD_COMMIT");
    let given = std::env::var("SHEPHERD_COMMIT").ok().filter(|commit| is_commit(commit));
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = given.or_else(|| if is_release { of_repository() } else { None });
    let kind = if is_release { "unknown commit" } else { "development" };
    println!("cargo::rustc-env=SHEPHERD_BUILD={}", commit.as_deref().unwrap_or(kind));
}

/// The commit of the working tree; followed, so that the next one is noticed.
fn of_repository() -> Option<String> {
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|commit| is_commit(commit))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

fn is_commit(text: &str) -> bool {
    (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
