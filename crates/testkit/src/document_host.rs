//! A web server that publishes documents of clients, rightly or wrongly, and the stage on which it is
//! the whole internet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use futures::StreamExt as _;
use http::{StatusCode, Uri};
use sekisho::fetch::{Reach, Stage};
use serde_json::Value;
use tokio::net::TcpListener;

/// The name it has on the stage.
pub const HOST: &str = "app.example";

/// How long our side waits for it: long enough for a busy machine, short enough for a test.
const PATIENCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Clone)]
pub struct DocumentHost {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    answers: HashMap<String, Answered>,
    requests: Vec<String>,
}

/// How a path is answered.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
    /// Whether the body goes on for ever, without a byte more.
    pub hangs: bool,
}

impl Answered {
    /// 200 with JSON.
    pub fn json(body: &Value) -> Self {
        Self {
            status: 200,
            headers: vec![("content-type", "application/json".into())],
            body: body.to_string(),
            hangs: false,
        }
    }

    /// The same with another header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.to_owned()));
        self
    }
}

impl DocumentHost {
    /// Listens on loopback.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = Self { address: listener.local_addr().unwrap(), script: Arc::default() };
        let app = Router::new().fallback(answer).with_state(host.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        host
    }

    /// Answers a path so from now on.
    pub fn answer(&self, path: &str, answered: Answered) {
        self.script.lock().unwrap().answers.insert(path.to_owned(), answered);
    }

    /// Publishes a document.
    pub fn publish(&self, path: &str, document: &Value) {
        self.answer(path, Answered::json(document));
    }

    /// How often anything was asked for.
    pub fn requests(&self) -> usize {
        self.script.lock().unwrap().requests.len()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An internet in which [`HOST`] is this server, and no other name is anybody.
    pub fn reach(&self) -> Reach {
        let address = self.address;
        self.reach_by(move |name| if name == HOST { vec![address] } else { Vec::new() })
    }

    /// An internet with these names, in which this server is the only special address that is open.
    pub fn reach_by(
        &self,
        names: impl Fn(&str) -> Vec<SocketAddr> + Send + Sync + 'static,
    ) -> Reach {
        Reach::stage(Stage { names: Box::new(names), open: vec![self.address], patience: PATIENCE })
    }
}

async fn answer(State(host): State<DocumentHost>, uri: Uri) -> Response {
    let path = uri.path().to_owned();
    let answered = {
        let mut script = host.script.lock().unwrap();
        script.requests.push(path.clone());
        script.answers.get(&path).cloned()
    };
    let Some(Answered { status, headers, body, hangs }) = answered else {
        return Response::builder().status(404).body(Body::empty()).unwrap();
    };
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let begun = futures::stream::iter([Ok::<_, std::io::Error>(body)]);
    if hangs {
        let body = Body::from_stream(begun.chain(futures::stream::pending()));
        return response.body(body).unwrap();
    }
    response.body(Body::from_stream(begun)).unwrap()
}
