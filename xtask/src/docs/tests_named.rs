//! Every test that a document names (`crates/x/tests/it/y.rs::it_holds`) is in that file.

use std::path::Path;

use super::document::Documents;

pub(super) fn check(root: &Path, documents: &Documents) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, document) in documents.iter() {
        for code in &document.codes {
            let Some((file, test)) = named(&code.text) else {
                continue;
            };
            // A file that cannot be read has no such test.
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            if !source.contains(&format!("fn {test}(")) {
                problems.push(format!(
                    "{}:{}: there is no {test} in {file}",
                    path.display(),
                    code.line
                ));
            }
        }
    }
    problems
}

/// File and function, when that is what the code is.
fn named(code: &str) -> Option<(&str, &str)> {
    let (file, test) = code
        .split_once(".rs::")
        .map(|(file, test)| (&code[..file.len() + 3], test))?;
    let is_name = test
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || character == '_');
    (file.contains('/') && is_name).then_some((file, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_named_by_its_file_and_its_function() {
        assert_eq!(named("a/b.rs::it_holds"), Some(("a/b.rs", "it_holds")));
        assert_eq!(named("a/b.rs"), None);
        assert_eq!(named("module::function"), None);
    }
}
