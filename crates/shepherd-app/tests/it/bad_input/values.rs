//! Names that no rule allows, and values outside their ranges.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Case, SIXTEEN, bindings, case};
use crate::world::{PASSWORD, User, World};

pub(super) fn names(world: &World) -> Vec<Case> {
    let services = format!("/systems/{}/services", world.system);
    let wrong = [
        (SIXTEEN, "NAME_TOO_LONG"),
        ("", "NAME_INVALID"),
        ("Shop", "NAME_INVALID"),
        ("1shop", "NAME_INVALID"),
        ("-shop", "NAME_INVALID"),
        ("shop-", "NAME_INVALID"),
        ("sh--op", "NAME_INVALID"),
        ("sh_op", "NAME_INVALID"),
        ("sh op", "NAME_INVALID"),
        ("shöp", "NAME_INVALID"),
        ("../etc", "NAME_INVALID"),
        ("default", "NAME_RESERVED"),
        ("system", "NAME_RESERVED"),
        ("admin", "NAME_RESERVED"),
        ("root", "NAME_RESERVED"),
        ("internal", "NAME_RESERVED"),
        ("kube-public", "NAME_RESERVED"),
    ];
    let mut cases = Vec::new();
    for (name, code) in wrong {
        let body = json!({"name": name});
        for path in ["/systems", services.as_str()] {
            let request = world.as_(User::Alice).request(Method::POST, path).json(&body);
            cases.push(case(format!("the name `{name}` at {path}"), request, 400, code));
        }
        let body = json!({"name": name, "environment": "test"});
        let request = world
            .as_(User::Admin)
            .request(Method::POST, "/admin/namespaces")
            .json(&body);
        cases.push(case(format!("the namespace `{name}`"), request, 400, code));
    }
    cases
}

pub(super) fn values(world: &World) -> Vec<Case> {
    let vm = |key: &str, value: Value| {
        let mut body = world.vm_body("dev");
        body[key] = value;
        world.as_(User::Alice).request(Method::POST, "/vms").json(&body)
    };
    let admin = |path: &str, body: Value| world.as_(User::Admin).request(Method::POST, path).json(&body);
    let namespace = |body: Value| admin("/admin/namespaces", body);
    let user = |name: &str, password: &str| admin("/admin/users", json!({"username": name, "password": password}));
    vec![
        case(
            "a larger disk than the size allows",
            vm("disk_gb", json!(51)),
            400,
            "DISK_SIZE_OUT_OF_RANGE",
        ),
        case(
            "a smaller disk than the size allows",
            vm("disk_gb", json!(9)),
            400,
            "DISK_SIZE_OUT_OF_RANGE",
        ),
        case("no disk", vm("disk_gb", json!(0)), 400, "VALIDATION_FAILED"),
        case("a negative disk", vm("disk_gb", json!(-1)), 400, "VALIDATION_FAILED"),
        case(
            "a huge disk",
            vm("disk_gb", json!(1_u64 << 40)),
            400,
            "VALIDATION_FAILED",
        ),
        case("half a disk", vm("disk_gb", json!(20.5)), 400, "VALIDATION_FAILED"),
        case("a disk in words", vm("disk_gb", json!("20")), 400, "VALIDATION_FAILED"),
        case("no reason", vm("reason", Value::Null), 400, "VALIDATION_FAILED"),
        case("an empty reason", vm("reason", json!("")), 400, "VALIDATION_FAILED"),
        case("a blank reason", vm("reason", json!("   ")), 400, "VALIDATION_FAILED"),
        case(
            "a long reason",
            vm("reason", json!("x".repeat(1025))),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "a service that is no id",
            vm("service_id", json!("web")),
            400,
            "VALIDATION_FAILED",
        ),
        case("no namespace", vm("namespace", json!("")), 400, "VALIDATION_FAILED"),
        case(
            "a namespace nobody registered",
            vm("namespace", json!("nowhere")),
            400,
            "NAMESPACE_NOT_REGISTERED",
        )
        .with("namespace", "nowhere"),
        case(
            "no environment",
            namespace(json!({"name": "fine"})),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "an unknown environment",
            namespace(json!({"name": "fine", "environment": "staging"})),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "a short password",
            user("fine", "short"),
            400,
            "PASSWORD_POLICY_VIOLATION",
        ),
        case(
            "a common password",
            user("fine", "password"),
            400,
            "PASSWORD_POLICY_VIOLATION",
        ),
        case("no user name", user("", PASSWORD), 400, "VALIDATION_FAILED"),
        case("a padded user name", user(" fine", PASSWORD), 400, "VALIDATION_FAILED"),
        case(
            "a template with hardware",
            admin("/admin/templates", json!({"name": "fine", "spec": {"cpu_cores": 64}})),
            400,
            "TEMPLATE_SPEC_VIOLATION",
        ),
        case(
            "a role that nobody may give",
            admin(&bindings(world), json!({"role_id": "role-bootstrap"})),
            403,
            "ROLE_NOT_ASSIGNABLE",
        ),
        case(
            "a role without environments",
            admin(
                &bindings(world),
                json!({"role_id": "role-approver", "allowed_environments": []}),
            ),
            400,
            "VALIDATION_FAILED",
        ),
        case(
            "a deletion without confirmation",
            world
                .as_(User::Alice)
                .request(Method::DELETE, &format!("/systems/{}", world.system)),
            400,
            "CONFIRMATION_REQUIRED",
        )
        .with("entity_name", "shop"),
        case(
            "a deletion of a System that is in use",
            world
                .as_(User::Alice)
                .request(Method::DELETE, &format!("/systems/{}?confirm_name=shop", world.system)),
            409,
            "SYSTEM_HAS_SERVICES",
        ),
    ]
}
