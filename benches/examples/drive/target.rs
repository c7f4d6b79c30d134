//! Who is measured and what is asked of them: the program with a token from a real login, and the
//! peers with a token they were started with. All get the same requests, byte for byte, but for
//! port, token and session.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::load::{self, COUNTER, COUNTER_DIGITS, Connection, Expected, Template};
use crate::peers::{Installed, Standing};
use crate::server::{self, Server};
use crate::{Result, login};

const PEER_TOKEN: &str = "mcp_5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f";
const PROTOCOL_VERSION: &str = "2025-11-25";
const STATELESS_VERSION: &str = "2026-07-28";
/// What each request of 2026-07-28 says of its client.
const META: &str = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"benchmark","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
/// What is measured is not stopped by limits that are there for strangers.
pub(crate) const RAISED_LIMITS: &str = "
[limits]
connections_max = 20000
connections_per_address_max = 20000
sessions_max = 20000
sessions_per_person_max = 20000
registrations_per_minute = 1000000
logins_per_minute = 1000000
pages_per_minute = 1000000
calls_per_minute = 1000000
failures_per_minute = 1000000
wrong_tokens_per_minute = 1000000
clients_max = 1000000
logins_max = 1000000
refreshes_per_minute = 1000000
";
pub(crate) const USERNAME: &str = "bench";
pub(crate) const PASSWORD: &str = "correct horse battery staple";

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// `tools/call fortune` with a valid token: 200.
    Call,
    /// The same as 2026-07-28 has it: no session, all that is said stands in the request. Against
    /// `bare`, which does not read it.
    StatelessCall,
    /// A call without a token: 401, where every client begins.
    NoToken,
    /// The same with a token nobody issued, another in each request: 401.
    UnknownToken,
}

impl Scenario {
    pub(crate) const ALL: [Self; 4] =
        [Self::Call, Self::StatelessCall, Self::NoToken, Self::UnknownToken];

    pub(crate) fn expected(self) -> Expected {
        match self {
            Self::Call | Self::StatelessCall => Expected { status: 200, body_has: b"\"result\"" },
            Self::NoToken | Self::UnknownToken => Expected { status: 401, body_has: b"" },
        }
    }
}

/// A server under measurement.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its name in the tables.
    pub name: &'static str,
    /// Its process.
    pub server: Server,
    /// As it stood before anybody asked.
    pub standing: Standing,
    /// What it is asked.
    pub scenarios: Vec<Scenario>,
    /// Its connections at once, at most.
    pub connections_max: usize,
    token: String,
    sessions: Vec<String>,
}

impl Target {
    /// One that has a token and is asked everything.
    pub(crate) fn new(name: &'static str, server: Server, standing: Standing, token: &str) -> Self {
        let scenarios = Scenario::ALL.to_vec();
        let (token, sessions) = (token.to_owned(), Vec::new());
        Self { name, server, standing, scenarios, connections_max: usize::MAX, token, sessions }
    }

    pub(crate) fn takes_part_in(&self, scenario: Scenario, connections: usize) -> bool {
        self.scenarios.contains(&scenario) && connections <= self.connections_max
    }

    /// Whether it answers the 2026-07-28 form of a call.
    pub(crate) async fn speaks_stateless(&self) -> Result<bool> {
        let mut connection = Connection::open(self.server.address).await?;
        let reply = connection.ask(&self.wire().call()).await?;
        Ok(reply.status == 200 && reply.body.contains("\"result\""))
    }

    /// The request for the connection numbered `at`.
    pub(crate) fn request(&self, scenario: Scenario, at: usize) -> Template {
        let session = at.checked_rem(self.sessions.len()).and_then(|at| self.sessions.get(at));
        let authorization = match scenario {
            Scenario::Call | Scenario::StatelessCall => Some(format!("Bearer {}", self.token)),
            Scenario::NoToken => None,
            Scenario::UnknownToken => {
                Some(format!("Bearer mcp_{}{COUNTER}", "0".repeat(64 - COUNTER_DIGITS)))
            }
        };
        let session = session.map(String::as_str);
        request(scenario, &host_of(self.server.address), authorization.as_deref(), session)
    }

    /// What requests that are made one by one are made of.
    pub(crate) fn wire(&self) -> Wire {
        Self::wire_of(&self.server, self.token.clone())
    }

    /// The same with another token.
    pub(crate) fn wire_of(server: &Server, token: String) -> Wire {
        Wire::new(server.address, token)
    }

    /// Begins `count` sessions; keeps none where the server gives none.
    pub(crate) async fn begin_sessions(&mut self, count: usize) -> Result<()> {
        let wire = self.wire();
        let mut connection = Connection::open(self.server.address).await?;
        for _ in 0..count {
            let begun = connection.ask(&wire.initialize()).await?;
            let Some(session) = load::header(&begun.head, "mcp-session-id") else { continue };
            connection.ask(&wire.initialized(session)).await?;
            self.sessions.push(session.to_owned());
        }
        Ok(())
    }
}

/// Requests for one server with one token, as text.
#[derive(Debug)]
pub(crate) struct Wire {
    host: String,
    token: String,
    below: &'static str,
}

impl Wire {
    pub(crate) fn new(address: SocketAddr, token: String) -> Self {
        Self { host: host_of(address), token, below: "" }
    }

    /// The same for the server that is below that path.
    pub(crate) fn below(self, below: &'static str) -> Self {
        Self { below, ..self }
    }

    /// A message to wherever a stream says that messages go.
    pub(crate) fn say(&self, endpoint: &str, body: &str) -> String {
        let authorization = format!("Bearer {}", self.token);
        load::request("POST", endpoint, &self.host, &common_headers(Some(&authorization)), body)
    }

    pub(crate) fn initialize(&self) -> String {
        let params = format!(
            r#"{{"protocolVersion":"{PROTOCOL_VERSION}","capabilities":{{}},"clientInfo":{{"name":"benchmark","version":"1"}}}}"#
        );
        self.request("POST", "/mcp", &[], &message("1", "initialize", &params))
    }

    pub(crate) fn initialized(&self, session: &str) -> String {
        let body = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.request("POST", "/mcp", &of_session(session), body)
    }

    pub(crate) fn get(&self, path: &str, session: Option<&str>) -> String {
        let headers = session.map(of_session);
        self.request("GET", path, headers.as_ref().map_or(&[], |headers| headers), "")
    }

    pub(crate) fn delete(&self, session: &str) -> String {
        self.request("DELETE", "/mcp", &of_session(session), "")
    }

    /// `subscriptions/listen`, for changes of the list of tools.
    pub(crate) fn listen(&self) -> String {
        let method = "subscriptions/listen";
        let params = format!(r#"{{"notifications":{{"toolsListChanged":true}},"_meta":{META}}}"#);
        let headers = [("MCP-Protocol-Version", STATELESS_VERSION), ("Mcp-Method", method)];
        self.request("POST", "/mcp", &headers, &message("1", method, &params))
    }

    /// `tools/call fortune` of 2026-07-28.
    pub(crate) fn call(&self) -> String {
        self.call_of("fortune")
    }

    /// The same with another tool.
    pub(crate) fn call_of(&self, tool: &str) -> String {
        let params = format!(r#"{{"name":"{tool}","arguments":{{}},"_meta":{META}}}"#);
        let headers = [
            ("MCP-Protocol-Version", STATELESS_VERSION),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", tool),
        ];
        self.request("POST", "/mcp", &headers, &message("1", "tools/call", &params))
    }

    /// `tools/call` in a session, by the id `id`.
    pub(crate) fn call_in(&self, session: &str, tool: &str, id: usize) -> String {
        let params = format!(r#"{{"name":"{tool}","arguments":{{}}}}"#);
        let body = message(&id.to_string(), "tools/call", &params);
        self.request("POST", "/mcp", &of_session(session), &body)
    }

    /// Any message in a session.
    pub(crate) fn say_in(&self, session: &str, body: &str) -> String {
        self.request("POST", "/mcp", &of_session(session), body)
    }

    fn request(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> String {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = common_headers(Some(&authorization));
        headers.extend(more);
        load::request(method, &format!("{}{path}", self.below), &self.host, &headers, body)
    }
}

/// A call, or what is to be refused, as every server is asked it.
pub(crate) fn request(
    scenario: Scenario,
    host: &str,
    authorization: Option<&str>,
    session: Option<&str>,
) -> Template {
    let mut headers = common_headers(authorization);
    if scenario == Scenario::StatelessCall {
        headers.extend([
            ("MCP-Protocol-Version", STATELESS_VERSION),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "fortune"),
        ]);
        let params = format!(r#"{{"name":"fortune","arguments":{{}},"_meta":{META}}}"#);
        return Template::post(host, &headers, &message(COUNTER, "tools/call", &params));
    }
    headers.push(("MCP-Protocol-Version", PROTOCOL_VERSION));
    headers.extend(session.map(|value| ("Mcp-Session-Id", value)));
    let params = r#"{"name":"fortune","arguments":{}}"#;
    Template::post(host, &headers, &message(COUNTER, "tools/call", params))
}

/// How a server is called in requests to it.
pub(crate) fn host_of(address: SocketAddr) -> String {
    format!("localhost:{}", address.port())
}

fn of_session(session: &str) -> [(&str, &str); 2] {
    [("MCP-Protocol-Version", PROTOCOL_VERSION), ("Mcp-Session-Id", session)]
}

fn common_headers(authorization: Option<&str>) -> Vec<(&str, &str)> {
    let mut headers = vec![
        ("User-Agent", "sekisho-bench"),
        ("Accept", "application/json, text/event-stream"),
        ("Content-Type", "application/json"),
    ];
    headers.extend(authorization.map(|value| ("Authorization", value)));
    headers
}

/// A request of JSON-RPC; its id is a number, or [`COUNTER`] where it is to be one.
pub(crate) fn message(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// The constant answers `bare` gives: as long as the program's.
#[derive(Debug)]
pub(crate) struct Answers {
    call: String,
    challenge: String,
    refusal: String,
}

impl Default for Answers {
    fn default() -> Self {
        Self {
            call: r#"{"jsonrpc":"2.0","id":1000000000,"result":{"content":[{"type":"text","text":"今日の運勢は: 大吉"}],"isError":false}}"#.to_owned(),
            challenge: r#"Bearer resource_metadata="http://localhost:8000/.well-known/oauth-protected-resource/mcp", scope="fortune""#.to_owned(),
            refusal: String::new(),
        }
    }
}

impl Answers {
    pub(crate) async fn of(target: &Target) -> Result<Self> {
        let address = target.server.address;
        let of = async |scenario: Scenario| {
            load::once(address, target.request(scenario, 0), scenario.expected()).await
        };
        let (_, call) = of(Scenario::Call).await?;
        let (head, refusal) = of(Scenario::NoToken).await?;
        let challenge = load::header(&head, "www-authenticate").ok_or("a 401 has no challenge")?;
        Ok(Self { call, challenge: challenge.to_owned(), refusal })
    }
}

/// The program with an account that is logged in.
pub(crate) async fn start_sekisho(
    program: &Path,
    folder: &Path,
    name: &'static str,
) -> Result<Target> {
    let address = write_settings(folder, RAISED_LIMITS)?;
    add_user(program, folder, USERNAME)?;
    let server = Server::start(program, &["serve"], address, folder)?;
    let issuer = format!("http://localhost:{}", address.port());
    let token = login::log_in(&issuer, USERNAME, PASSWORD).await?;
    let standing = Standing::of_program(program, &server)?;
    Ok(Target::new(name, server, standing, &token))
}

/// The program in front of `upstream`, written as the settings have it, with so many people logged in;
/// each has a token.
pub(crate) async fn start_gateway(
    program: &Path,
    folder: &Path,
    upstream: &str,
    people: usize,
) -> Result<(Server, Vec<String>)> {
    let guarded = format!("[[server]]\nname = \"fortune\"\npath = \"/\"\nupstream = {upstream}\n");
    let address = write_settings(folder, &format!("{RAISED_LIMITS}\n{guarded}"))?;
    let people: Vec<String> = (0..people).map(|number| format!("{USERNAME}{number}")).collect();
    for person in &people {
        add_user(program, folder, person)?;
    }
    let server = Server::start(program, &["serve"], address, folder)?;
    let mut tokens = Vec::with_capacity(people.len());
    for person in &people {
        tokens
            .push(login::log_in(&format!("http://{}", host_of(address)), person, PASSWORD).await?);
    }
    Ok((server, tokens))
}

/// Settings for a server of its own in `folder`; gives its address.
pub(crate) fn write_settings(folder: &Path, more: &str) -> Result<SocketAddr> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let mut settings = String::new();
    writeln!(settings, "listen = \"{address}\"")?;
    writeln!(settings, "public_url = \"http://localhost:{}\"", address.port())?;
    settings.push_str(more);
    std::fs::write(folder.join("sekisho.toml"), settings)?;
    Ok(address)
}

/// An account in the store of `folder`.
pub(crate) fn add_user(program: &Path, folder: &Path, name: &str) -> Result<()> {
    let mut command = server::pinned(program);
    command.args(["user", "add", name]).current_dir(folder).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{PASSWORD}")?;
    }
    let ended = child.wait()?;
    if ended.success() { Ok(()) } else { Err(format!("user add: {ended}").into()) }
}

/// The limit, with answers as long as the program's.
pub(crate) fn start_bare(
    program: &Path,
    answers: Option<Answers>,
    folder: &Path,
) -> Result<Target> {
    let answers = answers.unwrap_or_default();
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let listen = address.to_string();
    let options = [
        ["--listen", &listen],
        ["--token", PEER_TOKEN],
        ["--answer", &answers.call],
        ["--challenge", &answers.challenge],
        ["--refusal", &answers.refusal],
    ];
    let server = Server::start(program, options.as_flattened(), address, folder)?;
    let standing = Standing::of_program(program, &server)?;
    Ok(Target::new("bare", server, standing, PEER_TOKEN))
}

/// The library around a service that tells of changes.
pub(crate) fn start_listening(program: &Path, folder: &Path) -> Result<Target> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let listen = address.to_string();
    let options = ["--listen", &listen, "--token", PEER_TOKEN];
    let server = Server::start(program, &options, address, folder)?;
    let standing = Standing::of_program(program, &server)?;
    Ok(Target::new("`subscriptions/listen`", server, standing, PEER_TOKEN))
}

/// The official Rust SDK behind the bearer check of `bare`, so that it has no 401 of its own.
pub(crate) fn start_rmcp(
    program: &Path,
    name: &'static str,
    mode: &str,
    folder: &Path,
) -> Result<Target> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let listen = address.to_string();
    let options = [["--listen", &listen], ["--token", PEER_TOKEN], ["--mode", mode]];
    let server = Server::start(program, options.as_flattened(), address, folder)?;
    let standing = Standing::of_program(program, &server)?;
    let mut target = Target::new(name, server, standing, PEER_TOKEN);
    target.scenarios = vec![Scenario::Call];
    Ok(target)
}

/// A server of others, in one of its ways.
pub(crate) fn start_peer(
    installed: &Installed,
    name: &'static str,
    way: &str,
    folder: &Path,
) -> Result<Target> {
    let address = server::free_address()?;
    let port = address.port().to_string();
    let server = installed.start(&[&port, PEER_TOKEN, way], address, folder)?;
    let standing = installed.standing(&server);
    Ok(Target::new(name, server, standing, PEER_TOKEN))
}

/// Whether a body is one JSON document, as opposed to an event stream.
pub(crate) fn is_json(body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok()
}
