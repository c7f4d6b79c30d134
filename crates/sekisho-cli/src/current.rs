//! The application of the moment. Each request is answered from its beginning to its end by the one that
//! is current when it comes, also on a connection that is older.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use axum::BoxError;
use axum::http::Request;
use axum::response::Response;
use sekisho::front::FrontService;
use tower::Service;

use crate::application::Application;
use crate::shortcut::Shortcut;

/// Where the application of the moment is found. Clones are the same place.
#[derive(Clone)]
pub(crate) struct Current(Arc<ArcSwap<Application>>);

impl Current {
    pub(crate) fn new(application: Application) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(application)))
    }

    /// The service for the requests of one connection.
    pub(crate) fn for_peer(&self, peer: SocketAddr) -> ForPeer {
        ForPeer { current: self.clone(), peer }
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
pub(crate) struct ForPeer {
    current: Current,
    peer: SocketAddr,
}

impl ForPeer {
    /// The same for a connection that somebody passes on for this one.
    #[must_use]
    pub(crate) fn on_behalf_of(self, peer: SocketAddr) -> Self {
        Self { peer, ..self }
    }
}

impl<B> Service<Request<B>> for ForPeer
where
    B: axum::body::HttpBody<Data = axum::body::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = <FrontService<Shortcut> as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither the front nor what is behind it is ever busy: each refuses what is too much.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.current.0.load().answering.clone().for_peer(self.peer).call(request)
    }
}
