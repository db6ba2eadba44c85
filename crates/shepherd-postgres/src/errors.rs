//! What PostgreSQL and the driver complain about, in the words of the ports.

use std::sync::Arc;

use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};
use shepherd_ports::RepositoryError;

/// What kind of trouble an error is.
enum Kind {
    Unique(String),
    ForeignKey(String),
    Busy,
    Unavailable,
    Other,
}

/// The error of a port for an error of the driver, by SQLSTATE and never by text.
pub(crate) fn store_error(error: DbErr) -> RepositoryError {
    match kind_of(&error) {
        Kind::Unique(constraint) => RepositoryError::Unique { constraint },
        Kind::ForeignKey(constraint) => RepositoryError::ForeignKey { constraint },
        Kind::Busy => RepositoryError::Busy(Box::new(error)),
        Kind::Unavailable => RepositoryError::Unavailable(Box::new(error)),
        Kind::Other => RepositoryError::Other(Box::new(error)),
    }
}

/// A row, or a JSON value for one, that does not fit the record: a bug, not a state of the database.
pub(crate) fn mismatch(error: serde_json::Error) -> RepositoryError {
    RepositoryError::Other(Box::new(error))
}

fn kind_of(error: &DbErr) -> Kind {
    if let DbErr::ConnectionAcquire(reason) = error {
        return match reason {
            ConnAcquireErr::Timeout => Kind::Busy,
            ConnAcquireErr::ConnectionClosed => Kind::Unavailable,
        };
    }
    if let DbErr::Conn(RuntimeErr::SqlxError(cause)) = error {
        // Before there is a session, whatever is not a word of the server is a server that cannot be reached.
        return kind_of_cause(cause).unwrap_or(Kind::Unavailable);
    }
    if let DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) = error {
        return kind_of_cause(cause).unwrap_or(Kind::Other);
    }
    Kind::Other
}

fn kind_of_cause(cause: &Arc<sqlx::Error>) -> Option<Kind> {
    if let sqlx::Error::Database(answer) = cause.as_ref() {
        let constraint = answer.constraint().unwrap_or_default();
        return kind_of_sqlstate(answer.code().as_deref()?, constraint);
    }
    if matches!(cause.as_ref(), sqlx::Error::PoolTimedOut) {
        return Some(Kind::Busy);
    }
    let broken = matches!(
        cause.as_ref(),
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    );
    broken.then_some(Kind::Unavailable)
}

fn kind_of_sqlstate(code: &str, constraint: &str) -> Option<Kind> {
    match code {
        "23505" => Some(Kind::Unique(constraint.to_owned())),
        // PostgreSQL 18 reports ON DELETE RESTRICT by a code of its own.
        "23503" | "23001" => Some(Kind::ForeignKey(constraint.to_owned())),
        // Serialization failure, deadlock, lock timeout, statement timeout, a pause within a transaction.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" => Some(Kind::Busy),
        // The server shuts down, crashed, is starting, or gave the database or the session up.
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => Some(Kind::Unavailable),
        // A standby, or a primary that takes no writes: after a failover somebody else is the one to ask.
        "25006" => Some(Kind::Unavailable),
        connection if connection.starts_with("08") => Some(Kind::Unavailable),
        // Too many connections, a full disk, no memory, a limit of the server: none of it is the request's fault.
        resources if resources.starts_with("53") => Some(Kind::Busy),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sqlstate_that_callers_react_to_has_its_kind() {
        let kind = |code| kind_of_sqlstate(code, "uq_systems_name");
        assert!(matches!(kind("23505"), Some(Kind::Unique(name)) if name == "uq_systems_name"));
        assert!(matches!(kind("23503"), Some(Kind::ForeignKey(_))));
        let busy = [
            "40001", "40P01", "55P03", "57014", "25P03", "53000", "53100", "53200", "53300", "53400",
        ];
        for code in busy {
            assert!(matches!(kind(code), Some(Kind::Busy)), "{code}");
        }
        for code in ["57P01", "57P02", "57P03", "57P04", "25006", "08000", "08006"] {
            assert!(matches!(kind(code), Some(Kind::Unavailable)), "{code}");
        }
        assert!(kind("SH001").is_none());
    }

    #[test]
    fn an_exhausted_pool_is_busy_and_a_closed_one_unavailable() {
        let busy = store_error(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout));
        assert!(matches!(busy, RepositoryError::Busy(_)));
        let gone = store_error(DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed));
        assert!(matches!(gone, RepositoryError::Unavailable(_)));
    }
}
