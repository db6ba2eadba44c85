//! Ids that nothing has, and what is no id.

use reqwest::Method;
use serde_json::json;

use super::{Case, NOTHING, bindings, case};
use crate::world::{User, World};

pub(super) fn unknown_ids(world: &World) -> Vec<Case> {
    let mut cases = Vec::new();
    for (user, path, code) in [
        (User::Alice, "/systems/{}".to_owned(), "SYSTEM_NOT_FOUND"),
        (User::Alice, "/systems/{}/services".to_owned(), "SYSTEM_NOT_FOUND"),
        (
            User::Alice,
            format!("/systems/{}/services/{{}}", world.system),
            "SERVICE_NOT_FOUND",
        ),
        (User::Alice, "/vms/{}".to_owned(), "VM_NOT_FOUND"),
        (User::Alice, "/approvals/{}".to_owned(), "TICKET_NOT_FOUND"),
        (User::Alice, "/events/{}".to_owned(), "EVENT_NOT_FOUND"),
        (User::Alice, "/tasks/{}".to_owned(), "TASK_NOT_FOUND"),
        (User::Admin, "/admin/clusters/{}".to_owned(), "CLUSTER_NOT_FOUND"),
        (User::Admin, "/admin/namespaces/{}".to_owned(), "NAMESPACE_NOT_FOUND"),
    ] {
        let request = world.as_(user).request(Method::GET, &path.replace("{}", NOTHING));
        cases.push(case(path, request, 404, code).with("id", NOTHING));
    }
    for (key, code) in [
        ("service_id", "SERVICE_NOT_FOUND"),
        ("template_id", "TEMPLATE_NOT_FOUND"),
        ("instance_size_id", "INSTANCE_SIZE_NOT_FOUND"),
    ] {
        let mut body = world.vm_body("dev");
        body[key] = json!(NOTHING);
        let request = world.as_(User::Alice).request(Method::POST, "/vms").json(&body);
        cases.push(case(format!("a request with an unknown {key}"), request, 404, code).with("id", NOTHING));
    }
    let at = |user: User, method: Method, path: &str| world.as_(user).request(method, path);
    let approve = |ticket: &str| at(User::Bob, Method::POST, &format!("/approvals/{ticket}/approve"));
    let role = json!({"role_id": "role-viewer"});
    let nobody = json!({"role_id": "role-nobody"});
    let users = format!("/admin/users/{NOTHING}/role-bindings");
    let read = format!("/notifications/{NOTHING}/read");
    let vm = format!("/vms/{NOTHING}?confirm=true");
    cases.extend([
        case("approve nothing", approve(NOTHING), 404, "TICKET_NOT_FOUND"),
        case("approve no number", approve("TKT-999999"), 404, "TICKET_NOT_FOUND"),
        case("approve no ticket", approve("nope"), 404, "TICKET_NOT_FOUND"),
        case(
            "read nothing",
            at(User::Alice, Method::PATCH, &read),
            404,
            "NOTIFICATION_NOT_FOUND",
        ),
        case(
            "delete nothing",
            at(User::Alice, Method::DELETE, &vm),
            404,
            "VM_NOT_FOUND",
        ),
        case(
            "a role for nobody",
            at(User::Admin, Method::POST, &users).json(&role),
            404,
            "USER_NOT_FOUND",
        ),
        case(
            "no role for somebody",
            at(User::Admin, Method::POST, &bindings(world)).json(&nobody),
            404,
            "ROLE_NOT_FOUND",
        ),
    ]);
    cases
}

pub(super) fn malformed_ids(world: &World) -> Vec<Case> {
    let paths = [
        (User::Alice, Method::GET, "/systems/nope"),
        (User::Alice, Method::GET, "/systems/nope/services"),
        (User::Alice, Method::GET, "/systems/nope/services/nope"),
        (User::Alice, Method::DELETE, "/systems/nope"),
        (User::Alice, Method::GET, "/vms/nope"),
        (User::Alice, Method::GET, "/vms/%00"),
        (User::Alice, Method::DELETE, "/vms/nope"),
        (User::Alice, Method::GET, "/events/nope"),
        (User::Alice, Method::GET, "/tasks/nope"),
        (User::Alice, Method::PATCH, "/notifications/nope/read"),
        (User::Admin, Method::GET, "/admin/clusters/nope"),
        (User::Admin, Method::GET, "/admin/namespaces/nope"),
    ];
    let cases = paths.map(|(user, method, path)| {
        let request = world.as_(user).request(method.clone(), path);
        case(format!("{method} {path}"), request, 400, "INVALID_REQUEST")
    });
    cases.into()
}
