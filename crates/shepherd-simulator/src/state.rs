//! Keeping a cluster between runs: one JSON file with objects, revision and credentials.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::credentials::Credentials;
use crate::resources;
use crate::server::SimulatorError;
use crate::store::Store;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    credentials: Credentials,
    revision: u64,
    objects: Vec<SavedObject>,
}

#[derive(Serialize, Deserialize)]
struct SavedObject {
    group: String,
    plural: String,
    object: Value,
}

/// What an earlier run left behind; `None` when there was none.
pub(crate) fn load(path: &Path) -> Result<Option<(Credentials, Store)>, SimulatorError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path, source)),
    };
    let snapshot: Snapshot = serde_json::from_slice(&bytes).map_err(|source| SimulatorError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    let objects = snapshot.objects.into_iter().filter_map(|saved| {
        let def = resources::by_key(&saved.group, &saved.plural)?;
        Some((def.key(), saved.object))
    });
    let mut store = Store::default();
    store.restore(snapshot.revision, objects);
    Ok(Some((snapshot.credentials, store)))
}

/// Writes the present state and returns its revision.
pub(crate) fn save(path: &Path, credentials: &Credentials, cluster: &Cluster) -> Result<u64, SimulatorError> {
    let snapshot = cluster.read(|store| Snapshot {
        credentials: credentials.clone(),
        revision: store.revision(),
        objects: store
            .everything()
            .map(|((group, plural), object)| SavedObject {
                group: group.to_owned(),
                plural: plural.to_owned(),
                object: Value::clone(object),
            })
            .collect(),
    });
    let text = serde_json::to_string(&snapshot).map_err(|source| SimulatorError::Damaged {
        path: path.to_owned(),
        source,
    })?;
    write_private(path, &text)?;
    Ok(snapshot.revision)
}

/// Writes a file only its owner can read. A reader sees the old content or the new one, never a part.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), SimulatorError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft: PathBuf = path.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, path)
    };
    write().map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> SimulatorError {
    SimulatorError::File {
        path: path.to_owned(),
        source,
    }
}
