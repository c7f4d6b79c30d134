//! Where callers come in: a socket of our own, or one that the service manager opened before us and keeps
//! when we go (socket activation), so that nobody who comes in between is turned away.
//!
//! A door that closes lets in who is on the threshold first, and nobody after that.

use std::io;
use std::net::SocketAddr;

use axum_server::{AddrListener, Address};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::outcome::Failure;

/// Connections that wait to be accepted, in the kernel.
const BACKLOG: u32 = 1024;

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Address for Peer {
    type Stream = TcpStream;
    type Listener = Door;
}

/// What closes a door. Clones close the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bolt {
    closing: CancellationToken,
    closed: CancellationToken,
}

impl Bolt {
    /// Closes it, and returns when everybody on the threshold was let in.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.closed.cancelled().await;
    }
}

/// A socket that is listened on until its bolt is shot.
#[derive(Debug)]
pub(crate) struct Door {
    /// None once it is closed.
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    bolt: Bolt,
}

impl Door {
    /// Opens it at `address`, unless the service manager has opened one.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(crate) fn open(address: SocketAddr, bolt: Bolt) -> Result<Self, Failure> {
        let listener = match handed_over()? {
            Some(listener) => listener,
            None => listen(address).map_err(|error| cannot_listen(address, &error))?,
        };
        let known = listener.local_addr().map_err(|error| Failure::because(&error))?;
        if known != address {
            tracing::warn!(%known, "the service manager listens elsewhere than listen = \"{address}\"");
        }
        Ok(Self { listener: Mutex::new(Some(listener)), address: known, bolt })
    }
}

impl TryFrom<TcpListener> for Door {
    type Error = io::Error;

    /// One that is open already.
    fn try_from(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener: Mutex::new(Some(listener)), address, bolt: Bolt::default() })
    }
}

impl AddrListener<TcpStream, Peer> for Door {
    async fn bind_to(Peer(address): Peer) -> io::Result<Self> {
        let listener = Mutex::new(Some(listen(address)?));
        Ok(Self { listener, address, bolt: Bolt::default() })
    }

    async fn accept_stream(&self) -> io::Result<(TcpStream, Peer)> {
        let mut open = self.listener.lock().await;
        if let Some(listener) = open.as_ref() {
            tokio::select! {
                biased;
                accepted = listener.accept() => {
                    return accepted.map(|(stream, peer)| (stream, Peer(peer)));
                }
                () = self.bolt.closing.cancelled() => {}
            }
        }
        *open = None;
        drop(open);
        self.bolt.closed.cancel();
        std::future::pending().await
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(self.address))
    }
}

/// Takes the port, also when connections of a process before us are still being closed.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The socket that was opened for us, if one was (`LISTEN_FDS`). No process behind us inherits it.
#[cfg(unix)]
fn handed_over() -> Result<Option<TcpListener>, Failure> {
    let mut sockets = listenfd::ListenFd::from_env();
    if sockets.len() > 1 {
        let problem = "the service manager hands several sockets over: write one ListenStream";
        return Err(Failure::Run(problem.to_owned()));
    }
    let taken = sockets.take_tcp_listener(0).and_then(|socket| {
        let Some(socket) = socket else { return Ok(None) };
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket).map(Some)
    });
    taken.map_err(|error| {
        Failure::Run(format!(
            "the socket that the service manager hands over cannot be used ({error}): write a \
             ListenStream of TCP"
        ))
    })
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "only Unix hands sockets over")]
fn handed_over() -> Result<Option<TcpListener>, Failure> {
    Ok(None)
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Failure {
    let known = [
        (
            io::ErrorKind::AddrInUse,
            "another program listens there already: stop it, or choose another port",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this machine does not have that address: choose another",
        ),
        (io::ErrorKind::PermissionDenied, "we may not listen there: choose a port from 1024 on"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == error.kind());
    let problem = match found {
        Some((_, problem)) => (*problem).to_owned(),
        None => format!("cannot listen there: {error}"),
    };
    Failure::Run(format!("listen = \"{address}\": {problem}"))
}
