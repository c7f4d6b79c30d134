//! The way from a socket to HTTP: a place among the [`Connections`], whose it is if a proxy says so,
//! then TLS if we end it.
//!
//! ```text
//! socket ─▶ place, share (connections.rs) ─▶ header of a trusted proxy ─▶ TLS handshake ─▶ HTTP
//! ```
//!
//! Each step has its time. The place is taken first, so that handshakes are counted, too.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Config, ProxyProtocol};
use crate::connections::{Connection, Connections, Turning};
use crate::current::{Caller, ForPeer};
use crate::proxy_header;
use crate::tls::CHALLENGE;
use crate::untaken::Untaken;

/// How long a TLS handshake may take, from the first byte on.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// Lets connections in.
#[derive(Clone)]
pub(crate) struct Entrance {
    connections: Connections,
    headers: Option<Headers>,
    tls: Option<TlsAcceptor>,
}

/// The headers of the PROXY protocol, read from trusted proxies alone, and believed.
#[derive(Clone, Default)]
struct Headers {
    /// Whether it was said that one has none: once, since it is the same with each connection.
    were_missed: Arc<AtomicBool>,
    /// Whether what they name may be a proxy in its turn, which is believed by what it writes.
    is_chained: bool,
}

impl Entrance {
    /// As the settings have it when the program starts.
    pub(crate) fn by(config: &Config, connections: Connections, tls: Option<TlsAcceptor>) -> Self {
        let headers = match config.proxy_protocol {
            ProxyProtocol::Spoken => Some(Headers::default()),
            ProxyProtocol::Chained => Some(Headers { is_chained: true, ..Headers::default() }),
            ProxyProtocol::Unspoken => None,
        };
        Self { connections, headers, tls }
    }

    /// Also gives whose connection it is, if somebody is believed who says so.
    async fn admit(self, stream: TcpStream) -> io::Result<(Wire, Caller)> {
        let turning = if self.tls.is_some() { Turning::Closed } else { Turning::Answered };
        let peer = stream.peer_addr()?.ip().to_canonical();
        let mut connection = self.connections.admit(stream, turning)?;
        let caller = match &self.headers {
            Some(headers) if self.connections.trust(peer) => {
                headers.read(peer, &mut connection).await?
            }
            Some(_) | None => Caller::Peer,
        };
        match caller {
            Caller::Proxy(client) if self.connections.trust(client.ip()) => {}
            Caller::Told(client) | Caller::Proxy(client) => {
                self.connections.count(&mut connection, client.ip())?;
            }
            Caller::Peer | Caller::Unknown => {}
        }
        let Some(tls) = self.tls else { return Ok((Wire::Plain(connection), caller)) };
        let stream = timeout(HANDSHAKE_WAIT, tls.accept(connection)).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long")
        })?;
        let mut stream = stream?;
        if stream.get_ref().1.alpn_protocol() == Some(CHALLENGE) {
            // The handshake was the answer: an authority has seen what it came for.
            stream.shutdown().await?;
            return Err(io::Error::other("an authority looked for a proof"));
        }
        Ok((Wire::Tls(Box::new(stream)), caller))
    }
}

impl Headers {
    async fn read(&self, proxy: IpAddr, connection: &mut Connection) -> io::Result<Caller> {
        proxy_header::read(connection)
            .await
            .map(|client| {
                let Some(at) = client else { return Caller::Unknown };
                let at = SocketAddr::new(at.ip().to_canonical(), at.port());
                if self.is_chained { Caller::Proxy(at) } else { Caller::Told(at) }
            })
            .map_err(|error| {
                if !self.were_missed.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %proxy,
                        "a connection of a trusted proxy was refused, since {error}: have it send \
                         one with each, or set proxy_protocol to \"off\"; this is said once"
                    );
                }
                io::Error::other(error)
            })
    }
}

impl Accept<TcpStream, ForPeer> for Entrance {
    type Stream = Wire;
    type Service = ForPeer;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Wire, ForPeer)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: ForPeer) -> Self::Future {
        let admitted = self.clone().admit(stream);
        Box::pin(async move {
            let (wire, caller) = admitted.await?;
            let service = service.on_behalf_of(caller).watched_by(wire.untaken().cloned());
            Ok((wire, service))
        })
    }
}

/// A connection as HTTP sees it.
pub(crate) enum Wire {
    Plain(Connection),
    Tls(Box<TlsStream<Connection>>),
}

impl Wire {
    fn untaken(&self) -> Option<&Untaken> {
        match self {
            Self::Plain(stream) => stream.untaken(),
            Self::Tls(stream) => stream.get_ref().0.untaken(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use sekisho::front::TrustedProxies;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::connections::ConnectionLimits;

    /// Both ends of TLS.
    fn tls() -> (TlsAcceptor, TlsConnector) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (Arc::new(server).into(), Arc::new(client).into())
    }

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (peer, listener.accept().await.unwrap().0)
    }

    fn entrance(tls: TlsAcceptor) -> Entrance {
        let limits =
            ConnectionLimits { most: 1, most_of_one: 1, proxies: TrustedProxies::default() };
        Entrance { connections: Connections::new(limits), headers: None, tls: Some(tls) }
    }

    /// Case 102: also a handshake that begins, and then goes no further.
    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_never_ends_gives_its_place_back() {
        let entrance = entrance(tls().0);
        for begun in [b"".as_slice(), b"\x16\x03\x01\x02\x00"] {
            let (mut peer, accepted) = sockets().await;
            peer.write_all(begun).await.unwrap();
            let error = entrance.clone().admit(accepted).await.err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        }
    }

    #[tokio::test]
    async fn a_place_is_taken_before_the_handshake() {
        let entrance = entrance(tls().0);
        let ((_silent, first), (_other, second)) = (sockets().await, sockets().await);
        let handshake = entrance.clone().admit(first);
        tokio::pin!(handshake);
        tokio::select! {
            biased;
            _ = &mut handshake => unreachable!("it never ends"),
            admitted = entrance.clone().admit(second) => {
                assert_eq!(admitted.err().unwrap().to_string(), "too many connections");
            }
        }
    }

    /// Case 92, behind TLS.
    #[tokio::test]
    async fn a_connection_that_is_never_read_from_ends_behind_tls() {
        let (acceptor, connector) = tls();
        let (peer, accepted) = sockets().await;
        let name = "localhost".try_into().unwrap();
        let (wire, peer) =
            tokio::join!(entrance(acceptor).admit(accepted), connector.connect(name, peer));
        let (mut wire, _peer) = (wire.unwrap().0, peer.unwrap());
        tokio::time::pause();
        let error = wire.write_all(&vec![0; 64 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
