//! What is refused, each with the answer that it must get; and clients that hang up before theirs.

use std::sync::Arc;
use std::time::Duration;

use super::calls::pace;
use super::crowd::{Holder, ask, expect, post_form};
use super::held::{begin, close};
use super::{BODY_BYTES_MAX, Soak};
use crate::Result;
use crate::gateway::behind::{STAYING_TOOL, STAYING_WORD};
use crate::load::{Connection, request};
use crate::target::{Wire, host_of, message};

/// How long a client waits before it hangs up.
const HANGS_UP_AFTER: Duration = Duration::from_millis(200);

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const UNKNOWN_TOKEN: &str = "mcp_0000000000000000000000000000000000000000000000000000000000000000";
const UNKNOWN_SESSION: &str = "00000000000000000000000000000000";

/// Asks for what is refused, one after the other.
pub(super) async fn refused(soak: Arc<Soak>, holder: Arc<Holder>, every: Duration) {
    let mut ticks = pace(every);
    loop {
        for wrong in Wrong::ALL {
            ticks.tick().await;
            soak.tally.add(wrong.name(), wrong.ask(&soak, &holder).await);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Wrong {
    NoToken,
    UnknownToken,
    UnknownSession,
    DeletedSession,
    NoJson,
    TooLong,
    UnknownMethod,
    NoSuchPath,
    NoSuchVerb,
    Code,
    RefreshToken,
    Registration,
    Client,
}

impl Wrong {
    const ALL: [Self; 13] = [
        Self::NoToken,
        Self::UnknownToken,
        Self::UnknownSession,
        Self::DeletedSession,
        Self::NoJson,
        Self::TooLong,
        Self::UnknownMethod,
        Self::NoSuchPath,
        Self::NoSuchVerb,
        Self::Code,
        Self::RefreshToken,
        Self::Registration,
        Self::Client,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NoToken => "refused: no token: 401",
            Self::UnknownToken => "refused: unknown token: 401",
            Self::UnknownSession => "refused: unknown session: 404",
            Self::DeletedSession => "refused: session that was ended: 404",
            Self::NoJson => "refused: no JSON: 400",
            Self::TooLong => "refused: too long: 413",
            Self::UnknownMethod => "refused: unknown method: −32601",
            Self::NoSuchPath => "refused: no such path: 404",
            Self::NoSuchVerb => "refused: no such verb: 405",
            Self::Code => "refused: unknown code: 400",
            Self::RefreshToken => "refused: unknown refresh token: 400",
            Self::Registration => "refused: registration without redirect URIs: 400",
            Self::Client => "refused: unknown client at `/authorize`: 400",
        }
    }

    async fn ask(self, soak: &Soak, holder: &Holder) -> Result<()> {
        let (address, host) = (soak.address, host_of(soak.address));
        let json = [("Content-Type", "application/json")];
        let mut connection = Connection::open(address).await?;
        let mut sent = async |asked: &str, status: u16, has: &str| {
            expect(&ask(&mut connection, asked).await?, status, has).map(drop)
        };
        match self {
            Self::NoToken => sent(&request("POST", "/mcp", &host, &json, PING), 401, "").await,
            Self::UnknownToken => {
                sent(&Wire::new(address, UNKNOWN_TOKEN.to_owned()).call(), 401, "").await
            }
            Self::UnknownSession => {
                sent(&holder.wire().call_in(UNKNOWN_SESSION, "fortune", 1), 404, "").await
            }
            Self::DeletedSession => {
                let session = begin(holder).await?;
                close(soak, holder, &session).await;
                sent(&holder.wire().call_in(&session, "fortune", 1), 404, "").await
            }
            Self::NoJson => sent(&holder.wire().say("/mcp", "{\"jsonrpc\":"), 400, "-32700").await,
            Self::TooLong => {
                let long = message("1", "ping", &format!("\"{}\"", "a".repeat(BODY_BYTES_MAX)));
                sent(&holder.wire().say("/mcp", &long), 413, "").await
            }
            Self::UnknownMethod => {
                let session = begin(holder).await?;
                let asked = holder.wire().say_in(&session, &message("7", "no/such/method", "{}"));
                sent(&asked, 200, "-32601").await?;
                close(soak, holder, &session).await;
                Ok(())
            }
            Self::NoSuchPath => {
                sent(&request("GET", "/no-such-page", &host, &[], ""), 404, "").await
            }
            Self::NoSuchVerb => sent(&request("PUT", "/token", &host, &json, "{}"), 405, "").await,
            Self::Code => {
                let form = [
                    ("grant_type", "authorization_code"),
                    ("code", "no-such-code"),
                    ("redirect_uri", "http://127.0.0.1:9/callback"),
                    ("client_id", &*holder.client_id()),
                    ("code_verifier", "a-verifier-that-guards-nothing-but-a-benchmark"),
                ];
                let reply = post_form(address, "/token", &[], &form).await?;
                expect(&reply, 400, "invalid_grant").map(drop)
            }
            Self::RefreshToken => {
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", "no-such-token"),
                    ("client_id", &*holder.client_id()),
                ];
                let reply = post_form(address, "/token", &[], &form).await?;
                expect(&reply, 400, "invalid_grant").map(drop)
            }
            Self::Registration => {
                let body = r#"{"client_name":"soak"}"#;
                sent(&request("POST", "/register", &host, &json, body), 400, "invalid_").await
            }
            Self::Client => {
                let path = "/authorize?response_type=code&client_id=nobody&state=a";
                sent(&request("GET", path, &host, &[], ""), 400, "").await
            }
        }
    }
}

/// Hangs up in the middle of all kinds of things.
pub(super) async fn hanging_up(
    soak: Arc<Soak>,
    remote: Arc<Holder>,
    command: Arc<Holder>,
    every: Duration,
) {
    let mut ticks = pace(every);
    for turn in 0.. {
        ticks.tick().await;
        let holder = if turn % 4 == 2 { &command } else { &remote };
        let (kind, done) = match turn % 4 {
            0 => ("hung up: in a request", half_a_request(&soak, holder).await),
            1 => ("hung up: before the answer", sent_and_gone(holder).await),
            2 => ("hung up: a call that is never answered", never_answered(holder).await),
            _ => ("hung up: in an answer that is a stream", in_a_stream(&soak, holder).await),
        };
        soak.add(kind, holder, done);
    }
}

async fn half_a_request(soak: &Soak, holder: &Holder) -> Result<()> {
    let whole = holder.wire().call();
    let half = whole.get(..whole.len() - 40).ok_or("a request is short")?;
    gone_after(Connection::open(soak.address).await?, half, HANGS_UP_AFTER).await
}

async fn sent_and_gone(holder: &Holder) -> Result<()> {
    let mut connection = Connection::open(holder.address()).await?;
    // It may be there already.
    let answered =
        tokio::time::timeout(Duration::ZERO, connection.ask(&holder.wire().call())).await;
    answered.map_or(Ok(()), |reply| expect(&reply?, 200, "\"result\"").map(drop))
}

async fn never_answered(holder: &Holder) -> Result<()> {
    let connection = Connection::open(holder.address()).await?;
    gone_after(connection, &holder.wire().call_of(STAYING_TOOL), HANGS_UP_AFTER).await
}

/// An answer would be one that nobody can have given.
async fn gone_after(mut connection: Connection, asked: &str, after: Duration) -> Result<()> {
    match tokio::time::timeout(after, connection.ask(asked)).await {
        Err(_) => Ok(()),
        Ok(Ok(reply)) => Err(format!("{}: {}", reply.status, reply.body).into()),
        Ok(Err(error)) => Err(error),
    }
}

async fn in_a_stream(soak: &Soak, holder: &Holder) -> Result<()> {
    let session = begin(holder).await?;
    let mut connection = Connection::open(holder.address()).await?;
    let asked = holder.wire().call_in(&session, STAYING_TOOL, 1);
    let spoken = connection.ask_until(&asked, STAYING_WORD);
    tokio::time::timeout(super::ANSWER_WAIT_MAX, spoken).await??;
    drop(connection);
    close(soak, holder, &session).await;
    Ok(())
}
