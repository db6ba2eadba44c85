//! Whether every right of the roles for clusters is needed: each is taken away in turn, and a case has to fail that
//! passed with it.
//!
//! A run that is broken off leaves a role with one right less; `make-kubeconfig.sh` puts it back.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::minimal::Account;
use super::{Outcome, Outcomes, Run, outcomes};
use crate::workspace::Workspace;

/// The roles, from the workspace root.
const ROLES: &str = "deploy/clusters/clusterrole.yaml";
/// How long a cluster may take to act on a changed role.
const SETTLED: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(200);
/// Where a cluster is asked what somebody may do.
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
/// Why cases are skipped on any cluster but the simulated one; their rights are those of other cases, too.
const NOBODY: &str = "there is no user who may do nothing";

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Role {
    api_version: String,
    kind: String,
    metadata: Value,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Rule {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    non_resource_urls: Vec<String>,
    verbs: Vec<String>,
}

/// One verb on one resource or path, and where it is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    role: usize,
    rule: usize,
    verb: String,
    group: String,
    /// Resource and perhaps subresource, or a path.
    object: String,
    /// The one object it is about.
    name: Option<String>,
}

/// What became of a right that was taken away.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// This case failed.
    NeededBy(String),
    /// Every case that could be run passed.
    NeededByNone,
    /// The account has it from elsewhere, as everybody has some.
    GrantedAnyway,
    /// The cluster does not serve the group.
    NotServed,
    /// The account does not have it: its feature is not bound.
    NotBound,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeededBy(case) => write!(f, "needed by {case}"),
            Self::NeededByNone => f.write_str("NEEDED BY NO CASE that was run"),
            Self::GrantedAnyway => f.write_str("the cluster grants it to everybody"),
            Self::NotServed => f.write_str("not served by this cluster"),
            Self::NotBound => f.write_str("not bound"),
        }
    }
}

/// Takes the rights away one after the other, and puts everything back. `with_all` is what became of the cases with all
/// rights.
///
/// # Errors
/// When a right is needed by no case although the cluster is fit for all of them, or when the cluster cannot be asked.
pub(super) async fn run(
    workspace: &Workspace,
    account: &Account,
    administrator: &Path,
    with_all: &Outcomes,
) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(workspace.root().join(ROLES)).with_context(|| format!("read {ROLES}"))?;
    let roles: Vec<Role> = serde_saphyr::from_multiple(&text).with_context(|| format!("{ROLES} holds no roles"))?;
    let trial = Trial {
        workspace,
        account,
        administrator,
        roles: &roles,
    };
    let mut verdicts = Vec::new();
    let judged = trial.judge(&mut verdicts).await;
    let restored = apply(administrator, &text).await.context("put the roles back");
    println!("\n{}", summary(&verdicts));
    judged.and(restored)?;
    let unneeded = number(&verdicts, &Verdict::NeededByNone);
    let unfit = with_all
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Skipped(reason) if reason != NOBODY));
    let unfit = unfit.count();
    if unneeded > 0 && unfit == 0 {
        bail!("{unneeded} rights are needed by no case");
    }
    if unneeded > 0 {
        println!("{unfit} cases could not be run on this cluster; the rights that no case needed may be theirs");
    }
    Ok(())
}

fn number(verdicts: &[Verdict], kind: &Verdict) -> usize {
    verdicts.iter().filter(|verdict| *verdict == kind).count()
}

fn summary(verdicts: &[Verdict]) -> String {
    let needed = verdicts
        .iter()
        .filter(|verdict| matches!(verdict, Verdict::NeededBy(_)));
    format!(
        "of {} rights: {} needed, {} needed by no case that was run, {} granted to everybody, {} not served, {} not bound",
        verdicts.len(),
        needed.count(),
        number(verdicts, &Verdict::NeededByNone),
        number(verdicts, &Verdict::GrantedAnyway),
        number(verdicts, &Verdict::NotServed),
        number(verdicts, &Verdict::NotBound),
    )
}

/// What every trial of a right needs.
struct Trial<'a> {
    workspace: &'a Workspace,
    account: &'a Account,
    administrator: &'a Path,
    roles: &'a [Role],
}

impl Trial<'_> {
    async fn judge(&self, verdicts: &mut Vec<Verdict>) -> anyhow::Result<()> {
        for right in rights(self.roles)? {
            let began = Instant::now();
            let verdict = self.verdict(&right).await.with_context(|| format!("without {right}"))?;
            println!("{:<72} {verdict} ({:.0?})", right.to_string(), began.elapsed());
            verdicts.push(verdict);
        }
        Ok(())
    }

    async fn verdict(&self, right: &Right) -> anyhow::Result<Verdict> {
        if !is_served(self.administrator, &right.group).await? {
            return Ok(Verdict::NotServed);
        }
        if !self.has(right).await? {
            return Ok(Verdict::NotBound);
        }
        let role = &self.roles[right.role];
        self.apply(&right.taken_from(role)).await?;
        let verdict = if self.becomes(right, false).await? {
            let outcomes = outcomes(
                self.workspace,
                self.account.kubeconfig(),
                self.administrator,
                Run::UntilFailure,
            )
            .await?;
            let failed = outcomes.into_iter().find(|(_, outcome)| *outcome == Outcome::Failed);
            failed.map_or(Verdict::NeededByNone, |(case, _)| Verdict::NeededBy(case))
        } else {
            Verdict::GrantedAnyway
        };
        self.apply(role).await?;
        ensure!(self.becomes(right, true).await?, "the right did not come back");
        Ok(verdict)
    }

    async fn apply(&self, role: &Role) -> anyhow::Result<()> {
        apply(self.administrator, &serde_json::to_string(role)?).await
    }

    /// Whether the cluster says so in time.
    async fn becomes(&self, right: &Right, expected: bool) -> anyhow::Result<bool> {
        let deadline = Instant::now() + SETTLED;
        while self.has(right).await? != expected {
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(true)
    }

    /// Asks with the group as it is written: a tool that looks it up first does not find what has subresources only.
    async fn has(&self, right: &Right) -> anyhow::Result<bool> {
        let review = right.review().to_string();
        let arguments = ["create", "--raw", REVIEWS, "--filename", "-"];
        let answer = kubectl(self.account.kubeconfig(), &arguments, &review).await?;
        let answer: Value = serde_json::from_str(&answer).context("the answer to an access review")?;
        answer["status"]["allowed"]
            .as_bool()
            .context("the answer to an access review")
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.verb)?;
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        f.write_str(&self.object)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " {name}"))
    }
}

impl Right {
    fn review(&self) -> Value {
        let spec = if self.object.starts_with('/') {
            json!({"nonResourceAttributes": {"verb": self.verb, "path": self.object}})
        } else {
            let (resource, subresource) = self.object.split_once('/').unwrap_or((&self.object, ""));
            let name = self.name.as_deref().unwrap_or_default();
            json!({"resourceAttributes": {
                "verb": self.verb, "group": self.group, "resource": resource, "subresource": subresource, "name": name,
            }})
        };
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": spec})
    }

    /// The role without this right, and with all its others.
    fn taken_from(&self, role: &Role) -> Role {
        let rule = &role.rules[self.rule];
        let mut other_objects = rule.clone();
        other_objects.resources.retain(|object| *object != self.object);
        other_objects.non_resource_urls.retain(|object| *object != self.object);
        let mut other_verbs = rule.clone();
        other_verbs.resources.retain(|object| *object == self.object);
        other_verbs.non_resource_urls.retain(|object| *object == self.object);
        other_verbs.verbs.retain(|verb| *verb != self.verb);
        let rest = [other_objects, other_verbs]
            .into_iter()
            .filter(Rule::is_about_something);
        let mut without = role.clone();
        without.rules.splice(self.rule..=self.rule, rest);
        without
    }
}

impl Rule {
    fn is_about_something(&self) -> bool {
        let objects = self.resources.len() + self.non_resource_urls.len();
        !self.verbs.is_empty() && objects > 0
    }
}

/// # Errors
/// When a rule is about several groups or names: they could not be told apart.
fn rights(roles: &[Role]) -> anyhow::Result<Vec<Right>> {
    let mut all = Vec::new();
    for (role, granted) in roles.iter().enumerate() {
        for (rule, of_rule) in granted.rules.iter().enumerate() {
            let single = of_rule.api_groups.len() <= 1 && of_rule.resource_names.len() <= 1;
            ensure!(single, "a rule about one group and one name at a time: {of_rule:?}");
            for object in of_rule.resources.iter().chain(&of_rule.non_resource_urls) {
                all.extend(of_rule.verbs.iter().map(|verb| Right {
                    role,
                    rule,
                    verb: verb.clone(),
                    group: of_rule.api_groups.first().cloned().unwrap_or_default(),
                    object: object.clone(),
                    name: of_rule.resource_names.first().cloned(),
                }));
            }
        }
    }
    Ok(all)
}

async fn is_served(administrator: &Path, group: &str) -> anyhow::Result<bool> {
    if group.is_empty() {
        return Ok(true);
    }
    let groups = kubectl(administrator, &["get", "--raw", "/apis"], "").await?;
    let groups: Value = serde_json::from_str(&groups).context("the groups of the cluster")?;
    let groups = groups["groups"].as_array().context("the groups of the cluster")?;
    Ok(groups.iter().any(|served| served["name"] == group))
}

async fn apply(administrator: &Path, manifest: &str) -> anyhow::Result<()> {
    kubectl(administrator, &["apply", "--filename", "-"], manifest)
        .await
        .map(drop)
}

/// What kubectl answers.
async fn kubectl(kubeconfig: &Path, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    let mut child = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("run kubectl")?;
    let mut stdin = child.stdin.take().context("the input of kubectl")?;
    // What kubectl thinks of an input that it did not read to its end is in its answer.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.context("run kubectl")?;
    if !output.status.success() {
        bail!(
            "kubectl {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("the answer of kubectl")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: &str = include_str!("../../../deploy/clusters/clusterrole.yaml");

    fn roles() -> Vec<Role> {
        serde_saphyr::from_multiple(ROLES).unwrap()
    }

    fn named(roles: &[Role]) -> Vec<String> {
        let mut all: Vec<String> = rights(roles).unwrap().iter().map(Right::to_string).collect();
        all.sort();
        all
    }

    #[test]
    fn one_right_goes_and_all_others_stay() {
        let roles = roles();
        let all = rights(&roles).unwrap();
        assert!(all.len() >= 40, "{}", all.len());
        for right in &all {
            let mut fewer = roles.clone();
            fewer[right.role] = right.taken_from(&roles[right.role]);
            let mut expected = named(&roles);
            expected.remove(expected.binary_search(&right.to_string()).unwrap());
            assert_eq!(named(&fewer), expected, "without {right}");
        }
    }

    #[test]
    fn no_right_is_granted_twice() {
        let all = named(&roles());
        assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    }

    #[test]
    fn a_review_asks_for_exactly_the_right() {
        let roles = roles();
        let all = rights(&roles).unwrap();
        let review = |named: &str| {
            let right = all.iter().find(|right| right.to_string() == named);
            right.unwrap_or_else(|| panic!("{named}")).review()["spec"].clone()
        };
        assert_eq!(
            review("get /version"),
            json!({"nonResourceAttributes": {"verb": "get", "path": "/version"}})
        );
        assert_eq!(
            review("update subresources.kubevirt.io/virtualmachines/start"),
            json!({"resourceAttributes": {"verb": "update", "group": "subresources.kubevirt.io",
                "resource": "virtualmachines", "subresource": "start", "name": ""}})
        );
        let definition = "get apiextensions.k8s.io/customresourcedefinitions virtualmachines.kubevirt.io";
        assert_eq!(
            review(definition)["resourceAttributes"]["name"],
            "virtualmachines.kubevirt.io"
        );
    }
}
