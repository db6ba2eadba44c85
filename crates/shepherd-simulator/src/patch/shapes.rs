//! How lists and maps merge: what `x-kubernetes-list-type` and `x-kubernetes-map-type` say.
//!
//! Kinds without a schema use the shapes of the KubeVirt and core schemas that are not atomic lists or granular
//! maps, which are few.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::ownership::join;

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListShape<'a> {
    /// As a whole.
    Atomic,
    /// Item by item; the fields identify an item.
    Map(&'a [String]),
    /// Element by element.
    Set,
}

/// The shapes of one kind, by dotted path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shapes {
    keyed: BTreeMap<String, Vec<String>>,
    sets: BTreeSet<String>,
    atomic_maps: BTreeSet<String>,
}

impl Default for Shapes {
    fn default() -> Self {
        let mut shapes = Self::of_metadata();
        for prefix in ["spec.template.spec", "spec"] {
            for list in ["resourceClaims", "utilityVolumes"] {
                shapes.key_by(&format!("{prefix}.{list}"), &["name"]);
            }
            let constraints = format!("{prefix}.topologySpreadConstraints");
            shapes.key_by(&constraints, &["topologyKey", "whenUnsatisfiable"]);
            shapes.atomic_maps.insert(format!("{constraints}.labelSelector"));
            shapes.atomic_maps.insert(format!(
                "{prefix}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
            ));
        }
        shapes
    }
}

impl Shapes {
    /// The shapes of `metadata`, which every kind has.
    fn of_metadata() -> Self {
        let mut shapes = Self {
            keyed: BTreeMap::new(),
            sets: BTreeSet::from(["metadata.finalizers".to_owned()]),
            atomic_maps: BTreeSet::new(),
        };
        shapes.key_by("metadata.ownerReferences", &["uid"]);
        shapes
    }

    /// The shapes a structural schema describes.
    pub fn of_schema(schema: &Value) -> Self {
        let mut shapes = Self::of_metadata();
        shapes.collect(schema, "");
        shapes
    }

    fn collect(&mut self, schema: &Value, dotted: &str) {
        match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
                let keys: Vec<&str> = keys.filter_map(Value::as_str).collect();
                self.key_by(dotted, &keys);
            }
            Some("set") => {
                self.sets.insert(dotted.to_owned());
            }
            _ => {}
        }
        if schema["x-kubernetes-map-type"] == "atomic" {
            self.atomic_maps.insert(dotted.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            self.collect(property, &join(dotted, name));
        }
        // Items share the path of their list.
        if schema["items"].is_object() {
            self.collect(&schema["items"], dotted);
        }
    }

    fn key_by(&mut self, dotted: &str, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.keyed.insert(dotted.to_owned(), keys);
    }

    /// How the list at a dotted path merges.
    pub fn list(&self, dotted: &str) -> ListShape<'_> {
        if let Some(keys) = self.keyed.get(dotted) {
            ListShape::Map(keys)
        } else if self.sets.contains(dotted) {
            ListShape::Set
        } else {
            ListShape::Atomic
        }
    }

    /// Whether the object at a dotted path merges as a whole.
    pub fn is_atomic_map(&self, dotted: &str) -> bool {
        self.atomic_maps.contains(dotted)
    }
}
