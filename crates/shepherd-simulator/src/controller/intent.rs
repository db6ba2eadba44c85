//! What a virtual machine is meant to do: its run strategy and the requests of the power actions.

use serde_json::Value;

use crate::object;

/// Whether an instance should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Yes.
    Run,
    /// No.
    Stop,
}

/// The run strategy, also of machines that use the older `running` field.
pub(crate) fn run_strategy(vm: &Value) -> &'static str {
    let spec = &vm["spec"];
    match spec["runStrategy"].as_str() {
        Some("Always") => "Always",
        Some("RerunOnFailure") => "RerunOnFailure",
        Some("Once") => "Once",
        Some("Manual") => "Manual",
        Some(_) => "Halted",
        None if spec["running"] == true => "Always",
        None => "Halted",
    }
}

/// The first pending request: its action and the instance it is about.
fn first_request(vm: &Value) -> Option<(&str, &str)> {
    let request = vm["status"]["stateChangeRequests"].as_array()?.first()?;
    Some((request["action"].as_str()?, request["uid"].as_str().unwrap_or_default()))
}

/// What the machine is meant to do, given the instance it has.
pub(crate) fn intent_of(vm: &Value, instance: Option<&Value>) -> Intent {
    let is_requested = match (first_request(vm), instance) {
        (Some(("Stop", uid)), Some(instance)) if object::uid(instance) == uid => return Intent::Stop,
        (Some(("Start", _)), None) => true,
        _ => false,
    };
    match run_strategy(vm) {
        "Halted" => Intent::Stop,
        "Manual" if instance.is_none() && !is_requested => Intent::Stop,
        _ => Intent::Run,
    }
}

/// Drops requests that have been fulfilled: a stop whose instance is gone, a start with an instance there.
pub(crate) fn settle_requests(vm: &mut Value, instance: Option<&Value>) {
    loop {
        let is_settled = match (first_request(vm), instance) {
            (Some(("Stop", uid)), instance) => instance.is_none_or(|instance| object::uid(instance) != uid),
            (Some(("Start", _)), Some(_)) => true,
            _ => false,
        };
        if !is_settled {
            return;
        }
        let status = object::status_mut(vm);
        let rest: Vec<Value> = match status.remove("stateChangeRequests") {
            Some(Value::Array(requests)) => requests.into_iter().skip(1).collect(),
            _ => Vec::new(),
        };
        if !rest.is_empty() {
            status.insert("stateChangeRequests".to_owned(), Value::Array(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_restart_stops_one_instance_and_starts_the_next() {
        let mut vm = json!({
            "spec": {"runStrategy": "Manual"},
            "status": {"stateChangeRequests": [{"action": "Stop", "uid": "old"}, {"action": "Start"}]},
        });
        let old = json!({"metadata": {"uid": "old"}});
        let new = json!({"metadata": {"uid": "new"}});
        assert_eq!(intent_of(&vm, Some(&old)), Intent::Stop);
        settle_requests(&mut vm, None);
        assert_eq!(intent_of(&vm, None), Intent::Run);
        settle_requests(&mut vm, Some(&new));
        assert_eq!(intent_of(&vm, Some(&new)), Intent::Run);
        assert!(vm["status"]["stateChangeRequests"].is_null());
    }

    #[test]
    fn manual_machines_wait_for_a_request() {
        let vm = json!({"spec": {"runStrategy": "Manual"}});
        assert_eq!(intent_of(&vm, None), Intent::Stop);
        assert_eq!(intent_of(&json!({"spec": {"running": true}}), None), Intent::Run);
    }
}
