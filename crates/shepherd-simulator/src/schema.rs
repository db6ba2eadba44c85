//! Structural schemas of custom resources, from CustomResourceDefinitions the simulator is given.
//!
//! Without a definition a kind keeps the rules built into [`crate::validation`]. Rules written in CEL
//! (`x-kubernetes-validations`) are not evaluated.
//!
//! - [`prune`]: unknown fields and defaults; [`translate`]: into JSON Schema; [`causes`]: what validation finds
//! - [`files`]: definitions from a folder; [`builtin`]: what is shown of virtual machines when there is none

pub(crate) mod builtin;
pub(crate) mod causes;
pub(crate) mod files;
pub(crate) mod prune;
pub(crate) mod translate;

use std::collections::BTreeMap;

use jsonschema::Validator;
use serde_json::Value;

use crate::patch::shapes::Shapes;
use crate::resources::{self, ResourceDef, ResourceKey};
use crate::server::SimulatorError;
use crate::status::Cause;

/// The schema of one kind.
pub(crate) struct Schema {
    root: Value,
    validator: Validator,
    shapes: Shapes,
    definition: Value,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

impl Schema {
    /// Takes out fields the schema does not know and returns their paths.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Fills in what the schema has defaults for.
    pub fn fill_in(&self, object: &mut Value) {
        prune::default(&self.root, object);
    }

    /// What is wrong with an object.
    pub fn check(&self, object: &Value) -> Vec<Cause> {
        causes::of(&self.validator, object)
    }
}

/// The schemas of all kinds that have one.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    kinds: BTreeMap<ResourceKey, Schema>,
    builtin: Shapes,
}

impl Schemas {
    /// Reads definitions. Those of kinds the simulator does not know are left out.
    pub fn of(documents: &[Value]) -> Result<Self, SimulatorError> {
        let mut kinds = BTreeMap::new();
        for document in documents {
            let spec = &document["spec"];
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
            let Some(def) = resources::by_key(&group, &plural).filter(|def| def.is_custom()) else {
                tracing::warn!(group, plural, "the simulator does not serve this kind");
                continue;
            };
            kinds.insert(def.key(), read(def, document)?);
        }
        Ok(Self {
            kinds,
            builtin: Shapes::default(),
        })
    }

    /// The schema of a kind.
    pub fn get(&self, def: &ResourceDef) -> Option<&Schema> {
        self.kinds.get(&def.key())
    }

    /// How the lists and maps of a kind merge.
    pub fn shapes(&self, def: &ResourceDef) -> &Shapes {
        self.get(def).map_or(&self.builtin, |schema| &schema.shapes)
    }

    /// The definitions, as objects of the cluster.
    pub fn definitions(&self) -> impl Iterator<Item = &Value> {
        self.kinds.values().map(|schema| &schema.definition)
    }
}

fn read(def: &ResourceDef, document: &Value) -> Result<Schema, SimulatorError> {
    let refuse = |why: String| SimulatorError::Definition {
        name: def.qualified(),
        why,
    };
    let versions = document["spec"]["versions"].as_array().map(Vec::as_slice);
    let version = versions
        .unwrap_or_default()
        .iter()
        .find(|version| version["name"] == def.version)
        .ok_or_else(|| refuse(format!("it has no version {}", def.version)))?;
    let root = &version["schema"]["openAPIV3Schema"];
    if !root.is_object() {
        return Err(refuse(format!("version {} has no schema", def.version)));
    }
    let validator = jsonschema::draft4::options()
        .should_validate_formats(true)
        .build(&translate::to_json_schema(root))
        .map_err(|error| refuse(error.to_string()))?;
    Ok(Schema {
        root: root.clone(),
        validator,
        shapes: Shapes::of_schema(root),
        definition: document.clone(),
    })
}

#[cfg(test)]
mod tests;
