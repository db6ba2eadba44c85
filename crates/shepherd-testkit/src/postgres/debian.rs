//! PostgreSQL from the packages of Debian and Ubuntu, without installing them.
//!
//! `apt-get` can resolve and download packages as any user when its state lies in a directory of ours, and `dpkg-deb`
//! unpacks them anywhere. So nothing changes on the machine: no package is installed, no cluster is created and no
//! service is started that somebody would have to stop again. The unpacked files are kept in the user's cache
//! directory, because they cost a download of some 75 MB. See docs/adr/0004-postgresql-for-tests-and-demo.md.

use std::ffi::OsString;
use std::fs::{File, create_dir_all, read_dir, remove_dir_all, rename, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::account::Account;

/// An unpacked server: where its programs are, and the search path of its libraries.
#[derive(Debug)]
pub(super) struct Unpacked {
    pub(super) programs: PathBuf,
    pub(super) libraries: OsString,
}

/// The server unpacked earlier, or now; `None` where there is no `apt-get`.
pub(super) fn unpacked(account: Account) -> anyhow::Result<Option<Unpacked>> {
    if !is_runnable("apt-get") || !is_runnable("dpkg-deb") {
        return Ok(None);
    }
    let cache = cache_directory(account);
    create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
    // Several test processes may come here at once; one of them does the work.
    let lock = File::create(cache.join("lock")).context("create a lock file")?;
    lock.lock()
        .context("wait for another process that unpacks PostgreSQL")?;
    let tree = cache.join("tree");
    if let Some(found) = look_into(&tree) {
        return Ok(Some(found));
    }
    eprintln!(
        "PostgreSQL is not installed; fetching the distribution's packages into {}",
        cache.display()
    );
    download_and_unpack(&cache, &tree).context("fetch PostgreSQL from the distribution")?;
    Ok(look_into(&tree))
}

/// A directory that the account can read, and that survives `cargo clean`.
fn cache_directory(account: Account) -> PathBuf {
    let base = if account.is_other() {
        PathBuf::from("/var/cache")
    } else {
        std::env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
    };
    base.join("kubevirt-shepherd-postgresql")
}

fn download_and_unpack(cache: &Path, tree: &Path) -> anyhow::Result<()> {
    let work = cache.join("work");
    let _ = remove_dir_all(&work);
    for directory in ["state/lists/partial", "archives/partial", "log", "tree"] {
        create_dir_all(work.join(directory))?;
    }
    apt_get(&work, &["-qq", "update"])?;
    apt_get(
        &work,
        &[
            "-qq",
            "--yes",
            "--no-install-recommends",
            "--download-only",
            "install",
            "postgresql",
        ],
    )?;
    for entry in read_dir(work.join("archives"))? {
        let package = entry?.path();
        if is_wanted(&package) {
            run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(work.join("tree")))?;
        }
    }
    let _ = remove_dir_all(tree);
    rename(work.join("tree"), tree)?;
    set_permissions(tree, std::fs::Permissions::from_mode(0o755))?;
    remove_dir_all(&work).context("remove the downloaded packages")
}

/// The server and the libraries that were missing, but not the scripts around them.
fn is_wanted(package: &Path) -> bool {
    let is_package = package.extension().is_some_and(|extension| extension == "deb");
    let name = package
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    is_package && (name.starts_with("postgresql-") || name.starts_with("lib"))
}

/// Runs `apt-get` with the machine's sources and package list, but with every file it writes below `work`.
fn apt_get(work: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    for (key, directory) in [
        ("Dir::State", "state"),
        ("Dir::Cache::archives", "archives"),
        ("Dir::Log", "log"),
    ] {
        command
            .arg("-o")
            .arg(format!("{key}={}", work.join(directory).display()));
    }
    command
        .args(["-o", "Dir::State::status=/var/lib/dpkg/status"])
        .args(["-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="])
        .args(["-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User=root"])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(arguments);
    run(&mut command)
}

/// The programs and libraries of an unpacked tree, if it is complete.
fn look_into(tree: &Path) -> Option<Unpacked> {
    let programs = read_dir(tree.join("usr/lib/postgresql"))
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .find(|directory| directory.join("postgres").is_file() && directory.join("initdb").is_file())?;
    // Multiarch directories such as `x86_64-linux-gnu`; their names need not be known.
    let libraries = ["usr/lib", "lib"]
        .into_iter()
        .flat_map(|parent| read_dir(tree.join(parent)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("-linux-"));
    let libraries = std::env::join_paths(libraries).ok()?;
    Some(Unpacked { programs, libraries })
}

fn is_runnable(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
