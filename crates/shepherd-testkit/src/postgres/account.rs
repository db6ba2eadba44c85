//! The operating system account a private server runs as.
//!
//! PostgreSQL refuses to run as root. An ordinary user runs it as themselves; root hands it to an unprivileged account
//! that every system has.

use std::ffi::OsStr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Accounts root may use, the best first.
const UNPRIVILEGED: [&str; 3] = ["postgres", "nobody", "daemon"];

/// Whom a private server runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// The user who runs this process.
    Own,
    /// Another user, because this process runs as root.
    Other {
        /// The user's id.
        uid: u32,
        /// The id of the user's main group.
        gid: u32,
    },
}

impl Account {
    /// Chooses the account for a server started by this process.
    pub(super) fn choose() -> anyhow::Result<Self> {
        if id("-u", None)?.is_some_and(|uid| uid != 0) {
            return Ok(Self::Own);
        }
        for name in UNPRIVILEGED {
            if let (Some(uid), Some(gid)) = (id("-u", Some(name))?, id("-g", Some(name))?)
                && uid != 0
            {
                return Ok(Self::Other { uid, gid });
            }
        }
        bail!(
            "PostgreSQL does not run as root, and this system has none of the accounts {}; \
             create one, run this as an ordinary user, or set DATABASE_URL",
            UNPRIVILEGED.join(", ")
        )
    }

    /// Whether this process is root and hands its work to another account.
    pub(super) fn is_other(self) -> bool {
        matches!(self, Self::Other { .. })
    }

    /// A command that runs as this account, in a directory every account can enter.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        self.apply(&mut command);
        command
    }

    /// Makes an existing command run as this account.
    pub(super) fn apply(self, command: &mut Command) {
        command.current_dir("/").env("LC_ALL", "C");
        match self {
            Self::Own => {}
            Self::Other { uid, gid } => {
                command.uid(uid).gid(gid);
            }
        }
    }

    /// Gives a file or directory to this account.
    pub(super) fn give(self, path: &Path) -> anyhow::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).with_context(|| format!("give {} away", path.display()))
            }
        }
    }

    /// Whether this account can create files in a directory; every directory above counts.
    pub(super) fn can_write_in(self, directory: &Path) -> bool {
        self.command("sh")
            .args(["-c", r#"test -w "$1" && test -x "$1""#, "sh"])
            .arg(directory)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// A numeric id as `id` reports it; `None` for an account that does not exist.
fn id(which: &str, account: Option<&str>) -> anyhow::Result<Option<u32>> {
    let output = Command::new("id").arg(which).args(account).output().context("run id")?;
    if !output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Some(text.trim().parse().context("read a number from id")?))
}
