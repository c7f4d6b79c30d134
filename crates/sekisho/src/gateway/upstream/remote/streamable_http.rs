//! Streamable HTTP, as its client: a POST for each message, whose answer is JSON or a stream
//! (2025-03-26 and later; 2026-07-28 has nothing else).
//!
//! What comes on the answer to a call is that call's. A stream that breaks before its answer is
//! asked for again where it broke off, if its events have ids; the call itself never is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::event_reader::Place;
use super::{
    Call, Client, EventReader, Link, RETRY_AT_FIRST, RETRY_MAX, RETRY_MIN, RemoteServer, Response,
    SESSION_ID, SESSION_ID_BYTES_MAX, Trouble, body_of, is_event_stream, is_json,
};
use crate::gateway::upstream::connection::{Connection, Outgoing, Work};
use crate::mcp::PROTOCOL_VERSION;
use crate::principal::Principal;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// How often in a row a stream is asked for again that brings nothing new.
const RESUMES_MAX: u32 = 5;
/// How long the server may take to end a session.
const DELETE_WAIT: Duration = Duration::from_millis(500);

/// Begins to carry a conversation.
pub(in crate::gateway::upstream) fn carry(
    server: &RemoteServer,
    client: &Client,
    connection: &Arc<Connection>,
    queued: mpsc::Receiver<Outgoing>,
) -> Arc<Link> {
    let link = Link::new(server, client, server.address.clone(), connection);
    connection.set_direct(&link);
    tokio::spawn(Arc::clone(&link).pump(queued, Link::carry));
    link
}

impl Link {
    /// A whole call, from its POST to its answer. Dropped before, the server is hung up on.
    pub(in crate::gateway::upstream) fn carry(self: Arc<Self>, call: Call) -> Work {
        let (id, caller) = (call.id, call.caller.clone());
        // Given back when the answer begins, since that may go on for hours.
        let begun = Box::pin(Arc::clone(&self).begin(call));
        Box::pin(async move {
            let carried = async {
                if let Some(answer) = begun.await? {
                    let heard = self.follow(answer, id, caller).await;
                    heard.unwrap_or(Err(Trouble::NoAnswer))?;
                }
                if self.connection.is_open(id) { Err(Trouble::NoAnswer) } else { Ok(()) }
            };
            if let Err(trouble) = carried.await {
                self.fail(id, trouble);
            }
        })
    }

    /// Hears the rest of a call's stream. What it tells may keep whoever asked busy, and the server shall
    /// not wait for that.
    fn follow(
        self: &Arc<Self>,
        mut answer: Following,
        id: u64,
        caller: Option<Arc<Principal>>,
    ) -> AbortOnDropHandle<Result<(), Trouble>> {
        let link = Arc::clone(self);
        AbortOnDropHandle::new(tokio::spawn(async move {
            while !link.hear_next(&mut answer, id, caller.as_ref()).await? {}
            Ok(())
        }))
    }

    /// Posts a call and hears the first message of what comes, which is nearly always the answer; if not,
    /// gives what is to be heard yet.
    async fn begin(self: Arc<Self>, call: Call) -> Result<Option<Following>, Trouble> {
        let Call { message, headers, id, caller } = call;
        let caller = caller.as_ref();
        let has_session = !headers.contains_key(PROTOCOL_VERSION);
        let response = self.judge(self.post(message, headers, caller).await?).await?;
        if has_session && self.connection.version().is_none() {
            self.keep_session(&response)?;
        }
        if is_json(&response) {
            let body = body_of(response, self.connection.message_bytes_max()).await?;
            self.connection.hear(&body, Some(id));
        } else if is_event_stream(&response) {
            let mut answer = Following::new(response, self.connection.message_bytes_max());
            if !self.hear_next(&mut answer, id, caller).await? {
                return Ok(Some(answer));
            }
        } else if response.status() != StatusCode::ACCEPTED {
            return Err(Trouble::OtherContent);
        }
        Ok(None)
    }

    /// Remembers the session that an `initialize` began.
    fn keep_session(&self, response: &Response) -> Result<(), Trouble> {
        let Some(name) = response.headers().get(SESSION_ID) else { return Ok(()) };
        let is_name = name.as_bytes().iter().all(|byte| matches!(byte, b'!'..=b'~'));
        if name.is_empty() || name.len() > SESSION_ID_BYTES_MAX || !is_name {
            return Err(Trouble::SessionName);
        }
        let mut name = name.clone();
        name.set_sensitive(true);
        // One greeting begins one session.
        let _ = self.session.set(name);
        Ok(())
    }

    /// Hears the next message of a call's stream, over as many connections as that takes; `true` if it
    /// was the answer.
    async fn hear_next(
        &self,
        answer: &mut Following,
        id: u64,
        caller: Option<&Arc<Principal>>,
    ) -> Result<bool, Trouble> {
        loop {
            let trouble = match answer.events.next().await {
                Ok(Some(event)) => {
                    answer.in_vain = 0;
                    if event.name != "message" || event.data.is_empty() {
                        continue;
                    }
                    self.connection.hear(&event.data, Some(id));
                    return Ok(!self.connection.is_open(id));
                }
                Ok(None) => Trouble::NoAnswer,
                Err(trouble @ Trouble::Broken(_)) => trouble,
                Err(trouble) => return Err(trouble),
            };
            let place = std::mem::take(&mut answer.events.place);
            answer.in_vain += 1;
            let is_given_up = place.last_id.is_none() || answer.in_vain > RESUMES_MAX;
            if self.connection.is_stateless() || is_given_up {
                return Err(trouble);
            }
            Box::pin(tokio::time::sleep(pause(&place, answer.in_vain))).await;
            let response = match Box::pin(self.resume(&place, caller)).await {
                Ok(response) => response,
                // The server took the call: that it knows nothing of it now is no refusal.
                Err(Trouble::Refused { .. } | Trouble::Forgotten) => return Err(trouble),
                Err(other) => return Err(other),
            };
            let bytes_max = self.connection.message_bytes_max();
            answer.events = EventReader::new(response, place, bytes_max);
        }
    }

    /// Asks for the rest of a stream, or for one of what belongs to no call.
    async fn resume(
        &self,
        place: &Place,
        caller: Option<&Arc<Principal>>,
    ) -> Result<Response, Trouble> {
        let response = self.judge(self.get(place, caller).await?).await?;
        if is_event_stream(&response) { Ok(response) } else { Err(Trouble::OtherContent) }
    }

    async fn get(
        &self,
        place: &Place,
        caller: Option<&Arc<Principal>>,
    ) -> Result<Response, Trouble> {
        let mut head = self.head(caller, HeaderMap::new()).await?;
        head.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let id = place.last_id.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(id)) = id {
            head.insert(LAST_EVENT_ID, id);
        }
        self.ask(Method::GET, head, Bytes::new(), caller).await
    }

    /// Listens to what belongs to no call, if the server tells such things, until the conversation
    /// is over. `is_there` is dropped when it is known whether it does.
    pub(in crate::gateway::upstream) async fn listen(
        self: Arc<Self>,
        is_there: oneshot::Sender<()>,
    ) {
        let mut is_there = Some(is_there);
        let bytes_max = self.connection.message_bytes_max();
        let mut place = Place::default();
        let mut in_vain = 0;
        let listening = async {
            loop {
                let resumed = self.resume(&place, self.connection.caller().as_ref()).await;
                drop(is_there.take());
                match resumed {
                    Ok(response) => {
                        let mut events =
                            EventReader::new(response, std::mem::take(&mut place), bytes_max);
                        while let Ok(Some(event)) = events.next().await {
                            in_vain = 0;
                            if event.name == "message" && !event.data.is_empty() {
                                self.connection.hear(&event.data, None);
                            }
                        }
                        place = events.place;
                    }
                    Err(Trouble::Forgotten) => return self.connection.forget(None),
                    Err(trouble @ (Trouble::Refused { .. } | Trouble::OtherContent)) => {
                        // 405 is the word for it; whatever else it says will not change either.
                        tracing::debug!(%trouble, "the server behind us has no stream to listen to");
                        return;
                    }
                    Err(trouble) => tracing::debug!(%trouble, "the stream is not there"),
                }
                in_vain += 1;
                tokio::time::sleep(pause(&place, in_vain)).await;
            }
        };
        tokio::select! {
            () = listening => {}
            () = self.connection.closing().cancelled() => {}
        }
    }

    /// Ends the session, if there is one.
    pub(in crate::gateway::upstream) async fn stop(&self) {
        self.connection.close();
        if self.session.get().is_some() && !self.connection.is_forgotten() {
            let parting = async {
                let head = self.head(self.connection.caller().as_ref(), HeaderMap::new()).await?;
                // Any answer will do: 405 says that it ends sessions by itself.
                self.client.send(Method::DELETE, &self.address, head, Bytes::new()).await
            };
            let parted = tokio::time::timeout(DELETE_WAIT, parting).await;
            if !parted.is_ok_and(|parted| parted.is_ok()) {
                tracing::debug!("the server behind us is not there to part from");
            }
        }
        self.connection.end();
    }
}

/// The stream that answers a call, being read.
struct Following {
    events: EventReader,
    /// How often in a row it was asked for again and brought nothing new.
    in_vain: u32,
}

impl Following {
    fn new(response: Response, bytes_max: usize) -> Self {
        Self { events: EventReader::new(response, Place::default(), bytes_max), in_vain: 0 }
    }
}

/// How long a stream is left alone: as the server says, else longer each time.
fn pause(place: &Place, in_vain: u32) -> Duration {
    let doubled = || RETRY_AT_FIRST.saturating_mul(1 << in_vain.saturating_sub(1).min(10));
    place.retry.unwrap_or_else(doubled).clamp(RETRY_MIN, RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_left_alone_as_its_server_wishes_within_our_bounds() {
        let rows = [
            (None, 1, 1_000, "nothing is said"),
            (None, 3, 4_000, "nothing is said, and nothing comes"),
            (None, 99, 30_000, "not for ever"),
            (Some(250), 3, 250, "as it says, each time"),
            (Some(0), 1, 100, "not in a circle"),
            (Some(u64::MAX), 1, 30_000, "not for a lifetime"),
        ];
        for (retry, in_vain, expected, reason) in rows {
            let retry = retry.map(Duration::from_millis);
            let pause = pause(&Place { retry, ..Place::default() }, in_vain);
            assert_eq!(pause, Duration::from_millis(expected), "{reason}");
        }
    }
}
