//! The operations matrix of requests.md §1 and the self-approval rule of §8.

use shepherd_domain::Environment::{self, Prod, Test};
use shepherd_domain::policy::Decision::{AutoApproved, RequiresApproval};
use shepherd_domain::policy::{Decision, SelfApproval, default_decision};
use shepherd_domain::ticket::RequestType;
use strum::IntoEnumIterator;

/// Request, decision in test, decision in prod.
const MATRIX: [(&str, Decision, Decision); 15] = [
    ("CREATE_VM", RequiresApproval, RequiresApproval),
    ("MODIFY_VM", RequiresApproval, RequiresApproval),
    ("DELETE_VM", RequiresApproval, RequiresApproval),
    ("START_VM", AutoApproved, RequiresApproval),
    ("STOP_VM", AutoApproved, RequiresApproval),
    ("RESTART_VM", AutoApproved, RequiresApproval),
    // In test there is no ticket at all; as a ticket it always waits.
    ("VNC_ACCESS", RequiresApproval, RequiresApproval),
    ("BATCH_CREATE", RequiresApproval, RequiresApproval),
    ("BATCH_DELETE", RequiresApproval, RequiresApproval),
    ("BATCH_POWER", AutoApproved, RequiresApproval),
    ("SNAPSHOT_VM", AutoApproved, RequiresApproval),
    ("DELETE_SNAPSHOT", AutoApproved, RequiresApproval),
    ("MIGRATE_VM", AutoApproved, RequiresApproval),
    ("RESTORE_VM", RequiresApproval, RequiresApproval),
    ("CLONE_VM", RequiresApproval, RequiresApproval),
];

#[test]
fn every_request_is_decided_as_the_matrix_says() {
    assert_eq!(RequestType::iter().count(), MATRIX.len());
    for (name, in_test, in_prod) in MATRIX {
        let request: RequestType = name.parse().unwrap();
        assert_eq!(default_decision(request, Test), in_test, "{name} in test");
        assert_eq!(default_decision(request, Prod), in_prod, "{name} in prod");
    }
}

#[test]
fn nothing_is_approved_by_itself_in_prod() {
    assert!(RequestType::iter().all(|request| default_decision(request, Prod) == RequiresApproval));
}

#[test]
fn self_approval_is_denied_in_prod_unless_configured() {
    let permitted = |rule: SelfApproval| Environment::ALL.map(|environment| rule.permits(environment));
    assert_eq!(permitted(SelfApproval::Deny), [false, false]);
    assert_eq!(permitted(SelfApproval::DenyProd), [true, false]);
    assert_eq!(permitted(SelfApproval::Allow), [true, true]);
    assert_eq!(SelfApproval::default(), SelfApproval::DenyProd);
}
