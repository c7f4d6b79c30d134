//! The store that the settings name: opened for the server, or for a command that works beside it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sekisho::store::cached::REVOCATIONS_POLLED_EVERY;
use sekisho::store::{
    CachedStore, Measured, MeasuredStore, MemoryStore, PostgresStore, SqliteStore, Store,
};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, StoreLocation};
use crate::key;
use crate::outcome::Failure;

/// How long the store may take to fold its log in, or to end its connections, when we stop.
const CLOSING_WAIT: Duration = Duration::from_secs(1);

/// What to do about a file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Make,
    Refuse,
}

/// The store as everybody sees it, and what is to be closed at the end.
#[derive(Debug)]
pub(crate) struct OpenStore {
    pub(crate) shared: Arc<dyn Store>,
    durable: Durable,
    /// Hears of what other processes revoke.
    following: Option<AbortOnDropHandle<()>>,
}

/// What keeps the rows.
#[derive(Debug)]
enum Durable {
    Nothing,
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl OpenStore {
    /// For a server, with access tokens in memory.
    pub(crate) async fn for_server(config: &Config) -> Result<Self, Failure> {
        let durable = Durable::open(config).await?;
        let behind = match &durable {
            Durable::Nothing => {
                let shared = Arc::new(MemoryStore::new(config.tables));
                return Ok(Self { shared, durable, following: None });
            }
            Durable::Sqlite(store) => Arc::clone(store) as Arc<dyn Store>,
            Durable::Postgres(store) => Arc::clone(store) as Arc<dyn Store>,
        };
        let behind = match config.metrics_listen {
            Some(_) => Arc::new(MeasuredStore::new(Measured, behind)) as Arc<dyn Store>,
            None => behind,
        };
        let cached = Arc::new(CachedStore::new(behind));
        let following = tokio::spawn(Arc::clone(&cached).follow(REVOCATIONS_POLLED_EVERY));
        let following = Some(AbortOnDropHandle::new(following));
        Ok(Self { shared: cached, durable, following })
    }

    /// For one command beside a running server.
    pub(crate) async fn for_command(config: &Config, missing: Missing) -> Result<Self, Failure> {
        match &config.store {
            StoreLocation::Memory => {
                let why = "there is nothing to administer: with store = \"memory:\" everything lives \
                           and dies with the server, choose \"sqlite:PATH\" to keep it";
                return Err(Failure::Run(why.to_owned()));
            }
            StoreLocation::Sqlite(path) if missing == Missing::Refuse && !path.exists() => {
                return Err(not_there(path));
            }
            StoreLocation::Sqlite(_) | StoreLocation::Postgres(_) => {}
        }
        // A store and its key are made together, so that one without the other is a loss.
        let sealer = key::sealer(&config.key_file, &config.store)?;
        let durable = Durable::open(config).await?;
        let shared: Arc<dyn Store> = match &durable {
            Durable::Nothing => Arc::new(MemoryStore::new(config.tables)),
            Durable::Sqlite(store) => Arc::clone(store) as _,
            Durable::Postgres(store) => Arc::clone(store) as _,
        };
        let opened = Self { shared, durable, following: None };
        let claim = key::claim(&sealer, &config.key_file, opened.shared.as_ref(), &config.store);
        if let Err(refusal) = claim.await {
            opened.close().await;
            return Err(refusal);
        }
        Ok(opened)
    }

    /// The database that several instances may share, if it is one.
    pub(crate) fn postgres(&self) -> Option<Arc<PostgresStore>> {
        match &self.durable {
            Durable::Postgres(store) => Some(Arc::clone(store)),
            Durable::Nothing | Durable::Sqlite(_) => None,
        }
    }

    /// Leaves nothing to be done by whoever opens it next.
    pub(crate) async fn close(self) {
        let closed = timeout(CLOSING_WAIT, async {
            if let Some(following) = self.following {
                following.abort();
                // It was told to.
                let _ = following.await;
            }
            match &self.durable {
                Durable::Nothing => {}
                Durable::Sqlite(store) => store.close().await,
                Durable::Postgres(store) => store.close().await,
            }
        });
        if closed.await.is_err() {
            tracing::warn!(
                "the store was still busy: what is left to do is done at the next start"
            );
        }
    }
}

impl Durable {
    async fn open(config: &Config) -> Result<Self, Failure> {
        match &config.store {
            StoreLocation::Memory => Ok(Self::Nothing),
            StoreLocation::Sqlite(path) => {
                SqliteStore::open(path, config.tables, config.durability)
                    .await
                    .map(|store| Self::Sqlite(Arc::new(store)))
                    .map_err(|error| Failure::because(&error))
            }
            StoreLocation::Postgres(url) => PostgresStore::open(url, config.tables)
                .await
                .map(|store| Self::Postgres(Arc::new(store)))
                .map_err(|error| Failure::because(&error)),
        }
    }
}

fn not_there(path: &Path) -> Failure {
    Failure::Run(format!(
        "there is no store \"{}\" yet: start `sekisho serve` once, or name another with --store or \
         --config",
        path.display()
    ))
}
