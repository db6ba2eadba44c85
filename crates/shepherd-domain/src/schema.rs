//! Schemas of virtual machines: which paths a KubeVirt version knows, and what may stand there (catalog.md §3).
//!
//! A schema is a reduced tree of what the VirtualMachine definition of a cluster says about `spec`. Whatever this
//! module does not understand of a definition is left open, so that nothing is refused that a cluster might accept.
//!
//! - `node` is the tree; `json` reads and writes it; `check` walks it
//! - `baseline` is the product's own: every path it renders or shows, known to every supported version

mod baseline;
mod check;
mod json;
mod node;

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

pub use node::{Kind, Node};

use crate::catalog::SpecPath;
use crate::problem::{ErrorCode, Problem};

/// A minor version of KubeVirt, for example `1.6`. Numbers, because 1.10 is newer than 1.9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinorVersion {
    /// Major part.
    pub major: u32,
    /// Minor part.
    pub minor: u32,
}

/// The text does not begin with two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version")]
pub struct NotAVersion;

impl FromStr for MinorVersion {
    type Err = NotAVersion;

    /// Reads `1.6`, `1.6.2`, `v1.6.2-beta.0`; what follows the minor part is of no importance.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts = text.split(['.', '-', '+']);
        let mut number = || {
            let part = parts
                .next()
                .filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
            part.parse::<u32>().ok()
        };
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            (Some(_) | None, _) => Err(NotAVersion),
        }
    }
}

impl fmt::Display for MinorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why a document is not the schema of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The version is not one.
    #[error("the version of the schema is not a version")]
    Version,
    /// It says nothing about what a machine is made of, so that it could refuse nothing.
    #[error("the schema does not describe spec.template.spec.domain")]
    NoMachine,
    /// It has more parts than any real one.
    #[error("the schema has too many parts")]
    TooLarge,
}

/// What a KubeVirt version knows about `spec` of a VirtualMachine. Immutable.
#[derive(Clone, Debug, PartialEq)]
pub struct VmSchema {
    version: MinorVersion,
    minor_version: String,
    root: Node,
}

impl VmSchema {
    /// Reads the `openAPIV3Schema` of the VirtualMachine definition, or what [`VmSchema::to_json`] wrote.
    ///
    /// # Errors
    /// See [`SchemaError`].
    pub fn from_json(minor_version: &str, document: &Value) -> Result<Self, SchemaError> {
        let version = minor_version.parse().map_err(|NotAVersion| SchemaError::Version)?;
        let spec = json::read(&document["properties"]["spec"])?;
        let schema = Self::of(version, spec);
        if schema.describes_a_machine() {
            Ok(schema)
        } else {
            Err(SchemaError::NoMachine)
        }
    }

    /// The product's own: every path it renders or shows. All of them are known to every version from this one on.
    pub fn baseline() -> Self {
        Self::of(MinorVersion { major: 1, minor: 0 }, baseline::spec())
    }

    fn of(version: MinorVersion, spec: Node) -> Self {
        Self {
            version,
            minor_version: version.to_string(),
            root: Node::object([("spec", spec)]),
        }
    }

    fn describes_a_machine(&self) -> bool {
        let keys = ["spec", "template", "spec", "domain"];
        let found = keys.iter().try_fold(&self.root, |node, key| node.property(key));
        found.is_some_and(Node::has_properties)
    }

    /// The version as text: `1.6`.
    pub fn minor_version(&self) -> &str {
        &self.minor_version
    }

    /// The version.
    pub fn version(&self) -> MinorVersion {
        self.version
    }

    /// A JSON Schema of the document that holds `spec`: types, enums, short descriptions.
    pub fn to_json(&self) -> Value {
        json::write(&self.root)
    }

    /// What may stand at a path; `None` when the version does not know it.
    pub fn at(&self, path: &SpecPath) -> Option<&Node> {
        check::find(&self.root, path)
    }

    /// The known path that was probably meant by an unknown one.
    pub fn suggest(&self, path: &SpecPath) -> Option<String> {
        check::corrected(&self.root, path)
    }

    /// Whether a value may stand at a path.
    ///
    /// # Errors
    /// The first finding: an unknown path, or a value (or a part of it) of the wrong type.
    pub fn check_path(&self, path: &SpecPath, value: &Value) -> Result<(), SchemaFinding> {
        check::value_at(&self.root, path, value)
    }

    /// Every unknown or mistyped field below `spec` of a VirtualMachine, in the order of the document; at most
    /// [`VmSchema::MAX_FINDINGS`]. The rest of the object is not looked at.
    pub fn check_document(&self, machine: &Value) -> Vec<SchemaFinding> {
        check::document(&self.root, machine)
    }

    /// Most findings of one document; more would help nobody.
    pub const MAX_FINDINGS: usize = 50;
}

/// Something that a schema refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaFinding {
    /// Where, from `spec` on.
    pub path: String,
    /// Why, in English.
    pub reason: String,
    /// The path that was probably meant.
    pub suggestion: Option<String>,
}

impl SchemaFinding {
    /// SCHEMA_VALIDATION_FAILED{path, kubevirt_version, reason, suggestion}.
    pub fn problem(self, kubevirt_version: &str) -> Problem {
        let problem = Problem::new(ErrorCode::SchemaValidationFailed)
            .with("path", self.path)
            .with("kubevirt_version", kubevirt_version)
            .with("reason", self.reason);
        match self.suggestion {
            Some(suggestion) => problem.with("suggestion", suggestion),
            None => problem,
        }
    }
}
