//! Finding a PostgreSQL installation, or bringing one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::account::Account;
use super::debian;

/// The oldest major version the schema and the queue are written for.
const OLDEST_VERSION: u32 = 15;

/// A directory of server programs that is known to work.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
    libraries: Option<OsString>,
    version: String,
}

impl Binaries {
    /// The first usable installation of this machine; else the distribution's packages, unpacked for us alone.
    pub(super) fn find_or_bring(account: Account) -> anyhow::Result<Self> {
        if let Some(found) = installed()
            .into_iter()
            .find_map(|directory| Self::probe(account, directory, None))
        {
            return Ok(found);
        }
        let brought = debian::unpacked(account)?;
        if let Some(found) = brought.and_then(|it| Self::probe(account, it.programs, Some(it.libraries))) {
            return Ok(found);
        }
        bail!(
            "no PostgreSQL {OLDEST_VERSION} or newer was found, and none could be brought. Install it and try again: \
             `apt-get install postgresql` on Debian and Ubuntu, `dnf install postgresql-server` on Fedora, \
             `apk add postgresql` on Alpine, `pacman -S postgresql` on Arch, `brew install postgresql@18` on macOS; \
             or set DATABASE_URL to a server whose user may create databases"
        )
    }

    /// Tries the programs of a directory, as the account that will run them.
    fn probe(account: Account, directory: PathBuf, libraries: Option<OsString>) -> Option<Self> {
        let mut found = Self {
            directory,
            libraries,
            version: String::new(),
        };
        let answer = found.command(account, "initdb").arg("--version").output().ok()?;
        if !answer.status.success() {
            return None;
        }
        let answer = found.command(account, "postgres").arg("--version").output().ok()?;
        if !answer.status.success() {
            return None;
        }
        let version = parse_version(&String::from_utf8_lossy(&answer.stdout))?;
        if major(&version)? < OLDEST_VERSION {
            return None;
        }
        found.version = version;
        Some(found)
    }

    /// A command for one of the programs, run as `account`.
    pub(super) fn command(&self, account: Account, program: &str) -> Command {
        let mut command = account.command(self.path(program));
        self.apply(&mut command);
        command
    }

    /// Where a program lies. A directory may hold links to some of the programs only; the others lie where these lead.
    pub(super) fn path(&self, program: &str) -> PathBuf {
        let here = self.directory.join(program);
        if here.exists() {
            return here;
        }
        let server = self.directory.join("postgres").canonicalize();
        let beside = server.ok().and_then(|server| Some(server.parent()?.join(program)));
        beside.filter(|path| path.exists()).unwrap_or(here)
    }

    /// Adds what the programs need in their environment.
    pub(super) fn apply(&self, command: &mut Command) {
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
    }

    /// The version and the place, for people.
    pub(super) fn describe(&self) -> String {
        format!("PostgreSQL {} from {}", self.version, self.directory.display())
    }
}

/// Directories that hold server programs, the preferred first.
fn installed() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    found.extend(versioned("/usr/lib/postgresql", "", "bin"));
    found.extend(versioned("/usr", "pgsql-", "bin"));
    found.extend(versioned("/usr/libexec", "postgresql", ""));
    for prefix in ["/opt/homebrew", "/usr/local", "/home/linuxbrew/.linuxbrew"] {
        found.extend(versioned(&format!("{prefix}/opt"), "postgresql@", "bin"));
        found.push(Path::new(prefix).join("opt/postgresql/bin"));
    }
    found.extend(versioned("/Applications/Postgres.app/Contents/Versions", "", "bin"));
    found.retain(|directory| directory.join("initdb").is_file() && directory.join("postgres").is_file());
    found
}

/// The entries `<parent>/<prefix><number>/<below>`, the highest number first.
fn versioned(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(below)))
        })
        .collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, path)| path).collect()
}

/// `15.20` out of `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn parse_version(answer: &str) -> Option<String> {
    let (_, rest) = answer.split_once(')')?;
    rest.split_whitespace().next().map(str::to_owned)
}

/// The number before the first character that is not a digit, so that `19beta1` counts as 19.
fn major(version: &str) -> Option<u32> {
    let end = version
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(version.len());
    version[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_says() {
        let debian = parse_version("postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n").unwrap();
        assert_eq!((debian.as_str(), major(&debian)), ("15.20", Some(15)));
        let beta = parse_version("postgres (PostgreSQL) 19beta1\n").unwrap();
        assert_eq!((beta.as_str(), major(&beta)), ("19beta1", Some(19)));
        assert_eq!(parse_version("command not found"), None);
    }
}
