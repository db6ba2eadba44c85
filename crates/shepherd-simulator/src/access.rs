//! Who may do what: users with their grants, and refusals that are switched on for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::cluster::lock;

/// Stands for every verb, resource, namespace or user.
const ANY: &str = "*";

/// What somebody tries to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt<'a> {
    /// Name of the user.
    pub user: &'a str,
    /// Kubernetes verb.
    pub verb: &'a str,
    /// API group of the path.
    pub group: &'a str,
    /// Plural resource name.
    pub resource: &'a str,
    /// Subresource, empty for the resource itself.
    pub subresource: &'a str,
    /// Namespace of the path, empty for the whole cluster.
    pub namespace: &'a str,
}

impl Attempt<'_> {
    /// The resource with its subresource, as roles name it.
    pub fn path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// Something a user may do, like one rule of a Kubernetes role. `*` stands for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Kubernetes verbs, for example `get`; `update` for power actions, `get` for consoles.
    pub verbs: Vec<String>,
    /// Plural resource names; subresources are named with a slash (`virtualmachines/start`) and are not part
    /// of their resource.
    pub resources: Vec<String>,
    /// Namespaces. Only `*` covers requests across all of them and resources outside of namespaces.
    pub namespaces: Vec<String>,
}

impl Grant {
    /// A grant from plain lists.
    pub fn new(verbs: &[&str], resources: &[&str], namespaces: &[&str]) -> Self {
        let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Self {
            verbs: owned(verbs),
            resources: owned(resources),
            namespaces: owned(namespaces),
        }
    }

    fn covers(&self, attempt: &Attempt<'_>) -> bool {
        let lists = |items: &[String], value: &str| items.iter().any(|item| item == ANY || item == value);
        lists(&self.verbs, attempt.verb)
            && lists(&self.resources, &attempt.path())
            && lists(&self.namespaces, attempt.namespace)
    }
}

/// Requests to answer with 403. `*`, which absent fields mean too, stands for all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// Kubernetes verb.
    pub verb: String,
    /// Plural resource name, which includes its subresources, or one subresource: `virtualmachines/start`.
    pub resource: String,
    /// Namespace of the path; lists across all namespaces are hit only by `*`.
    #[serde(default = "any")]
    pub namespace: String,
    /// Name of the user: `simulator-admin`, `simulator-restricted`, or one made by
    /// [`Simulator::add_user`](crate::Simulator::add_user).
    #[serde(default = "any")]
    pub user: String,
}

fn any() -> String {
    ANY.to_owned()
}

impl Refusal {
    /// Hits everybody and every namespace.
    pub fn new(verb: &str, resource: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            namespace: any(),
            user: any(),
        }
    }

    /// The same, in one namespace only.
    #[must_use]
    pub fn in_namespace(self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self
        }
    }

    /// The same, for one user only.
    #[must_use]
    pub fn for_user(self, user: &str) -> Self {
        Self {
            user: user.to_owned(),
            ..self
        }
    }

    pub(crate) fn hits(&self, attempt: &Attempt<'_>) -> bool {
        let fits = |pattern: &str, value: &str| pattern == ANY || pattern == value;
        fits(&self.verb, attempt.verb)
            && (fits(&self.resource, attempt.resource) || self.resource == attempt.path())
            && fits(&self.namespace, attempt.namespace)
            && fits(&self.user, attempt.user)
    }
}

/// A user with grants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Account {
    name: String,
    grants: Vec<Grant>,
}

/// The users made while the cluster runs, by token. Clones share the same users.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<BTreeMap<String, Arc<Account>>>>);

impl Accounts {
    /// Makes a user.
    pub fn add(&self, name: &str, grants: &[Grant], token: &str) -> Arc<Account> {
        let account = Arc::new(Account {
            name: name.to_owned(),
            grants: grants.to_vec(),
        });
        lock(&self.0).insert(token.to_owned(), Arc::clone(&account));
        account
    }

    /// The user with a token.
    pub fn find(&self, token: &str) -> Option<Arc<Account>> {
        lock(&self.0).get(token).cloned()
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum User {
    /// May do everything.
    Admin,
    /// Is known, but may only use discovery and health checks, like any authenticated user.
    Restricted,
    /// May do what the grants say, and what any authenticated user may.
    Limited(Arc<Account>),
}

impl User {
    /// The name in refusals.
    pub fn name(&self) -> &str {
        match self {
            Self::Admin => "simulator-admin",
            Self::Restricted => "simulator-restricted",
            Self::Limited(account) => &account.name,
        }
    }

    /// Whether the user's own rights suffice.
    pub fn may(&self, attempt: &Attempt<'_>) -> bool {
        match self {
            Self::Admin => true,
            Self::Restricted => false,
            Self::Limited(account) => account.grants.iter().any(|grant| grant.covers(attempt)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Attempt<'_> = Attempt {
        user: "operator",
        verb: "update",
        group: "subresources.kubevirt.io",
        resource: "virtualmachines",
        subresource: "start",
        namespace: "shop",
    };
    const LIST: Attempt<'_> = Attempt {
        verb: "list",
        group: "kubevirt.io",
        subresource: "",
        namespace: "",
        ..START
    };

    #[test]
    fn grants_name_subresources_and_namespaces() {
        let user = |verb: &str, resource: &str, namespace: &str| {
            let grants = [Grant::new(&[verb], &[resource], &[namespace])];
            User::Limited(Accounts::default().add("operator", &grants, "token"))
        };
        assert!(user("update", "virtualmachines/start", "shop").may(&START));
        assert!(!user("update", "virtualmachines", "shop").may(&START));
        assert!(!user("update", "virtualmachines/start", "bank").may(&START));
        assert!(
            !user("list", "virtualmachines", "shop").may(&LIST),
            "a list of the whole cluster"
        );
        assert!(user("list", "virtualmachines", "*").may(&LIST));
        assert!(!User::Restricted.may(&LIST));
    }

    #[test]
    fn refusals_can_be_narrowed_to_a_user_and_a_namespace() {
        assert!(
            Refusal::new("*", "virtualmachines").hits(&START),
            "subresources included"
        );
        assert!(Refusal::new("update", "virtualmachines/start").hits(&START));
        assert!(!Refusal::new("update", "virtualmachines/stop").hits(&START));
        let narrow = Refusal::new("update", "*").in_namespace("shop").for_user("operator");
        assert!(narrow.hits(&START));
        assert!(!narrow.clone().in_namespace("bank").hits(&START));
        assert!(!narrow.for_user("simulator-admin").hits(&START));
    }

    #[test]
    fn absent_fields_of_a_refusal_mean_all() {
        let refusal: Refusal = serde_json::from_str(r#"{"verb": "list", "resource": "secrets"}"#).unwrap();
        assert_eq!(refusal, Refusal::new("list", "secrets"));
    }
}
