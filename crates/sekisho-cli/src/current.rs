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
use sekisho::front::FrontService;
use tower::Service;

use crate::application::Application;
use crate::shortcut::Shortcut;

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
        ForPeer { current: self.clone(), peer }
    }
}

/// What answers the requests of one connection.
#[derive(Clone)]
pub(crate) struct ForPeer {
    current: Current,
    peer: SocketAddr,
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
        let Place { application, is_leaving } = &*self.current.0;
        let is_last = is_leaving.load(Ordering::Relaxed) && request.version() <= Version::HTTP_11;
        let answer = application.load().answering.clone().for_peer(self.peer).call(request);
        if !is_last {
            return answer;
        }
        Box::pin(async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            Ok(answer)
        })
    }
}
