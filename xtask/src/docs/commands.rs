//! Every `cargo xtask` that a document shows is a command with these options.

use clap::CommandFactory as _;
use clap::error::ErrorKind;
use shepherd_testkit::documents::calls;

use super::document::Documents;
use crate::Arguments;

pub(super) fn check(documents: &Documents) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, document) in documents.iter() {
        for script in &document.scripts {
            for words in calls(&script.text, &["cargo", "xtask"]) {
                if let Some(problem) = refusal(&words) {
                    let (path, line, words) = (path.display(), script.line, words.join(" "));
                    problems.push(format!("{path}:{line}: cargo xtask {words}: {problem}"));
                }
            }
        }
    }
    problems
}

/// What this program would say to the words, in a line.
fn refusal(words: &[String]) -> Option<String> {
    let line = std::iter::once("cargo xtask").chain(words.iter().map(String::as_str));
    let error = Arguments::command().try_get_matches_from(line).err()?;
    let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    (!is_answer).then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_there_is_not_is_refused() {
        assert_eq!(refusal(&words("demo --keep")), None);
        assert_eq!(refusal(&words("docs --help")), None);
        assert!(refusal(&words("demo --for-ever")).is_some());
        assert!(refusal(&words("deploy")).is_some());
    }
}
