//! A raw MCP client over real HTTP: says what it is told to, checks nothing, shows everything.
//!
//! [`McpClient`] speaks Streamable HTTP, [`SseClient`] HTTP+SSE; both any version, with or
//! without a token. What they hand out is the wire: status, headers, JSON, events.

use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

/// How long the next event of a stream may take before a test fails.
const EVENT_WAIT: Duration = Duration::from_secs(10);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct McpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it came.
    pub text: String,
}

impl McpAnswer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The message in it: the body, or the last event that has data.
    pub fn message(&self) -> Value {
        if self.header("content-type") == Some("text/event-stream") {
            return self.events().pop().expect("a stream with an answer").json();
        }
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The events, if it is a stream.
    pub fn events(&self) -> Vec<Event> {
        let mut text = self.text.clone();
        std::iter::from_fn(|| Event::take_from(&mut text)).collect()
    }

    /// `result` of the message; null if there is none.
    pub fn result(&self) -> Value {
        self.message().get("result").cloned().unwrap_or_default()
    }

    /// The text of a tool's first piece of content.
    pub fn tool_text(&self) -> String {
        self.result()["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }

    /// The JSON-RPC error code, if it is an error.
    pub fn error_code(&self) -> Option<i64> {
        self.message()["error"]["code"].as_i64()
    }
}

/// One event of a stream, or a comment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// `event`.
    pub name: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `data`, lines joined; nothing if there was no such field.
    pub data: Option<String>,
    /// `retry`: how long to wait before coming back, in milliseconds.
    pub retry: Option<String>,
    /// Whether it was nothing but a comment.
    pub is_comment: bool,
}

impl Event {
    /// The data as JSON; null if there is none.
    pub fn json(&self) -> Value {
        self.data.as_deref().and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default()
    }

    fn take_from(text: &mut String) -> Option<Self> {
        let end = text.find("\n\n")?;
        let block: String = text.drain(..end + 2).collect();
        let mut event = Self { is_comment: true, ..Self::default() };
        for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with(':')) {
            event.is_comment = false;
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => event.name = Some(value),
                "id" => event.id = Some(value),
                "retry" => event.retry = Some(value),
                "data" => {
                    event.data = Some(match event.data.take() {
                        Some(before) => format!("{before}\n{value}"),
                        None => value,
                    });
                }
                _ => {}
            }
        }
        Some(event)
    }
}

/// An open stream.
#[derive(Debug)]
pub struct Events {
    /// The status it was opened with.
    pub status: StatusCode,
    /// The headers it was opened with.
    pub headers: HeaderMap,
    response: reqwest::Response,
    text: String,
    bytes: Vec<u8>,
}

impl Events {
    fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            response,
            text: String::new(),
            bytes: Vec::new(),
        }
    }

    /// The next event, comments too; nothing when the stream has ended, however it did.
    ///
    /// # Panics
    /// When there is neither within ten seconds.
    pub async fn next_or_comment(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = Event::take_from(&mut self.text) {
                return Some(event);
            }
            let chunk = tokio::time::timeout(EVENT_WAIT, self.response.chunk()).await;
            let chunk = chunk.expect("an event or an end within ten seconds");
            let Ok(Some(chunk)) = chunk else { return None };
            // A chunk may end within a character.
            self.bytes.extend_from_slice(&chunk);
            let whole = match std::str::from_utf8(&self.bytes) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let text: Vec<u8> = self.bytes.drain(..whole).collect();
            self.text.push_str(&String::from_utf8(text).unwrap());
        }
    }

    /// The next event that is no comment.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let event = self.next_or_comment().await?;
            if !event.is_comment {
                return Some(event);
            }
        }
    }

    /// The next event's JSON.
    pub async fn message(&mut self) -> Value {
        self.next().await.expect("a message before the stream ends").json()
    }

    /// The next event that is no comment, of a stream not needed any more.
    pub async fn next_owned(mut self) -> Option<Event> {
        self.next().await
    }

    /// Reads until the stream ends.
    pub async fn end(mut self) {
        while self.next_or_comment().await.is_some() {}
    }

    /// Reads until the stream ends, which it does in order: behind a whole event, by its last chunk.
    ///
    /// # Panics
    /// When it is cut off, or goes on for longer than ten seconds.
    pub async fn end_in_order(mut self) {
        let rest = async {
            while let Some(chunk) = self.response.chunk().await.expect("not cut off") {
                self.bytes.extend_from_slice(&chunk);
            }
        };
        tokio::time::timeout(EVENT_WAIT, rest).await.expect("an end within ten seconds");
        let rest = [self.text.as_bytes(), &self.bytes].concat();
        assert!(rest.is_empty() || rest.ends_with(b"\n\n"), "half an event: {rest:?}");
    }
}

/// How a client shows who it is.
#[derive(Debug, Clone)]
struct Sender {
    http: reqwest::Client,
    headers: HeaderMap,
}

impl Sender {
    fn new() -> Self {
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        Self { http, headers: HeaderMap::new() }
    }

    fn set(&mut self, name: &str, value: &str) {
        let name: http::HeaderName = name.parse().unwrap();
        self.headers.insert(name, value.parse().unwrap());
    }

    fn request(&self, method: Method, url: &str) -> reqwest::RequestBuilder {
        self.http.request(method, url).headers(self.headers.clone())
    }
}

/// A client of Streamable HTTP.
#[derive(Debug, Clone)]
pub struct McpClient {
    sender: Sender,
    url: String,
    /// The session, from `initialize` on; may be set to anything.
    pub session: Option<String>,
    /// What `MCP-Protocol-Version` says, from `initialize` on; may be set to anything.
    pub version: Option<String>,
    /// What `Accept` says of a POST.
    pub accept: String,
    last_id: u64,
}

impl McpClient {
    /// A client of the endpoint at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            sender: Sender::new(),
            url: url.into(),
            session: None,
            version: None,
            accept: "application/json, text/event-stream".to_owned(),
            last_id: 0,
        }
    }

    /// Sends this token from now on.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.set_header(AUTHORIZATION.as_str(), &format!("Bearer {token}"));
        self
    }

    /// Takes answers of this kind only.
    #[must_use]
    pub fn accepting(mut self, accept: &str) -> Self {
        accept.clone_into(&mut self.accept);
        self
    }

    /// The same client, going to another address: its session, token and count go along.
    #[must_use]
    pub fn at(&self, url: impl Into<String>) -> Self {
        Self { url: url.into(), ..self.clone() }
    }

    /// Sends this header from now on.
    pub fn set_header(&mut self, name: &str, value: &str) {
        self.sender.set(name, value);
    }

    /// Begins a session that asks for `version`, without telling the server that it is done.
    pub async fn begin(&mut self, version: &str) -> McpAnswer {
        let answer = self.request("initialize", initialize_params(version)).await;
        if let Some(session) = answer.header("mcp-session-id") {
            self.session = Some(session.to_owned());
            self.version = answer.result()["protocolVersion"].as_str().map(ToOwned::to_owned);
        }
        answer
    }

    /// The whole handshake; the answer is that of `initialize`.
    pub async fn initialize(&mut self, version: &str) -> McpAnswer {
        let answer = self.begin(version).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let told = self.notify("notifications/initialized", json!({})).await;
        assert_eq!(told.status, StatusCode::ACCEPTED, "{}", told.text);
        answer
    }

    /// Sends a request with the next id and reads the answer to its end.
    pub async fn request(&mut self, method: &str, params: Value) -> McpAnswer {
        let body = self.next_request(method, &params);
        self.post(body.to_string()).await
    }

    /// The message of a request with the next id, not sent yet.
    pub fn next_request(&mut self, method: &str, params: &Value) -> Value {
        self.last_id += 1;
        json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params })
    }

    /// Sends a notification.
    pub async fn notify(&self, method: &str, params: Value) -> McpAnswer {
        self.post(json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()).await
    }

    /// Calls a tool.
    pub async fn call_tool(&mut self, name: &str, arguments: Value) -> McpAnswer {
        self.request("tools/call", json!({ "name": name, "arguments": arguments })).await
    }

    /// The message of a request of 2026-07-28 with the next id, and a client that sends the headers
    /// that repeat it.
    pub fn next_stateless(
        &mut self,
        capabilities: &Value,
        method: &str,
        mut params: Value,
    ) -> (Self, Value) {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
        let body = self.next_request(method, &params);
        let mut sender = self.clone();
        sender.version = Some("2026-07-28".to_owned());
        sender.set_header("mcp-method", method);
        if let Some(name) = params["name"].as_str().or(params["uri"].as_str()) {
            sender.set_header("mcp-name", name);
        }
        (sender, body)
    }

    /// Sends a request of 2026-07-28 from a client that can do nothing, and reads the answer.
    pub async fn stateless(&mut self, method: &str, params: Value) -> McpAnswer {
        self.stateless_with(&json!({}), method, params).await
    }

    /// Sends a request of 2026-07-28 from a client that declares these capabilities.
    pub async fn stateless_with(
        &mut self,
        capabilities: &Value,
        method: &str,
        params: Value,
    ) -> McpAnswer {
        let (sender, body) = self.next_stateless(capabilities, method, params);
        sender.post(body.to_string()).await
    }

    /// Posts any text as JSON and reads the answer to its end.
    pub async fn post(&self, body: impl Into<String>) -> McpAnswer {
        McpAnswer::of(self.send_post(body.into()).await).await
    }

    /// Posts any text as JSON and returns the answer as a stream, whatever it is.
    pub async fn post_for_stream(&self, body: impl Into<String>) -> Events {
        Events::of(self.send_post(body.into()).await)
    }

    async fn send_post(&self, body: String) -> reqwest::Response {
        let request = self.raw(Method::POST).header(ACCEPT, &self.accept);
        request.header(CONTENT_TYPE, "application/json").body(body).send().await.unwrap()
    }

    /// Opens the session's stream.
    pub async fn listen(&self) -> Events {
        let request = self.raw(Method::GET).header(ACCEPT, "text/event-stream");
        Events::of(request.send().await.unwrap())
    }

    /// Comes back to a stream for what followed the event of this id.
    pub async fn listen_after(&self, last_event_id: &str) -> Events {
        let request = self.raw(Method::GET).header(ACCEPT, "text/event-stream");
        Events::of(request.header("last-event-id", last_event_id).send().await.unwrap())
    }

    /// Ends the session.
    pub async fn end(&self) -> McpAnswer {
        McpAnswer::of(self.raw(Method::DELETE).send().await.unwrap()).await
    }

    /// A request to the endpoint with token, session and version, still to be filled.
    pub fn raw(&self, method: Method) -> reqwest::RequestBuilder {
        let mut request = self.sender.request(method, &self.url);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        if let Some(version) = &self.version {
            request = request.header("mcp-protocol-version", version);
        }
        request
    }

    /// Sends what [`raw`](Self::raw) began and reads the answer to its end.
    pub async fn send(request: reqwest::RequestBuilder) -> McpAnswer {
        McpAnswer::of(request.send().await.unwrap()).await
    }
}

fn initialize_params(version: &str) -> Value {
    json!({
        "protocolVersion": version,
        "capabilities": {},
        "clientInfo": { "name": "testkit", "version": "1" },
    })
}

/// A client of HTTP+SSE.
#[derive(Debug)]
pub struct SseClient {
    sender: Sender,
    /// Where it posts, as the server said and made absolute.
    pub messages_url: String,
    /// The stream all answers come by.
    pub events: Events,
    last_id: u64,
}

impl SseClient {
    /// Opens the stream at `url` and reads where to post.
    pub async fn open(url: &str, token: Option<&str>) -> Self {
        let mut sender = Sender::new();
        if let Some(token) = token {
            sender.set(AUTHORIZATION.as_str(), &format!("Bearer {token}"));
        }
        let mut events = Self::stream(&sender, url).await;
        assert_eq!(events.status, StatusCode::OK);
        let endpoint = events.next().await.expect("an endpoint event");
        assert_eq!(endpoint.name.as_deref(), Some("endpoint"), "the first event");
        let uri = endpoint.data.unwrap_or_default();
        let messages_url = url::Url::parse(url).unwrap().join(&uri).unwrap().to_string();
        Self { sender, messages_url, events, last_id: 0 }
    }

    /// Opens the stream at `url` without expecting anything of it.
    pub async fn try_open(url: &str, token: &str) -> Events {
        let mut sender = Sender::new();
        sender.set(AUTHORIZATION.as_str(), &format!("Bearer {token}"));
        Self::stream(&sender, url).await
    }

    async fn stream(sender: &Sender, url: &str) -> Events {
        let request = sender.request(Method::GET, url).header(ACCEPT, "text/event-stream");
        Events::of(request.send().await.unwrap())
    }

    /// Sends this token from now on.
    pub fn set_token(&mut self, token: &str) {
        self.sender.set(AUTHORIZATION.as_str(), &format!("Bearer {token}"));
    }

    /// The whole handshake; the answer is the message to `initialize`.
    pub async fn initialize(&mut self, version: &str) -> Value {
        let answer = self.request("initialize", initialize_params(version)).await;
        let initialized = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.post(initialized.to_string()).await.status, StatusCode::ACCEPTED);
        answer
    }

    /// Sends a request with the next id and waits for the next message on the stream.
    pub async fn request(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let answer = self.post(body.to_string()).await;
        assert_eq!((answer.status, &*answer.text), (StatusCode::ACCEPTED, ""));
        self.events.message().await
    }

    /// Posts any text as JSON and reads the answer to the POST itself.
    pub async fn post(&self, body: impl Into<String>) -> McpAnswer {
        self.post_to(&self.messages_url, body).await
    }

    /// Posts to another address, with this client's token.
    pub async fn post_to(&self, url: &str, body: impl Into<String>) -> McpAnswer {
        let request = self.sender.request(Method::POST, url);
        let request = request.header(CONTENT_TYPE, "application/json").body(body.into());
        McpAnswer::of(request.send().await.unwrap()).await
    }
}
