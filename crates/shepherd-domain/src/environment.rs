//! Test and production, and sets of them.

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr};

/// The environment of a namespace or cluster. Everything else takes the one of its namespace.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Display, EnumString, IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Environment {
    /// For trying things out; power operations need no approval.
    Test,
    /// Production; every operation needs approval.
    Prod,
}

impl Environment {
    /// Both environments.
    pub const ALL: [Self; 2] = [Self::Test, Self::Prod];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A set of environments; the empty set grants nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Environment>", into = "Vec<Environment>")]
pub struct EnvironmentSet {
    test: bool,
    prod: bool,
}

impl EnvironmentSet {
    /// Test and prod.
    pub const ALL: Self = Self { test: true, prod: true };
    /// Nothing.
    pub const EMPTY: Self = Self {
        test: false,
        prod: false,
    };
    /// Test alone, the default of a binding.
    pub const TEST: Self = Self {
        test: true,
        prod: false,
    };

    /// Whether the set holds `environment`.
    pub fn contains(self, environment: Environment) -> bool {
        match environment {
            Environment::Test => self.test,
            Environment::Prod => self.prod,
        }
    }

    /// Whether every member of `other` is in the set.
    pub fn covers(self, other: Self) -> bool {
        (self.test || !other.test) && (self.prod || !other.prod)
    }

    /// Both sets together.
    pub fn union(self, other: Self) -> Self {
        Self {
            test: self.test || other.test,
            prod: self.prod || other.prod,
        }
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        !self.test && !self.prod
    }

    /// The members, test first.
    pub fn iter(self) -> impl Iterator<Item = Environment> {
        Environment::ALL
            .into_iter()
            .filter(move |environment| self.contains(*environment))
    }
}

impl FromIterator<Environment> for EnvironmentSet {
    fn from_iter<I: IntoIterator<Item = Environment>>(items: I) -> Self {
        items
            .into_iter()
            .fold(Self::EMPTY, |set, environment| match environment {
                Environment::Test => Self { test: true, ..set },
                Environment::Prod => Self { prod: true, ..set },
            })
    }
}

impl From<Vec<Environment>> for EnvironmentSet {
    fn from(items: Vec<Environment>) -> Self {
        items.into_iter().collect()
    }
}

impl From<EnvironmentSet> for Vec<Environment> {
    fn from(set: EnvironmentSet) -> Self {
        set.iter().collect()
    }
}
