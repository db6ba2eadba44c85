//! What the documents of the repository say about this program, held against it: commands with their options, metrics.

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory;
use clap::error::ErrorKind;
use shepherd_ports::metrics::CATALOGUE;
use shepherd_testkit::documents::{calls, markdown_files, scripts};

use super::Cli;

const METRICS: &str = "../../docs/book/src/operator/monitoring.md";

/// What the program would say to the words, in a line.
fn refusal(words: &[String]) -> Option<String> {
    let line = std::iter::once("shepherd").chain(words.iter().map(String::as_str));
    let error = Cli::command().try_get_matches_from(line).err()?;
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!is_answer).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[test]
fn what_documents_tell_people_to_type_is_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    let mut refused = Vec::new();
    for path in markdown_files(&root).unwrap() {
        let text = std::fs::read_to_string(&path).unwrap();
        for script in scripts(&text) {
            for words in calls(&script.text, &["shepherd"]) {
                seen += 1;
                if let Some(problem) = refusal(&words) {
                    let (path, line, words) = (path.display(), script.line, words.join(" "));
                    refused.push(format!("{path}:{line}: shepherd {words}: {problem}"));
                }
            }
        }
    }
    assert!(refused.is_empty(), "\n{}", refused.join("\n"));
    assert!(
        seen >= 10,
        "only {seen} commands were found; are they still fenced as sh?"
    );
}

#[test]
fn what_there_is_not_is_refused() {
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    assert_eq!(refusal(&words("serve --roles api,worker")), None);
    assert!(refusal(&words("serve --roles everything")).is_some());
    assert!(refusal(&words("backup")).is_some());
}

#[test]
fn the_book_lists_the_metrics_that_there_are() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(METRICS);
    let text = std::fs::read_to_string(page).unwrap();
    let first_cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let listed: BTreeSet<&str> = first_cells
        .flat_map(|cell| cell.split(['`', ',', ' ']))
        .filter(|name| name.contains('_'))
        .collect();
    let known: BTreeSet<&str> = CATALOGUE.iter().map(|metric| metric.name).collect();
    assert_eq!(listed, known);
}
