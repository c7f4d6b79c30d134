//! Nearly all requests are POSTs to an MCP endpoint: those go straight to its guard, everything else
//! through the router. The router has the same routes, so that this decides nothing but speed.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use futures::future::Either;
use sekisho::mcp::Posts;
use sekisho::resource_server::Guard;
use tower::Service;

/// The routes, and the way past them.
#[derive(Debug, Clone)]
pub(crate) struct Shortcut {
    posts: Arc<[(String, Guard<Posts>)]>,
    routes: Router,
}

impl Shortcut {
    /// `posts` are the paths of the MCP endpoints of Streamable HTTP, each with its guarded service.
    pub(crate) fn new(posts: Vec<(String, Guard<Posts>)>, routes: Router) -> Self {
        Self { posts: posts.into(), routes }
    }
}

impl Service<Request> for Shortcut {
    type Response = Response;
    type Error = Infallible;
    type Future =
        Either<<Guard<Posts> as Service<Request>>::Future, <Router as Service<Request>>::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.routes, context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if request.method() == Method::POST {
            let path = request.uri().path();
            if let Some((_, guarded)) = self.posts.iter().find(|(known, _)| known == path) {
                return Either::Left(guarded.clone().call(request));
            }
        }
        Either::Right(self.routes.call(request))
    }
}
