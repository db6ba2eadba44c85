//! The schema against a real PostgreSQL: every step goes forth and back, and the database itself refuses what the
//! domain forbids.

mod audit;
mod epoch;
mod guards;
mod handbook;
mod operations;
mod retention;
mod steps;
mod tickets;

use sea_orm::DatabaseConnection;
use sea_orm::sqlx::postgres::PgPool;
use sea_orm::sqlx::{self, Executor};
use shepherd_testkit::postgres::TestDatabase;

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// One row in every table, with the ids that the tests name.
const ONE_ROW_EVERYWHERE: &str = include_str!("one_row_everywhere.sql");

/// A database of its own for one test; dropping it removes it.
struct Database {
    _server_side: TestDatabase,
    connection: DatabaseConnection,
}

impl Database {
    async fn empty() -> Self {
        let database = TestDatabase::create_empty().await;
        let connection = database.connect().await;
        Self {
            _server_side: database,
            connection,
        }
    }

    async fn migrated() -> Result<Self, Box<dyn std::error::Error>> {
        let database = Self::empty().await;
        migrations::up(&database.connection).await?;
        Ok(database)
    }

    async fn filled() -> Result<Self, Box<dyn std::error::Error>> {
        let database = Self::migrated().await?;
        database.run(ONE_ROW_EVERYWHERE).await?;
        Ok(database)
    }

    fn pool(&self) -> &PgPool {
        self.connection.get_postgres_connection_pool()
    }

    async fn run(&self, sql: &'static str) -> Result<(), sqlx::Error> {
        self.pool().execute(sqlx::raw_sql(sql)).await?;
        Ok(())
    }

    async fn number(&self, sql: &'static str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await
    }

    /// The tables of the schema that hold no row.
    async fn empty_tables(&self) -> Result<Vec<String>, sqlx::Error> {
        const TABLES: &str = "
            SELECT table_name::text FROM information_schema.tables
            WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY table_name";
        let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(self.pool()).await?;
        let mut empty = Vec::new();
        for table in tables {
            let any_row = sqlx::AssertSqlSafe(format!("SELECT EXISTS (SELECT FROM {table})"));
            if !sqlx::query_scalar::<_, bool>(any_row).fetch_one(self.pool()).await? {
                empty.push(table);
            }
        }
        Ok(empty)
    }

    /// The name of the constraint or trigger that refuses the statement; an error when nothing does.
    async fn refusal(&self, sql: &'static str) -> Result<String, Box<dyn std::error::Error>> {
        match self.run(sql).await {
            Ok(()) => Err(format!("was accepted: {sql}").into()),
            Err(error) => refused_by(&error).ok_or_else(|| error.into()),
        }
    }

    /// As [`Self::refusal`], for several statements: each is named by the constraint that must refuse it.
    async fn refuses(&self, expected: &[(&'static str, &'static str)]) -> TestResult {
        for &(constraint, sql) in expected {
            assert_eq!(self.refusal(sql).await?, constraint, "{sql}");
        }
        Ok(())
    }
}

fn refused_by(error: &sqlx::Error) -> Option<String> {
    let constraint = error.as_database_error()?.constraint()?;
    Some(constraint.to_owned())
}
