//! Links lead somewhere: to a file of the repository, and to a heading that it has. Addresses of others are not fetched.

use std::path::{Path, PathBuf};

use super::book::PAGES;
use super::document::{Documents, Found, normal};

pub(super) fn check(documents: &Documents) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, document) in documents.iter() {
        let missing = document.missing.iter();
        problems.extend(missing.map(|name| format!("{}: includes {name}, which is not there", path.display())));
        for link in &document.links {
            if let Err(problem) = follow(documents, path, link) {
                problems.push(format!("{}:{}: {}: {problem}", path.display(), link.line, link.text));
            }
        }
    }
    problems
}

/// The file that a link leads to, from the root of the repository; nothing for the addresses of others.
pub(super) fn target(from: &Path, link: &str) -> Option<Result<PathBuf, &'static str>> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let file = link.split_once('#').map_or(link, |(file, _)| file);
    if file.is_empty() {
        return Some(Ok(from.to_owned()));
    }
    let beside = from.parent().unwrap_or(Path::new(""));
    Some(normal(&beside.join(file)).ok_or("leads out of the repository"))
}

fn follow(documents: &Documents, from: &Path, link: &Found) -> Result<(), &'static str> {
    let Some(target) = target(from, &link.text) else {
        return Ok(());
    };
    let target = target?;
    if !documents.has(&target) {
        return Err("is not there");
    }
    // The book is read where the repository is not.
    if from.starts_with(PAGES) && !target.starts_with(PAGES) {
        return Err("leads out of the book");
    }
    let fragment = link.text.split_once('#').map_or("", |(_, fragment)| fragment);
    match documents.get(&target) {
        Some(document) if !fragment.is_empty() && !document.anchors.contains(fragment) => Err("has no such heading"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_from_where_it_stands() {
        let from = Path::new("docs/book/src/a/b.md");
        let found = |link| target(from, link).map(|target| target.map(|path| path.display().to_string()));
        assert_eq!(found("../c.md#d"), Some(Ok("docs/book/src/c.md".to_owned())));
        assert_eq!(found("#here"), Some(Ok("docs/book/src/a/b.md".to_owned())));
        assert_eq!(found("https://kubevirt.io"), None);
        assert_eq!(found("../../../../../x"), Some(Err("leads out of the repository")));
    }
}
