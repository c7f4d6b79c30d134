//! What a simulation decides in the machine's place: what is drawn at random, and who is at the other end
//! of a connection to a server behind us. Exists only with the feature of this name, which belongs to
//! tests: nothing that is shipped has it.
//!
//! It holds for the thread that [`begin`] is called on, until [`end`].

use std::cell::RefCell;
use std::fmt;
use std::io;

use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, however it is made.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl fmt::Debug for dyn Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// A connection that is being made.
pub type Connecting = BoxFuture<'static, io::Result<Box<dyn Stream>>>;

/// Connects to an origin, such as `http://upstream.test`.
pub type Network = Box<dyn Fn(&str) -> Connecting>;

thread_local! {
    static SIMULATED: RefCell<Option<Simulated>> = const { RefCell::new(None) };
}

struct Simulated {
    seed: u64,
    drawn: u64,
    network: Network,
}

/// From now on this thread draws what `seed` says, and connects by `network`.
pub fn begin(seed: u64, network: Network) {
    SIMULATED.replace(Some(Simulated { seed, drawn: 0, network }));
}

/// From now on all is the machine's again.
pub fn end() {
    SIMULATED.replace(None);
}

/// Fills `bytes` by the seed; `false` where nothing is simulated.
pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    SIMULATED.with_borrow_mut(|simulated| {
        let Some(Simulated { seed, drawn, .. }) = simulated else { return false };
        for block in bytes.chunks_mut(32) {
            *drawn += 1;
            let drawn =
                Sha256::new().chain_update(seed.to_be_bytes()).chain_update(drawn.to_be_bytes());
            for (byte, drawn) in block.iter_mut().zip(drawn.finalize()) {
                *byte = drawn;
            }
        }
        true
    })
}

/// A connection to that origin; nothing where nothing is simulated.
pub(crate) fn connect(origin: &str) -> Option<Connecting> {
    SIMULATED
        .with_borrow(|simulated| simulated.as_ref().map(|simulated| (simulated.network)(origin)))
}
