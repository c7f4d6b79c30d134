//! What is so only where there are several instances: one that is gone, one that stands still, and
//! strangers at the door.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use sekisho::clock::SystemClock;
use sekisho::mcp::{
    CallError, Changes, Context, InputRequest, InputRequired, McpEndpoints, McpService, ServerInfo,
    Settings,
};
use sekisho::protocol::mcp::McpError;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use testkit::{McpClient, SseClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::instances::{Instance, Joined, join};

/// Serves what says where it is, as one of several instances.
async fn serve(instance: &Instance, settings: &Settings, service: Arc<Here>) -> String {
    let fleet = Some(Arc::clone(&instance.fleet));
    let settings = Settings { fleet, ..settings.clone() };
    let endpoints =
        McpEndpoints::new(service, settings, None, CancellationToken::new(), Arc::new(SystemClock));
    endpoints.begin();
    listen(endpoints.router("/")).await
}

async fn listen(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Two instances, each with its own service.
struct Two {
    joined: Joined,
    here: Arc<Here>,
    urls: [String; 2],
}

impl Two {
    async fn start() -> Self {
        let settings = Settings::new("/messages");
        let joined = join(2, &settings).await;
        let here = Arc::new(Here::named("one"));
        let one = serve(&joined.instances[0], &settings, Arc::clone(&here)).await;
        let other = serve(&joined.instances[1], &settings, Arc::new(Here::named("other"))).await;
        Self { joined, here, urls: [one, other] }
    }

    fn url(&self, which: usize, path: &str) -> String {
        format!("{}{path}", self.urls[which])
    }

    /// A session at the first, by a client that goes to the second from now on.
    async fn session_of_one_at_other(&self) -> McpClient {
        let mut client = McpClient::new(self.url(0, "/mcp"));
        client.initialize("2025-11-25").await;
        client.at(self.url(1, "/mcp"))
    }

    /// Nobody listens there any more, as when the process ended.
    async fn kill_one(&mut self) {
        let door = &mut self.joined.instances[0].door;
        door.abort();
        assert!(door.await.unwrap_err().is_cancelled());
    }
}

/// A service that says which instance it is at.
#[derive(Debug)]
struct Here {
    name: &'static str,
    info: Arc<ServerInfo>,
    changes: Changes,
    arrived: Semaphore,
    waiting: AtomicUsize,
    done: AtomicUsize,
}

impl Here {
    fn named(name: &'static str) -> Self {
        let mut info = ServerInfo::with_tools("here", "1");
        let lists = json!({ "tools": { "listChanged": true }, "prompts": { "listChanged": true } });
        info.capabilities = to_raw_value(&lists).unwrap();
        let info = Arc::new(info);
        Self {
            name,
            info,
            changes: Changes::default(),
            arrived: Semaphore::new(0),
            waiting: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }
}

#[async_trait]
impl McpService for Here {
    async fn info(&self, _: &Context) -> Result<Arc<ServerInfo>, McpError> {
        Ok(Arc::clone(&self.info))
    }

    fn changes(&self) -> Option<&Changes> {
        Some(&self.changes)
    }

    async fn call(
        &self,
        _: &str,
        params: Option<&RawValue>,
        context: &Context,
    ) -> Result<Box<RawValue>, CallError> {
        let params: Value = serde_json::from_str(params.unwrap().get()).unwrap();
        let text = |text: &str| {
            Ok(to_raw_value(&json!({ "content": [{ "type": "text", "text": text }] })).unwrap())
        };
        match params["name"].as_str().unwrap() {
            "for ever" => {
                self.arrived.add_permits(1);
                std::future::pending().await
            }
            // As a gateway does with a call of a server that asks: it goes on here or nowhere.
            "held" if context.state().is_none() => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                let requests = vec![InputRequest::roots("where")];
                let state = to_raw_value("held").ok();
                Err(CallError::InputRequired(InputRequired { requests, state, is_held: true }))
            }
            "held" if self.waiting.load(Ordering::SeqCst) == 0 => {
                Err(McpError::invalid_params("no call waits here").into())
            }
            _ => {
                self.done.fetch_add(1, Ordering::SeqCst);
                text(self.name)
            }
        }
    }
}

fn call(name: &str) -> Value {
    json!({ "name": name, "arguments": {} })
}

#[tokio::test]
async fn a_session_is_worked_on_where_it_began_and_nowhere_else() {
    let two = Two::start().await;
    let mut client = two.session_of_one_at_other().await;
    let told = client.request("tools/call", call("where")).await;
    assert_eq!(told.tool_text(), "one", "{}", told.text);

    let mut older = SseClient::open(&two.url(0, "/sse"), None).await;
    older.messages_url = older.messages_url.replace(&two.urls[0], &two.urls[1]);
    older.initialize("2024-11-05").await;
    let told = older.request("tools/call", call("where")).await;
    assert_eq!(told["result"]["content"][0]["text"], "one");
}

#[tokio::test]
async fn what_changes_at_one_instance_is_heard_by_the_clients_of_all_once() {
    let two = Two::start().await;
    let filter =
        json!({ "notifications": { "toolsListChanged": true, "promptsListChanged": true } });
    let mut streams = Vec::new();
    for which in 0..2 {
        let mut client = McpClient::new(two.url(which, "/mcp"));
        let (sender, body) =
            client.next_stateless(&json!({}), "subscriptions/listen", filter.clone());
        let mut events = sender.post_for_stream(body.to_string()).await;
        events.message().await;
        streams.push(events);
    }
    two.here.changes.tools_changed();
    for events in &mut streams {
        assert_eq!(events.message().await["method"], "notifications/tools/list_changed");
    }
    // What is heard elsewhere is not told back: nothing more came of it before this.
    two.here.changes.prompts_changed();
    for events in &mut streams {
        assert_eq!(events.message().await["method"], "notifications/prompts/list_changed");
    }
}

#[tokio::test]
async fn the_sessions_of_an_instance_that_is_gone_are_unknown_at_once() {
    let mut two = Two::start().await;
    let mut client = two.session_of_one_at_other().await;
    let mut older = SseClient::open(&two.url(0, "/sse"), None).await;
    older.messages_url = older.messages_url.replace(&two.urls[0], &two.urls[1]);
    two.kill_one().await;

    let mut stranger = client.clone();
    stranger.session = Some("0123456789abcdef0123456789abcdef0123456789abcdef".to_owned());
    let unknown = stranger.request("ping", json!({})).await;
    let gone = client.request("ping", json!({})).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{}", gone.text);
    assert_eq!(gone.text, unknown.text);
    assert_eq!(client.listen().await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.end().await.status, StatusCode::NOT_FOUND);
    let posted = older.post(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    assert_eq!(posted.status, StatusCode::NOT_FOUND);

    client.initialize("2025-11-25").await;
    assert_eq!(client.request("tools/call", call("where")).await.tool_text(), "other");
}

#[tokio::test]
async fn nothing_waits_for_an_instance_whose_beat_stops() {
    let mut two = Two::start().await;
    let client = two.session_of_one_at_other().await;
    let mut stream = client.listen().await;
    assert!(stream.next().await.is_some(), "the stream is open");
    let mut calling = client.clone();
    let calling =
        tokio::spawn(async move { calling.request("tools/call", call("for ever")).await });
    two.here.arrived.acquire().await.unwrap().forget();

    // The others see that it left, as they would see that its number stands still.
    let one = two.joined.instances.remove(0);
    one.fleet.leave(&two.joined.store).await.unwrap();
    two.joined.look_around().await;
    assert_eq!(stream.next().await, None, "the stream ends");
    let lost = calling.await.unwrap();
    assert_eq!((lost.status, lost.error_code()), (StatusCode::BAD_GATEWAY, Some(-32603)));
    assert!(lost.text.contains("whether this was done is not known"), "{}", lost.text);
    assert_eq!(client.end().await.status, StatusCode::NOT_FOUND, "and its session is unknown");
}

#[tokio::test]
async fn a_call_that_waits_for_its_client_goes_on_where_it_waits() {
    let mut two = Two::start().await;
    let mut client = McpClient::new(two.url(0, "/mcp"));
    let capabilities = json!({ "roots": {} });
    let asked = client.stateless_with(&capabilities, "tools/call", call("held")).await.result();
    let mut round = call("held");
    round["requestState"] = asked["requestState"].clone();
    round["inputResponses"] = json!({ "where": { "roots": [] } });

    let mut elsewhere = client.at(two.url(1, "/mcp"));
    let answer = elsewhere.stateless_with(&capabilities, "tools/call", round.clone()).await;
    assert_eq!(answer.tool_text(), "one", "{}", answer.text);

    two.kill_one().await;
    let answer = elsewhere.stateless_with(&capabilities, "tools/call", round).await;
    assert_eq!(answer.error_code(), Some(-32602), "it is gone: {}", answer.text);
}

#[tokio::test]
async fn strangers_and_repetitions_get_nothing_at_the_door() {
    let two = Two::start().await;
    let (passed, seen) = between(&two.joined.instances[0]).await;
    // Another instance of the same key, to which the first seems to be where we listen.
    let mut client = two.session_of_one_at_other().await;
    let row = format!(
        "UPDATE sekisho.instances SET address = '{passed}' WHERE id = '{}'",
        two.joined.instances[0].fleet.me()
    );
    testkit::postgres::execute(&two.joined.url, &row);
    two.joined.instances[1].fleet.beat(&two.joined.store).await.unwrap();
    let answer = client.request("tools/call", call("where")).await;
    assert_eq!(answer.tool_text(), "one");
    let (proof, sealed) = seen.lock().unwrap().pop().expect("it came by");
    let text = String::from_utf8_lossy(&sealed);
    assert!(!text.contains("where") && !text.contains("session"), "nobody reads it on the way");

    let http = reqwest::Client::new();
    let door = format!("http://{}/relay", two.joined.instances[0].address);
    let other_door = format!("http://{}/relay", two.joined.instances[1].address);
    let post = |door: &str, proof: Option<&HeaderValue>, body: Vec<u8>| {
        let asking = http.post(door).body(body);
        proof.iter().fold(asking, |asking, proof| asking.header("sekisho-relay", *proof)).send()
    };
    let again = post(&door, Some(&proof), sealed.clone()).await.unwrap();
    assert_eq!(again.status(), StatusCode::CONFLICT, "it counts once");
    assert_eq!(two.here.done.load(Ordering::SeqCst), 1, "and is carried out once");
    let nonsense = HeaderValue::from_static("nonsense");
    let rows = [
        (&other_door, Some(&proof), sealed.clone(), "for another instance"),
        (&door, None, sealed, "without a proof"),
        (&door, Some(&nonsense), b"nonsense".to_vec(), "a stranger"),
        (&door, None, Vec::new(), "nothing"),
    ];
    for (door, proof, body, reason) in rows {
        let answer = post(door, proof, body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::GONE, "{reason}");
        assert_eq!(answer.headers()["connection"], "close", "{reason}");
        assert_eq!(answer.bytes().await.unwrap().len(), 0, "{reason}");
    }
    assert_eq!(two.here.done.load(Ordering::SeqCst), 1);
    let elsewhere = http.get(format!("http://{}/mcp", two.joined.instances[0].address));
    assert_eq!(elsewhere.send().await.unwrap().status(), StatusCode::GONE, "no other path");
}

/// A stranger who opens as many requests as there are places, and sends nothing, keeps nobody out.
#[tokio::test]
async fn strangers_take_no_place_of_what_arrives() {
    let two = Two::start().await;
    let address = two.joined.instances[0].address;
    let mut strangers = Vec::new();
    for _ in 0..80 {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        let head = "POST /relay HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n";
        stranger.write_all(head.as_bytes()).await.unwrap();
        strangers.push(stranger);
    }
    let mut client = two.session_of_one_at_other().await;
    let told = client.request("tools/call", call("where")).await;
    assert_eq!(told.tool_text(), "one", "{}", told.text);
    for mut stranger in strangers {
        let mut said = Vec::new();
        // The connection is gone, whatever became of what was on its way.
        let _ = stranger.read_to_end(&mut said).await;
        assert!(said.starts_with(b"HTTP/1.1 410"), "{}", String::from_utf8_lossy(&said));
    }
}

/// As when settings are read again that turn out to be wrong: what was put together answers nobody.
#[tokio::test]
async fn what_is_only_being_built_takes_nothing_that_is_passed_on() {
    let two = Two::start().await;
    let mut client = two.session_of_one_at_other().await;
    let settings = Settings {
        fleet: Some(Arc::clone(&two.joined.instances[0].fleet)),
        ..Settings::new("/messages")
    };
    let (shutdown, clock) = (CancellationToken::new(), Arc::new(SystemClock));
    let built = Arc::new(Here::named("never"));
    let built = McpEndpoints::new(built, settings, None, shutdown, clock);
    for built in [Some(built), None] {
        let told = client.request("tools/call", call("where")).await;
        assert_eq!(told.tool_text(), "one", "{}", told.text);
        drop(built);
    }
}

/// What was sent: the proof, and what it is about.
type Sent = (HeaderValue, Vec<u8>);

/// Passes on what is sent to an instance, and keeps a copy.
async fn between(instance: &Instance) -> (String, Arc<std::sync::Mutex<Vec<Sent>>>) {
    let seen: Arc<std::sync::Mutex<Vec<Sent>>> = Arc::default();
    let (kept, door) = (Arc::clone(&seen), format!("http://{}/relay", instance.address));
    let router = Router::new().fallback(move |headers: HeaderMap, body: bytes::Bytes| {
        let (kept, door) = (Arc::clone(&kept), door.clone());
        async move {
            let proof = headers["sekisho-relay"].clone();
            kept.lock().unwrap().push((proof.clone(), body.to_vec()));
            let asking = reqwest::Client::new().post(door).header("sekisho-relay", proof);
            let answer = asking.body(body).send().await.unwrap();
            Response::new(axum::body::Body::from(answer.bytes().await.unwrap()))
        }
    });
    let url = listen(router).await;
    (url.strip_prefix("http://").unwrap().to_owned(), seen)
}
