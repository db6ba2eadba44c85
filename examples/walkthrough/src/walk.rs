//! The walk: each function is one thing that somebody does, and says so.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::api::{Refusal, Session, text};
use crate::demo::Demo;

const NAMESPACE: &str = "dev";
const SERVICE: &str = "web";

/// What is asked for, and who decides it.
pub(crate) struct Plan {
    pub(crate) system: String,
    pub(crate) size: String,
    pub(crate) decision: Decision,
}

/// Who decides about the new machine.
pub(crate) enum Decision {
    /// The approver of the demo, in this walk.
    ByTheApprover,
    /// A person or a system outside of this program.
    Elsewhere,
}

/// The people of the walk, logged in.
struct People {
    admin: Session,
    approver: Session,
    requester: Session,
}

/// What the machine belongs to.
struct Home {
    system: String,
    service: String,
}

pub(crate) async fn run(demo: &Demo, plan: &Plan) -> anyhow::Result<()> {
    let people = People {
        admin: Session::log_in(&demo.url, &demo.users.admin).await?,
        approver: Session::log_in(&demo.url, &demo.users.approver).await?,
        requester: Session::log_in(&demo.url, &demo.users.requester).await?,
    };
    println!("logged in at {} as admin, approver and requester", demo.url);
    let home = make_home(&people, plan).await?;
    let vm = get_machine(&people, &home, plan).await?;
    open_password(&people, &vm).await?;
    stop(&people, &vm).await?;
    let ticket = delete(&people, &vm).await?;
    show_audit(&people, &ticket).await?;
    leave(&people, &home, plan).await
}

/// A team has a System, a System has Services. Whoever creates a System owns it.
async fn make_home(people: &People, plan: &Plan) -> anyhow::Result<Home> {
    let requester = &people.requester;
    let created = requester.post("/systems", json!({"name": plan.system})).await;
    let created = created.with_context(|| format!("create the System {}; --system takes another name", plan.system))?;
    let system = text(&created, "id")?;
    let path = format!("/systems/{system}/services");
    let service = text(&requester.post(&path, json!({"name": SERVICE})).await?, "id")?;
    println!(
        "requester: created the System {} with the Service {SERVICE}",
        plan.system
    );
    Ok(Home { system, service })
}

/// A template says what boots, a size on which hardware; where it runs is not the requester's to say.
async fn get_machine(people: &People, home: &Home, plan: &Plan) -> anyhow::Result<String> {
    let requester = &people.requester;
    let template = entry(&requester.get("/templates").await?, None)?;
    let size = entry(&requester.get("/instance-sizes").await?, Some(&plan.size))?;
    let request = json!({
        "service_id": home.service, "template_id": text(&template, "id")?, "instance_size_id": text(&size, "id")?,
        "namespace": NAMESPACE, "reason": "a walk through the API",
    });
    let key = format!("walkthrough-{}", home.service);
    let accepted = requester.post_once("/vms", &key, request).await?;
    let ticket = text(&accepted, "ticket_id")?;
    let (template, size) = (text(&template, "name")?, text(&size, "name")?);
    println!("requester: asked for a {size} machine with {template}; it waits for a decision");
    match plan.decision {
        Decision::ByTheApprover => approve(people, &ticket).await?,
        Decision::Elsewhere => {}
    }
    let done = completed(requester, &ticket).await?;
    println!("decided by {}: {}", text(&done, "decided_by_kind")?, comment(&done));
    let vm = text(&done, "target_vm_id")?;
    let running = status(requester, &vm, "RUNNING").await?;
    let (name, cluster) = (text(&running, "name")?, text(&running, "cluster_name")?);
    println!("{name} is RUNNING on {cluster}");
    Ok(vm)
}

async fn approve(people: &People, ticket: &str) -> anyhow::Result<()> {
    let path = format!("/approvals/{ticket}/approve");
    people.approver.post(&path, json!({"comment": "go ahead"})).await?;
    println!("approver: approved it");
    Ok(())
}

/// Whoever asked for the machine is shown its first password, once; the second attempt is refused.
async fn open_password(people: &People, vm: &str) -> anyhow::Result<()> {
    let path = format!("/vms/{vm}/initial-password");
    let shown = people.requester.post(&path, Value::Null).await?;
    let (username, password) = (text(&shown, "username")?, text(&shown, "password")?);
    let length = password.chars().count();
    println!("requester: opened the first password of {username}, {length} characters that are shown this once");
    let again = people.requester.post(&path, Value::Null).await;
    println!("requester: opened it again and was refused: {}", refused(again)?.code);
    Ok(())
}

/// In test an owner stops a machine without asking anybody; in prod it would wait for an approver.
async fn stop(people: &People, vm: &str) -> anyhow::Result<()> {
    let accepted = people.requester.post(&format!("/vms/{vm}/stop"), json!({})).await?;
    let code = text(&accepted, "message_code")?;
    completed(&people.requester, &text(&accepted, "ticket_id")?).await?;
    status(&people.requester, vm, "STOPPED").await?;
    println!("requester: stopped it ({code})");
    Ok(())
}

/// Deleting is a request, too, and is decided like one. In prod the name would have to be typed.
async fn delete(people: &People, vm: &str) -> anyhow::Result<String> {
    let accepted = people.admin.delete(&format!("/vms/{vm}?confirm=true")).await?;
    let ticket = text(&accepted, "ticket_id")?;
    println!("admin: asked for its end; it waits for a decision");
    approve(people, &ticket).await?;
    completed(&people.admin, &ticket).await?;
    let gone = people.requester.get(&format!("/vms/{vm}")).await;
    println!("the machine is gone: {}", refused(gone)?.code);
    Ok(ticket)
}

async fn show_audit(people: &People, ticket: &str) -> anyhow::Result<()> {
    let listed = people
        .admin
        .get(&format!("/audit-logs?ticket_id={ticket}&per_page=100"))
        .await?;
    println!("what the audit log says about its end:");
    for row in items(&listed)?.iter().rev() {
        let actor = row["actor_name"].as_str().or(row["actor"].as_str()).unwrap_or_default();
        println!("  {} by {actor}", text(row, "action")?);
    }
    Ok(())
}

/// Only what is empty can be deleted, and somebody has to mean it.
async fn leave(people: &People, home: &Home, plan: &Plan) -> anyhow::Result<()> {
    let Home { system, service } = home;
    let admin = &people.admin;
    admin
        .delete(&format!("/systems/{system}/services/{service}?confirm=true"))
        .await?;
    admin
        .delete(&format!("/systems/{system}?confirm_name={}", plan.system))
        .await?;
    println!(
        "admin: deleted the System {}; nothing is left but the record",
        plan.system
    );
    Ok(())
}

/// Waits until a ticket is carried out.
async fn completed(session: &Session, ticket: &str) -> anyhow::Result<Value> {
    let path = format!("/approvals/{ticket}");
    session
        .wait_for(&path, "the request is carried out", |ticket| {
            match ticket["status"].as_str() {
                Some("COMPLETED") => Ok(true),
                Some("REJECTED") => bail!("the request was rejected: {}", ticket["reject_reason"]),
                Some("CANCELLED" | "FAILED") => bail!("the request came to nothing: {ticket}"),
                _ => Ok(false),
            }
        })
        .await
}

async fn status(session: &Session, vm: &str, wanted: &str) -> anyhow::Result<Value> {
    session
        .wait_for(&format!("/vms/{vm}"), &format!("the machine is {wanted}"), |vm| {
            Ok(vm["status"] == wanted)
        })
        .await
}

/// The remark on a decision.
fn comment(ticket: &Value) -> &str {
    ticket["decision_comment"].as_str().unwrap_or("no comment")
}

/// The entry of a list with this name; the first one when none is asked for.
fn entry(listed: &Value, name: Option<&str>) -> anyhow::Result<Value> {
    let mut items = items(listed)?.iter();
    let found = match name {
        Some(name) => items.find(|item| item["name"] == name),
        None => items.next(),
    };
    found.cloned().with_context(|| format!("not in the list: {name:?}"))
}

fn items(listed: &Value) -> anyhow::Result<&Vec<Value>> {
    listed["items"].as_array().context("a list has items")
}

/// The refusal that is expected here.
fn refused(outcome: anyhow::Result<Value>) -> anyhow::Result<Refusal> {
    match outcome {
        Ok(answer) => bail!("this should have been refused, and was answered with {answer}"),
        Err(error) => error.downcast::<Refusal>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_searched_by_name() {
        let listed = json!({"items": [{"name": "small"}, {"name": "medium"}]});
        assert_eq!(entry(&listed, None).unwrap()["name"], "small");
        assert_eq!(entry(&listed, Some("medium")).unwrap()["name"], "medium");
        assert!(entry(&listed, Some("huge")).is_err());
    }

    #[test]
    fn an_error_that_is_no_refusal_stays_one() {
        assert!(refused(Ok(Value::Null)).is_err());
        assert!(refused(Err(anyhow::anyhow!("the network is down"))).is_err());
    }
}
