//! What both peers stand on: the same HTTP server and allocator as the program, and a bearer check
//! of one SHA-256 and one look-up in a hash map. Knows nothing of expiry, audience or scope.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum_server::accept::NoDelayAcceptor;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tokens a peer knows, by their SHA-256, each with the name of its holder.
#[derive(Debug)]
pub(crate) struct Tokens(HashMap<[u8; 32], &'static str>);

impl Tokens {
    /// Knows exactly `token`.
    pub(crate) fn only(token: &str) -> Self {
        Self(HashMap::from([(Sha256::digest(token).into(), "bench")]))
    }

    /// Who holds the bearer token in `headers`; `None` for no token or an unknown one.
    pub(crate) fn holder(&self, headers: &HeaderMap) -> Option<&'static str> {
        let token = headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")?;
        let hash: [u8; 32] = Sha256::digest(token).into();
        self.0.get(&hash).copied()
    }
}

/// Serves `app` until the process is ended; says on standard output when it listens.
pub(crate) async fn serve(listen: SocketAddr, app: Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum_server::from_tcp(listener)?
        .acceptor(NoDelayAcceptor::new())
        .serve(app.into_make_service())
        .await
}
