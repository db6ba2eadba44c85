//! `cargo xtask tidy`: rules about the source tree that the compiler does not know.

mod arrows;
mod manifests;
mod sources;

use anyhow::bail;

use crate::workspace::Workspace;

/// Runs every check, prints what is wrong and fails if anything is.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let metadata = workspace.metadata()?;
    let mut problems = arrows::check(&metadata)?;
    let mut notes = Vec::new();
    for package in metadata.workspace_packages() {
        problems.extend(manifests::check(package.manifest_path.as_std_path())?);
        let Some(directory) = package.manifest_path.parent() else {
            continue;
        };
        let report = sources::check(workspace.root(), directory.as_std_path())?;
        problems.extend(report.problems);
        notes.extend(report.notes);
    }
    for note in &notes {
        eprintln!("note: {note}");
    }
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    if !problems.is_empty() {
        bail!("tidy found {} problems", problems.len());
    }
    println!("tidy: {} packages are in order", metadata.workspace_packages().len());
    Ok(())
}
