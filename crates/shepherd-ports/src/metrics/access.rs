//! Who comes in, what is refused, and what is written down about it.

use ::metrics::{counter, gauge};
use shepherd_domain::audit::ActionCode;
use shepherd_domain::limit::LimitType;
use shepherd_domain::notification::NotificationType;
use strum::IntoStaticStr;

/// What became of an attempt to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum LoginResult {
    /// A session was opened.
    Succeeded,
    /// The name or the password was wrong.
    Failed,
    /// There were too many failures before.
    Limited,
    /// Nobody could tell.
    Error,
}

/// What became of a token for a console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ConsoleTokenResult {
    /// It was made.
    Issued,
    /// It was sent once more, unused.
    Reissued,
    /// It opened a console.
    Used,
    /// It was one of ours and opened nothing.
    Refused,
}

/// Somebody tried to log in.
pub fn login(result: LoginResult) {
    let result: &'static str = result.into();
    counter!("login_total", "result" => result).increment(1);
}

/// Something became of a token for a console.
pub fn console_token(result: ConsoleTokenResult) {
    let result: &'static str = result.into();
    counter!("console_tokens_total", "result" => result).increment(1);
}

/// A request was refused because of a limit.
pub fn rate_limit_rejection(limit: LimitType) {
    counter!("rate_limit_rejections_total", "limit_type" => limit.as_str()).increment(1);
}

/// A row of the audit log was written.
pub fn audit_row(code: ActionCode) {
    counter!("audit_rows_total", "action_code" => code.as_str()).increment(1);
}

/// So many notifications of a type were stored.
pub fn notifications(kind: NotificationType, stored: u64) {
    let kind: &'static str = kind.into();
    counter!("notifications_total", "type" => kind).increment(stored);
}

/// So many clients listen to notifications of this process.
pub fn notification_stream_connections(open: u64) {
    gauge!("notification_stream_connections").set(super::number(open));
}
