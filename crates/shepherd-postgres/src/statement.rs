//! SQL text becomes a statement here and nowhere else, and rows become records here.
//!
//! A row travels as one JSON document in its first column, called `doc`, and is decoded by serde into the record of
//! the port. [`select_one`] and [`select_all`] wrap a plain SELECT; statements that change rows write the column
//! themselves and are read by [`fetch_one`]. Parameters carry their types, so a `NULL` is as typed as a value.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::ArrayType;
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, Value};
use serde::de::DeserializeOwned;
use shepherd_domain::access::{Permission, ResourceRole};
use shepherd_domain::audit::{ActionCode, AuditAction, Outcome, RetentionClass};
use shepherd_domain::batch::{BatchKind, BatchStatus};
use shepherd_domain::catalog::TemplateStatus;
use shepherd_domain::cluster::ClusterStatus;
use shepherd_domain::environment::EnvironmentSet;
use shepherd_domain::event::{AggregateType, EventStatus, EventType};
use shepherd_domain::external_approval::{SubmissionState, SystemType};
use shepherd_domain::ids::{
    AdoptionId, AuditId, AuditWebhookId, BatchRequestId, CloneId, ClusterId, ConsoleGrantId, ConsoleSessionId,
    ConsoleTokenId, EventId, ExternalSystemId, FindingId, InstanceSizeId, LegalHoldId, LoginAttemptId, MembershipId,
    MigrationId, NamespaceId, NotificationId, PolicyId, ReconcilerRunId, RevisionId, RoleBindingId, RoleId, ServiceId,
    SessionId, SnapshotId, SubmissionId, SystemId, TemplateId, TicketId, UserId, VmId,
};
use shepherd_domain::naming::Label;
use shepherd_domain::notification::{NotificationType, Severity};
use shepherd_domain::page::{Page, PageRequest};
use shepherd_domain::ticket::{ActorKind, DecidedByKind, RequestType, TicketStatus};
use shepherd_domain::vm::{PowerAction, VmStatus};
use shepherd_domain::{ActorId, Environment};
use shepherd_ports::RepositoryError;
use uuid::Uuid;

use crate::errors::{mismatch, store_error};

/// SQL of a UUIDv7: the random one that PostgreSQL 15 can make, its first 48 bits replaced by the milliseconds since
/// 1970 and its version 4 (0100) turned into 7 (0111) by setting two bits. For rows whose number only SQL knows.
macro_rules! uuid_v7 {
    () => {
        "encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing \
         substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) \
         from 1 for 6), 52, 1), 53, 1), 'hex')::uuid"
    };
}
pub(crate) use uuid_v7;

/// SQL of the uuid in a text column, or NULL when it holds something else (`system:worker`, a namespace name).
macro_rules! uuid_in {
    ($column:literal) => {
        concat!(
            "CASE WHEN ",
            $column,
            " ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN ",
            $column,
            "::uuid END"
        )
    };
}
pub(crate) use uuid_in;

/// The parameters of a statement, in order.
macro_rules! values {
    ($($value:expr),* $(,)?) => {
        vec![$($crate::statement::Bind::bind(&$value)),*]
    };
}
pub(crate) use values;

/// Something that can be a parameter.
pub(crate) trait Bind {
    /// The parameter.
    fn bind(&self) -> Value;
    /// The NULL of its type.
    fn null() -> Value;
}

impl<T: Bind + ?Sized> Bind for &T {
    fn bind(&self) -> Value {
        T::bind(self)
    }

    fn null() -> Value {
        T::null()
    }
}

impl<T: Bind> Bind for Option<T> {
    fn bind(&self) -> Value {
        self.as_ref().map_or_else(T::null, T::bind)
    }

    fn null() -> Value {
        T::null()
    }
}

macro_rules! bind {
    ($($type:ty => $variant:ident, |$value:ident| $convert:expr);+ $(;)?) => {$(
        impl Bind for $type {
            fn bind(&self) -> Value {
                let $value = self;
                Value::$variant(Some($convert))
            }

            fn null() -> Value {
                Value::$variant(None)
            }
        }
    )+};
}

bind! {
    str => String, |text| text.to_owned();
    String => String, |text| text.clone();
    ActorId => String, |actor| actor.as_str().to_owned();
    Label => String, |label| label.as_str().to_owned();
    bool => Bool, |flag| *flag;
    i32 => Int, |number| *number;
    i64 => BigInt, |number| *number;
    Uuid => Uuid, |id| *id;
    DateTime<Utc> => ChronoDateTimeUtc, |time| *time;
    Vec<u8> => Bytes, |bytes| bytes.clone();
    serde_json::Value => Json, |json| Box::new(json.clone());
}

macro_rules! bind_ids {
    ($($id:ty),+ $(,)?) => {
        bind! { $($id => Uuid, |id| id.as_uuid());+ }
    };
}

bind_ids!(
    AdoptionId,
    CloneId,
    FindingId,
    MigrationId,
    ReconcilerRunId,
    SnapshotId,
    PolicyId,
    ExternalSystemId,
    SubmissionId,
    ConsoleGrantId,
    ConsoleTokenId,
    ConsoleSessionId,
    AuditId,
    AuditWebhookId,
    BatchRequestId,
    ClusterId,
    EventId,
    InstanceSizeId,
    LegalHoldId,
    LoginAttemptId,
    MembershipId,
    NamespaceId,
    NotificationId,
    RevisionId,
    RoleBindingId,
    RoleId,
    ServiceId,
    SessionId,
    SystemId,
    TemplateId,
    TicketId,
    UserId,
    VmId,
);

macro_rules! bind_names {
    ($($name:ty),+ $(,)?) => {
        bind! { $($name => String, |name| <&'static str>::from(*name).to_owned());+ }
    };
}

bind_names!(
    ActionCode,
    ActorKind,
    AggregateType,
    AuditAction,
    BatchKind,
    BatchStatus,
    ClusterStatus,
    DecidedByKind,
    Environment,
    EventStatus,
    EventType,
    NotificationType,
    Outcome,
    Permission,
    PowerAction,
    RequestType,
    ResourceRole,
    RetentionClass,
    Severity,
    SubmissionState,
    SystemType,
    TemplateStatus,
    TicketStatus,
    VmStatus,
);

/// A `text[]` parameter.
pub(crate) struct Texts(pub(crate) Vec<String>);

impl Texts {
    /// The keys of permissions.
    pub(crate) fn permissions(permissions: &[Permission]) -> Self {
        Self(
            permissions
                .iter()
                .map(|permission| permission.as_str().to_owned())
                .collect(),
        )
    }

    /// The members of a set of environments.
    pub(crate) fn environments(set: EnvironmentSet) -> Self {
        Self(set.iter().map(|environment| environment.as_str().to_owned()).collect())
    }
}

impl Bind for Texts {
    fn bind(&self) -> Value {
        let items = self.0.iter().map(Bind::bind).collect();
        Value::Array(ArrayType::String, Some(Box::new(items)))
    }

    fn null() -> Value {
        Value::Array(ArrayType::String, None)
    }
}

/// A `uuid[]` parameter.
pub(crate) struct Uuids(pub(crate) Vec<Uuid>);

impl Uuids {
    /// The ids of Systems.
    pub(crate) fn systems(ids: &[SystemId]) -> Self {
        Self(ids.iter().map(|id| id.as_uuid()).collect())
    }
}

impl Bind for Uuids {
    fn bind(&self) -> Value {
        let items = self.0.iter().map(Bind::bind).collect();
        Value::Array(ArrayType::Uuid, Some(Box::new(items)))
    }

    fn null() -> Value {
        Value::Array(ArrayType::Uuid, None)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that makes statements from text"
)]
fn statement(sql: &str, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, values)
}

/// Runs a statement and answers how many rows it touched.
pub(crate) async fn execute(db: &impl ConnectionTrait, sql: &str, values: Vec<Value>) -> Result<u64, RepositoryError> {
    let outcome = db.execute_raw(statement(sql, values)).await.map_err(store_error)?;
    Ok(outcome.rows_affected())
}

/// Runs a statement whose row, if any, is read by its columns; for what must not pass through JSON.
pub(crate) async fn row(
    db: &impl ConnectionTrait,
    sql: &str,
    values: Vec<Value>,
) -> Result<Option<QueryResult>, RepositoryError> {
    db.query_one_raw(statement(sql, values)).await.map_err(store_error)
}

/// Runs a statement whose rows are read by their columns; for what is passed on as it is and in great number.
pub(crate) async fn rows(
    db: &impl ConnectionTrait,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<QueryResult>, RepositoryError> {
    db.query_all_raw(statement(sql, values)).await.map_err(store_error)
}

/// Runs a statement whose first column is the document, and decodes its first row.
pub(crate) async fn fetch_one<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    sql: &str,
    values: Vec<Value>,
) -> Result<Option<T>, RepositoryError> {
    row(db, sql, values).await?.as_ref().map(decode).transpose()
}

/// Decodes the first row of a SELECT.
pub(crate) async fn select_one<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    select: &str,
    values: Vec<Value>,
) -> Result<Option<T>, RepositoryError> {
    fetch_one(db, &as_documents(select), values).await
}

/// Runs a statement whose first column is the document, and decodes its rows.
pub(crate) async fn fetch_all<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<T>, RepositoryError> {
    let found = db.query_all_raw(statement(sql, values)).await.map_err(store_error)?;
    found.iter().map(decode).collect()
}

/// Decodes all rows of a SELECT.
pub(crate) async fn select_all<T: DeserializeOwned>(
    db: &impl ConnectionTrait,
    select: &str,
    values: Vec<Value>,
) -> Result<Vec<T>, RepositoryError> {
    fetch_all(db, &as_documents(select), values).await
}

fn as_documents(select: &str) -> String {
    format!("SELECT to_jsonb(row) AS doc FROM ({select}) AS row")
}

fn decode<T: DeserializeOwned>(row: &QueryResult) -> Result<T, RepositoryError> {
    // A NULL, such as the maximum over no rows, is the document `null`.
    let document: Option<serde_json::Value> = row.try_get_by_index(0).map_err(store_error)?;
    serde_json::from_value(document.unwrap_or_default()).map_err(mismatch)
}

/// A WHERE clause that grows by the filters a caller gives. Only conditions written in this crate become text; each
/// `?` in one stands for the next parameter.
#[derive(Default)]
pub(crate) struct Filter {
    text: String,
    values: Vec<Value>,
}

impl Filter {
    /// Adds a condition with its parameters.
    pub(crate) fn and(&mut self, condition: &'static str, values: Vec<Value>) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        let mut number = self.values.len();
        for (index, part) in condition.split('?').enumerate() {
            if index > 0 {
                number += 1;
                self.text.push('$');
                self.text.push_str(&number.to_string());
            }
            self.text.push_str(part);
        }
        self.values.extend(values);
    }

    /// Adds a condition with one parameter, if there is a value for it.
    pub(crate) fn and_some<T: Bind>(&mut self, condition: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.and(condition, values![value]);
        }
    }

    /// Decodes the first row of a SELECT that has `{where}` where the condition belongs.
    pub(crate) async fn first<T: DeserializeOwned>(
        self,
        db: &impl ConnectionTrait,
        rows: &str,
    ) -> Result<Option<T>, RepositoryError> {
        let select = rows.replace("{where}", self.condition());
        select_one(db, &select, self.values).await
    }

    /// As [`Self::first`], with further parameters where the SELECT has `{+1}`, `{+2}` and so on.
    pub(crate) async fn first_with<T: DeserializeOwned>(
        self,
        db: &impl ConnectionTrait,
        rows: &str,
        further: Vec<Value>,
    ) -> Result<Option<T>, RepositoryError> {
        let mut select = rows.replace("{where}", self.condition());
        for index in 1..=further.len() {
            let number = self.values.len() + index;
            select = select.replace(&format!("{{+{index}}}"), &format!("${number}"));
        }
        let mut values = self.values;
        values.extend(further);
        select_one(db, &select, values).await
    }

    /// The rows, by their columns, of a SELECT that has `{where}` where the condition belongs.
    pub(crate) async fn rows(
        self,
        db: &impl ConnectionTrait,
        select: &str,
    ) -> Result<Vec<QueryResult>, RepositoryError> {
        rows(db, &select.replace("{where}", self.condition()), self.values).await
    }

    fn condition(&self) -> &str {
        if self.text.is_empty() { "true" } else { &self.text }
    }
}

/// A list that is read page by page.
pub(crate) struct List<'a> {
    /// The SELECT of the rows, with `{where}` and `{limit}` where those belong.
    pub(crate) rows: &'a str,
    /// The FROM clause that `{where}` speaks about, for counting.
    pub(crate) counted: &'a str,
    /// What is shown.
    pub(crate) filter: Filter,
}

impl List<'_> {
    /// Reads one page, and counts the whole unless the page tells it.
    pub(crate) async fn page<T: DeserializeOwned>(
        self,
        db: &impl ConnectionTrait,
        request: PageRequest,
    ) -> Result<Page<T>, RepositoryError> {
        let (select, values) = self.select(request);
        let items = select_all(db, &select, values).await?;
        self.with_total(db, items, request).await
    }

    /// The entries of one page alone; for lists whose whole is counted in another way.
    pub(crate) async fn items<T: DeserializeOwned>(
        &self,
        db: &impl ConnectionTrait,
        request: PageRequest,
    ) -> Result<Vec<T>, RepositoryError> {
        let (select, values) = self.select(request);
        select_all(db, &select, values).await
    }

    /// As [`Self::page`], for rows whose first column is a text that is passed on as it is.
    pub(crate) async fn texts(
        self,
        db: &impl ConnectionTrait,
        request: PageRequest,
    ) -> Result<Page<String>, RepositoryError> {
        let (select, values) = self.select(request);
        let found = rows(db, &select, values).await?;
        let items: Result<Vec<String>, _> = found.iter().map(|row| row.try_get_by_index(0)).collect();
        self.with_total(db, items.map_err(store_error)?, request).await
    }

    /// The statement of a page with its parameters.
    fn select(&self, request: PageRequest) -> (String, Vec<Value>) {
        let limit = format!(
            "LIMIT ${} OFFSET ${}",
            self.filter.values.len() + 1,
            self.filter.values.len() + 2
        );
        let select = self
            .rows
            .replace("{where}", self.filter.condition())
            .replace("{limit}", &limit);
        let mut values = self.filter.values.clone();
        values.extend(values![
            i64::from(request.per_page()),
            i64::try_from(request.offset()).unwrap_or(i64::MAX)
        ]);
        (select, values)
    }

    /// The page with the size of the whole.
    async fn with_total<T>(
        self,
        db: &impl ConnectionTrait,
        items: Vec<T>,
        request: PageRequest,
    ) -> Result<Page<T>, RepositoryError> {
        let total = match total_of_last_page(items.len(), request) {
            Some(total) => total,
            None => {
                let condition = self.filter.condition();
                let count = format!(
                    "SELECT to_jsonb(count(*)) AS doc FROM {} WHERE {condition}",
                    self.counted
                );
                fetch_one(db, &count, self.filter.values).await?.unwrap_or_default()
            }
        };
        Ok(Page { items, total, request })
    }
}

/// A page that is not full, and not beyond the end, is the last one.
fn total_of_last_page(items: usize, request: PageRequest) -> Option<u64> {
    let items = u64::try_from(items).ok()?;
    let last = items < u64::from(request.per_page()) && (items > 0 || request.offset() == 0);
    last.then(|| request.offset() + items)
}

/// A page without entries.
pub(crate) fn empty_page<T>(request: PageRequest) -> Page<T> {
    Page {
        items: Vec::new(),
        total: 0,
        request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_number_their_parameters_across_the_filter() {
        let mut filter = Filter::default();
        assert_eq!(filter.condition(), "true");
        filter.and("(a = ? OR b = ?)", values!["x", 1_i32]);
        filter.and_some("c = ?", None::<&str>);
        filter.and_some("c = ?", Some(true));
        assert_eq!(filter.condition(), "(a = $1 OR b = $2) AND c = $3");
        assert_eq!(filter.values, values!["x", 1_i32, true]);
    }

    #[test]
    fn only_a_page_that_is_not_full_tells_the_total() {
        let page = |number| PageRequest::new(number, 20).unwrap();
        assert_eq!(total_of_last_page(0, page(1)), Some(0));
        assert_eq!(total_of_last_page(7, page(3)), Some(47));
        assert_eq!(total_of_last_page(20, page(1)), None);
        assert_eq!(total_of_last_page(0, page(2)), None);
    }

    #[test]
    fn a_missing_value_keeps_its_type() {
        assert_eq!(None::<UserId>.bind(), Value::Uuid(None));
        assert_eq!(None::<&str>.bind(), Value::String(None));
        assert_eq!(
            Some(VmStatus::Running).bind(),
            Value::String(Some("RUNNING".to_owned()))
        );
    }
}
