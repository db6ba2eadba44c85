//! The walk printed at the end: one virtual machine from the request to its end, with curl.

use super::place::Users;

/// The file with the walk, beside the description of the demo.
pub(crate) const NAME: &str = "walk.sh";
const TEMPLATE: &str = include_str!("walk.sh");

/// The walk for a demo at `url`, ready to be pasted or run.
pub(super) fn script(url: &str, users: &Users) -> String {
    TEMPLATE
        .replace("@URL@", url)
        .replace("@ADMIN_PASSWORD@", &users.admin.password)
        .replace("@APPROVER_PASSWORD@", &users.approver.password)
        .replace("@REQUESTER_PASSWORD@", &users.requester.password)
}
