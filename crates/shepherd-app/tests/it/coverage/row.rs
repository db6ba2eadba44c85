//! One operation of the table: what it asks of its caller, and how that is written down.

use reqwest::Method;
use serde_json::Value;
use shepherd_domain::access::{Permission, ResourceAction};

use super::fixtures::Ids;

/// What happens to somebody whose right ends before the environment of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// The object is not there.
    Missing,
    /// 403 with this code: there is no object yet that could be hidden.
    Forbidden(&'static str),
}

/// Whose request gets past every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// A platform administrator's.
    Admin,
    /// That of the user whose object it is.
    Owner,
    /// That of somebody whose session may end with it.
    Passerby,
}

/// One operation.
pub struct Row {
    pub method: Method,
    /// Below the base path, as in the document.
    pub path: &'static str,
    pub query: &'static str,
    /// Any of these permissions; none means any session.
    pub any_of: &'static [Permission],
    /// What is done to the System of the object, if it has one.
    pub action: Option<ResourceAction>,
    /// What the wrong environment looks like, if the object has one.
    pub elsewhere: Option<Elsewhere>,
    /// Whether others than the owner see nothing of it, whatever they are on Systems.
    pub private: bool,
    pub passes: Passes,
    /// A body that is valid.
    pub body: Option<fn(&Ids) -> Value>,
}

impl Row {
    /// As in the document: `GET /systems`.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    /// The parameters of the path, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    pub fn needs(self, any_of: &'static [Permission]) -> Self {
        Self { any_of, ..self }
    }

    pub fn does(self, action: ResourceAction) -> Self {
        Self {
            action: Some(action),
            ..self
        }
    }

    pub fn placed(self, elsewhere: Elsewhere) -> Self {
        Self {
            elsewhere: Some(elsewhere),
            ..self
        }
    }

    pub fn private(self) -> Self {
        Self { private: true, ..self }
    }

    pub fn passes(self, passes: Passes) -> Self {
        Self { passes, ..self }
    }

    pub fn query(self, query: &'static str) -> Self {
        Self { query, ..self }
    }

    pub fn body(self, body: fn(&Ids) -> Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }
}

fn row(method: Method, path: &'static str) -> Row {
    Row {
        method,
        path,
        query: "",
        any_of: &[],
        action: None,
        elsewhere: None,
        private: false,
        passes: Passes::Admin,
        body: None,
    }
}

pub fn get(path: &'static str) -> Row {
    row(Method::GET, path)
}

pub fn post(path: &'static str) -> Row {
    row(Method::POST, path)
}

pub fn put(path: &'static str) -> Row {
    row(Method::PUT, path)
}

pub fn patch(path: &'static str) -> Row {
    row(Method::PATCH, path)
}

pub fn delete(path: &'static str) -> Row {
    row(Method::DELETE, path)
}
