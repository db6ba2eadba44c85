//! The walks that documents show and that the demo prints, run as they stand: whoever pastes them gets what they say.
//!
//! A walk is all the blocks of shell commands in one section of a document, one after the other in one bash. Sections
//! that start the demo or install something are other ones.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use shepherd_testkit::documents::scripts;
use tokio::process::Command;

use super::{expect, is_curl_installed, output};
use crate::demo::walk;
use crate::workspace::Workspace;

/// Where the walks look for the demo, from the directory they are run in.
const ANNOUNCEMENT: &str = "target/demo/demo.json";
/// What bash does about a command that fails: the walk has failed.
const STRICT: &str = "set -euo pipefail\n";

/// A section of a document.
struct Walk {
    document: &'static str,
    section: &'static str,
    /// What it has to print.
    says: &'static [&'static str],
}

const WALKS: [Walk; 2] = [
    Walk {
        document: "docs/book/src/quick-start.md",
        section: "Walk through it",
        says: &["\"status\": \"RUNNING\"", "vm.delete_executed"],
    },
    Walk {
        document: "README.md",
        section: "A walk through the API",
        says: &["\"status\": \"RUNNING\"", "SYSTEM_NOT_FOUND", "vm.delete_executed"],
    },
];

/// Runs them, on a machine that has what they need.
pub(super) async fn run(workspace: &Workspace, announcement: &Path) -> anyhow::Result<()> {
    if !(is_curl_installed().await && is_installed("bash").await && is_installed("jq").await) {
        eprintln!("-- walks of the documents: SKIPPED (they need bash, jq, and curl 7.76 or newer)");
        return Ok(());
    }
    let home = place_like_the_workspace(announcement)?;
    let mut printed = Command::new("bash");
    printed
        .arg("-eu")
        .arg(announcement.with_file_name(walk::NAME))
        .current_dir(&home);
    let said = output("the walk that the demo prints", printed).await?;
    // It goes on whatever it is answered; that nothing is left in the end tells that all went well.
    for words in ["\"status\":\"RUNNING\"", "vm.delete_executed", "\"items\":[]"] {
        expect(&said, words)?;
    }
    for walk in &WALKS {
        let markdown = std::fs::read_to_string(workspace.root().join(walk.document))
            .with_context(|| format!("read {}", walk.document))?;
        let script = script(&markdown, walk.section)
            .with_context(|| format!("{} has no commands below \"{}\"", walk.document, walk.section))?;
        let path = home.join(walk.document.replace('/', "-")).with_extension("sh");
        std::fs::write(&path, script).with_context(|| format!("write {}", path.display()))?;
        let mut command = Command::new("bash");
        command.arg(&path).current_dir(&home);
        let said = output(walk.document, command).await?;
        for words in walk.says {
            expect(&said, words)?;
        }
    }
    Ok(())
}

/// A directory in which the demo of this run is where the documents say that a demo is.
fn place_like_the_workspace(announcement: &Path) -> anyhow::Result<PathBuf> {
    let home = announcement.with_file_name("workspace");
    let link = home.join(ANNOUNCEMENT);
    let directory = link.parent().unwrap_or(&home);
    std::fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    symlink(announcement, &link).with_context(|| format!("link {}", link.display()))?;
    Ok(home)
}

/// The commands of a section as one script; nothing when there is no such section, or none in it.
fn script(markdown: &str, section: &str) -> Option<String> {
    let heading = format!("\n## {section}\n");
    let (_, below) = markdown.split_once(&heading)?;
    let text = below.split_once("\n## ").map_or(below, |(text, _)| text);
    let blocks = scripts(text);
    (!blocks.is_empty()).then(|| {
        let commands = blocks.iter().map(|block| block.text.as_str());
        std::iter::once(STRICT).chain(commands).collect()
    })
}

async fn is_installed(program: &str) -> bool {
    let answer = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await;
    answer.is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_what_its_section_shows_and_nothing_else() {
        let markdown = "# A\n\n## Start\n\n```sh\nstart\n```\n\n## Walk\n\nText.\n\n```sh\none\n```\n\n```json\n{}\n```\n\n\
            ```sh\ntwo\n```\n\n## Go on\n\n```sh\nthree\n```\n";
        assert_eq!(
            script(markdown, "Walk").as_deref(),
            Some("set -euo pipefail\none\ntwo\n")
        );
        assert_eq!(script(markdown, "Wal"), None);
        assert_eq!(script("# A\n\n## Walk\n\nText.\n", "Walk"), None);
    }

    #[test]
    fn the_documents_have_their_walks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for walk in &WALKS {
            let markdown = std::fs::read_to_string(root.join(walk.document)).unwrap();
            let script = script(&markdown, walk.section).unwrap();
            assert!(
                script.contains(ANNOUNCEMENT),
                "{} does not look for the demo",
                walk.document
            );
        }
    }
}
