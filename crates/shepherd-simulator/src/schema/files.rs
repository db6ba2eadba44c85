//! Definitions from files.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::server::SimulatorError;

/// Reads every CustomResourceDefinition in a folder, for [`SimulatorConfig::crds`](crate::SimulatorConfig).
///
/// Files that end in `.json`, `.yaml` or `.yml` are read, in order of their names; a YAML file may hold several
/// documents. Other kinds of objects in them are left out.
///
/// # Errors
/// When the folder or a file cannot be read, or a file is neither JSON nor YAML.
pub fn read_definitions(folder: &Path) -> Result<Vec<Value>, SimulatorError> {
    let failed = |path: &Path, source| SimulatorError::File {
        path: path.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        paths.push(entry.map_err(|source| failed(folder, source))?.path());
    }
    paths.sort();
    let mut definitions = Vec::new();
    for path in paths {
        let extension = path
            .extension()
            .and_then(|extension| extension.to_str())
            .unwrap_or_default();
        if !matches!(extension, "json" | "yaml" | "yml") {
            continue;
        }
        let text = fs::read_to_string(&path).map_err(|source| failed(&path, source))?;
        let documents = parse(extension, &text).map_err(|why| SimulatorError::Definition {
            name: path.display().to_string(),
            why,
        })?;
        definitions.extend(
            documents
                .into_iter()
                .filter(|document| document["kind"] == "CustomResourceDefinition"),
        );
    }
    Ok(definitions)
}

fn parse(extension: &str, text: &str) -> Result<Vec<Value>, String> {
    if extension == "json" {
        return serde_json::from_str(text)
            .map(|document| vec![document])
            .map_err(|error| error.to_string());
    }
    serde_saphyr::from_multiple(text).map_err(|error| error.to_string())
}
