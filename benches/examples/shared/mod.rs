//! What peers stand on: the same HTTP server and allocator as the program.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum_server::accept::NoDelayAcceptor;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Serves `app` until the process is ended; says on standard output when it listens.
pub(crate) async fn serve(listen: SocketAddr, app: Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    axum_server::from_tcp(listener)?
        .acceptor(NoDelayAcceptor::new())
        .serve(app.into_make_service())
        .await
}
