//! `cargo xtask docs`: what the Markdown files of the repository say, held against what there is; then the book.
//!
//! [`document`] reads a file, [`links`] follows its links, [`book`] looks at the table of contents, [`commands`] at the
//! commands of this program, [`api`] at operations, [`tests_named`] at tests, [`runbooks`] at alerts. The commands of
//! `shepherd` and the configuration reference are held against the code by unit tests of `shepherd-app`, which has the
//! code. Walks are run by [`crate::examples`], SQL by a test of `migrations`.
//!
//! The checks need nothing; HTML needs `mdbook`, which is a program of its own and no dependency: its tree of crates
//! would be compiled by everybody who runs a demo.

mod api;
mod book;
mod commands;
mod document;
mod links;
mod runbooks;
mod tests_named;

use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::workspace::Workspace;
use document::Documents;

/// The book, from the workspace root.
const BOOK: &str = "docs/book";
/// Where the HTML goes, below the directory for local state.
const HTML: &str = "book";
const HOW_TO_INSTALL: &str = "mdbook is not installed; `cargo install --locked mdbook` adds it";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Check only, and build nothing
    #[arg(long)]
    check: bool,
}

pub(crate) async fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    check(workspace)?;
    if options.check {
        return Ok(());
    }
    if !is_mdbook_installed().await {
        bail!("the checks have passed, but {HOW_TO_INSTALL}");
    }
    build(workspace).await
}

/// The stage of `cargo xtask test`: the checks always, the book where it can be built.
pub(crate) async fn check_and_build(workspace: &Workspace) -> anyhow::Result<()> {
    check(workspace)?;
    if is_mdbook_installed().await {
        build(workspace).await
    } else {
        eprintln!("note: the book was checked and not built: {HOW_TO_INSTALL}");
        Ok(())
    }
}

fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let root = workspace.root();
    let documents = Documents::read(root)?;
    let mut problems = links::check(&documents);
    problems.extend(book::check(&documents));
    problems.extend(commands::check(&documents));
    problems.extend(api::check(root, &documents)?);
    problems.extend(tests_named::check(root, &documents));
    problems.extend(runbooks::check(root, &documents)?);
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if !problems.is_empty() {
        bail!("{} things in the documents are not so", problems.len());
    }
    println!("docs: {} documents are in order", documents.len());
    Ok(())
}

async fn build(workspace: &Workspace) -> anyhow::Result<()> {
    let destination = workspace.scratch().join(HTML);
    let status = Command::new("mdbook")
        .arg("build")
        .arg(workspace.root().join(BOOK))
        .arg("--dest-dir")
        .arg(&destination)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await
        .context("run mdbook")?;
    if !status.success() {
        bail!("mdbook failed with {status}");
    }
    println!("wrote {}", destination.join("index.html").display());
    Ok(())
}

async fn is_mdbook_installed() -> bool {
    let answer = Command::new("mdbook")
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await;
    answer.is_ok_and(|output| output.status.success())
}
