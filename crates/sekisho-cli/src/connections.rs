//! Connections: how many at once, how slow they may be, and how large their heads.
//!
//! Over the limit a caller hears 503 and is closed at once; those who are in are not disturbed.

use std::io::{self, IoSlice, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use axum_server::{Handle, Server};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a request's head may take, and how long a connection may be idle between requests.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// Header fields of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests of one HTTP/2 connection at once; each open stream of events is one.
const HTTP2_STREAMS_MAX: u32 = 256;
/// How often a silent HTTP/2 connection is asked whether it is still there.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);

/// A server for HTTP/1 and HTTP/2 without TLS, with every limit set.
pub(crate) fn accepting(
    listener: TcpListener,
    connections: Connections,
    handle: Handle<SocketAddr>,
) -> Server<SocketAddr, Connections> {
    let mut server = Server::<SocketAddr>::from_listener(listener)
        .handle(handle)
        .acceptor(connections)
        .first_request_timeout(HEAD_WAIT)
        .accept_error_handler(|peer, error| {
            tracing::debug!(?peer, error = error as &dyn std::error::Error, "no connection");
        });
    let builder = server.http_builder();
    builder
        .http1()
        .header_read_timeout(HEAD_WAIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_EVERY);
    server
}

/// Lets so many connections in at once.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    places: Arc<Semaphore>,
}

impl Connections {
    /// `most` at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)) }
    }

    fn admit(&self, stream: TcpStream) -> io::Result<Connection> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            turn_away(stream)?;
            return Err(io::Error::other("too many connections"));
        };
        // Without it each event of a stream can wait for 40 ms.
        stream.set_nodelay(true)?;
        Ok(Connection { stream, _place: place })
    }
}

/// Into the socket's empty buffer, so that it takes no wait.
fn turn_away(stream: TcpStream) -> io::Result<()> {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\
        connection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";
    stream.into_std()?.write_all(FULL)
}

impl<S> Accept<TcpStream, S> for Connections {
    type Stream = Connection;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Connection, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        std::future::ready(self.admit(stream).map(|connection| (connection, service)))
    }
}

/// A connection and the place it takes, given back when it ends.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
