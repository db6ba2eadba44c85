//! Templates from the first draft to the archive, as an administrator writes them and a requester sees them.

use futures::future::join;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Caller, Reply, send};
use crate::server::{PATIENCE, eventually};
use crate::world::{User, World, text};

const TEMPLATES: &str = "/admin/templates";

fn spec(image: &str) -> Value {
    let user_data = "#cloud-config\npackages:\n  - qemu-guest-agent\n";
    json!({"image_source": {"container_disk": {"image": image}}, "cloud_init": {"user_data": user_data}})
}

fn path(template: &Value) -> String {
    format!("{TEMPLATES}/{}", text(&template["id"]))
}

async fn patch(caller: &Caller, path: &str, body: &Value) -> Reply {
    send(caller.request(Method::PATCH, path).json(body)).await
}

/// Performs an operation that has no body.
async fn act(caller: &Caller, template: &Value, operation: &str) -> Reply {
    let path = format!("{}/{operation}", path(template));
    send(caller.request(Method::POST, &path)).await
}

async fn create(admin: &Caller, name: &str, image: &str, enabled: bool) -> Value {
    let body = json!({"name": name, "os_family": "linux", "spec": spec(image), "enabled": enabled});
    admin.post(TEMPLATES, &body).await.ok(201)
}

async fn status(admin: &Caller, template: &Value) -> String {
    text(&admin.get(&path(template)).await.ok(200)["status"])
}

/// Whether an answer carries a warning.
fn warned(answer: &Value, code: &str) -> bool {
    let warnings = answer["warnings"].as_array();
    warnings.is_some_and(|warnings| warnings.iter().any(|warning| warning["code"] == code))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_lives_from_draft_to_archive() {
    let world = World::start().await;
    let admin = world.as_(User::Admin);
    a_draft_is_written_validated_and_published(&world, &admin).await;
    published_content_makes_the_next_version(&admin).await;
    enabled_is_a_short_cut(&admin).await;
    two_who_publish_at_once_publish_once(&admin).await;
    numbers_only_grow(&admin).await;
    what_is_in_use_is_not_put_away(&world, &admin).await;
    what_was_exported_can_be_imported(&admin).await;
    one_wrong_document_does_not_stop_the_others(&admin).await;
}

async fn a_draft_is_written_validated_and_published(world: &World, admin: &Caller) {
    let draft = create(admin, "alma-9", "registry.example/alma:9", false).await;
    assert_eq!((&draft["version"], &draft["status"]), (&json!(1), &json!("draft")));
    assert!(draft["validated_at"].is_string(), "a cluster was asked: {draft}");
    let offered = async || {
        let listed = world.as_(User::Alice).get("/templates?os_family=linux").await.ok(200);
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        assert!(items.iter().all(|item| item.get("spec").is_none()), "{listed}");
        items.iter().any(|item| item["name"] == "alma-9")
    };
    assert!(!offered().await);
    let validated = act(admin, &draft, "validate").await.ok(200);
    let steps = validated["steps"].as_array().cloned().unwrap_or_default();
    let names: Vec<&Value> = steps.iter().map(|step| &step["name"]).collect();
    assert_eq!(names, ["syntax", "mock_render", "dry_run"]);
    assert_eq!(validated["valid"], true);
    let body = json!({"cluster_id": "01983f0e-0000-7000-8000-000000000000"});
    let nowhere = admin.post(&format!("{}/validate", path(&draft)), &body).await;
    nowhere.refused(404, "CLUSTER_NOT_FOUND");

    let stale = admin.request(Method::PATCH, &path(&draft)).header("if-match", "\"77\"");
    let stale = send(stale.json(&json!({"description": "late"}))).await;
    assert_eq!(stale.refused(412, "PRECONDITION_FAILED")["current_version"], 1);
    let wrong = patch(admin, &path(&draft), &json!({"spec": {"image_source": {}, "cpu": 4}})).await;
    wrong.refused(400, "TEMPLATE_SPEC_VIOLATION");
    let refused = patch(
        admin,
        &path(&draft),
        &json!({"spec": spec("registry.example/reject-me:1")}),
    )
    .await;
    let steps = refused.refused(400, "TEMPLATE_VALIDATION_FAILED");
    assert_eq!(steps["steps"][2]["name"], "dry_run", "{steps}");
    assert_eq!(steps["steps"][2]["errors"][0]["code"], "DRY_RUN_REJECTED", "{steps}");

    let edited = json!({"spec": spec("registry.example/alma:9.1"), "display_name": "Alma"});
    let edited = patch(admin, &path(&draft), &edited).await.ok(200);
    assert_eq!(edited["id"], draft["id"], "a draft stays the one that it is");
    assert_ne!(edited["content_sha256"], draft["content_sha256"]);
    let published = act(admin, &draft, "publish").await.ok(200);
    assert_eq!(
        (&published["status"], &published["enabled"]),
        (&json!("active"), &json!(true))
    );
    assert_eq!(text(&published["published_by"]), world.id(User::Admin));
    assert!(offered().await);
    act(admin, &draft, "publish")
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
}

async fn published_content_makes_the_next_version(admin: &Caller) {
    let first = create(admin, "rhel-9", "registry.example/rhel:9", true).await;
    let texts = patch(admin, &path(&first), &json!({"description": "RHEL", "category": null}))
        .await
        .ok(200);
    assert_eq!((&texts["id"], &texts["description"]), (&first["id"], &json!("RHEL")));
    let body = json!({"spec": spec("registry.example/rhel:9.1")});
    let second = patch(admin, &path(&first), &body).await.ok(200);
    assert_eq!((&second["version"], &second["status"]), (&json!(2), &json!("active")));
    assert_eq!(second["description"], "RHEL", "what is absent stays");
    assert_eq!(status(admin, &first).await, "deprecated");
    let again = patch(admin, &path(&second), &body).await.ok(200);
    assert_eq!(again["id"], second["id"], "the same content is no change");
    let third = act(admin, &first, "new-version").await.ok(201);
    assert_eq!((&third["version"], &third["status"]), (&json!(3), &json!("draft")));
    assert_eq!(third["content_sha256"], first["content_sha256"]);
    admin.delete(&path(&third)).await.ok(204);
    admin.get(&path(&third)).await.refused(404, "TEMPLATE_NOT_FOUND");
}

async fn enabled_is_a_short_cut(admin: &Caller) {
    let first = create(admin, "suse-15", "registry.example/suse:15", false).await;
    let first = patch(admin, &path(&first), &json!({"enabled": true})).await.ok(200);
    assert_eq!(first["status"], "active");
    let off = patch(admin, &path(&first), &json!({"enabled": false})).await.ok(200);
    assert_eq!((&off["id"], &off["status"]), (&first["id"], &json!("deprecated")));
    let on = patch(admin, &path(&first), &json!({"enabled": true})).await.ok(200);
    assert_eq!((&on["version"], &on["status"]), (&json!(2), &json!("active")));
    assert_eq!(on["content_sha256"], first["content_sha256"]);
    let archived = act(admin, &first, "archive").await.ok(200);
    assert_eq!(archived["status"], "archived");
    let late = patch(admin, &path(&first), &json!({"description": "late"})).await;
    late.refused(409, "INVALID_STATE_TRANSITION");
    act(admin, &first, "deprecate")
        .await
        .refused(409, "INVALID_STATE_TRANSITION");
    admin.delete(&path(&first)).await.ok(204);
    assert_eq!(status(admin, &first).await, "archived", "by id it is still there");
    let listed = admin.get("/admin/templates?name=suse-15").await.ok(200);
    assert_eq!(listed["pagination"]["total"], 1, "{listed}");
}

async fn two_who_publish_at_once_publish_once(admin: &Caller) {
    let draft = create(admin, "race-1", "registry.example/race:1", false).await;
    let (one, other) = join(act(admin, &draft, "publish"), act(admin, &draft, "publish")).await;
    let mut answers = [one.status, other.status];
    answers.sort_unstable();
    assert_eq!(answers, [200, 409]);
    let next = json!({"spec": spec("registry.example/race:2")});
    let place = path(&draft);
    let (one, other) = join(patch(admin, &place, &next), patch(admin, &place, &next)).await;
    assert_eq!((one.status, other.status), (200, 200), "{} {}", one.text, other.text);
    let active = admin.get("/admin/templates?name=race-1&status=active").await.ok(200);
    assert_eq!(active["pagination"]["total"], 1, "{active}");
}

async fn numbers_only_grow(admin: &Caller) {
    let body = |version: i32| json!({"name": "race-1", "version": version, "spec": spec("registry.example/race:9")});
    admin
        .post(TEMPLATES, &body(1))
        .await
        .refused(409, "TEMPLATE_NAME_VERSION_EXISTS");
    admin.post(TEMPLATES, &body(0)).await.refused(400, "VALIDATION_FAILED");
    assert_eq!(admin.post(TEMPLATES, &body(20)).await.ok(201)["version"], 20);
    admin.post(TEMPLATES, &body(10)).await.refused(400, "VALIDATION_FAILED");
}

async fn what_is_in_use_is_not_put_away(world: &World, admin: &Caller) {
    let template = create(admin, "busy", "registry.example/busy:1", true).await;
    let mut body = world.vm_body("dev");
    body["template_id"] = template["id"].clone();
    let accepted = world.as_(User::Alice).post("/vms", &body).await.ok(202);
    let refused = act(admin, &template, "archive").await.refused(409, "TEMPLATE_IN_USE");
    assert_eq!(refused["reference_count"], 1);
    admin.delete(&path(&template)).await.refused(409, "TEMPLATE_IN_USE");
    act(admin, &template, "deprecate").await.ok(200);
    let late = world.as_(User::Alice).post("/vms", &body).await;
    late.refused(409, "TEMPLATE_NOT_ACTIVE");
    let cancel = format!("/approvals/{}/cancel", text(&accepted["ticket_id"]));
    let cancelled = world.as_(User::Alice).post(&cancel, &json!({})).await;
    assert!((200..300).contains(&cancelled.status), "{}", cancelled.text);
    act(admin, &template, "archive").await.ok(200);
    let archived = world.as_(User::Alice).post("/vms", &body).await;
    archived.refused(409, "TEMPLATE_NOT_ACTIVE");
}

async fn what_was_exported_can_be_imported(admin: &Caller) {
    let body = json!({
        "name": "whole", "display_name": "On: \"all\" #1", "description": "two\nlines", "os_version": "1.10",
        "spec": spec("registry.example/whole:1"),
        "quick_fields": [{"path": "spec.template.spec.domain.cpu.cores", "min": 1, "max": 8}],
    });
    let original = admin.post(TEMPLATES, &body).await.ok(201);
    let export = format!("{}/export", path(&original));
    let yaml = admin.get(&export).await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(!yaml.text.contains(&text(&original["id"])), "{}", yaml.text);
    let document = admin.get(&format!("{export}?format=json")).await.ok(200);
    assert_eq!(
        (&document["apiVersion"], &document["kind"]),
        (&json!("shepherd/v1"), &json!("Template"))
    );
    admin
        .get(&format!("{export}?format=xml"))
        .await
        .refused(400, "VALIDATION_FAILED");

    let import = "/admin/templates/import";
    let known = json!({"documents": [document, yaml.text]});
    let counts = |answer: &Value| (answer["created"].clone(), answer["skipped"].clone());
    assert_eq!(counts(&admin.post(import, &known).await.ok(200)), (json!(0), json!(2)));
    let mut same = known.clone();
    same["mode"] = json!("new_version");
    assert_eq!(counts(&admin.post(import, &same).await.ok(200)), (json!(0), json!(2)));
    let renamed = yaml.text.replacen("name: whole", "name: whole-again", 1);
    let answer = admin.post(import, &json!({"documents": [renamed]})).await.ok(200);
    assert_eq!(counts(&answer), (json!(1), json!(0)), "{answer}");
    let listed = admin.get("/admin/templates?name=whole-again").await.ok(200);
    let copy = &listed["items"][0];
    for field in [
        "display_name",
        "description",
        "os_version",
        "spec",
        "quick_fields",
        "content_sha256",
        "version",
        "enabled",
    ] {
        assert_eq!(copy[field], original[field], "{field}");
    }

    let mut changed = document.clone();
    changed["spec"] = spec("registry.example/whole:2");
    let forged = json!({"documents": [changed.clone()], "mode": "new_version"});
    let forged = admin.post(import, &forged).await.ok(200);
    assert_eq!(
        forged["errors"][0]["field_errors"][0]["field"], "content_sha256",
        "{forged}"
    );
    changed["content_sha256"] = Value::Null;
    changed["enabled"] = json!(false);
    let answer = admin
        .post(import, &json!({"documents": [changed], "mode": "new_version"}))
        .await
        .ok(200);
    assert_eq!(counts(&answer), (json!(1), json!(0)), "{answer}");
    let newest = admin.get("/admin/templates?name=whole").await.ok(200);
    assert_eq!(
        (&newest["items"][0]["version"], &newest["items"][0]["status"]),
        (&json!(2), &json!("draft"))
    );
}

async fn one_wrong_document_does_not_stop_the_others(admin: &Caller) {
    let good = json!({"apiVersion": "shepherd/v1", "kind": "Template", "name": "good", "spec": spec("registry.example/good:1")});
    let with = |field: &str, value: Value| {
        let mut document = good.clone();
        document[field] = value;
        document
    };
    let documents = json!([
        "apiVersion: shepherd/v1\nkind: Template\nname: nul\ndisplay_name: \"a\\0b\"\n\
         spec: {image_source: {container_disk: {image: a}}}",
        7,
        with("kind", json!("Secret")),
        with("name", json!("Bad Name")),
        with(
            "spec",
            json!({"image_source": {"container_disk": {"image": "a"}}, "running": true})
        ),
        with("spec", spec("registry.example/reject-me:1")),
        with("surplus", json!(1)),
        good,
    ]);
    let answer = admin
        .post("/admin/templates/import", &json!({"documents": documents}))
        .await
        .ok(200);
    assert_eq!(answer["created"], 1, "{answer}");
    let errors = answer["errors"].as_array().cloned().unwrap_or_default();
    let found: Vec<(u64, &str)> = errors
        .iter()
        .map(|error| (error["index"].as_u64().unwrap(), error["code"].as_str().unwrap()))
        .collect();
    let expected = [
        (0, "INVALID_REQUEST"),
        (1, "INVALID_REQUEST"),
        (2, "VALIDATION_FAILED"),
        (3, "VALIDATION_FAILED"),
        (4, "TEMPLATE_SPEC_VIOLATION"),
        (5, "TEMPLATE_VALIDATION_FAILED"),
        (6, "INVALID_REQUEST"),
    ];
    assert_eq!(found, expected);
    let listed = admin.get("/admin/templates?name=good").await.ok(200);
    assert_eq!(listed["items"][0]["status"], "draft", "nobody asked for more");
    let none = admin.post("/admin/templates/import", &json!({"documents": []})).await;
    none.refused(400, "VALIDATION_FAILED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_cluster_could_judge_is_judged_once_one_can() {
    let world = World::start().await;
    let admin = world.as_(User::Admin);
    let validated = async |name: &str| {
        let query = format!("templates WHERE name = '{name}' AND validated_at IS NOT NULL");
        world.home.count(&query).await == 1
    };
    eventually("the seeds are judged", PATIENCE, async || {
        let waiting = "templates WHERE status = 'active' AND validated_at IS NULL";
        (world.home.count(waiting).await == 0).then_some(())
    })
    .await;
    let clusters = admin.get("/admin/clusters?environment=test").await.ok(200);
    let cluster = format!("/admin/clusters/{}", text(&clusters["items"][0]["id"]));
    patch(&admin, &cluster, &json!({"enabled": false})).await.ok(200);

    let good = create(&admin, "late", "registry.example/late:1", true).await;
    assert!(warned(&good, "PREVIEW_UNAVAILABLE"), "{good}");
    assert_eq!((&good["status"], good.get("validated_at")), (&json!("active"), None));
    create(&admin, "late-draft", "registry.example/late:1", false).await;
    let bad = create(&admin, "late-bad", "registry.example/reject-me:1", true).await;
    assert!(!validated("late").await);

    patch(&admin, &cluster, &json!({"enabled": true})).await.ok(200);
    eventually("the good one is judged", PATIENCE, async || {
        validated("late").await.then_some(())
    })
    .await;
    let told = format!(
        "notifications WHERE type = 'SYSTEM_ALERT' AND resource_id = '{}' \
             AND params ->> 'code' = 'TEMPLATE_VALIDATION_FAILED'",
        text(&bad["id"])
    );
    eventually("administrators hear of the bad one", PATIENCE, async || {
        (world.home.count(&told).await > 0).then_some(())
    })
    .await;
    assert!(!validated("late-bad").await);
    assert!(!validated("late-draft").await, "a draft is judged when it is published");
    let shown = admin.get(&path(&good)).await.ok(200);
    assert_eq!(shown["updated_at"], good["updated_at"], "nobody changed it");

    let before = world.home.count(&told).await;
    let look = "SELECT last_checked_at::text FROM clusters WHERE name = 'test-1'";
    for _ in 0..2 {
        let last = world.home.texts(look).await;
        eventually("test-1 is looked at", PATIENCE, async || {
            (world.home.texts(look).await != last).then_some(())
        })
        .await;
    }
    assert_eq!(world.home.count(&told).await, before, "they are told once");
}
