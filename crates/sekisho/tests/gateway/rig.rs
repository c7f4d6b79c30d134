//! A gateway to a process, and a client at its other side.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use sekisho::clock::Timestamp;
use sekisho::gateway::{Gateway, GatewayLimits, GuardedServer, Per, RemoteServer, StdioCommand};
use sekisho::grant::GrantId;
use sekisho::mcp::{Context, McpService, serve_stdio};
use sekisho::principal::{Claims, Identity, Principal};
use sekisho::protocol::Secret;
use sekisho::protocol::mcp::ProtocolVersion;
use sekisho::protocol::oauth::{ClientId, ScopeSet};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, ReadHalf, WriteHalf, duplex,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::child::{ROLE, WITHOUT_HANDSHAKE};

/// Far longer than anything here takes, on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a test changes before it begins.
pub(crate) struct Plan {
    pub(crate) server: GuardedServer,
    pub(crate) per: Per,
    pub(crate) limits: GatewayLimits,
}

impl Plan {
    /// The scripted server.
    pub(crate) fn scripted() -> Self {
        let arguments =
            ["child::a_server_when_it_is_started_as_one", "--exact", "-q", "--nocapture"];
        Self::of(std::env::current_exe().unwrap().into(), &arguments)
    }

    /// The scripted server as one that never heard of handshakes.
    pub(crate) fn without_handshake() -> Self {
        Self::scripted().variable(ROLE, WITHOUT_HANDSHAKE)
    }

    /// A few lines of shell.
    pub(crate) fn shell(script: &str) -> Self {
        Self::of("sh".into(), &["-c", script])
    }

    /// A program of this name.
    pub(crate) fn program(program: &str) -> Self {
        Self::of(program.into(), &[])
    }

    fn of(program: OsString, arguments: &[&str]) -> Self {
        let mut environment = vec![(ROLE.into(), "server".into())];
        environment.extend(std::env::var_os("PATH").map(|path| ("PATH".into(), path)));
        let command = StdioCommand {
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
            environment,
            told: Vec::new(),
            attendant: Vec::new(),
            folder: None,
        };
        Self { server: command.into(), per: Per::User, limits: GatewayLimits::default() }
    }

    /// A server at a URL.
    pub(crate) fn at(url: &str) -> Self {
        let server = RemoteServer::new(url, None, []).unwrap();
        Self { server: server.into(), per: Per::User, limits: GatewayLimits::default() }
    }

    pub(crate) fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        let GuardedServer::Command(command) = &mut self.server else { panic!("no command") };
        command.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn begin(self) -> Rig {
        let stopping = CancellationToken::new();
        let tasks = TaskTracker::new();
        let gateway = Gateway::new(self.server, self.per, self.limits, &stopping, tasks.clone());
        Rig { gateway: Arc::new(gateway), stopping, tasks }
    }
}

/// A gateway that runs.
pub(crate) struct Rig {
    pub(crate) gateway: Arc<Gateway>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Rig {
    /// A call without a connection to a client.
    pub(crate) async fn call(&self, who: &Context, tool: &str) -> Result<Value, String> {
        let params = to_raw_value(&json!({ "name": tool })).unwrap();
        let result = self.gateway.call("tools/call", Some(&params), who).await;
        result
            .map(|raw| serde_json::from_str(raw.get()).unwrap())
            .map_err(|error| error.to_string())
    }

    /// Which process serves this caller.
    pub(crate) async fn process_of(&self, who: &Context) -> u64 {
        self.call(who, "who").await.unwrap()["pid"].as_u64().unwrap()
    }

    /// Ends all processes, and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.stopping.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("all processes end");
    }

    /// Uses the gateway no more, and waits until nothing is left that it began.
    pub(crate) async fn leave(self) {
        let Self { gateway, stopping: _stopping, tasks } = self;
        drop(gateway);
        tasks.close();
        tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("all processes end");
    }

    /// A client with a line to the gateway, of no revision yet.
    pub(crate) fn client(&self) -> Client {
        client_of(Arc::clone(&self.gateway) as _)
    }
}

/// A client with a line to this service, of no revision yet.
pub(crate) fn client_of(service: Arc<dyn McpService>) -> Client {
    let (ours, theirs) = duplex(1 << 20);
    let (input, output) = tokio::io::split(theirs);
    tokio::spawn(serve_stdio(service, input, output));
    let (read, write) = tokio::io::split(ours);
    Client { read: BufReader::new(read), write }
}

/// Somebody of this name, who listens to nothing.
pub(crate) fn caller(subject: &str) -> Context {
    let principal = Principal {
        identity: Identity {
            issuer: "local".to_owned(),
            subject: subject.to_owned(),
            name: None,
            email: None,
            email_verified: false,
            claims: Claims::default(),
        },
        client_id: ClientId::new("client"),
        grant_id: GrantId::new("grant"),
        scopes: ScopeSet::of(["main"]),
        token: Secret::new(format!("token of {subject}")).hash(),
        expires_at: Timestamp::from_unix_seconds(i64::MAX),
    };
    Context::new(Some(Arc::new(principal)), ProtocolVersion::LATEST_WITH_HANDSHAKE)
}

/// The same caller, with something changed.
pub(crate) fn changed(context: &Context, change: impl FnOnce(&mut Principal)) -> Context {
    let mut principal = Principal::clone(context.principal().unwrap());
    change(&mut principal);
    // Another token, as everything that is known of a caller is known by one.
    principal.token = Secret::new(format!("{principal:?}")).hash();
    Context::new(Some(Arc::new(principal)), context.version())
}

/// The same, with a client that can do `capabilities`.
pub(crate) fn caller_who_can(subject: &str, capabilities: &Value) -> Context {
    caller(subject).with_capabilities(to_raw_value(capabilities).unwrap())
}

/// Writes lines, and reads them.
pub(crate) struct Client {
    read: BufReader<ReadHalf<DuplexStream>>,
    write: WriteHalf<DuplexStream>,
}

impl Client {
    /// Shakes hands as a client that can do `capabilities`; answers what the server says of itself.
    pub(crate) async fn shake_hands(&mut self, capabilities: Value) -> Value {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities });
        let answer = self.ask(0, "initialize", params).await;
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
        answer
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    /// The next line as it came.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.read.read_line(&mut line);
        tokio::time::timeout(PATIENCE, read).await.expect("a line comes").unwrap();
        line
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).expect(&line)
    }

    /// A request, of which the next line is the answer.
    pub(crate) async fn ask(&mut self, id: u64, method: &str, params: Value) -> Value {
        self.request(id, method, params).await;
        self.next().await
    }

    pub(crate) async fn request(&mut self, id: u64, method: &str, params: Value) {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&request).await;
    }
}

/// What a request of 2026-07-28 says of itself.
pub(crate) fn meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

pub(crate) fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

/// A shell that shakes hands, and then does what `then` says.
pub(crate) fn after_the_greeting(then: &str) -> String {
    format!(
        "read greeting; echo '{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{{\"protocolVersion\":\
         \"2025-11-25\",\"capabilities\":{{}},\"serverInfo\":{{}}}}}}'; {then}"
    )
}

/// Waits until something is so; what is waited for has no signal of its own.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
