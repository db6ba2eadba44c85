//! The tree of a schema.

use std::collections::BTreeMap;

/// What may stand at one place of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The type.
    pub kind: Kind,
    /// What the definition says about it, shortened.
    pub description: Option<String>,
    /// Whether null may stand there as well.
    pub nullable: bool,
}

/// A type.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Keys and values.
    Object {
        /// The keys that have a meaning of their own.
        properties: BTreeMap<String, Node>,
        /// What any other key may hold; `None` when there are no other keys.
        additional: Option<Box<Node>>,
    },
    /// A list of values of one type.
    Array(Box<Node>),
    /// A text; one of these when there are any.
    String(Vec<String>),
    /// A number without a fraction.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A quantity or a port: 2, `500m`, `4Gi`.
    IntOrString,
    /// Anything: the definition leaves it open.
    Any,
}

impl Kind {
    /// The type in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Object { .. } => "object",
            Self::Array(_) => "array",
            Self::String(_) => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer or string",
            Self::Any => "anything",
        }
    }
}

impl From<Kind> for Node {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            description: None,
            nullable: false,
        }
    }
}

impl Node {
    /// An object with these keys and no others.
    pub(super) fn object<const N: usize>(properties: [(&str, Self); N]) -> Self {
        let properties = properties.into_iter().map(|(key, node)| (key.to_owned(), node));
        Self::from(Kind::Object {
            properties: properties.collect(),
            additional: None,
        })
    }

    /// An object whose keys are the user's.
    pub(super) fn map(values: Self) -> Self {
        Self::from(Kind::Object {
            properties: BTreeMap::new(),
            additional: Some(Box::new(values)),
        })
    }

    /// A list.
    pub(super) fn list(items: Self) -> Self {
        Self::from(Kind::Array(Box::new(items)))
    }

    /// Any text.
    pub(super) fn string() -> Self {
        Self::from(Kind::String(Vec::new()))
    }

    /// A whole number.
    pub(super) fn integer() -> Self {
        Self::from(Kind::Integer)
    }

    /// True or false.
    pub(super) fn boolean() -> Self {
        Self::from(Kind::Boolean)
    }

    /// A quantity.
    pub(super) fn quantity() -> Self {
        Self::from(Kind::IntOrString)
    }

    /// Anything.
    pub(super) fn any() -> Self {
        Self::from(Kind::Any)
    }

    /// The type of a key that has a meaning of its own.
    pub fn property(&self, key: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object { properties, .. } => properties.get(key),
            Kind::Array(_)
            | Kind::String(_)
            | Kind::Integer
            | Kind::Number
            | Kind::Boolean
            | Kind::IntOrString
            | Kind::Any => None,
        }
    }

    /// Whether any key has a meaning of its own.
    pub(super) fn has_properties(&self) -> bool {
        matches!(&self.kind, Kind::Object { properties, .. } if !properties.is_empty())
    }
}
