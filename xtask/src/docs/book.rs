//! The table of contents names every page of the book, once, and every record of a decision has a page.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::document::Documents;
use super::links::target;

/// The pages, from the workspace root.
pub(super) const PAGES: &str = "docs/book/src";
/// Records of decisions; a page of the same name includes each.
const RECORDS: &str = "docs/adr";
const CONTENTS: &str = "docs/book/src/SUMMARY.md";

pub(super) fn check(documents: &Documents) -> Vec<String> {
    let contents = Path::new(CONTENTS);
    let Some(summary) = documents.get(contents) else {
        return vec![format!("{CONTENTS} is not there")];
    };
    let mut named: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for link in &summary.links {
        // A link that leads nowhere is a finding of the links.
        if let Some(Ok(page)) = target(contents, &link.text) {
            *named.entry(page).or_default() += 1;
        }
    }
    let pages = documents
        .iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with(PAGES) && *path != contents);
    let mut problems: Vec<String> = pages
        .filter(|page| !named.contains_key(*page))
        .map(|page| format!("{CONTENTS} does not name {}", page.display()))
        .collect();
    let twice = named.iter().filter(|(_, times)| **times > 1);
    problems.extend(twice.map(|(page, times)| format!("{CONTENTS} names {} {times} times", page.display())));
    problems.extend(records_without_pages(documents));
    problems
}

fn records_without_pages(documents: &Documents) -> impl Iterator<Item = String> {
    let page = |record: &Path| {
        Path::new(PAGES)
            .join("adr")
            .join(record.strip_prefix(RECORDS).unwrap_or(record))
    };
    documents
        .iter()
        .map(|(path, _)| path)
        .filter(|path| path.starts_with(RECORDS))
        .map(page)
        .filter(move |page| documents.get(page).is_none())
        .map(|page| format!("{} is not there; it includes the record of that name", page.display()))
}
