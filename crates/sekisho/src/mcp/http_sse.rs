//! HTTP+SSE (2024-11-05): a GET opens the stream all answers come by, a POST elsewhere brings the
//! messages. The session is the stream: it begins and ends with it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::Endpoint;
use super::legacy::{Duplex, EventStream, Retention, Transport};
use super::refusal::{Refusal, Refused};
use super::request::{Accepts, caller, read_body, require_json};
use super::sse::{self, Framing};

/// GET: opens a session and its stream.
pub(super) async fn open(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    endpoint.open_session(&request).unwrap_or_else(|refusal| Refused::from(refusal).into_response())
}

/// POST: a message from the client; its answer, if any, goes to the stream.
pub(super) async fn post(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    endpoint.take_posted(request).await.unwrap_or_else(Refused::into_response)
}

impl Endpoint {
    fn open_session(self: &Arc<Self>, request: &Request) -> Result<Response, Refusal> {
        if !Accepts::of(request.headers()).event_stream {
            return Err(Refusal::NotAnEventStream);
        }
        let principal = caller(request.extensions()).cloned();
        let session = self.sessions.begin(Transport::HttpSse, principal)?;
        let stream = EventStream::new(self.sessions.limits(), Retention::None);
        if !session.listen_on(&stream) {
            return Err(Refusal::TooManyStreams);
        }
        let uri = format!("{}?sessionId={}", self.settings.messages_path, session.id());
        let opening = Some(sse::endpoint(&uri));
        Ok(sse::respond(self, session, stream.read(None), Framing::Plain, opening))
    }

    async fn take_posted(self: &Arc<Self>, request: Request) -> Result<Response, Refused> {
        let (head, body) = request.into_parts();
        require_json(&head.headers)?;
        let id = session_id(head.uri.query()).ok_or(Refusal::SessionUnknown)?;
        if let Some(holder) = self.holder_elsewhere(&id) {
            let body = read_body(body, self.sessions.limits()).await?;
            return Ok(self.pass_on(&holder, Transport::HttpSse, &head, &body).await?);
        }
        let find = || self.sessions.find(Transport::HttpSse, &id, caller(&head.extensions));
        let session = find().ok_or(Refusal::SessionUnknown)?;
        let body = read_body(body, self.sessions.limits()).await?;
        let out = session.stream(1).ok_or(Refusal::SessionUnknown)?;
        let reader_wait = self.sessions.limits().reader_wait;
        let sender = caller(&head.extensions).cloned();
        Duplex { session, sender, out, reader_wait, stateless: None }
            .accept(&self.service, &body)?;
        Ok(StatusCode::ACCEPTED.into_response())
    }
}

fn session_id(query: Option<&str>) -> Option<String> {
    let pairs = form_urlencoded::parse(query?.as_bytes());
    let mut ids = pairs.filter(|(name, _)| name == "sessionId").map(|(_, id)| id.into_owned());
    let id = ids.next()?;
    ids.next().is_none().then_some(id)
}
