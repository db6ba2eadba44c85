//! What the Markdown files of the repository tell people to type, so that tests can hold it against what there is.
//!
//! Shells are not parsed: this understands the plain commands that documents show, with quotes, comments, pipes and
//! continued lines, and looks at nothing in here-documents or substitutions.

use std::path::{Path, PathBuf};

/// Directories that hold nothing of ours.
const FOREIGN: [&str; 3] = [".git", "node_modules", "target"];
/// What may stand before the program of a command.
const LEADING: [&str; 4] = ["--", "sudo", "exec", "time"];

/// A block of shell commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Number of the line after the fence, from 1.
    pub line: usize,
    /// What stands between the fences.
    pub text: String,
}

/// All Markdown files below a directory, sorted.
///
/// # Errors
/// When a directory cannot be read.
pub fn markdown_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type()?.is_dir() {
            if !FOREIGN.iter().any(|foreign| name == *foreign) {
                found.extend(markdown_files(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The blocks of a Markdown text that are fenced as `sh`.
pub fn scripts(markdown: &str) -> Vec<Script> {
    let mut scripts = Vec::new();
    let mut open: Option<Script> = None;
    for (index, line) in markdown.lines().enumerate() {
        let fence = line.trim().strip_prefix("```");
        match (open.take(), fence) {
            (None, Some("sh")) => {
                open = Some(Script {
                    line: index + 2,
                    text: String::new(),
                });
            }
            (Some(script), Some("")) => scripts.push(script),
            (Some(mut script), _) => {
                script.text.push_str(line);
                script.text.push('\n');
                open = Some(script);
            }
            (None, _) => {}
        }
    }
    scripts
}

/// The arguments of every call of a program, which may be several words long (`cargo xtask`).
pub fn calls(script: &str, program: &[&str]) -> Vec<Vec<String>> {
    let joined = script.replace("\\\n", " ");
    joined
        .lines()
        .flat_map(commands)
        .filter_map(|command| arguments(&command, program))
        .collect()
}

/// What follows the program, when the command calls it.
fn arguments(command: &[String], program: &[&str]) -> Option<Vec<String>> {
    let at = command
        .windows(program.len())
        .position(|words| words.iter().zip(program).all(|(word, wanted)| word == wanted))?;
    let before = &command[..at];
    let is_called = before
        .last()
        .is_none_or(|last| LEADING.contains(&last.as_str()) || before.iter().all(|word| word.contains('=')));
    let is_argument = |word: &&String| !word.starts_with(['>', '<']) && !word.starts_with("2>");
    is_called.then(|| {
        command[at + program.len()..]
            .iter()
            .take_while(is_argument)
            .cloned()
            .collect()
    })
}

/// The commands of a line, each as its words.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word = Word::default();
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => word.push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.begin();
            }
            (None, '#') if word.is_none() => break,
            (None, ';' | '|' | '&' | '(' | ')') => {
                word.end(&mut commands);
                commands.push(Vec::new());
            }
            (None, _) if character.is_whitespace() => word.end(&mut commands),
            (None, _) => word.push(character),
        }
    }
    word.end(&mut commands);
    commands.retain(|command| !command.is_empty());
    commands
}

/// The word that is being read, when there is one; `''` is a word, too.
#[derive(Default)]
struct Word(Option<String>);

impl Word {
    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn begin(&mut self) {
        self.0.get_or_insert_default();
    }

    fn push(&mut self, character: char) {
        self.0.get_or_insert_default().push(character);
    }

    fn end(&mut self, commands: &mut [Vec<String>]) {
        if let (Some(word), Some(command)) = (self.0.take(), commands.last_mut()) {
            command.push(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_blocks_of_shell_commands_are_scripts() {
        let text = "# Title\n```sh\none\ntwo\n```\ntext\n```json\n{}\n```\n";
        let expected = Script {
            line: 3,
            text: "one\ntwo\n".to_owned(),
        };
        assert_eq!(scripts(text), [expected]);
    }

    #[test]
    fn a_call_is_found_where_the_program_is_the_command() {
        let script = "A=b shepherd migrate up && shepherd seed  # shepherd is a word here\n\
             kubectl exec deploy/shepherd -- shepherd doctor --json | jq '.[]'\n\
             helm install shepherd deploy/helm/shepherd\n\
             shepherd serve \\\n  --roles 'api,worker' > log\n";
        let expected: [&[&str]; 4] = [
            &["migrate", "up"],
            &["seed"],
            &["doctor", "--json"],
            &["serve", "--roles", "api,worker"],
        ];
        assert_eq!(calls(script, &["shepherd"]), expected);
    }

    #[test]
    fn a_program_may_be_several_words() {
        let script = "cargo xtask demo --keep\ncargo build\n";
        assert_eq!(calls(script, &["cargo", "xtask"]), [["demo", "--keep"]]);
    }
}
