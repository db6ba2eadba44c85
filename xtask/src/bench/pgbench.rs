//! pgbench running captured statements: what PostgreSQL does with the same work and nothing in front of it.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use serde_json::Value;
use sqlx::PgConnection;

use super::bed::{Bed, Database};
use super::capture::Statement;

/// A script, and the values of its constant parameters.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
    variables: Vec<(String, String)>,
}

/// The values of a captured request that differ from transaction to transaction.
#[derive(Debug)]
pub(super) struct Varying {
    pub(super) service: String,
    pub(super) requester: String,
    pub(super) event: String,
    pub(super) ticket: String,
}

/// How a script is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) seconds: u64,
    /// Services there are, with the ids 1 to this number.
    pub(super) services: u64,
    /// Numbers of transactions begin here; no two runs may share any.
    pub(super) first_number: u64,
}

/// Every transaction has a number. Its event and ticket carry it as their id; Services take turns, and each requester
/// asks once for every Service, so that no request is a duplicate of another.
const NUMBERS: &str = "\\set n :n + 1
\\set number :first + :n * :clients + :client_id
\\set service 1 + :number % :services
\\set requester :number / :services
";

impl Script {
    pub(super) fn of(statements: &[Statement], varying: &Varying) -> Self {
        let mut script = Self {
            text: NUMBERS.to_owned(),
            variables: Vec::new(),
        };
        for (index, statement) in statements.iter().enumerate() {
            script.add(index, statement, varying);
        }
        script
    }

    fn add(&mut self, index: usize, statement: &Statement, varying: &Varying) {
        let mut written = Vec::new();
        for (position, value) in statement.parameters.iter().enumerate() {
            written.push(match value {
                None => "NULL".to_owned(),
                Some(value) => {
                    let name = format!("s{index}_{}", position + 1);
                    let expression = expression(statement, &name, value, varying);
                    if expression.contains(&format!(":{name}")) {
                        self.variables.push((name, value.clone()));
                    }
                    expression
                }
            });
        }
        self.text.push_str(&rewritten(&statement.text, &written));
        self.text.push_str(";\n");
    }
}

/// What stands for one parameter: a number made into an id, or a variable of its own.
fn expression(statement: &Statement, name: &str, value: &str, varying: &Varying) -> String {
    if value == varying.service {
        id_of("service")
    } else if value == varying.requester {
        id_of("requester")
    } else if value == varying.event || value == varying.ticket {
        id_of("number")
    } else if let Some(id) = audit_id(statement, value) {
        format!("replace(:{name}, '{id}', lpad(to_hex(:number::bigint), 32, '0'))::jsonb")
    } else {
        format!(":{name}")
    }
}

fn id_of(variable: &str) -> String {
    format!("lpad(to_hex(:{variable}::bigint), 32, '0')::uuid")
}

/// The id of the first row in the JSON array that audit rows travel in.
fn audit_id(statement: &Statement, value: &str) -> Option<String> {
    if !statement.text.starts_with("INSERT INTO audit_logs") {
        return None;
    }
    let rows: Value = serde_json::from_str(value).ok()?;
    Some(rows.get(0)?.get("id")?.as_str()?.to_owned())
}

/// The statement with something else for each `$n`. pgbench takes `:name` for a variable even inside a literal
/// (`'platform:admin'`), so such a literal is put together from two.
fn rewritten(text: &str, parameters: &[String]) -> String {
    let mut written = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['$', ':']) {
        let (before, from) = rest.split_at(at);
        written.push_str(before);
        let after = &from[1..];
        if let Some(further) = from.strip_prefix("::") {
            written.push_str("::");
            rest = further;
        } else if from.starts_with(':') {
            let is_name = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            written.push_str(if is_name { ":' || '" } else { ":" });
            rest = after;
        } else {
            let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: Option<usize> = after[..digits].parse().ok();
            match number.and_then(|number| parameters.get(number.checked_sub(1)?)) {
                Some(parameter) => written.push_str(parameter),
                None => written.push_str(&from[..=digits]),
            }
            rest = &after[digits..];
        }
    }
    written.push_str(rest);
    written
}

/// Runs the script and answers with transactions per second.
pub(super) async fn run(bed: &Bed<'_>, database: &Database, script: &Script, load: Load) -> anyhow::Result<f64> {
    let path = bed.directory().join("submission.pgbench.sql");
    std::fs::write(&path, &script.text).context("write the script of pgbench")?;
    let program = Program::find(&mut database.connect().await?).await?;
    let mut command = tokio::process::Command::new(&program.path);
    let admin = bed.server().admin_url();
    command
        .env("PGHOST", admin.host_str().unwrap_or("127.0.0.1"))
        .env("PGPORT", admin.port().unwrap_or(5432).to_string())
        .env("PGUSER", admin.username())
        .env("PGPASSWORD", admin.password().unwrap_or_default())
        .env("PGSSLMODE", "disable")
        .env("LD_LIBRARY_PATH", &program.libraries)
        .args(["--no-vacuum", "--protocol=prepared", "--jobs=2"])
        .arg(format!("--client={}", load.connections))
        .arg(format!("--time={}", load.seconds))
        .arg("--file")
        .arg(&path);
    let numbers = [
        ("n", 0),
        ("first", load.first_number),
        ("clients", u64::try_from(load.connections)?),
        ("services", load.services),
    ];
    for (name, value) in numbers {
        command.arg(format!("--define={name}={value}"));
    }
    for (name, value) in &script.variables {
        command.arg(format!("--define={name}={value}"));
    }
    let output = command
        .arg(database.name())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("run pgbench")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        bail!("pgbench failed:\n{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    transactions_per_second(&said).with_context(|| format!("pgbench tells no rate:\n{said}"))
}

fn transactions_per_second(said: &str) -> Option<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    line.split(' ').next()?.parse().ok()
}

/// pgbench of the installation that the server runs from.
struct Program {
    path: PathBuf,
    libraries: std::ffi::OsString,
}

impl Program {
    /// The server knows where it lies, also when it was unpacked somewhere.
    async fn find(db: &mut PgConnection) -> anyhow::Result<Self> {
        let programs: String = sqlx::query_scalar("SELECT setting FROM pg_config WHERE name = 'BINDIR'")
            .fetch_one(&mut *db)
            .await?;
        let libraries: String = sqlx::query_scalar("SELECT setting FROM pg_config WHERE name = 'LIBDIR'")
            .fetch_one(&mut *db)
            .await?;
        let mut places = vec![PathBuf::from(programs)];
        places.extend(std::env::var_os("PATH").iter().flat_map(std::env::split_paths));
        let path = places
            .into_iter()
            .map(|place| place.join("pgbench"))
            .find(|path| path.is_file())
            .context("pgbench is not installed; it comes with the server's contributed programs")?;
        let mut search = vec![PathBuf::from(libraries)];
        search.extend(
            std::env::var_os("LD_LIBRARY_PATH")
                .iter()
                .flat_map(std::env::split_paths),
        );
        Ok(Self {
            path,
            libraries: std::env::join_paths(search)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str, parameters: &[Option<&str>]) -> Statement {
        Statement {
            text: text.to_owned(),
            parameters: parameters.iter().map(|value| value.map(str::to_owned)).collect(),
        }
    }

    fn varying() -> Varying {
        Varying {
            service: "service".to_owned(),
            requester: "requester".to_owned(),
            event: "event".to_owned(),
            ticket: "ticket".to_owned(),
        }
    }

    #[test]
    fn parameters_become_variables_ids_or_nothing() {
        let captured = statement("VALUES ($1, $2::text, $3, $1)", &[Some("event"), Some("x"), None]);
        let script = Script::of(&[captured], &varying());
        let id = "lpad(to_hex(:number::bigint), 32, '0')::uuid";
        assert_eq!(
            script.text.strip_prefix(NUMBERS),
            Some(format!("VALUES ({id}, :s0_2::text, NULL, {id});\n").as_str())
        );
        assert_eq!(script.variables, [("s0_2".to_owned(), "x".to_owned())]);
    }

    #[test]
    fn audit_rows_get_an_id_of_their_own() {
        let captured = statement("INSERT INTO audit_logs SELECT $1", &[Some(r#"[{"id": "abc"}]"#)]);
        let script = Script::of(&[captured], &varying());
        assert!(script.text.contains("replace(:s0_1, 'abc', "));
        assert_eq!(script.variables.len(), 1);
    }

    #[test]
    fn a_colon_in_a_literal_is_no_variable() {
        let captured = "SELECT 'platform:admin' = ANY(p), 'a: b', x::uuid, '^[0-9]{12}$'";
        assert_eq!(
            rewritten(captured, &[]),
            "SELECT 'platform:' || 'admin' = ANY(p), 'a: b', x::uuid, '^[0-9]{12}$'"
        );
    }

    #[test]
    fn the_rate_is_found_in_what_pgbench_says() {
        let said = "latency average = 9.6 ms\ntps = 1650.25 (without initial connection time)\n";
        assert_eq!(transactions_per_second(said), Some(1650.25));
    }
}
