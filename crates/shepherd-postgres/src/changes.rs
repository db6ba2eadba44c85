//! What other replicas changed, heard on a connection of its own: it is not one of the pool's, so that listening takes
//! none away from requests.
//!
//! A lost connection is made anew for as long as it takes. A connection that is lost without a word is noticed by a
//! question from time to time.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use sea_orm::sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sea_orm::sqlx::{self, Acquire, Connection as _};
use sea_orm::{DbErr, RuntimeErr};
use shepherd_ports::RepositoryError;
use shepherd_ports::changes::{Change, ChangeFeed};

use crate::errors::store_error;
use crate::store::PgStore;

/// Where triggers of the database announce changes.
const CHANNEL: &str = "shepherd_changes";
/// What precedes the id of a cluster.
const CLUSTER: &str = "cluster:";
/// What is said when keys were changed.
const KEYS: &str = "keys";
/// Pause before the connection is made anew, doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Silence after which the server is asked whether it is still there.
const SILENCE: Duration = Duration::from_secs(20);
/// How long it may take to answer that, or to take a connection.
const ANSWER: Duration = Duration::from_secs(10);

#[async_trait]
impl ChangeFeed for PgStore {
    async fn changes(&self) -> Result<BoxStream<'static, Change>, RepositoryError> {
        let session = self.session.get_postgres_connection_pool().connect_options();
        let listener = listen(&session).await.map_err(unheard)?;
        let feed = Feed {
            session,
            listener: Some(listener),
        };
        Ok(stream::unfold(feed, |mut feed| async move {
            let change = feed.next().await;
            Some((change, feed))
        })
        .boxed())
    }
}

/// One listener, or none while its connection is lost.
struct Feed {
    session: Arc<PgConnectOptions>,
    listener: Option<PgListener>,
}

impl Feed {
    async fn next(&mut self) -> Change {
        loop {
            let Some(listener) = self.listener.as_mut() else {
                self.listener = Some(listen_again(&self.session).await);
                return Change::Everything;
            };
            match hear(listener).await {
                Ok(Some(change)) => return change,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "changes are not heard any more; listening again"
                    );
                    self.listener = None;
                }
            }
        }
    }
}

/// The next change, if there is one before the silence gets too long.
async fn hear(listener: &mut PgListener) -> Result<Option<Change>, sqlx::Error> {
    match tokio::time::timeout(SILENCE, listener.try_recv()).await {
        Ok(Ok(Some(said))) => Ok(parse(said.payload())),
        // The connection was lost, and a new one listens.
        Ok(Ok(None)) => Ok(Some(Change::Everything)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let asked = async { Acquire::acquire(&mut *listener).await?.ping().await };
            tokio::time::timeout(ANSWER, asked)
                .await
                .unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
            Ok(None)
        }
    }
}

async fn listen_again(session: &PgConnectOptions) -> PgListener {
    let mut pause = FIRST_PAUSE;
    loop {
        match listen(session).await {
            Ok(listener) => {
                tracing::info!("changes are heard again");
                return listener;
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "changes cannot be heard");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn listen(session: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(ANSWER)
        .connect_lazy_with(session.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

fn unheard(error: sqlx::Error) -> RepositoryError {
    store_error(DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
}

/// A change as a trigger announces it. Whoever announces what this version does not know is a later one.
fn parse(payload: &str) -> Option<Change> {
    if payload == KEYS {
        return Some(Change::Keys);
    }
    let change = payload
        .strip_prefix(CLUSTER)
        .and_then(|id| id.parse().ok())
        .map(Change::Cluster);
    if change.is_none() {
        tracing::warn!(payload, "a change of an unknown kind was announced");
    }
    change
}

#[cfg(test)]
mod tests {
    use shepherd_domain::ids::ClusterId;

    use super::*;

    #[test]
    fn announcements_are_understood_and_others_are_left_alone() {
        let id = ClusterId::from_bits(0x0190_0000_0000_7000_8000_0000_0000_0001);
        assert_eq!(parse(&format!("cluster:{id}")), Some(Change::Cluster(id)));
        assert_eq!(parse("keys"), Some(Change::Keys));
        for other in ["", "cluster:", "cluster:x", "vm:1", "Keys"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
