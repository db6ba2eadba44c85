//! KubeVirt's webhooks for snapshots, restores, clones and migrations, which look at the cluster as well as at
//! the object. What they say and which code they answer with is KubeVirt's. Claims are judged by the API server itself.

mod claim;

use serde_json::{Value, json};

use crate::controller::intent::run_strategy;
use crate::controller::{conditions, instancetype, migration};
use crate::resources::{
    CLAIMS, CLONES, INSTANCES, KUBEVIRTS, MIGRATIONS, RESTORES, ResourceDef, SNAPSHOTS, VIRTUAL_MACHINES,
};
use crate::status::{ApiError, Cause};
use crate::store::Store;
use crate::{host, object};

const SNAPSHOT_WEBHOOK: &str = "virtualmachinesnapshot-validator.snapshot.kubevirt.io";
const RESTORE_WEBHOOK: &str = "virtualmachinerestore-validator.snapshot.kubevirt.io";
const CLONE_WEBHOOK: &str = "vm-clone-validator.kubevirt.io";
const MIGRATION_WEBHOOK: &str = "migration-create-validator.kubevirt.io";

/// Fills in what KubeVirt's mutating webhooks add to a new object.
pub(crate) fn mutate(def: &ResourceDef, object: &mut Value) {
    if *def == MIGRATIONS {
        let name = object["spec"]["vmiName"].clone();
        let labels = object::as_map(object::metadata_mut(object).entry("labels").or_insert(Value::Null));
        labels.insert(migration::LABEL.to_owned(), name);
        object::add_finalizer(object, migration::FINALIZER);
    }
    if *def == CLONES {
        let source = object["spec"]["source"]["name"].as_str().unwrap_or_default();
        let name = format!("clone-{source}-{}", host::name_suffix());
        let target = &object["spec"]["target"];
        if object["spec"].is_object() && target["name"].as_str().unwrap_or_default().is_empty() {
            object["spec"]["target"] = json!({"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": name});
        }
    }
}

/// Asks the webhooks about a new object, or about a new state of `live`.
pub(crate) fn admit(store: &Store, def: &ResourceDef, live: Option<&Value>, object: &Value) -> Result<(), ApiError> {
    let webhook = match def {
        def if *def == VIRTUAL_MACHINES => return machine(store, live, object),
        def if *def == CLAIMS => return claim::admit(store, live, object),
        def if *def == SNAPSHOTS => SNAPSHOT_WEBHOOK,
        def if *def == RESTORES => RESTORE_WEBHOOK,
        def if *def == CLONES => CLONE_WEBHOOK,
        def if *def == MIGRATIONS => MIGRATION_WEBHOOK,
        _ => return Ok(()),
    };
    let causes = match live {
        Some(live) if live["spec"] != object["spec"] => vec![cause("spec", "spec in immutable after creation")],
        Some(_) => Vec::new(),
        None if *def == MIGRATIONS => return admit_migration(store, object),
        None => {
            if !has_gate(store, "Snapshot") {
                return Err(ApiError::turned_away(webhook, gate_message(def)));
            }
            match def {
                def if *def == SNAPSHOTS => reference("spec.source", &object["spec"]["source"]),
                def if *def == RESTORES => restore(store, object),
                _ => clone(object),
            }
        }
    };
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::webhook(def, object::name(object), webhook, &causes))
    }
}

fn cause(field: &str, message: &str) -> Cause {
    Cause {
        reason: "FieldValueInvalid",
        message: message.to_owned(),
        field: field.to_owned(),
    }
}

/// Whether a feature gate is switched on in the KubeVirt resource.
fn has_gate(store: &Store, gate: &str) -> bool {
    store.list(&KUBEVIRTS, "").iter().any(|kubevirt| {
        let gates = &kubevirt["spec"]["configuration"]["developerConfiguration"]["featureGates"];
        gates
            .as_array()
            .is_some_and(|gates| gates.iter().any(|found| found == gate))
    })
}

fn gate_message(def: &ResourceDef) -> &'static str {
    if *def == RESTORES {
        "Snapshot/Restore feature gate not enabled"
    } else if *def == CLONES {
        "snapshot feature gate is not enabled"
    } else {
        "snapshot feature gate not enabled"
    }
}

/// A reference has to be to a virtual machine, with its group.
fn reference(field: &str, reference: &Value) -> Vec<Cause> {
    let wrong = match (reference["apiGroup"].as_str(), reference["kind"].as_str()) {
        (None, _) => {
            return vec![Cause {
                reason: "FieldValueNotFound",
                message: "missing apiGroup".to_owned(),
                field: format!("{field}.apiGroup"),
            }];
        }
        (Some("kubevirt.io"), Some("VirtualMachine")) => return Vec::new(),
        (Some("kubevirt.io"), _) => "kind",
        (Some(_), _) => "apiGroup",
    };
    vec![cause(&format!("{field}.{wrong}"), &format!("invalid {wrong}"))]
}

fn restore(store: &Store, object: &Value) -> Vec<Cause> {
    let target = &object["spec"]["target"];
    let mut causes = reference("spec.target", target);
    for other in store.list(&RESTORES, object::namespace(object)) {
        if other["spec"]["target"] == *target && other["status"]["complete"] != true {
            let message = format!("VirtualMachineRestore {:?} in progress", object::name(&other));
            causes.push(cause("spec.target", &message));
        }
    }
    causes
}

fn clone(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let (source, target) = (&spec["source"], &spec["target"]);
    let mut causes = Vec::new();
    for (filters, field) in [
        (&spec["annotationFilters"], "spec.annotations"),
        (&spec["labelFilters"], "spec.labels"),
        (&spec["template"]["annotationFilters"], "spec.template.annotations"),
        (&spec["template"]["labelFilters"], "spec.template.labels"),
    ] {
        let texts = filters.as_array().into_iter().flatten().filter_map(Value::as_str);
        causes.extend(texts.filter_map(|filter| bad_filter(filter, field)));
    }
    if !matches!(
        source["kind"].as_str(),
        Some("VirtualMachine" | "VirtualMachineSnapshot")
    ) {
        causes.push(cause("spec.Source.Kind", "Source kind is not supported"));
    }
    if target["kind"] != "VirtualMachine" {
        causes.push(cause("spec.Target.Kind", "Target kind is not supported"));
    }
    if source["apiGroup"].as_str().unwrap_or_default().is_empty() {
        causes.push(cause("spec.Source.APIGroup", "Source's APIGroup cannot be empty"));
    }
    if source["name"].as_str().unwrap_or_default().is_empty() {
        causes.push(cause("spec.Source.Name", "Source's name cannot be empty"));
    }
    if source["kind"] == "VirtualMachine" && source["name"] == target["name"] {
        let message = "Target name cannot be equal to source name when both are VirtualMachines";
        causes.push(cause("spec.target.name", message));
    }
    causes
}

fn bad_filter(filter: &str, field: &str) -> Option<Cause> {
    if filter == "!" {
        return Some(cause(field, "a negation character is not a valid filter"));
    }
    let pattern = filter.strip_prefix('!').unwrap_or(filter);
    let body = pattern.strip_suffix('*').unwrap_or(pattern);
    let (what, character) = if body.contains('!') {
        ("negation", '!')
    } else if body.contains('*') {
        ("wildcard", '*')
    } else {
        return None;
    };
    let message = format!("{field} filter {filter} is invalid: cannot contain a {what} character ({character})");
    Some(cause(field, &message))
}

/// A migration needs a running, movable instance that is not on its way already.
fn admit_migration(store: &Store, object: &Value) -> Result<(), ApiError> {
    let namespace = object::namespace(object);
    let name = object["spec"]["vmiName"].as_str().unwrap_or_default();
    let refuse = |why: &str| Err(ApiError::turned_away(MIGRATION_WEBHOOK, why));
    if name.is_empty() {
        let missing = Cause {
            reason: "FieldValueRequired",
            message: "vmiName is missing".to_owned(),
            field: "spec.vmiName".to_owned(),
        };
        let name = object::name(object);
        return Err(ApiError::webhook(&MIGRATIONS, name, MIGRATION_WEBHOOK, &[missing]));
    }
    let Some(instance) = store.get(&INSTANCES, namespace, name) else {
        return refuse(&format!("the VMI \"{namespace}/{name}\" does not exist"));
    };
    match instance["status"]["phase"].as_str() {
        Some("Running") => {}
        Some("Succeeded" | "Failed") => return refuse("Cannot migrate VMI in finalized state."),
        _ => return refuse("Cannot migrate VMI that is not running."),
    }
    if let Some(condition) = conditions::get(&instance, "LiveMigratable")
        && condition["status"] == "False"
    {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let (reason, message) = (text("reason"), text("message"));
        return refuse(&format!("Cannot migrate VMI, Reason: {reason}, Message: {message}"));
    }
    let others = store.list(&MIGRATIONS, namespace);
    match others.iter().find(|other| migration::is_under_way(other, name)) {
        Some(other) => refuse(&format!(
            "in-flight migration detected. Active migration job ({}) is currently already in progress for VMI {name}.",
            object::uid(other)
        )),
        None => Ok(()),
    }
}

/// What a machine may not change while it is being saved or brought back, and the instance type it names.
fn machine(store: &Store, live: Option<&Value>, object: &Value) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    if let Some(live) = live {
        let template = |vm: &Value| vm["spec"]["template"]["spec"].clone();
        let (before, after) = (template(live), template(object));
        if let Some(snapshot) = live["status"]["snapshotInProgress"].as_str()
            && (before["volumes"] != after["volumes"]
                || before["domain"]["devices"]["disks"] != after["domain"]["devices"]["disks"])
        {
            let message = format!("Cannot update VM disks or volumes until snapshot {snapshot:?} completes");
            causes.push(cause("spec", &message));
        }
        if let Some(restore) = live["status"]["restoreInProgress"].as_str()
            && run_strategy(object) != "Halted"
        {
            let message = format!("Cannot start VM until restore {restore:?} completes");
            causes.push(cause("spec.runStrategy", &message));
        }
    }
    if let Err(why) = instancetype::find(store, object) {
        causes.push(cause(
            "spec.instancetype",
            &format!("Failure to find instancetype: {why}"),
        ));
    }
    if causes.is_empty() {
        return Ok(());
    }
    let (name, webhook) = (object::name(object), super::machine::WEBHOOK);
    Err(ApiError::webhook(&VIRTUAL_MACHINES, name, webhook, &causes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterSeed;
    use crate::seed;

    fn store(gates: &[&str]) -> Store {
        let mut store = Store::default();
        let seed = ClusterSeed {
            feature_gates: gates.iter().map(|gate| (*gate).to_owned()).collect(),
            ..ClusterSeed::default()
        };
        seed::fill(&mut store, &seed);
        store
    }

    fn snapshot(source: Value) -> Value {
        json!({"metadata": {"namespace": "default", "name": "s"}, "spec": {"source": source}})
    }

    #[test]
    fn the_feature_gate_opens_snapshots() {
        let object = snapshot(json!({"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"}));
        assert!(admit(&store(&["Snapshot"]), &SNAPSHOTS, None, &object).is_ok());
        let error = admit(&store(&[]), &SNAPSHOTS, None, &object).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(error.message.ends_with("snapshot feature gate not enabled"));
        assert!(error.to_status()["reason"].is_null());
    }

    #[test]
    fn sources_are_virtual_machines() {
        let open = store(&["Snapshot"]);
        for (source, field) in [
            (json!({"kind": "VirtualMachine", "name": "web"}), "spec.source.apiGroup"),
            (
                json!({"apiGroup": "v1", "kind": "Pod", "name": "web"}),
                "spec.source.apiGroup",
            ),
            (
                json!({"apiGroup": "kubevirt.io", "kind": "Pod", "name": "web"}),
                "spec.source.kind",
            ),
        ] {
            let error = admit(&open, &SNAPSHOTS, None, &snapshot(source)).unwrap_err();
            assert_eq!(error.code, 422);
            assert_eq!(error.to_status()["details"]["causes"][0]["field"], field);
        }
    }

    #[test]
    fn clones_get_a_target_and_may_not_be_their_source() {
        let mut object = json!({"metadata": {"name": "c"}, "spec": {
            "source": {"apiGroup": "kubevirt.io", "kind": "VirtualMachine", "name": "web"},
        }});
        mutate(&CLONES, &mut object);
        let name = object["spec"]["target"]["name"].as_str().unwrap();
        assert!(name.starts_with("clone-web-"), "{name}");
        assert!(clone(&object).is_empty());
        object["spec"]["target"]["name"] = json!("web");
        object["spec"]["labelFilters"] = json!(["*", "!shop/*", "a*b"]);
        let fields: Vec<String> = clone(&object).into_iter().map(|cause| cause.field).collect();
        assert_eq!(fields, ["spec.labels", "spec.target.name"]);
    }
}
