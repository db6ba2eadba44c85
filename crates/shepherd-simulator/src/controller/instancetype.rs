//! Instance types: what a machine that names one gets as processors and memory.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::object;
use crate::resources::{CLUSTER_INSTANCE_TYPES, INSTANCE_TYPES};
use crate::store::Store;

/// The instance type a machine names; an error when it does not exist.
pub(crate) fn find(store: &Store, vm: &Value) -> Result<Option<Arc<Value>>, String> {
    let matcher = &vm["spec"]["instancetype"];
    let Some(name) = matcher["name"].as_str() else {
        return Ok(None);
    };
    let kind = matcher["kind"].as_str().unwrap_or(CLUSTER_INSTANCE_TYPES.kind);
    let (def, namespace) = if kind.eq_ignore_ascii_case(INSTANCE_TYPES.kind) {
        (&INSTANCE_TYPES, object::namespace(vm))
    } else {
        (&CLUSTER_INSTANCE_TYPES, "")
    };
    match store.get(def, namespace, name) {
        Some(found) => Ok(Some(found)),
        None => Err(format!("{} {name:?} not found", def.qualified())),
    }
}

/// The spec of the machine's instance: the template, with processors and memory of the instance type.
pub(crate) fn instance_spec(store: &Store, vm: &Value) -> Value {
    let mut spec = vm["spec"]["template"]["spec"].clone();
    let Ok(Some(kind)) = find(store, vm) else { return spec };
    let wanted = &kind["spec"];
    let domain = object::as_map(object::as_map(&mut spec).entry("domain").or_insert(Value::Null));
    if let Some(guest) = wanted["cpu"]["guest"].as_u64() {
        domain.insert("cpu".to_owned(), json!({"sockets": guest, "cores": 1, "threads": 1}));
    }
    if !wanted["memory"]["guest"].is_null() {
        domain.insert("memory".to_owned(), json!({"guest": wanted["memory"]["guest"]}));
    }
    spec
}
