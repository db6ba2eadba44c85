//! What the API server says about a claim that changes: it grows, on a class that lets it, and nothing else.

use serde_json::Value;

use crate::object;
use crate::quantity::units;
use crate::resources::{CLAIMS, STORAGE_CLASSES};
use crate::status::{ApiError, Cause};
use crate::store::Store;

const IMMUTABLE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
    bound claims";
const SHRINKS: &str = "field can not be less than status.capacity";
const NOT_EXPANDABLE: &str =
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";

/// Judges a new state of a claim.
pub(super) fn admit(store: &Store, live: Option<&Value>, claim: &Value) -> Result<(), ApiError> {
    let Some(live) = live.filter(|live| live["spec"] != claim["spec"]) else {
        return Ok(());
    };
    let name = object::name(claim);
    if without_request(live) != without_request(claim) || live["status"]["phase"] != "Bound" {
        return Err(refused(name, "spec", IMMUTABLE));
    }
    let (before, after) = (units(request(live)), units(request(claim)));
    if after < before {
        return Err(refused(name, "spec.resources.requests.storage", SHRINKS));
    }
    if after > before && !expands(store, claim) {
        return Err(ApiError::denied(&CLAIMS, name, NOT_EXPANDABLE, &[]));
    }
    Ok(())
}

fn request(claim: &Value) -> &Value {
    &claim["spec"]["resources"]["requests"]["storage"]
}

fn without_request(claim: &Value) -> Value {
    let mut spec = claim["spec"].clone();
    if let Some(requests) = spec.pointer_mut("/resources/requests").and_then(Value::as_object_mut) {
        requests.remove("storage");
    }
    spec
}

fn expands(store: &Store, claim: &Value) -> bool {
    let class = claim["spec"]["storageClassName"].as_str().unwrap_or_default();
    let class = store.get(&STORAGE_CLASSES, "", class);
    class.is_some_and(|class| class["allowVolumeExpansion"] == true)
}

fn refused(name: &str, field: &str, why: &str) -> ApiError {
    let cause = Cause {
        reason: "FieldValueForbidden",
        message: format!("Forbidden: {why}"),
        field: field.to_owned(),
    };
    ApiError::invalid(&CLAIMS, name, &[cause])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim(size: &str) -> Value {
        json!({
            "metadata": {"namespace": "shop", "name": "web-data"},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": size}}},
            "status": {"phase": "Bound"},
        })
    }

    fn store(expands: bool) -> Store {
        let mut store = Store::default();
        store.put(
            &STORAGE_CLASSES,
            json!({"metadata": {"name": "fast"}, "allowVolumeExpansion": expands}),
        );
        store
    }

    #[test]
    fn claims_only_grow_and_only_where_the_class_lets_them() {
        let live = claim("10Gi");
        assert!(admit(&store(true), Some(&live), &claim("20Gi")).is_ok());
        assert!(admit(&store(false), Some(&live), &claim("10Gi")).is_ok());
        assert_eq!(admit(&store(false), Some(&live), &claim("20Gi")).unwrap_err().code, 403);
        assert_eq!(admit(&store(true), Some(&live), &claim("5Gi")).unwrap_err().code, 422);
        let mut moved = claim("20Gi");
        moved["spec"]["storageClassName"] = json!("slow");
        assert_eq!(admit(&store(true), Some(&live), &moved).unwrap_err().code, 422);
        let mut unbound = claim("10Gi");
        unbound["status"]["phase"] = json!("Pending");
        assert_eq!(
            admit(&store(true), Some(&unbound), &claim("20Gi")).unwrap_err().code,
            422
        );
    }
}
