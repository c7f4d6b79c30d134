//! What lives as long as the process, whatever becomes of the settings: the store and the keys, the
//! connections, what was begun behind us, and the word that all ends.

use std::sync::Arc;

use sekisho::clock::{Clock, SystemClock};
use sekisho::seal::Sealer;
use sekisho::signing::SigningKeys;
use sekisho::store::Store;
use tokio_util::sync::CancellationToken;

use crate::behind::Behind;
use crate::config::{Config, KeyFile};
use crate::connections::Connections;
use crate::fleet::{self, Joined};
use crate::introducing::ProviderOfNow;
use crate::key;
use crate::outcome::Failure;
use crate::store::OpenStore;

/// What every application of this process is built on.
pub(crate) struct Standing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Sealer,
    pub(crate) signing_keys: SigningKeys,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) behind: Behind,
    pub(crate) provider: ProviderOfNow,
    pub(crate) connections: Connections,
    /// The other instances, where there may be some.
    pub(crate) fleet: Option<Joined>,
    /// Cancelled at the first signal to stop.
    pub(crate) stopping: CancellationToken,
}

impl Standing {
    /// Opens what the settings name; beside it, the store that is to be closed at the end.
    ///
    /// # Errors
    /// When the key or the store cannot be had.
    pub(crate) async fn new(config: &Config) -> Result<(Self, OpenStore), Failure> {
        let sealer = key::sealer(&config.key_file, &config.store)?;
        let opened = OpenStore::for_server(config).await?;
        let store = Arc::clone(&opened.shared);
        key::claim(&sealer, &config.key_file, store.as_ref(), &config.store).await?;
        if let KeyFile::At(path) = &config.key_file {
            tokio::spawn(key::follow(path.clone(), sealer.clone(), Arc::clone(&store)));
        }
        let fleet = fleet::join(config, &opened, &sealer).await?;
        let standing = Self {
            fleet,
            store,
            signing_keys: SigningKeys::new(sealer.clone()),
            sealer,
            clock: Arc::new(SystemClock),
            behind: Behind::default(),
            provider: ProviderOfNow::default(),
            connections: Connections::new(config.connection_limits()).measured(),
            stopping: CancellationToken::new(),
        };
        Ok((standing, opened))
    }
}
