//! The roles in `deploy/clusters/clusterrole.yaml` are sufficient and minimal: under them the contract is kept, and
//! every right in them is one that a request of the contract needed.

use std::collections::BTreeSet;

use serde::Deserialize;
use shepherd_simulator::{Grant, RecordedRequest};

use crate::lab::Lab;
use crate::{contract, simulator};

const ROLES: &str = include_str!("../../../../deploy/clusters/clusterrole.yaml");
/// The account of the product.
const USER: &str = "shepherd";
/// What an admission plugin asks for that the simulator does not have; no request shows it.
const UNSEEN: &str = "update kubevirt.io/virtualmachines/finalizers";

#[derive(Deserialize)]
struct Role {
    rules: Vec<Rule>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    // The simulator knows no rights on single objects; a real cluster does.
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    verbs: Vec<String>,
}

impl Rule {
    /// Every right as `verb group/resource`, or `verb /path`.
    fn rights(&self) -> impl Iterator<Item = String> + '_ {
        let objects = self.api_groups.iter().flat_map(|group| {
            let resources = self.resources.iter();
            resources.map(move |resource| format!("{group}/{resource}"))
        });
        let all: Vec<String> = objects.chain(self.non_resource_urls.iter().cloned()).collect();
        let verbs = self.verbs.iter();
        verbs.flat_map(move |verb| {
            let all = all.clone();
            all.into_iter().map(move |object| format!("{verb} {object}"))
        })
    }

    fn grant(&self) -> Grant {
        Grant {
            verbs: self.verbs.clone(),
            resources: self.resources.clone(),
            namespaces: vec!["*".to_owned()],
        }
    }
}

fn rules() -> Vec<Rule> {
    let roles: Vec<Role> = serde_saphyr::from_multiple(ROLES).expect("the roles are YAML");
    assert!(roles.len() >= 5, "a role for each feature: {}", roles.len());
    roles.into_iter().flat_map(|role| role.rules).collect()
}

/// What a request needs, in the words of [`Rule::rights`]. An apply that makes its object needs two rights.
fn needed(request: &RecordedRequest) -> Vec<String> {
    let steps: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let (group, rest) = match steps.as_slice() {
        ["api", _, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return vec![format!("get {}", request.path)],
    };
    let rest = match rest {
        ["namespaces", _, inner @ ..] if !inner.is_empty() => inner,
        rest => rest,
    };
    let (resource, named) = match rest {
        [resource, _, subresource] => (format!("{group}/{resource}/{subresource}"), true),
        [resource, _] => (format!("{group}/{resource}"), true),
        [resource] => (format!("{group}/{resource}"), false),
        _ => return vec![format!("{} {}", request.method, request.path)],
    };
    let verbs: &[&str] = match (request.method.as_str(), named) {
        ("GET", true) => &["get"],
        ("GET", false) if request.query.contains("watch=true") => &["watch"],
        ("GET", false) => &["list"],
        ("POST", false) => &["create"],
        ("PUT", true) => &["update"],
        ("PATCH", true) if request.status == 201 => &["create", "patch"],
        ("PATCH", true) => &["patch"],
        ("DELETE", true) => &["delete"],
        (method, _) => return vec![format!("{method} {resource}")],
    };
    verbs.iter().map(|verb| format!("{verb} {resource}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_for_clusters_grant_what_the_product_asks_for_and_nothing_else() {
    let rules = rules();
    let simulator = simulator().await;
    let grants: Vec<Grant> = rules.iter().map(Rule::grant).collect();
    let account = simulator.add_user(USER, &grants);
    let restricted = simulator.restricted_kubeconfig();
    let lab = Lab::with_rights_of(&account, &simulator.kubeconfig(), Some(&restricted)).await;
    contract::run(&lab).await;

    let requests = simulator.cluster().requests();
    let used: BTreeSet<String> = requests
        .iter()
        .filter(|request| request.user == USER)
        .flat_map(needed)
        .collect();
    let mut granted: BTreeSet<String> = rules.iter().flat_map(Rule::rights).collect();
    assert!(granted.remove(UNSEEN));
    let superfluous: Vec<&String> = granted.difference(&used).collect();
    let missing: Vec<&String> = used.difference(&granted).collect();
    assert!(superfluous.is_empty(), "granted and never used: {superfluous:#?}");
    assert!(missing.is_empty(), "used and not granted: {missing:#?}");
    simulator.stop().await;
}

#[test]
fn nothing_is_granted_by_a_wildcard() {
    for rule in rules() {
        let words = [
            &rule.api_groups,
            &rule.resources,
            &rule.resource_names,
            &rule.non_resource_urls,
            &rule.verbs,
        ];
        assert!(words.into_iter().flatten().all(|word| !word.contains('*')));
    }
}
