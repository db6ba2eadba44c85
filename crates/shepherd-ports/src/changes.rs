//! What other replicas changed, told by the database.
//!
//! A hint and not a contract: whoever listens also looks again from time to time.

use async_trait::async_trait;
use futures::stream::BoxStream;
use shepherd_domain::ids::ClusterId;

use crate::error::RepositoryError;

/// Something that was committed, by this replica or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cluster was registered, deleted, enabled, disabled, given other credentials or another limit.
    Cluster(ClusterId),
    /// The encryption keys.
    Keys,
    /// The connection was lost and is back: anything may have changed.
    Everything,
}

/// Listens for changes.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Changes from now on. The stream ends only with an error that listening again does not mend; lost connections
    /// are made anew inside and reported as [`Change::Everything`].
    async fn changes(&self) -> Result<BoxStream<'static, Change>, RepositoryError>;
}
