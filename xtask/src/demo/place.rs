//! The directory of a demo: who may use it, what is in it, what stays of it.

use std::fs::{
    File, TryLockError, create_dir_all, read_to_string, remove_dir_all, remove_file, set_permissions, write,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use shepherd_testkit::postgres::{random_token, remove_kept_data};

use super::stack::{Cluster, Database};
use crate::workspace::Workspace;

/// `target/demo` for example, claimed for one running demo.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    keep: bool,
    lock_path: PathBuf,
    /// Locked while this demo runs; the system unlocks it however the demo ends.
    _lock: File,
}

/// The people of a demo, and the password the administrator starts with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Users {
    pub(super) initial_admin_password: String,
    pub(super) admin: User,
    pub(super) approver: User,
    pub(super) requester: User,
    pub(super) outsider: User,
}

/// Who somebody is and how they log in.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct User {
    pub(super) username: String,
    pub(super) password: String,
}

impl Place {
    /// Claims the directory, so that no other demo of this workspace uses it.
    pub(super) fn claim(workspace: &Workspace, name: &str, keep: bool) -> anyhow::Result<Self> {
        let scratch = workspace.scratch();
        create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
        let directory = scratch.join(name);
        let lock_path = scratch.join(format!("{name}.lock"));
        let lock = File::create(&lock_path).with_context(|| format!("create {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                directory,
                keep,
                lock_path,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "another demo of this workspace is running, see {}; stop it first",
                directory.join("demo.json").display()
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {}", lock_path.display())),
        }
    }

    /// Makes the directory, empty unless an earlier run's data is to be gone on with.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        if self.directory.exists() && !self.keep {
            eprintln!("  removing what an earlier demo left in {}", self.directory.display());
            self.remove()?;
        }
        create_dir_all(&self.directory).with_context(|| format!("create {}", self.directory.display()))
    }

    /// A file in the directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory itself, which the processes run in.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the database keeps its data, if it shall stay.
    pub(super) fn kept_database(&self) -> Option<PathBuf> {
        self.keep.then(|| self.path("pgdata"))
    }

    /// The description other programs read.
    pub(super) fn announcement(&self) -> PathBuf {
        self.path("demo.json")
    }

    /// The users of a kept demo, or new ones. They are written down before they are used, so that a demo that is kept
    /// and was interrupted can go on.
    pub(super) fn users(&self) -> anyhow::Result<Users> {
        let path = self.path("users.json");
        if path.is_file() {
            return serde_json::from_str(&read_to_string(&path)?).context("read users.json");
        }
        let user = |name: &str| -> anyhow::Result<User> {
            Ok(User {
                username: name.to_owned(),
                password: format!("demo-{}", random_token(12)?),
            })
        };
        let users = Users {
            initial_admin_password: format!("demo-first-{}", random_token(6)?),
            admin: user("admin")?,
            approver: user("approver")?,
            requester: user("requester")?,
            outsider: user("outsider")?,
        };
        write_private(&path, &serde_json::to_string_pretty(&users)?)?;
        Ok(users)
    }

    /// Writes `demo.json`: the demo is ready.
    pub(super) fn announce(
        &self,
        url: &str,
        users: &Users,
        clusters: &[Cluster],
        database: &Database,
    ) -> anyhow::Result<()> {
        let clusters: Vec<_> = clusters
            .iter()
            .map(|cluster| json!({"name": cluster.name, "kubeconfig_path": cluster.kubeconfig}))
            .collect();
        let announcement = json!({
            "url": url,
            "users": {
                "admin": users.admin,
                "approver": users.approver,
                "requester": users.requester,
                "outsider": users.outsider,
            },
            "clusters": clusters,
            "database_url": database.url,
        });
        // Whoever waits for the file shall never read half of it.
        let unfinished = self.path("demo.json.new");
        write_private(&unfinished, &serde_json::to_string_pretty(&announcement)?)?;
        std::fs::rename(unfinished, self.announcement()).context("write demo.json")
    }

    /// Ends the claim: removes everything, or only what says that a demo is running.
    pub(super) fn leave(self) -> anyhow::Result<()> {
        if self.keep {
            remove_if_there(&self.announcement())?;
        } else if self.directory.exists() {
            self.remove()?;
        }
        remove_if_there(&self.lock_path)
    }

    fn remove(&self) -> anyhow::Result<()> {
        remove_kept_data(&self.path("pgdata"))?;
        remove_dir_all(&self.directory).with_context(|| format!("remove {}", self.directory.display()))
    }
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        remove_file(path).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Writes a file that only its owner may read: it holds passwords.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let shown = path.display();
    write(path, "").with_context(|| format!("create {shown}"))?;
    set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(|| format!("protect {shown}"))?;
    write(path, text).with_context(|| format!("write {shown}"))
}
