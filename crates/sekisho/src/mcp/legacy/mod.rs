//! What all revisions with an `initialize` handshake share, whichever transport carries them:
//! sessions, streams of messages to the client, and the methods no service has to know.

mod dispatch;
mod duplex;
mod event_stream;
mod limits;
mod questions;
mod session;
mod sessions;

pub(super) use dispatch::{Call, Caller, batch, require_scopes, take_answer, take_notice};
pub(super) use duplex::Duplex;
pub(super) use event_stream::{EventStream, First, Next, Reader, Retention};
pub use limits::SessionLimits;
pub(super) use session::{Place, Session, Transport};
pub(super) use sessions::Sessions;
