//! Rules about Rust files: a module says what it is for, and a lint is silenced with a reason only.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Longer files are reported: they have usually become two concepts.
const LONG_FILE_LINES: usize = 600;
/// Written in two parts, or this file would break the rule it checks.
const BARE_ALLOW: [&str; 2] = [concat!("#[", "allow("), concat!("#![", "allow(")];

/// What was found in the files of one package.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) problems: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Checks the files of the package in `directory`; paths are reported from `root`.
pub(super) fn check(root: &Path, directory: &Path) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for part in ["src", "tests", "benches", "examples"] {
        let must_have_docs = part == "src";
        for path in rust_files(&directory.join(part))? {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            check_file(&shown, &text, must_have_docs, &mut report);
        }
    }
    Ok(report)
}

fn check_file(shown: &str, text: &str, must_have_docs: bool, report: &mut Report) {
    if must_have_docs && !opens_with_docs(text) {
        report
            .problems
            .push(format!("{shown}: open with `//!`: what lives here, and what must not"));
    }
    for (index, line) in text.lines().enumerate() {
        if BARE_ALLOW.iter().any(|allow| line.trim_start().starts_with(allow)) {
            let number = index + 1;
            report.problems.push(format!(
                "{shown}:{number}: write `#[expect(lint, reason = \"...\")]` instead"
            ));
        }
    }
    let lines = text.lines().count();
    if lines > LONG_FILE_LINES {
        report.notes.push(format!("{shown} has {lines} lines"));
    }
}

fn opens_with_docs(text: &str) -> bool {
    text.lines()
        .find(|line| !line.trim().is_empty())
        .is_some_and(|line| line.starts_with("//!"))
}

fn rust_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !directory.is_dir() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> usize {
        let mut report = Report::default();
        check_file("a.rs", text, true, &mut report);
        report.problems.len()
    }

    #[test]
    fn a_module_must_say_what_it_is_for() {
        assert_eq!(problems("\n//! Names.\n"), 0);
        assert_eq!(problems("use std::fmt;\n"), 1);
    }

    #[test]
    fn a_lint_is_not_silenced_without_a_reason() {
        let silenced = format!("//! Names.\n    {}dead_code)]\n", BARE_ALLOW[0]);
        assert_eq!(problems(&silenced), 1);
        assert_eq!(
            problems("//! Names.\n#[expect(dead_code, reason = \"shown in the guide\")]\n"),
            0
        );
    }
}
