//! Liveness and readiness.
//!
//! Readiness asks whether the database answers, and then everything else at the same time, each within a limit of its
//! own: an answer comes within three seconds whatever hangs.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use actix_web::{HttpResponse, get, web};
use serde::Serialize;
use serde_json::json;
use shepherd_domain::problem::{ErrorCode, Problem};
use shepherd_ports::RepositoryError;
use shepherd_ports::health::{Asked, SignsOfLife};
use shepherd_usecases::controllers::health::LEASE;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::error::ErrorBody;
use super::respond::Answer;
use super::{Api, Roles};

/// How long the database may take to answer a ping.
const PING: Duration = Duration::from_secs(2);
/// How long it may then take over any other question.
const LOOK: Duration = Duration::from_secs(1);
/// How long what was found holds.
const HOLDS: Duration = Duration::from_millis(500);
/// Age from which a worker or a taker of leases counts as silent.
const SILENT: Duration = Duration::from_secs(60);
/// Age from which a watcher counts as silent.
const WATCHER_SILENT: Duration = Duration::from_secs(120);

/// How the process is.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `degraded`.
    #[schema(example = "ok")]
    status: &'static str,
    /// Version of the product.
    version: &'static str,
    /// State of each check: `ok`, `failing`, or `unknown` while the database does not answer.
    checks: BTreeMap<&'static str, &'static str>,
}

/// The process serves
#[utoipa::path(tag = "health", responses((status = 200, body = Health)))]
#[get("/health/live")]
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: "ok",
        version: VERSION,
        checks: BTreeMap::new(),
    })
}

/// Version of the product.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The process can do its work
///
/// 503 while the database does not answer, migrations are pending, a part that runs in this process is silent, or the
/// process is about to end; `degraded` while the queue cannot be read or no replica runs one of the parts.
#[utoipa::path(tag = "health", responses((status = 200, body = Health), (status = 503, body = ErrorBody)))]
#[get("/health/ready")]
pub(super) async fn ready(api: web::Data<Api>) -> Answer {
    if api.tasks.is_stopping() {
        return Err(not_ready(&BTreeMap::from([("process", "stopping")])).into());
    }
    let found = looked_lately(&api).await;
    let checks = found.checks(api.roles);
    if !found.serves(api.roles) {
        return Err(not_ready(&names(&checks)).into());
    }
    let status = if checks.values().all(|state| *state == State::Ok) {
        "ok"
    } else {
        "degraded"
    };
    Ok(HttpResponse::Ok().json(Health {
        status,
        version: VERSION,
        checks: names(&checks),
    }))
}

/// State of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Failing,
    /// Nobody could be asked.
    Unknown,
}

impl State {
    fn of(is_well: bool) -> Self {
        if is_well { Self::Ok } else { Self::Failing }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
        }
    }
}

type Checks = BTreeMap<&'static str, State>;

/// What a look at the store found.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// The database does not answer.
    NoDatabase,
    /// The database answers.
    Database {
        migrations: bool,
        queue: bool,
        /// Nothing when they could not be read in time.
        signs: Option<SignsOfLife>,
    },
}

/// What the last look found.
#[derive(Default)]
pub(super) struct Looked(Mutex<Option<(Instant, Found)>>);

/// Anybody may ask, so the database is asked once for all who ask at about the same time.
async fn looked_lately(api: &Api) -> Found {
    let mut looked = api.looked.0.lock().await;
    if let Some((at, found)) = *looked
        && at.elapsed() < HOLDS
    {
        return found;
    }
    let found = look(api).await;
    *looked = Some((Instant::now(), found));
    found
}

async fn look(api: &Api) -> Found {
    let store = &api.store_health;
    // One connection asks whether the others would have somebody to ask: what hangs must not eat up the pool.
    if within(PING, store.ping()).await.is_none() {
        return Found::NoDatabase;
    }
    let instance = api.platform.settings().controllers.instance.clone();
    let asked = Asked {
        instance: &instance,
        lease: LEASE,
        silent: SILENT,
        watcher_silent: WATCHER_SILENT,
    };
    let (pending, queue, signs) = tokio::join!(
        within(LOOK, store.pending_migrations()),
        within(LOOK, store.read_queue()),
        within(LOOK, store.signs_of_life(&asked)),
    );
    Found::Database {
        migrations: pending.is_some_and(|pending| pending.is_empty()),
        queue: queue.is_some(),
        signs,
    }
}

/// The answer, if there is one in time.
async fn within<T>(limit: Duration, question: impl Future<Output = Result<T, RepositoryError>>) -> Option<T> {
    match tokio::time::timeout(limit, question).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a check of readiness failed");
            None
        }
        Err(_) => {
            tracing::warn!(?limit, "a check of readiness was not answered in time");
            None
        }
    }
}

impl Found {
    /// The checks of a replica with these roles; what it should do itself counts for it, whoever else does it.
    fn checks(self, roles: Roles) -> Checks {
        let Self::Database {
            migrations,
            queue,
            signs,
        } = self
        else {
            let mut checks = Checks::from(["migrations", "queue", "worker", "watcher", "leader"].map(unknown));
            checks.insert("database", State::Failing);
            return checks;
        };
        let mut checks = Checks::from([
            ("database", State::Ok),
            ("migrations", State::of(migrations)),
            ("queue", State::of(queue)),
        ]);
        let Some(signs) = signs else {
            checks.extend(["worker", "watcher", "leader"].map(unknown));
            return checks;
        };
        let own = OwnParts::of(signs, roles);
        checks.extend([
            ("worker", State::of(signs.worker && own.worker)),
            ("watcher", State::of(signs.watchers && own.watchers)),
            ("leader", State::of(signs.leader && own.controllers)),
        ]);
        checks
    }

    /// Whether a replica with these roles should get requests.
    fn serves(self, roles: Roles) -> bool {
        match self {
            Self::NoDatabase => false,
            Self::Database { migrations, signs, .. } => {
                migrations && signs.is_none_or(|signs| OwnParts::of(signs, roles).all())
            }
        }
    }
}

fn unknown(name: &'static str) -> (&'static str, State) {
    (name, State::Unknown)
}

/// Whether the parts that run in this process are alive; those that do not run here are not missed.
#[derive(Clone, Copy, Debug)]
struct OwnParts {
    worker: bool,
    watchers: bool,
    controllers: bool,
}

impl OwnParts {
    fn of(signs: SignsOfLife, roles: Roles) -> Self {
        Self {
            worker: signs.own_worker || !roles.worker,
            watchers: signs.own_watchers || !roles.controllers,
            controllers: signs.own_controllers || !roles.controllers,
        }
    }

    fn all(self) -> bool {
        self.worker && self.watchers && self.controllers
    }
}

fn names(checks: &Checks) -> BTreeMap<&'static str, &'static str> {
    checks.iter().map(|(name, state)| (*name, state.name())).collect()
}

fn not_ready(checks: &BTreeMap<&'static str, &'static str>) -> Problem {
    Problem::new(ErrorCode::NotReady).with("checks", json!(checks))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Roles = Roles {
        api: true,
        worker: true,
        controllers: true,
    };
    const API: Roles = Roles {
        worker: false,
        controllers: false,
        ..EVERYTHING
    };
    const ALIVE: SignsOfLife = SignsOfLife {
        worker: true,
        own_worker: true,
        leader: true,
        own_controllers: true,
        watchers: true,
        own_watchers: true,
    };

    fn found(signs: SignsOfLife) -> Found {
        Found::Database {
            migrations: true,
            queue: true,
            signs: Some(signs),
        }
    }

    fn failing(found: Found, roles: Roles) -> Vec<&'static str> {
        let checks = found.checks(roles);
        checks
            .into_iter()
            .filter(|(_, state)| *state == State::Failing)
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn a_replica_goes_out_for_its_own_parts_alone() {
        let own_silent = [
            (
                "worker",
                SignsOfLife {
                    own_worker: false,
                    ..ALIVE
                },
            ),
            (
                "watcher",
                SignsOfLife {
                    own_watchers: false,
                    ..ALIVE
                },
            ),
            (
                "leader",
                SignsOfLife {
                    own_controllers: false,
                    ..ALIVE
                },
            ),
        ];
        for (check, signs) in own_silent {
            assert_eq!(failing(found(signs), EVERYTHING), [check]);
            assert!(!found(signs).serves(EVERYTHING), "{check}");
            assert_eq!(failing(found(signs), API), Vec::<&str>::new());
            assert!(found(signs).serves(API), "{check}");
        }
        let nobody_leads = SignsOfLife { leader: false, ..ALIVE };
        assert_eq!(failing(found(nobody_leads), EVERYTHING), ["leader"]);
        assert!(found(nobody_leads).serves(EVERYTHING));
    }

    #[test]
    fn without_a_database_nothing_else_is_known() {
        assert_eq!(failing(Found::NoDatabase, EVERYTHING), ["database"]);
        assert!(!Found::NoDatabase.serves(API));
        let hidden = Found::Database {
            migrations: true,
            queue: false,
            signs: None,
        };
        assert_eq!(failing(hidden, EVERYTHING), ["queue"]);
        assert!(hidden.serves(EVERYTHING));
    }
}
