//! The server behind: speaks MCP with a handshake, hears who calls in a header, and says so in its answer.
//! It dies with all connections and sessions, and comes back without them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sekisho::simulation::{Connecting, Stream};
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::history::History;
use crate::promises::Promises;
use crate::weather::{End, Weather};

/// Where the gateways think it is.
pub(crate) const URL: &str = "http://upstream.test/mcp";
/// Who calls.
pub(crate) const PERSON: &str = "x-person";
/// Bytes on their way.
const PIPE_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) weather: Weather,
    history: Arc<History>,
    promises: Arc<Promises>,
    state: Mutex<Life>,
}

/// What one life of it has.
#[derive(Debug, Default)]
struct Life {
    /// Cancelled when it dies; none while it is dead.
    power: Option<CancellationToken>,
    /// Whose each session is.
    sessions: BTreeMap<String, String>,
    begun: u64,
    connections: usize,
}

impl Upstream {
    pub(crate) fn new(weather: Weather, history: Arc<History>, promises: Arc<Promises>) -> Self {
        Self { weather, history, promises, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, Life> {
        self.state.lock().unwrap()
    }

    pub(crate) fn start(&self) {
        self.history.note("upstream starts");
        self.state().power.get_or_insert_default();
    }

    /// `false` if it is dead already.
    pub(crate) fn die(&self) -> bool {
        let mut state = self.state();
        let Some(power) = state.power.take() else { return false };
        self.history.note("upstream dies");
        power.cancel();
        state.sessions.clear();
        true
    }

    /// Connections that are open, and sessions that nobody ended.
    pub(crate) fn is_used(&self) -> (usize, usize) {
        let state = self.state();
        (state.connections, state.sessions.len())
    }

    /// A connection to it, for whoever knocks.
    pub(crate) fn connect(self: &Arc<Self>) -> Connecting {
        let this = Arc::clone(self);
        Box::pin(async move {
            let fate = this.weather.fate();
            sleep(fate.before).await;
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let power = this.state().power.clone().ok_or_else(refused)?;
            if fate.end == End::Unreached {
                return Err(refused());
            }
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            let router = Router::new().fallback(answer).with_state(Arc::clone(&this));
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                router.clone().oneshot(request.map(Body::new))
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(theirs), service);
            this.state().connections += 1;
            tokio::spawn(async move {
                let _ = power.run_until_cancelled(serving).await;
                this.state().connections -= 1;
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    /// The answer to a call, in its time; `None` if it never comes.
    async fn call(&self, id: &Value, number: u64, person: &str) -> Response {
        self.promises.call_arrived(number, person);
        let fate = self.weather.fate();
        self.history.note(format_args!("upstream: call {number} of {person}: {:?}", fate.end));
        sleep(fate.before).await;
        match fate.end {
            End::Heard => {
                let content = [json!({ "type": "text", "text": format!("{person} {number}") })];
                result(id, &json!({ "content": content }))
            }
            End::Unreached => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            End::Unheard => std::future::pending().await,
        }
    }

    fn initialize(&self, id: &Value, person: &str) -> Response {
        let mut state = self.state();
        state.begun += 1;
        let session = format!("theirs-{}", state.begun);
        state.sessions.insert(session.clone(), person.to_owned());
        drop(state);
        let about = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "upstream", "version": "1" },
        });
        ([("mcp-session-id", session)], result(id, &about)).into_response()
    }
}

async fn answer(State(upstream): State<Arc<Upstream>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return StatusCode::BAD_REQUEST.into_response() };
    let header =
        |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let person = header(PERSON).unwrap_or_default();
    let message: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let id = &message["id"];
    let whose = header("mcp-session-id").map(|session| {
        let mut state = upstream.state();
        if head.method == Method::DELETE {
            state.sessions.remove(&session)
        } else {
            state.sessions.get(&session).cloned()
        }
    });
    match (&whose, message["method"].as_str()) {
        (Some(None), _) => return StatusCode::NOT_FOUND.into_response(),
        (Some(Some(whose)), _) if *whose != person => {
            upstream.promises.broken(format!("{person} speaks in a session of {whose} behind us"));
        }
        _ => {}
    }
    match (head.method, message["method"].as_str()) {
        (Method::DELETE, _) => StatusCode::NO_CONTENT.into_response(),
        (Method::GET, _) => StatusCode::METHOD_NOT_ALLOWED.into_response(),
        (_, Some("server/discover")) => {
            (StatusCode::BAD_REQUEST, "no valid session").into_response()
        }
        (_, Some("initialize")) => upstream.initialize(id, &person),
        (_, Some("tools/call")) if whose.is_some() => {
            let number = message["params"]["arguments"]["number"].as_u64().unwrap();
            upstream.call(id, number, &person).await
        }
        (_, Some(method)) if method.starts_with("notifications/") => {
            StatusCode::ACCEPTED.into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn result(id: &Value, result: &Value) -> Response {
    axum::Json(json!({ "jsonrpc": "2.0", "id": id, "result": result })).into_response()
}

/// How long it is dead, at most.
pub(crate) const DEAD_MAX: Duration = Duration::from_secs(15);
