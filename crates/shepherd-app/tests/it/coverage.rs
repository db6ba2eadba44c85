//! Every operation of the document asks of its caller what access.md §10 says, and in the order of errors.md §3.
//!
//! The table in [`table`] has one row per operation; the document and the table must name the same operations, so a
//! new operation fails this test until somebody writes down what it asks. Each row is tried by people who lack one
//! thing: a session, the permission, a role on the System, the environment, a strong enough role. None of what was
//! refused may leave a trace. In the end somebody who lacks nothing gets past every check.

mod fixtures;
mod row;
mod table;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use futures::future::join;
use reqwest::Method;
use shepherd_domain::access::ResourceRole;

use self::fixtures::{Fixtures, Ids, Passerby, People};
use self::row::{Elsewhere, Passes, Row};
pub use self::table::PUBLIC;
use crate::client::{Caller, Reply, send};
use crate::openapi::names;
use crate::world::{User, World};

/// An id that nothing has.
const NOTHING: &str = "01983f0e-0000-7000-8000-000000000000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_asks_what_it_should_and_leaves_no_trace_of_what_it_refused() {
    let world = World::start().await;
    let table = table::table();
    let document = world.anonymous().get("/openapi.json").await.ok(200);
    let listed: BTreeSet<String> = table
        .iter()
        .map(Row::name)
        .chain(PUBLIC.iter().map(|(name, _)| (*name).to_owned()))
        .collect();
    let differences = differences("permissions", &listed, &names(&document));
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));

    let (fixtures, people) = join(Fixtures::create(&world), People::enrol(&world, &table)).await;
    let walk = Walk {
        world: &world,
        fixtures,
        people,
    };
    let before = rows(&world).await;
    let mut findings = Vec::new();
    for row in &table {
        findings.extend(walk.without_a_session(row).await);
        findings.extend(walk.without_the_permission(row).await);
        findings.extend(walk.of_another_team(row).await);
        findings.extend(walk.in_the_wrong_environment(row).await);
        findings.extend(walk.with_a_lesser_role(row).await);
        findings.extend(walk.about_nothing(row).await);
        findings.extend(walk.with_half_a_body(row).await);
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    assert_eq!(rows(&world).await, before, "a refused request left something");

    for row in least_destructive_first(&table) {
        findings.extend(walk.with_everything(row).await);
    }
    assert!(findings.is_empty(), "\n{}", findings.join("\n"));
}

#[test]
fn an_operation_without_a_row_and_a_row_without_an_operation_are_named() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let found = differences("permissions", &set(&["GET /a", "GET /b"]), &set(&["GET /b", "POST /x"]));
    assert_eq!(
        found,
        [
            "POST /x has no entry in the table of permissions",
            "GET /a is in the table of permissions and no operation",
        ]
    );
}

/// What a table and the document do not agree on.
pub fn differences(what: &str, table: &BTreeSet<String>, document: &BTreeSet<String>) -> Vec<String> {
    let unlisted = document.difference(table);
    let unlisted = unlisted.map(|name| format!("{name} has no entry in the table of {what}"));
    let unknown = table.difference(document);
    let unknown = unknown.map(|name| format!("{name} is in the table of {what} and no operation"));
    unlisted.chain(unknown).collect()
}

/// What is removed goes last, and before what it hangs on.
fn least_destructive_first(table: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<&Row> = table.iter().collect();
    rows.sort_by_key(|row| (row.method == Method::DELETE, Reverse(row.path.matches('/').count())));
    rows
}

/// How many rows every table has, without those that time or a login alone adds.
async fn rows(world: &World) -> BTreeMap<String, i64> {
    let query = "SELECT table_name::text FROM information_schema.tables \
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' \
             AND table_name NOT IN ('heartbeats', 'leader_leases', 'login_attempts', 'periodic_jobs', 'user_sessions')";
    let mut rows = BTreeMap::new();
    for table in world.home.texts(query).await {
        let count = world.home.count(&table).await;
        rows.insert(table, count);
    }
    assert!(rows.contains_key("audit_logs"), "{rows:?}");
    rows
}

/// The requests about one row, by those who may not, and by those who may.
struct Walk<'a> {
    world: &'a World,
    fixtures: Fixtures,
    people: People,
}

impl Walk<'_> {
    async fn without_a_session(&self, row: &Row) -> Option<String> {
        let reply = ask(&self.world.anonymous(), row, &self.fixtures.test).await;
        unless(is(&reply, 401, "UNAUTHORIZED"), row, "without a session", &reply)
    }

    /// The role comes before the body: a wrong one tells nothing to those who may not send a right one.
    async fn without_the_permission(&self, row: &Row) -> Vec<String> {
        if row.any_of.is_empty() {
            return Vec::new();
        }
        let caller = self.people.without(row.any_of);
        let replies = [
            ask(caller, row, &self.fixtures.test).await,
            ask_with_half_a_body(caller, row, &self.fixtures.test).await,
        ];
        let findings = replies.iter().filter_map(|reply| {
            let asked = reply.body["params"]["required_permission"].as_str().unwrap_or_default();
            let named = row.any_of.iter().any(|permission| permission.as_str() == asked);
            unless(
                is(reply, 403, "FORBIDDEN") && named,
                row,
                "without the permission",
                reply,
            )
        });
        findings.collect()
    }

    async fn of_another_team(&self, row: &Row) -> Option<String> {
        let outsider = self.world.as_(User::Mallory);
        let caller = match (row.action, row.private) {
            (Some(_), _) => &self.people.stranger,
            (None, true) => &outsider,
            (None, false) => return None,
        };
        looks_missing(caller, row, &self.fixtures.test, "of another team").await
    }

    async fn in_the_wrong_environment(&self, row: &Row) -> Option<String> {
        let (caller, ids) = (&self.people.tester, &self.fixtures.prod);
        let how = "in the wrong environment";
        match row.elsewhere? {
            Elsewhere::Missing => looks_missing(caller, row, ids, how).await,
            Elsewhere::Forbidden(code) => {
                let reply = ask(caller, row, ids).await;
                let right = is(&reply, 403, code) && reply.body["params"]["environment"] == "prod";
                unless(right, row, how, &reply)
            }
        }
    }

    /// A viewer reads, a member does what members do; for more they are told the role that it takes.
    async fn with_a_lesser_role(&self, row: &Row) -> Vec<String> {
        let Some(action) = row.action else {
            return Vec::new();
        };
        let least = action.least_role();
        let holders = [
            (ResourceRole::Viewer, &self.people.viewer),
            (ResourceRole::Member, &self.people.member),
        ];
        let mut findings = Vec::new();
        for (role, caller) in holders {
            let how = format!("as {role}");
            if role < least {
                let reply = ask(caller, row, &self.fixtures.test).await;
                let named = reply.body["params"]["required_role"] == least.to_string();
                findings.extend(unless(is(&reply, 403, "FORBIDDEN") && named, row, &how, &reply));
            } else if row.is_read() {
                let reply = ask(caller, row, &self.fixtures.test).await;
                findings.extend(unless(reply.status == 200, row, &how, &reply));
            }
        }
        findings
    }

    /// Nobody changes what does not exist.
    async fn about_nothing(&self, row: &Row) -> Option<String> {
        if row.is_read() || row.parameters().next().is_none() {
            return None;
        }
        let mut ids = self.fixtures.test.clone();
        ids.extend(row.parameters().map(|name| (name, NOTHING.to_owned())));
        let reply = ask(&self.world.as_(User::Admin), row, &ids).await;
        unless(reply.status == 404, row, "about nothing", &reply)
    }

    async fn with_half_a_body(&self, row: &Row) -> Option<String> {
        row.body?;
        let reply = ask_with_half_a_body(&self.world.as_(User::Admin), row, &self.fixtures.test).await;
        unless(is(&reply, 400, "INVALID_REQUEST"), row, "with half a body", &reply)
    }

    async fn with_everything(&self, row: &Row) -> Option<String> {
        let mut ids = self.fixtures.test.clone();
        let caller = match row.passes {
            Passes::Admin => self.world.as_(User::Admin),
            Passes::Owner => self.world.as_(User::Alice),
            Passes::Passerby => {
                let name = format!("passerby{}", row.path.replace(['/', '{', '}'], "-"));
                let passerby = Passerby::arrive(self.world, &name).await;
                ids.insert("session_id", passerby.other_session);
                passerby.caller
            }
        };
        let reply = ask(&caller, row, &ids).await;
        let past = ![401, 403, 404].contains(&reply.status) && reply.status < 500;
        unless(past, row, "with everything", &reply)
    }
}

/// Whether the answer about an object is, but for its id, the answer about one that does not exist.
async fn looks_missing(caller: &Caller, row: &Row, ids: &Ids, how: &str) -> Option<String> {
    // What has no object in its path names its Service in the body.
    let hidden = row.parameters().next().unwrap_or("service_id");
    let mut nothing = ids.clone();
    nothing.insert(hidden, NOTHING.to_owned());
    let existing = ask(caller, row, ids).await;
    let missing = ask(caller, row, &nothing).await;
    let alike = existing.text.replace(&ids[hidden], NOTHING) == missing.text;
    let right = existing.status == 404 && missing.status == 404 && alike;
    unless(right, row, how, &existing)
}

async fn ask(caller: &Caller, row: &Row, ids: &Ids) -> Reply {
    let request = caller.request(row.method.clone(), &address(row, ids));
    send(match row.body {
        Some(body) => request.json(&body(ids)),
        None => request,
    })
    .await
}

async fn ask_with_half_a_body(caller: &Caller, row: &Row, ids: &Ids) -> Reply {
    let request = caller.request(row.method.clone(), &address(row, ids));
    send(request.header("content-type", "application/json").body("{")).await
}

fn address(row: &Row, ids: &Ids) -> String {
    let path = row.parameters().fold(row.path.to_owned(), |path, name| {
        path.replace(&format!("{{{name}}}"), &ids[name])
    });
    if row.query.is_empty() {
        path
    } else {
        format!("{path}?{}", row.query)
    }
}

fn is(reply: &Reply, status: u16, code: &str) -> bool {
    (reply.status, reply.code()) == (status, code)
}

/// What to tell about an answer that is not right.
fn unless(right: bool, row: &Row, how: &str, reply: &Reply) -> Option<String> {
    (!right).then(|| format!("{} {how}: {} {}", row.name(), reply.status, reply.text))
}
