//! The application of the moment. Each request is answered from its beginning to its end by the one that
//! is current when it comes, also on a connection that is older.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use axum::BoxError;
use axum::http::{HeaderValue, Request, Version, header};
use axum::response::Response;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either};
use sekisho::front::FrontService;
use tower::Service;

use crate::application::Application;
use crate::shortcut::Shortcut;
use crate::untaken::Untaken;

/// Where the application of the moment is found. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Current(Arc<Place>);

struct Place {
    application: ArcSwap<Application>,
    is_leaving: AtomicBool,
}

impl Current {
    pub(crate) fn new(application: Application) -> Self {
        let application = ArcSwap::from_pointee(application);
        Self(Arc::new(Place { application, is_leaving: AtomicBool::new(false) }))
    }

    /// The one that answers what comes now.
    pub(crate) fn now(&self) -> Arc<Application> {
        self.0.application.load_full()
    }

    /// Lets another one answer what comes from now on.
    pub(crate) fn replace(&self, application: Application) -> Arc<Application> {
        let application = Arc::new(application);
        self.0.application.store(Arc::clone(&application));
        application
    }

    /// Sends whoever asks from now on away after the answer: the connection will not last.
    pub(crate) fn leave(&self) {
        self.0.is_leaving.store(true, Ordering::Relaxed);
    }

    /// The service for the requests of one connection.
    pub(crate) fn for_peer(&self, peer: SocketAddr) -> ForPeer {
        ForPeer { current: self.clone(), peer, caller: Caller::Peer, untaken: None }
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
pub(crate) struct ForPeer {
    current: Current,
    peer: SocketAddr,
    caller: Caller,
    untaken: Option<Untaken>,
}

/// Whose a connection is, and whether its requests may say more of that (`X-Forwarded-For`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Its other end's: its requests may, if that is a trusted proxy.
    Peer,
    /// This one's, as a trusted proxy says, and that is all.
    Told(SocketAddr),
    /// This one's, as a trusted proxy says: if that is another one, its requests may.
    Proxy(SocketAddr),
    /// Nobody knows whose but the trusted proxy, which does not say. What the requests say is anybody's.
    Unknown,
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

impl ForPeer {
    /// The same for a connection that is this one's.
    #[must_use]
    pub(crate) fn on_behalf_of(self, caller: Caller) -> Self {
        match caller {
            Caller::Told(peer) | Caller::Proxy(peer) => Self { peer, caller, ..self },
            Caller::Peer | Caller::Unknown => Self { caller, ..self },
        }
    }

    /// The same, whose answers over HTTP/2 are watched by this.
    #[must_use]
    pub(crate) fn watched_by(self, untaken: Option<Untaken>) -> Self {
        Self { untaken, ..self }
    }
}

impl<B> Service<Request<B>> for ForPeer
where
    B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<
        <FrontService<Shortcut> as Service<Request<B>>>::Future,
        BoxFuture<'static, Result<Response, Infallible>>,
    >;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither the front nor what is behind it is ever busy: each refuses what is too much.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if matches!(self.caller, Caller::Told(_) | Caller::Unknown) {
            request.headers_mut().remove(X_FORWARDED_FOR);
        }
        let Place { application, is_leaving } = &*self.current.0;
        let version = request.version();
        let is_last = is_leaving.load(Ordering::Relaxed) && version <= Version::HTTP_11;
        let answer = application.load().answering.clone().for_peer(self.peer).call(request);
        if version == Version::HTTP_2
            && let Some(untaken) = self.untaken.clone()
        {
            let watched = async move { Ok(answer.await?.map(|body| untaken.watch(body))) };
            return Either::Right(watched.boxed());
        }
        if !is_last {
            return Either::Left(answer);
        }
        let last = async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            Ok(answer)
        };
        Either::Right(last.boxed())
    }
}
