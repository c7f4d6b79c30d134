//! Where callers come in: a socket of our own, or one that the service manager opened before us and keeps
//! when we go (socket activation), so that nobody who comes in between is turned away.
//!
//! A door that closes lets in who is on the threshold first, and nobody after that. The kernel answers
//! whoever comes before we do, and cuts off in the middle of a request whom we never let in; so it is told
//! to answer nobody new while the last ones are let in.

use std::io;
use std::mem;
use std::net::{self, SocketAddr};
use std::time::Duration;

use axum_server::{AddrListener, Address};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::outcome::Failure;

/// Connections that wait to be accepted, in the kernel.
const BACKLOG: u32 = 1024;
/// How long a door that closes waits for who has begun to come in: the way there and back of one packet.
const THRESHOLD_WAIT: Duration = Duration::from_millis(20);

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
    leaf: Mutex<Leaf>,
    address: SocketAddr,
    /// Whether somebody keeps the socket open, so that whoever comes waits for the process after us.
    is_kept: bool,
    bolt: Bolt,
}

#[derive(Debug)]
enum Leaf {
    Open(TcpListener),
    /// Nobody new comes. Who has come is asked of the kernel: the runtime may not have heard of them.
    Closing(net::TcpListener),
    Closed,
}

impl Door {
    /// Opens it at `address`, unless the service manager has opened one.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(crate) fn open(address: SocketAddr, bolt: Bolt) -> Result<Self, Failure> {
        let kept = handed_over()?;
        let is_kept = kept.is_some();
        let listener = match kept {
            Some(listener) => listener,
            None => listen(address).map_err(|error| cannot_listen(address, &error))?,
        };
        let door = Self::try_from(listener).map_err(|error| Failure::because(&error))?;
        let known = door.address;
        if known != address {
            tracing::warn!(%known, "the service manager listens elsewhere than listen = \"{address}\"");
        }
        Ok(Self { is_kept, bolt, ..door })
    }
}

impl TryFrom<TcpListener> for Door {
    type Error = io::Error;

    /// One that is open already.
    fn try_from(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let leaf = Mutex::new(Leaf::Open(listener));
        Ok(Self { leaf, address, is_kept: false, bolt: Bolt::default() })
    }
}

impl AddrListener<TcpStream, Peer> for Door {
    async fn bind_to(Peer(address): Peer) -> io::Result<Self> {
        listen(address)?.try_into()
    }

    async fn accept_stream(&self) -> io::Result<(TcpStream, Peer)> {
        let mut leaf = self.leaf.lock().await;
        loop {
            let accepted = match &*leaf {
                Leaf::Open(listener) => tokio::select! {
                    biased;
                    accepted = listener.accept() => Some(accepted?),
                    () = self.bolt.closing.cancelled() => None,
                },
                Leaf::Closing(listener) => match listener.accept() {
                    Ok((stream, peer)) => {
                        stream.set_nonblocking(true)?;
                        Some((TcpStream::from_std(stream)?, peer))
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    Err(error) => return Err(error),
                },
                Leaf::Closed => {
                    self.bolt.closed.cancel();
                    std::future::pending().await
                }
            };
            if let Some((stream, peer)) = accepted {
                return Ok((stream, Peer(peer)));
            }
            *leaf = match mem::replace(&mut *leaf, Leaf::Closed) {
                Leaf::Open(listener) if !self.is_kept => {
                    overlook_newcomers(&listener);
                    sleep(THRESHOLD_WAIT).await;
                    Leaf::Closing(listener.into_std()?)
                }
                Leaf::Open(_) | Leaf::Closing(_) | Leaf::Closed => Leaf::Closed,
            };
        }
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        Ok(Peer(self.address))
    }
}

/// Has the kernel overlook whoever asks for a connection from now on. They ask again after a second, hear
/// that nobody listens, and go elsewhere. Where it refuses that, who comes in these moments may be cut off.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn overlook_newcomers(listener: &TcpListener) {
    use socket2::{SockFilter, SockRef};
    /// Instructions of the kernel's packet filter, by their names in `linux/bpf_common.h`.
    const LD_B_ABS: u16 = 0x30;
    const JMP_JSET_K: u16 = 0x45;
    const RET_K: u16 = 0x06;
    /// Where a TCP header has its flags, and the one that asks for a connection (RFC 9293 §3.1).
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    let overlooked = SockRef::from(listener).attach_filter(&[
        SockFilter::new(LD_B_ABS, 0, 0, FLAGS),
        SockFilter::new(JMP_JSET_K, 0, 1, SYN),
        SockFilter::new(RET_K, 0, 0, 0),
        SockFilter::new(RET_K, 0, 0, u32::MAX),
    ]);
    if let Err(error) = overlooked {
        tracing::debug!(%error, "the socket closes without a filter");
    }
}

/// Only some systems can be told so; elsewhere who comes in these moments may be cut off.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn overlook_newcomers(_: &TcpListener) {}

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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[tokio::test]
    async fn who_has_come_is_let_in_and_whoever_comes_then_is_told_to_go_elsewhere() {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let come = || net::TcpStream::connect_timeout(&address, Duration::from_millis(200));
        let _waiting = [(); 3].map(|()| come().unwrap());
        overlook_newcomers(&listener);
        let overlooked = come().unwrap_err();
        assert_eq!(overlooked.kind(), io::ErrorKind::TimedOut, "answered, and then cut off");

        let leaf = Mutex::new(Leaf::Closing(listener.into_std().unwrap()));
        let door = Door { leaf, address, is_kept: false, bolt: Bolt::default() };
        for _ in 0..3 {
            tokio::select! {
                biased;
                let_in = door.accept_stream() => drop(let_in.unwrap()),
                () = door.bolt.closed.cancelled() => panic!("somebody is left outside"),
            }
        }
        tokio::select! {
            biased;
            _ = door.accept_stream() => unreachable!("there were three"),
            () = door.bolt.closed.cancelled() => {}
        }
        assert_eq!(come().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
