//! Two instances on one store. Whoever begins something does so at the one; whatever names a session
//! comes to the other.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use sekisho::fleet::Fleet;
use sekisho::mcp::Settings;
use sekisho::protocol::Secret;
use sekisho::store::{PostgresStore, TableLimits};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// The name of its instance, and 128 random bits.
pub(crate) const SESSION_ID_LETTERS: usize = 48;

/// An instance, and where others reach it.
pub(crate) struct Instance {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) address: SocketAddr,
    pub(crate) door: tokio::task::JoinHandle<()>,
}

/// Instances that know each other, and the store by which they do.
pub(crate) struct Joined {
    pub(crate) instances: Vec<Instance>,
    pub(crate) store: PostgresStore,
    pub(crate) url: Secret,
}

pub(crate) async fn join(many: usize, settings: &Settings) -> Joined {
    let url = testkit::postgres::database();
    let store = PostgresStore::open(&url, TableLimits::default()).await.unwrap();
    let sealer = settings.sealer.clone();
    let mut instances = Vec::new();
    for _ in 0..many {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fleet = Arc::new(Fleet::new(address, sealer.clone()));
        let door = fleet.door(settings.limits.body_bytes_max);
        let door = tokio::spawn(async move { axum::serve(listener, door).await.unwrap() });
        instances.push(Instance { fleet, address, door });
    }
    let joined = Joined { instances, store, url };
    joined.look_around().await;
    joined
}

impl Joined {
    /// Everybody says that they live, and then sees who else does.
    pub(crate) async fn look_around(&self) {
        for _ in 0..2 {
            for instance in &self.instances {
                instance.fleet.beat(&self.store).await.unwrap();
            }
        }
    }
}

pub(crate) async fn serving(settings: Settings, instance: impl Fn(Settings) -> Router) -> Router {
    let joined = join(2, &settings).await;
    let mut routers = joined.instances.into_iter().map(|joined| {
        let fleet = Some(joined.fleet);
        instance(Settings { fleet, ..settings.clone() })
    });
    let both = (routers.next().unwrap(), routers.next().unwrap());
    Router::new().fallback(turn).with_state(both)
}

async fn turn(State((one, other)): State<(Router, Router)>, request: Request) -> Response {
    let names_session = request.headers().contains_key("mcp-session-id")
        || request.uri().query().is_some_and(|query| query.contains("sessionId="));
    let router = if names_session { other } else { one };
    router.oneshot(request).await.unwrap()
}
