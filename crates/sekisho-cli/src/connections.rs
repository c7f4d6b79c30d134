//! Connections: how many at once, how slow they may be, and how large their heads.
//!
//! Over the limit a caller hears 503 (nothing, where TLS would come first) and is closed at once; those who are in are not disturbed. No
//! address but a trusted proxy's, behind which there are many, has more than its share.
//!
//! A head that is none, or is too large to be read, is answered by hyper itself (400, 431, without a
//! word) and ends the connection: there is no request yet that the front could judge. What can be read is
//! the front's, also a URL that is too long (414).

use std::collections::HashMap;
use std::io::{self, IoSlice, Write as _};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum_server::accept::Accept;
use axum_server::{Handle, Server};
use sekisho::Gathered;
use sekisho::front::{ClientAddress, TrustedProxies};
use sekisho::measure::{Limit, Places, Taken};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use crate::door::{Door, Peer};
use crate::untaken::Untaken;

/// How long a request's head may take, and how long a connection may be idle between requests.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// How long the other end may leave what is written to it unread, or a piece of an answer over HTTP/2
/// untaken. What waits for it in a stream is bounded anyway; this gives the connection back.
const READ_WAIT: Duration = Duration::from_secs(30);
/// Header fields of a request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests of one HTTP/2 connection at once; each open stream of events is one.
const HTTP2_STREAMS_MAX: u32 = 256;
/// How often it is said that nobody can be let in.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// How often a silent HTTP/2 connection is asked whether it is still there.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(20);

/// A server for HTTP/1 and HTTP/2, with every limit set, for whomever `entrance` lets in.
pub(crate) fn accepting<A>(door: Door, entrance: A, handle: Handle<Peer>) -> Server<Peer, A> {
    let mut server = Server::<Peer>::from_listener(door)
        .handle(handle)
        .acceptor(entrance)
        .first_request_timeout(HEAD_WAIT)
        .accept_error_handler(told_now_and_then());
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

/// One who is turned away is nothing to speak of. That nobody can be let in is, though it may happen
/// twenty times a second.
fn told_now_and_then() -> impl Fn(Option<&Peer>, &io::Error) + Send + Sync + 'static {
    let told = Mutex::new(None::<Instant>);
    move |peer, error| {
        if peer.is_some() {
            tracing::debug!(?peer, error = error as &dyn std::error::Error, "no connection");
            return;
        }
        let mut told = lock(&told);
        if told.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                "no connection can be accepted ({error}): raise the limit of open files, or lower \
                 limits.connections_max"
            );
        }
    }
}

/// How many connections may be open at once.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionLimits {
    /// In all.
    pub(crate) most: usize,
    /// Of one address that is no trusted proxy's.
    pub(crate) most_of_one: usize,
    /// Behind which there are many.
    pub(crate) proxies: TrustedProxies,
}

/// Lets so many connections in at once.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    open: Arc<Mutex<Open>>,
    limits: Arc<ArcSwap<ConnectionLimits>>,
    measured: Option<Arc<Mutex<Places>>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// But for those of trusted proxies.
    of_address: HashMap<IpAddr, usize>,
}

impl Open {
    /// Takes one of the address's, if it has not all of them.
    fn share(&mut self, address: IpAddr, most: usize) -> bool {
        let share = self.of_address.entry(address).or_default();
        let has_room = *share < most;
        *share += usize::from(has_room);
        has_room
    }
}

impl Connections {
    pub(crate) fn new(limits: ConnectionLimits) -> Self {
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        Self { open: Arc::default(), limits, measured: None }
    }

    /// Counts them in the metrics.
    pub(crate) fn measured(self) -> Self {
        let places = Limit::Connections.has(self.limits.load().most);
        Self { measured: Some(Arc::new(Mutex::new(places))), ..self }
    }

    /// Goes by other limits from now on. Whoever is in stays.
    pub(crate) fn limit(&self, limits: ConnectionLimits) {
        if let Some(measured) = &self.measured {
            *lock(measured) = Limit::Connections.has(limits.most);
        }
        self.limits.store(Arc::new(limits));
    }

    /// Takes a place for this socket.
    ///
    /// # Errors
    /// When there is none, or the socket is gone already.
    pub(crate) fn admit(&self, stream: TcpStream, turning: Turning) -> io::Result<Connection> {
        let Some(place) = self.place_for(stream.peer_addr()?.ip().to_canonical()) else {
            match turning {
                Turning::Answered => turn_away(stream)?,
                Turning::Closed => drop(stream),
            }
            return Err(self.too_many());
        };
        // Without it each event of a stream can wait for 40 ms.
        stream.set_nodelay(true)?;
        // One connection of a proxy's may be many people's, of whom one is slow.
        let untaken = place.address.is_some().then(Untaken::default);
        Ok(Connection { stream: Gathered(stream), stuck: None, untaken, place })
    }

    /// Counts a connection that a proxy passes on as one of `client`.
    ///
    /// # Errors
    /// When that address has its share already.
    pub(crate) fn count(&self, connection: &mut Connection, client: IpAddr) -> io::Result<()> {
        let address = ClientAddress(client).network();
        if !lock(&self.open).share(address, self.limits.load().most_of_one) {
            return Err(self.too_many());
        }
        connection.place.address = Some(address);
        Ok(())
    }

    /// Whether this peer is a proxy of the operator's.
    pub(crate) fn trust(&self, peer: IpAddr) -> bool {
        self.limits.load().proxies.is_trusted(peer)
    }

    fn too_many(&self) -> io::Error {
        if self.measured.is_some() {
            Limit::Connections.turn_away();
        }
        io::Error::other("too many connections")
    }

    fn place_for(&self, peer: IpAddr) -> Option<Place> {
        let limits = self.limits.load();
        let address = ClientAddress(peer).network();
        let address = (!limits.proxies.is_trusted(peer)).then_some(address);
        let mut open = lock(&self.open);
        if open.all >= limits.most {
            return None;
        }
        if let Some(address) = address
            && !open.share(address, limits.most_of_one)
        {
            return None;
        }
        open.all += 1;
        let counted = self.measured.as_ref().map(|_| Limit::Connections.take());
        Some(Place { open: Arc::clone(&self.open), address, _counted: counted })
    }
}

/// What a connection takes, given back when it ends.
#[derive(Debug)]
struct Place {
    open: Arc<Mutex<Open>>,
    address: Option<IpAddr>,
    _counted: Option<Taken>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        if let Some(address) = &self.address
            && let Some(share) = open.of_address.get_mut(address)
        {
            *share -= 1;
            if *share == 0 {
                open.of_address.remove(address);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let admitted = self.admit(stream, Turning::Answered);
        std::future::ready(admitted.map(|connection| (connection, service)))
    }
}

/// What becomes of whoever finds no place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Turning {
    /// They hear 503.
    Answered,
    /// Nothing could be said that they would understand.
    Closed,
}

/// A connection and the place it takes, given back when it ends.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Gathered<TcpStream>,
    /// Runs while nothing more can be written; there is none while all goes well.
    stuck: Option<Pin<Box<Sleep>>>,
    /// None where nobody is to be found out.
    untaken: Option<Untaken>,
    place: Place,
}

impl Connection {
    /// By what its answers over HTTP/2 are to be watched.
    pub(crate) fn untaken(&self) -> Option<&Untaken> {
        self.untaken.as_ref()
    }

    /// Passes on how writing went, unless it has been stuck for too long.
    fn unless_stuck<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let stuck = self.stuck.get_or_insert_with(|| Box::pin(sleep(READ_WAIT)));
        stuck.as_mut().poll(context).map(|()| Err(does_not_read()))
    }
}

fn does_not_read() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other end does not read")
}

impl AsyncRead for Connection {
    /// Whoever takes nothing answers to pings at least ([`HTTP2_PING_EVERY`]), and is found out by that.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let untaken = self.untaken.as_ref().and_then(Untaken::since);
        if untaken.is_some_and(|since| since.elapsed() > READ_WAIT) {
            return Poll::Ready(Err(does_not_read()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.unless_stuck(written, context)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.unless_stuck(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio::time::advance;

    use super::*;

    async fn connection() -> (TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepted = listener.accept().await.unwrap().0;
        let limits =
            ConnectionLimits { most: 1, most_of_one: 1, proxies: TrustedProxies::default() };
        (peer, Connections::new(limits).admit(accepted, Turning::Answered).unwrap())
    }

    /// Case 92: whoever never reads holds no connection for ever.
    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_never_read_from_ends() {
        let (peer, mut connection) = connection().await;
        let error = connection.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(peer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_has_the_whole_wait_again_after_each_byte() {
        let (_peer, mut connection) = connection().await;
        let nearly = READ_WAIT / 10 * 9;
        let mut wrote = async |written: Poll<io::Result<usize>>| {
            let mut written = Some(written);
            poll_fn(|context| {
                let written = written.take().unwrap_or(Poll::Pending);
                Poll::Ready(connection.unless_stuck(written, context))
            })
            .await
        };
        for _ in 0..3 {
            assert!(wrote(Poll::Pending).await.is_pending());
            advance(nearly).await;
            assert!(wrote(Poll::Pending).await.is_pending(), "slow, not gone");
            assert!(wrote(Poll::Ready(Ok(1))).await.is_ready());
        }
        assert!(wrote(Poll::Pending).await.is_pending());
        advance(READ_WAIT + Duration::from_secs(1)).await;
        assert!(matches!(wrote(Poll::Pending).await, Poll::Ready(Err(_))), "gone");
    }

    #[test]
    fn one_address_has_its_share_and_a_proxy_all_there_is() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let limits = ConnectionLimits { most: 6, most_of_one: 2, proxies };
        let connections = Connections::new(limits.clone());
        let enter = |peer: &str| connections.place_for(peer.parse().unwrap());
        let first = enter("192.0.2.1").unwrap();
        let second = enter("192.0.2.1").unwrap();
        assert!(enter("192.0.2.1").is_none(), "its share");
        drop(first);
        let again = enter("192.0.2.1").unwrap();
        let theirs = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        assert!(enter("2001:db8::3").is_none(), "one network of IPv6 is one caller");
        let proxys = [enter("10.0.0.1").unwrap(), enter("10.0.0.1").unwrap()];
        assert!(enter("10.0.0.1").is_none(), "all six are taken");
        assert!(enter("192.0.2.9").is_none());
        connections.limit(ConnectionLimits { most: 7, ..limits });
        let one_more = enter("192.0.2.9").unwrap();
        drop((again, second, theirs, proxys, one_more));
        let open = connections.open.lock().unwrap();
        assert!(open.all == 0 && open.of_address.is_empty(), "nobody is remembered");
    }
}
