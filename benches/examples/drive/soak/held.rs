//! Streams that are held open: most until their token is over, some closed and opened again all the
//! time, as clients come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crowd::{Holder, ask, expect};
use super::tally::Cause;
use super::{ANSWER_WAIT_MAX, Soak};
use crate::Result;
use crate::load::{Connection, header};

/// One in so many comes and goes.
const RESTLESS_ONE_IN: usize = 5;
/// How long such a one stays.
const RESTLESS_STAY: Duration = Duration::from_secs(40);
/// One in so many that hang up leaves its session to be forgotten.
const LEAVES_SESSION_ONE_IN: usize = 4;
/// How late a stream may end after its token, on a busy machine.
const LATE_MAX: Duration = Duration::from_secs(10);
/// Between the first streams.
const APART: Duration = Duration::from_millis(20);

const OPENED: &str = "stream opened";
const ENDED: &str = "stream ended by the server";
const HUNG_UP: &str = "stream hung up on";

/// How a stream is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `GET /mcp` of a session.
    Session,
    /// `GET /sse`.
    HttpSse,
    /// `subscriptions/listen`.
    Listen,
}

/// Holds one stream after the other.
pub(super) async fn hold(soak: Arc<Soak>, holder: Arc<Holder>, kind: Kind, number: usize) {
    tokio::time::sleep(APART * u32::try_from(number).unwrap_or(0)).await;
    for turn in number.. {
        match open(&holder, kind).await {
            Ok((connection, session, since)) => {
                soak.tally.expected(OPENED);
                soak.open.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let stays_on = !number.is_multiple_of(RESTLESS_ONE_IN);
                let stay = if stays_on { soak.access_token_ttl() * 2 } else { RESTLESS_STAY };
                let end = tokio::time::timeout(stay, connection.end()).await;
                soak.open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                judge(&soak, &holder, since, end.ok());
                if let Some(session) = session
                    && turn % LEAVES_SESSION_ONE_IN != 0
                {
                    close(&soak, &holder, &session).await;
                }
            }
            Err(error) => {
                soak.add(OPENED, &holder, Err(error));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn open(holder: &Holder, kind: Kind) -> Result<(Connection, Option<String>, Instant)> {
    let address = holder.address();
    let mut session = None;
    if kind == Kind::Session {
        session = Some(begin(holder).await?);
    }
    let (wire, since) = (holder.wire(), holder.token_since());
    let (request, marker): (_, &[u8]) = match kind {
        Kind::Session => (wire.get("/mcp", session.as_deref()), b"data:"),
        Kind::HttpSse => (wire.get("/sse", None), b"event: endpoint"),
        Kind::Listen => (wire.listen(), b"subscriptions/acknowledged"),
    };
    let mut connection = Connection::open(address).await?;
    let opened = tokio::time::timeout(ANSWER_WAIT_MAX, connection.ask_until(&request, marker));
    opened.await.map_err(|_| format!("no stream in {ANSWER_WAIT_MAX:?}"))??;
    Ok((connection, session, since))
}

/// Begins a session, on a connection of its own.
pub(super) async fn begin(holder: &Holder) -> Result<String> {
    let mut connection = Connection::open(holder.address()).await?;
    let begun = ask(&mut connection, &holder.wire().initialize()).await?;
    expect(&begun, 200, "\"result\"")?;
    let session = header(&begun.head, "mcp-session-id").ok_or("no session")?.to_owned();
    let told = ask(&mut connection, &holder.wire().initialized(&session)).await?;
    expect(&told, 202, "")?;
    Ok(session)
}

/// Ends a session, on a connection of its own.
pub(super) async fn close(soak: &Soak, holder: &Holder, session: &str) {
    let closed = async {
        let mut connection = Connection::open(holder.address()).await?;
        let gone = ask(&mut connection, &holder.wire().delete(session)).await?;
        expect(&gone, 204, "").map(drop)
    };
    soak.tally.add("session ended", closed.await);
}

/// `end` is how the server ended it, or nothing if we hung up.
fn judge(soak: &Soak, holder: &Holder, since: Instant, end: Option<Result<(String, bool)>>) {
    let Some(end) = end else {
        if since.elapsed() > soak.access_token_ttl() + LATE_MAX {
            return soak.tally.uncaused(HUNG_UP, "it outlived its token");
        }
        return soak.tally.expected(HUNG_UP);
    };
    let age = since.elapsed();
    let is_over = age + Duration::from_secs(1) >= soak.access_token_ttl();
    match end {
        Ok((_, true)) if is_over && age <= soak.access_token_ttl() + LATE_MAX => {
            soak.tally.caused(ENDED, Cause::TokenExpired);
        }
        Ok((_, true)) if soak.command_was_killed(holder) => {
            soak.tally.caused(ENDED, Cause::CommandKilled);
        }
        Ok((text, is_whole)) => {
            let tail = text.get(text.len().saturating_sub(200)..).unwrap_or_default();
            let what =
                format!("{:?}, its token {age:?} old, whole: {is_whole}: {tail}", holder.site);
            soak.tally.uncaused(ENDED, &what);
        }
        Err(error) => soak.tally.uncaused(ENDED, &format!("{:?}: {error}", holder.site)),
    }
}
