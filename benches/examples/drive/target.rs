//! Who is measured and what is asked of them: the program with a token from a real login, and the
//! peers with a token they were started with. All get the same requests, byte for byte, but for
//! port, token and session.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::load::{self, COUNTER, COUNTER_DIGITS, Expected, Template};
use crate::report::Report;
use crate::server::{self, Server};
use crate::{Arguments, Result, login, procfs};

const PEER_TOKEN: &str = "mcp_5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f";
const PROTOCOL_VERSION: &str = "2025-11-25";
const USERNAME: &str = "bench";
const PASSWORD: &str = "correct horse battery staple";
/// How often the program is started, fresh and again, to see how soon it answers.
const STARTS: usize = 7;
const IDLE: Duration = Duration::from_secs(2);

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    /// `tools/call fortune` with a valid token: 200.
    Call,
    /// The same without a token: 401, where every client begins.
    NoToken,
    /// The same with a token nobody issued, another in each request: 401.
    UnknownToken,
}

impl Scenario {
    pub(crate) const ALL: [Self; 3] = [Self::Call, Self::NoToken, Self::UnknownToken];

    pub(crate) fn expected(self) -> Expected {
        match self {
            Self::Call => Expected { status: 200, body_has: b"\"result\"" },
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
    token: String,
    sessions: Vec<String>,
}

impl Target {
    /// Whether it has a turn: rmcp has no 401 of its own, its bearer check is the one of `bare`.
    pub(crate) fn takes_part_in(&self, scenario: Scenario) -> bool {
        scenario == Scenario::Call || !self.name.starts_with("rmcp")
    }

    /// The request for the connection numbered `at`.
    pub(crate) fn request(&self, scenario: Scenario, at: usize) -> Template {
        let session = at.checked_rem(self.sessions.len()).and_then(|at| self.sessions.get(at));
        let authorization = match scenario {
            Scenario::Call => Some(format!("Bearer {}", self.token)),
            Scenario::NoToken => None,
            Scenario::UnknownToken => {
                Some(format!("Bearer mcp_{}{COUNTER}", "0".repeat(64 - COUNTER_DIGITS)))
            }
        };
        self.post(
            authorization.as_deref(),
            session.map(String::as_str),
            &format!(
                r#"{{"jsonrpc":"2.0","id":{COUNTER},"method":"tools/call","params":{{"name":"fortune","arguments":{{}}}}}}"#
            ),
        )
    }

    fn post(&self, authorization: Option<&str>, session: Option<&str>, body: &str) -> Template {
        let mut headers = vec![
            ("User-Agent", "sekisho-bench"),
            ("Accept", "application/json, text/event-stream"),
            ("Content-Type", "application/json"),
            ("MCP-Protocol-Version", PROTOCOL_VERSION),
        ];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        headers.extend(session.map(|value| ("Mcp-Session-Id", value)));
        Template::post(&format!("localhost:{}", self.server.address.port()), &headers, body)
    }

    /// Begins `count` sessions; keeps none where the server gives none.
    async fn begin_sessions(&mut self, count: usize) -> Result<()> {
        let bearer = format!("Bearer {}", self.token);
        let initialize = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{PROTOCOL_VERSION}","capabilities":{{}},"clientInfo":{{"name":"benchmark","version":"1"}}}}}}"#
        );
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        for _ in 0..count {
            let request = self.post(Some(&bearer), None, &initialize);
            let begun = load::once(self.server.address, request, Scenario::Call.expected()).await?;
            let Some(session) = load::header(&begun.0, "mcp-session-id") else { continue };
            let request = self.post(Some(&bearer), Some(session), initialized);
            let accepted = Expected { status: 202, body_has: b"" };
            load::once(self.server.address, request, accepted).await?;
            self.sessions.push(session.to_owned());
        }
        Ok(())
    }
}

/// The constant answers `bare` gives: as long as the program's.
struct Answers {
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
    async fn of(target: &Target) -> Result<Self> {
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

/// Starts everybody, with one session or more each.
pub(crate) async fn start_all(
    arguments: &Arguments,
    folder: &Path,
    report: &mut Report,
) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    let mut answers = Answers::default();
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        report.binary_bytes = std::fs::metadata(&program)?.len();
        time_starts(&program, folder, report).await?;
        let mut sekisho = start_sekisho(&program, &folder.join("measured")).await?;
        sekisho.begin_sessions(arguments.sessions).await?;
        answers = Answers::of(&sekisho).await?;
        targets.push(sekisho);
    }
    let peers = arguments.peers.canonicalize()?;
    targets.push(start_bare(&peers.join("bare"), &answers, &folder.join("bare"))?);
    for (name, mode) in [("rmcp, JSON", "json"), ("rmcp, sessions", "session")] {
        let mut peer = start_rmcp(&peers.join("rmcp_peer"), name, mode, &folder.join(mode))?;
        peer.begin_sessions(arguments.sessions).await?;
        targets.push(peer);
    }
    tokio::time::sleep(IDLE).await;
    for target in &targets {
        let (_, call) = load::once(
            target.server.address,
            target.request(Scenario::Call, 0),
            Scenario::Call.expected(),
        )
        .await?;
        report.add_server(target.name, procfs::resident_kib(target.server.pid())?.0, &call);
    }
    Ok(targets)
}

/// How soon the program answers after its start, and what it holds when nobody asks.
async fn time_starts(program: &Path, folder: &Path, report: &mut Report) -> Result<()> {
    for start in 0..STARTS {
        let folder = folder.join(format!("start-{start}"));
        let address = write_settings(&folder)?;
        for is_first in [true, false] {
            let server = Server::start(program, &["serve"], address, &folder)?;
            // The first answer comes before the account is made; the next start shall find it.
            server.wait_for_line("listening on").await?;
            report.add_start(is_first, server.first_answer_after);
            if start == 0 {
                tokio::time::sleep(IDLE).await;
                report.add_idle(is_first, procfs::resident_kib(server.pid())?.0);
            }
        }
    }
    Ok(())
}

async fn start_sekisho(program: &Path, folder: &Path) -> Result<Target> {
    let address = write_settings(folder)?;
    add_user(program, folder)?;
    let server = Server::start(program, &["serve"], address, folder)?;
    let issuer = format!("http://localhost:{}", address.port());
    let token = login::log_in(&issuer, USERNAME, PASSWORD).await?;
    Ok(Target { name: "sekisho", server, token, sessions: Vec::new() })
}

/// Settings for a server of its own in `folder`; gives its address.
fn write_settings(folder: &Path) -> Result<std::net::SocketAddr> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let mut settings = String::new();
    writeln!(settings, "listen = \"{address}\"")?;
    writeln!(settings, "public_url = \"http://localhost:{}\"", address.port())?;
    std::fs::write(folder.join("sekisho.toml"), settings)?;
    Ok(address)
}

fn add_user(program: &Path, folder: &Path) -> Result<()> {
    let mut command = server::pinned(program);
    command.args(["user", "add", USERNAME]).current_dir(folder).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        writeln!(input, "{PASSWORD}")?;
    }
    let ended = child.wait()?;
    if ended.success() { Ok(()) } else { Err(format!("user add: {ended}").into()) }
}

fn start_bare(program: &Path, answers: &Answers, folder: &Path) -> Result<Target> {
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
    Ok(Target { name: "bare", server, token: PEER_TOKEN.to_owned(), sessions: Vec::new() })
}

fn start_rmcp(program: &Path, name: &'static str, mode: &str, folder: &Path) -> Result<Target> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let listen = address.to_string();
    let options = [["--listen", &listen], ["--token", PEER_TOKEN], ["--mode", mode]];
    let server = Server::start(program, options.as_flattened(), address, folder)?;
    Ok(Target { name, server, token: PEER_TOKEN.to_owned(), sessions: Vec::new() })
}

/// Whether a body is one JSON document, as opposed to an event stream.
pub(crate) fn is_json(body: &str) -> bool {
    serde_json::from_str::<Value>(body).is_ok()
}
