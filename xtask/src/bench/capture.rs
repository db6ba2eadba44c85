//! The statements the product really sends, as PostgreSQL's own log has them.
//!
//! They are not copied from the source: a copy would go on measuring what the product used to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::PgConnection;

use super::bed::execute;

/// How long sessions may take to notice a changed setting, and the log to be written.
const SETTLE: Duration = Duration::from_millis(500);

/// A statement with the values of its parameters, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) text: String,
    pub(super) parameters: Vec<Option<String>>,
}

/// Does some work and answers with the statements that all sessions of the server ran meanwhile.
pub(super) async fn during<T>(
    db: &mut PgConnection,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Vec<Statement>)> {
    let log = log_of(db).await?;
    execute(db, "ALTER SYSTEM SET log_statement = 'all'").await?;
    execute(db, "SELECT pg_reload_conf()").await?;
    tokio::time::sleep(SETTLE).await;
    let start = read(&log)?.len();
    let outcome = work.await;
    tokio::time::sleep(SETTLE).await;
    let written = read(&log)?;
    execute(db, "ALTER SYSTEM RESET log_statement").await?;
    execute(db, "SELECT pg_reload_conf()").await?;
    tokio::time::sleep(SETTLE).await;
    let said = String::from_utf8_lossy(written.get(start..).unwrap_or_default());
    Ok((outcome?, statements(&said)))
}

/// The test kit writes the log of a private server beside its data directory.
async fn log_of(db: &mut PgConnection) -> anyhow::Result<PathBuf> {
    let data: String = sqlx::query_scalar("SELECT current_setting('data_directory')")
        .fetch_one(db)
        .await?;
    Ok(Path::new(&data).with_file_name("server.log"))
}

fn read(log: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(log).context("read the log of the private PostgreSQL")
}

fn statements(log: &str) -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    for entry in entries(log) {
        if let Some((_, executed)) = entry.split_once(" LOG:  execute ") {
            // What comes first is the name under which the statement was prepared.
            if let Some((_, text)) = executed.split_once(": ") {
                found.push(Statement {
                    text: text.to_owned(),
                    parameters: Vec::new(),
                });
            }
        } else if let Some((_, text)) = entry.split_once(" LOG:  statement: ") {
            found.push(Statement {
                text: text.to_owned(),
                parameters: Vec::new(),
            });
        } else if let Some((_, detail)) = entry.split_once(" DETAIL:  ")
            && let Some(last) = found.last_mut()
            // PostgreSQL 15 writes `parameters`, later versions `Parameters`.
            && let Some((_, list)) = detail.split_once("arameters: ")
        {
            last.parameters = parameters(list);
        }
    }
    found
}

/// The entries of a log; the further lines of one begin with a tab.
fn entries(log: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in log.lines() {
        match (line.strip_prefix('\t'), entries.last_mut()) {
            (Some(further), Some(last)) => {
                last.push('\n');
                last.push_str(further);
            }
            _ => entries.push(line.to_owned()),
        }
    }
    entries
}

/// The values of `$1 = 'it''s', $2 = NULL`.
fn parameters(list: &str) -> Vec<Option<String>> {
    let mut values = Vec::new();
    let mut rest = list;
    while let Some((_, value)) = rest.split_once(" = ") {
        match value.strip_prefix('\'') {
            None => {
                values.push(None);
                rest = value;
            }
            Some(quoted) => {
                let (text, after) = unquoted(quoted);
                values.push(Some(text));
                rest = after;
            }
        }
    }
    values
}

/// The text up to the closing quote, and what follows that. A doubled quote is one that belongs to the text.
fn unquoted(quoted: &str) -> (String, &str) {
    let mut text = String::new();
    let mut rest = quoted;
    while let Some((before, after)) = rest.split_once('\'') {
        text.push_str(before);
        match after.strip_prefix('\'') {
            Some(further) => {
                text.push('\'');
                rest = further;
            }
            None => return (text, after),
        }
    }
    text.push_str(rest);
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
2026-01-01 00:00:00.000 UTC [7] LOG:  statement: BEGIN
2026-01-01 00:00:00.001 UTC [7] LOG:  execute sqlx_s_3: INSERT INTO t
\tVALUES ($1, $2, $3)
2026-01-01 00:00:00.001 UTC [7] DETAIL:  parameters: $1 = 'it''s = $2', $2 = NULL, $3 = '{\"a\": 1}'
2026-01-01 00:00:00.002 UTC [9] LOG:  checkpoint starting: time
2026-01-01 00:00:00.003 UTC [7] LOG:  statement: COMMIT
";

    #[test]
    fn statements_come_with_their_parameters() {
        let found = statements(LOG);
        let texts: Vec<&str> = found.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(texts, ["BEGIN", "INSERT INTO t\nVALUES ($1, $2, $3)", "COMMIT"]);
        let values = [Some("it's = $2"), None, Some("{\"a\": 1}")];
        assert_eq!(found[1].parameters, values.map(|value| value.map(str::to_owned)));
    }

    #[test]
    fn later_versions_of_postgresql_write_a_capital() {
        let log = "x LOG:  execute s: SELECT $1\nx DETAIL:  Parameters: $1 = ''\n";
        assert_eq!(statements(log)[0].parameters, [Some(String::new())]);
    }
}
