//! Requests about what another instance holds: a session of its, or a call that waits there for its
//! client. They are passed on behind the guard and answered as if they had come there; what is passed on
//! to us comes in here. An instance that is gone takes its sessions with it: they are unknown.
//!
//! What changes in a service of ours is told to the clients of all instances.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::changes::{Audience, Change, Whose};
use super::legacy::Transport;
use super::refusal::Refusal;
use super::request::{caller, read_body};
use super::{Endpoint, Settings};
use super::{http_sse, streamable_http};
use crate::fleet::{Fleet, InstanceId, NotRelayed, Relayed};
use crate::principal::Principal;

impl Endpoint {
    /// Who has the session of this name, if that is another instance.
    pub(super) fn holder_elsewhere(&self, session: &str) -> Option<InstanceId> {
        self.settings.fleet.as_ref()?.holder_elsewhere(session)
    }

    /// What `holder` answers to this request.
    pub(super) async fn pass_on(
        &self,
        holder: &InstanceId,
        transport: Transport,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response, Refusal> {
        let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        let path = match transport {
            Transport::StreamableHttp => STREAMABLE_HTTP,
            Transport::HttpSse => MESSAGES,
            Transport::Stdio => return Err(Refusal::SessionUnknown),
        };
        let request = Relayed {
            service: &self.settings.messages_path,
            method: &head.method,
            uri: &format!("{path}{query}"),
            headers: &head.headers,
            caller: caller(&head.extensions),
            body,
        };
        let fleet = self.settings.fleet.as_ref().ok_or(Refusal::SessionUnknown)?;
        // The way there is long, and few requests go it: boxed, it makes no other future large.
        Box::pin(fleet.relay(holder, request)).await.map_err(|why| match why {
            NotRelayed::Gone => Refusal::SessionUnknown,
            NotRelayed::Full => Refusal::ServerFull,
            NotRelayed::Lost => Refusal::AnswerLost,
        })
    }

    /// Takes from now on what other instances pass on.
    pub(super) fn take_from_elsewhere(self: &Arc<Self>) {
        let Some(fleet) = &self.settings.fleet else { return };
        let endpoint = Arc::downgrade(self);
        let taking = move |request: Request| {
            let endpoint = endpoint.upgrade();
            let answer = async move {
                match endpoint {
                    Some(endpoint) => endpoint.take_passed_on(request).await,
                    None => StatusCode::NOT_FOUND.into_response(),
                }
            };
            answer.boxed()
        };
        fleet.serve(&self.settings.messages_path, Arc::new(taking));
    }

    async fn take_passed_on(self: Arc<Self>, request: Request) -> Response {
        match (request.method(), request.uri().path()) {
            (&Method::POST, STREAMABLE_HTTP) => streamable_http::post(State(self), request).await,
            (&Method::GET, STREAMABLE_HTTP) => streamable_http::get(State(self), request).await,
            (&Method::DELETE, STREAMABLE_HTTP) => {
                streamable_http::delete(State(self), request).await
            }
            (&Method::POST, MESSAGES) => http_sse::post(State(self), request).await,
            (&Method::POST, CHANGES) => self.take_change(request).await.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

impl Endpoint {
    /// Tells our own clients what changed at another instance.
    async fn take_change(&self, request: Request) -> StatusCode {
        let (head, body) = request.into_parts();
        let Ok(body) = read_body(body, self.sessions.limits()).await else {
            return StatusCode::BAD_REQUEST;
        };
        let told: Option<Told<'_>> = serde_json::from_slice(&body).ok();
        let change =
            told.as_ref().and_then(|told| Change::by_method(&told.method, told.uri.as_deref()));
        let Some(change) = change else { return StatusCode::BAD_REQUEST };
        let person = caller(&head.extensions).map(Principal::person);
        let whose = person.map_or(Whose::Everybodys, Whose::Persons);
        for audience in self.own_audiences().iter().filter_map(Weak::upgrade) {
            audience.hear(change, &whose);
        }
        StatusCode::ACCEPTED
    }
}

/// The clients of other instances, who hear what changes here.
#[derive(Debug)]
pub(super) struct ClientsElsewhere {
    fleet: Arc<Fleet>,
    service: String,
    room: Arc<Semaphore>,
}

/// A change on its way to another instance.
#[derive(Debug, Serialize, Deserialize)]
struct Told<'a> {
    method: Cow<'a, str>,
    uri: Option<Cow<'a, str>>,
}

impl ClientsElsewhere {
    pub(super) fn new(settings: &Settings) -> Option<Arc<Self>> {
        let fleet = Arc::clone(settings.fleet.as_ref()?);
        let (service, room) = (settings.messages_path.clone(), Semaphore::new(CHANGES_TOLD_MAX));
        Some(Arc::new(Self { fleet, service, room: Arc::new(room) }))
    }
}

impl Audience for ClientsElsewhere {
    fn hear(&self, change: Change<'_>, whose: &Whose) {
        let caller = match whose {
            Whose::Everybodys => None,
            Whose::Persons(person) => Some(Arc::clone(person.principal())),
            // All its streams are here.
            Whose::Sessions(_) => return,
        };
        let others = self.fleet.others();
        if others.is_empty() {
            return;
        }
        let uri = if let Change::Resource(uri) = change { Some(Cow::Borrowed(uri)) } else { None };
        let told = Told { method: Cow::Borrowed(change.method()), uri };
        let (Ok(body), Ok(runtime)) = (serde_json::to_vec(&told), Handle::try_current()) else {
            return;
        };
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else {
            tracing::warn!(
                "too much changes at once: clients of other instances do not hear of all of it"
            );
            return;
        };
        let (fleet, service) = (Arc::clone(&self.fleet), self.service.clone());
        runtime.spawn(async move {
            let headers = HeaderMap::new();
            let request = Relayed {
                service: &service,
                method: &Method::POST,
                uri: CHANGES,
                headers: &headers,
                caller: caller.as_ref(),
                body: &body,
            };
            // One that is not reached is gone, and its clients with it.
            let told = others.iter().map(|other| fleet.relay(other, request));
            futures::future::join_all(told).await;
            drop(place);
        });
    }
}

/// Changes that are on their way to other instances at once; more are not told there.
const CHANGES_TOLD_MAX: usize = 64;

/// Paths between instances: the same for every service, which is named beside.
const STREAMABLE_HTTP: &str = "/mcp";
const MESSAGES: &str = "/messages";
const CHANGES: &str = "/changes";
