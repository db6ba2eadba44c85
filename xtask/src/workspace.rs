//! Where the workspace lies, and how cargo is called in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cargo_metadata::{Metadata, MetadataCommand};
use tokio::process::Command;

/// The workspace this command belongs to.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace of the manifest cargo runs us from; of the one we were built from when run by hand.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest)
            .parent()
            .context("xtask lies in the workspace root")?;
        Ok(Self { root: root.to_owned() })
    }

    /// The directory of the root manifest.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where a demo and other local state go. Not the build directory, which may be shared or elsewhere.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("target")
    }

    /// A cargo command at the root, of the toolchain that runs us. It is killed when its value is dropped.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root).kill_on_drop(true);
        command
    }

    /// The packages of the workspace and their resolved dependencies.
    pub(crate) fn metadata(&self) -> anyhow::Result<Metadata> {
        MetadataCommand::new()
            .cargo_path(cargo_program())
            .manifest_path(self.root.join("Cargo.toml"))
            .exec()
            .context("read cargo metadata")
    }
}

fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
