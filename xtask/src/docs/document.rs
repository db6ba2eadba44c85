//! A Markdown file as the checks see it: its headings, links, pieces of code and shell scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use shepherd_testkit::documents::{Script, markdown_files, scripts};

/// How a page takes in another file; the form that `mdbook` knows.
const INCLUDE: &str = "{{#include ";

/// Something that stands on a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// From 1. On a page that includes other files, of the page with these in place.
    pub(super) line: usize,
    pub(super) text: String,
}

/// A Markdown file, with the files it includes in place.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Names by which headings can be linked to.
    pub(super) anchors: BTreeSet<String>,
    /// Texts of the headings of the second level.
    pub(super) sections: Vec<String>,
    /// Destinations of links and images.
    pub(super) links: Vec<Found>,
    /// Pieces of code within sentences.
    pub(super) codes: Vec<Found>,
    /// Blocks of shell commands.
    pub(super) scripts: Vec<Script>,
    /// Files that should have been included and are not there.
    pub(super) missing: Vec<String>,
}

/// All Markdown files of the repository, by their paths from its root.
#[derive(Debug)]
pub(super) struct Documents {
    root: PathBuf,
    files: BTreeMap<PathBuf, Document>,
}

impl Documents {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for path in markdown_files(root).context("look for documents")? {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let document = Document::of(&path, &text);
            let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
            files.insert(path, document);
        }
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn get(&self, path: &Path) -> Option<&Document> {
        self.files.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Document)> {
        self.files.iter().map(|(path, document)| (path.as_path(), document))
    }

    /// Whether the repository has such a file or directory.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.root.join(path).exists()
    }
}

impl Document {
    fn of(path: &Path, text: &str) -> Self {
        let mut document = Self::default();
        let text = document.with_includes(path, text);
        document.scripts = scripts(&text);
        document.parse(&text);
        document
    }

    /// The text with the lines that include a file replaced by that file.
    fn with_includes(&mut self, path: &Path, text: &str) -> String {
        let mut whole = String::with_capacity(text.len());
        for line in text.lines() {
            let included = line
                .trim()
                .strip_prefix(INCLUDE)
                .and_then(|rest| rest.strip_suffix("}}"))
                .map(str::trim);
            match included {
                None => whole.push_str(line),
                Some(name) => match std::fs::read_to_string(path.with_file_name(name)) {
                    Ok(text) => whole.push_str(&text),
                    Err(_) => self.missing.push(name.to_owned()),
                },
            }
            whole.push('\n');
        }
        whole
    }

    fn parse(&mut self, text: &str) {
        let mut anchors = Anchors::default();
        let mut heading: Option<String> = None;
        let is_section = |range: &Range<usize>| text[range.clone()].starts_with("## ");
        for (event, range) in Parser::new_ext(text, options()).into_offset_iter() {
            let found = |what: &str| Found {
                line: text[..range.start].matches('\n').count() + 1,
                text: what.to_owned(),
            };
            if let Event::Start(Tag::Heading { .. }) = &event {
                heading = Some(String::new());
            } else if let Event::End(TagEnd::Heading(_)) = &event {
                let title = heading.take().unwrap_or_default();
                self.anchors.insert(anchors.next(&title));
                if is_section(&range) {
                    self.sections.push(title);
                }
            } else if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = &event {
                self.links.push(found(dest_url));
            } else if let Event::Code(code) = &event {
                self.codes.push(found(code));
            }
            if let (Some(heading), Event::Text(part) | Event::Code(part)) = (&mut heading, &event) {
                heading.push_str(part);
            }
        }
    }
}

fn options() -> Options {
    Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS
}

/// Names of headings, as `mdbook` and the forges make them: repeated ones get a number.
#[derive(Default)]
struct Anchors(BTreeMap<String, usize>);

impl Anchors {
    fn next(&mut self, title: &str) -> String {
        let plain: String = title
            .trim()
            .chars()
            .filter_map(|character| match character {
                '_' | '-' => Some(character),
                _ if character.is_alphanumeric() => Some(character.to_ascii_lowercase()),
                _ if character.is_whitespace() => Some('-'),
                _ => None,
            })
            .collect();
        let seen = self.0.entry(plain.clone()).or_default();
        *seen += 1;
        match *seen {
            1 => plain,
            more => format!("{plain}-{}", more - 1),
        }
    }
}

/// A path without `.` and `..`; nothing when it leads out of the directory that it starts from.
pub(super) fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => normal.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::of(Path::new("nowhere.md"), text)
    }

    #[test]
    fn headings_are_linked_to_by_their_words() {
        let document = document("# One: `two`, three\n\n## Four\n\n## Four\n\n### Five\n");
        let anchors: Vec<&str> = document.anchors.iter().map(String::as_str).collect();
        assert_eq!(anchors, ["five", "four", "four-1", "one-two-three"]);
        assert_eq!(document.sections, ["Four", "Four"]);
    }

    #[test]
    fn links_images_and_code_are_found_on_their_lines() {
        let document = document("A [link](a.md#b).\n\n![image](c.png) and `code`\n\n```sh\nshepherd seed\n```\n");
        let links: Vec<(usize, &str)> = document
            .links
            .iter()
            .map(|link| (link.line, link.text.as_str()))
            .collect();
        assert_eq!(links, [(1, "a.md#b"), (3, "c.png")]);
        assert_eq!(document.codes[0].text, "code");
        assert_eq!(document.scripts[0].text, "shepherd seed\n");
    }

    #[test]
    fn a_file_that_cannot_be_included_is_missing() {
        assert_eq!(document("{{#include ../gone.md}}\n").missing, ["../gone.md"]);
    }

    #[test]
    fn paths_that_lead_out_are_none() {
        assert_eq!(normal(Path::new("a/./b/../c")), Some(PathBuf::from("a/c")));
        assert_eq!(normal(Path::new("a/../../b")), None);
        assert_eq!(normal(Path::new("/a")), None);
    }
}
