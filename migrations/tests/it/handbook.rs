//! The SQL of the handbook against the schema: what an operator is told to type at night runs.
//!
//! Every block that is fenced as `sql` is run, as a whole and as it stands. One with a variable of psql (`:'name'`)
//! needs an answer first; it is named in the output and left out.

use std::path::Path;

use sea_orm::sqlx::{self, AssertSqlSafe, Executor};
use shepherd_testkit::documents::markdown_files;

use crate::{Database, TestResult};

/// The pages of the handbook.
const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/book/src");

/// What stands between two fences.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    /// Number of the line after the fence, from 1.
    line: usize,
    text: String,
}

impl Block {
    /// Whether psql would have to put something in its place first.
    fn is_open(&self) -> bool {
        self.text.contains(":'") || self.text.contains(":\"")
    }
}

/// The blocks of a Markdown text that are fenced as `sql`, also those within lists.
fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in markdown.lines().enumerate() {
        match (open.take(), line.trim()) {
            (None, "```sql") => {
                open = Some(Block {
                    line: index + 2,
                    text: String::new(),
                });
            }
            (None, _) => {}
            (Some(block), "```") => blocks.push(block),
            (Some(mut block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
        }
    }
    blocks
}

#[tokio::test]
async fn every_statement_of_the_handbook_runs() -> TestResult {
    let database = Database::filled().await?;
    let mut run = 0;
    for path in markdown_files(Path::new(PAGES))? {
        for block in blocks(&std::fs::read_to_string(&path)?) {
            let place = format!("{}:{}", path.display(), block.line);
            if block.is_open() {
                println!("{place}: left out, it has a variable");
                continue;
            }
            let statements = sqlx::raw_sql(AssertSqlSafe(block.text));
            if let Err(error) = database.pool().execute(statements).await {
                return Err(format!("{place}: {error}").into());
            }
            run += 1;
        }
    }
    assert!(run > 0, "the handbook has no SQL, or is not there");
    Ok(())
}

#[test]
fn blocks_are_found_where_they_stand() {
    let text =
        "# A\n```sql\nSELECT 1;\n```\n\n1. B\n\n   ```sql\n   SHOW x;\n   SELECT :'name';\n   ```\n```sh\nls\n```\n";
    let found = blocks(text);
    let lines: Vec<usize> = found.iter().map(|block| block.line).collect();
    assert_eq!(lines, [3, 9]);
    assert_eq!(found[0].text, "SELECT 1;\n");
    let open: Vec<bool> = found.iter().map(Block::is_open).collect();
    assert_eq!(open, [false, true]);
}
