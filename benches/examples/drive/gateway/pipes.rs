//! Calls of a command over its standard input and output: by the program over HTTP, and by this driver
//! over the very pipes. The command shares the server's core, either way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::tables::Pipes;
use super::ways::begin_sessions;
use crate::calls::observe;
use crate::load::{self, Outcome, Slice, contains, stay_awake};
use crate::server::{Server, pinned};
use crate::target::{self, Scenario, host_of};
use crate::{Arguments, Result};

/// Calls at once.
const AT_ONCE: [usize; 2] = [1, 32];
pub(super) const DIRECT: &str = "its pipes";
pub(super) const SEKISHO: &str = "sekisho";

/// A command to be spoken to.
struct Told {
    name: &'static str,
    words: Vec<String>,
}

/// Measures every command, both ways in turns.
pub(super) async fn measure(arguments: &Arguments, folder: &Path) -> Result<String> {
    let peers = arguments.peers.canonicalize()?;
    let word = |name: &str| peers.join(name).display().to_string();
    let commands = [
        Told { name: "constant", words: vec![word("stdio_child")] },
        Told { name: "rmcp", words: vec![word("rmcp_peer"), "--mode".into(), "stdio".into()] },
    ];
    let counted = Duration::from_secs_f64(arguments.seconds);
    let slice = Slice { warm_up: counted / 5, counted };
    let mut seen = Pipes::default();
    for command in &commands {
        let mut direct = Direct::start(command).await?;
        let through = match &arguments.sekisho {
            Some(program) => Some(Through::start(program, folder, command).await?),
            None => None,
        };
        for _ in 0..arguments.rounds {
            for at_once in AT_ONCE {
                let pid = direct.child.id().ok_or("the command has ended")?;
                let turn = observe(pid, slice, direct.push(at_once, slice)).await?;
                seen.add(command.name, at_once, DIRECT, turn);
                let Some(through) = &through else { continue };
                let pushed = through.push(at_once, slice);
                let turn = observe(through.server.pid(), slice, pushed).await?;
                seen.add(command.name, at_once, SEKISHO, turn);
            }
        }
    }
    seen.markdown()
}

/// A command behind the program.
struct Through {
    server: Server,
    token: String,
    sessions: Vec<String>,
}

impl Through {
    async fn start(program: &Path, folder: &Path, command: &Told) -> Result<Self> {
        let program: PathBuf = program.canonicalize()?;
        let words: Vec<_> = command.words.iter().map(|word| format!("{word:?}")).collect();
        let upstream = format!("{{ command = [{}] }}", words.join(", "));
        let folder = folder.join(command.name);
        let (server, mut tokens) = target::start_gateway(&program, &folder, &upstream, 1).await?;
        let token = tokens.pop().ok_or("nobody is logged in")?;
        let sessions = begin_sessions(server.address, &token, 1).await?;
        Ok(Self { server, token, sessions })
    }

    async fn push(&self, at_once: usize, slice: Slice) -> Result<Outcome> {
        let address: SocketAddr = self.server.address;
        let authorization = format!("Bearer {}", self.token);
        let session = self.sessions.first().map(String::as_str);
        let (scenario, host) = (Scenario::Call, host_of(address));
        let request = || target::request(scenario, &host, Some(&authorization), session);
        let requests = (0..at_once).map(|_| request()).collect();
        load::push(address, requests, scenario.expected(), slice).await
    }
}

/// A command whose pipes this driver holds.
struct Direct {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    read: Vec<u8>,
    last_id: u64,
}

impl Direct {
    async fn start(command: &Told) -> Result<Self> {
        let (program, arguments) = command.words.split_first().ok_or("a command has no words")?;
        let mut pinned = tokio::process::Command::from(pinned(Path::new(program)));
        pinned.args(arguments).kill_on_drop(true);
        pinned.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = pinned.spawn()?;
        let input = child.stdin.take().ok_or("a pipe is missing")?;
        let output = child.stdout.take().ok_or("a pipe is missing")?;
        let mut direct = Self { child, input, output, read: Vec::new(), last_id: 0 };
        let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"benchmark","version":"1"}}"#;
        direct.send("initialize", params).await?;
        direct.hear(|_| Ok(())).await?;
        let word = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n";
        direct.input.write_all(word).await?;
        Ok(direct)
    }

    async fn send(&mut self, method: &str, params: &str) -> Result<()> {
        self.last_id += 1;
        let id = self.last_id;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}\n"
        );
        Ok(self.input.write_all(line.as_bytes()).await?)
    }

    /// Reads until there is a whole line, and takes all whole lines there are; answers how many.
    async fn hear(&mut self, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<usize> {
        loop {
            if self.output.read_buf(&mut self.read).await? == 0 {
                return Err("the command has ended".into());
            }
            let Some(end) = self.read.iter().rposition(|&byte| byte == b'\n') else { continue };
            let mut count = 0;
            for line in self.read.get(..end).unwrap_or_default().split(|&byte| byte == b'\n') {
                take(line)?;
                count += 1;
            }
            self.read.drain(..=end);
            return Ok(count);
        }
    }

    /// A closed loop as over HTTP: a call follows the answer to another, each written by itself.
    async fn push(&mut self, at_once: usize, slice: Slice) -> Result<Outcome> {
        const PARAMS: &str = r#"{"name":"fortune","arguments":{}}"#;
        let awake = tokio::spawn(stay_awake());
        let begin = Instant::now() + slice.warm_up;
        let end = begin + slice.counted;
        // Answers come in the order of the calls, or nearly so: one is as good as another.
        let mut sent = VecDeque::with_capacity(at_once);
        for _ in 0..at_once {
            sent.push_back(Instant::now());
            self.send("tools/call", PARAMS).await?;
        }
        let mut outcome = Outcome { answers: 0, latencies: Vec::new(), answers_in_all: 0 };
        while !sent.is_empty() {
            let heard = self.hear(|line| {
                let is_answer = contains(line, b"\"result\"");
                if is_answer { Ok(()) } else { Err(line.escape_ascii().to_string().into()) }
            });
            let heard = heard.await?;
            let now = Instant::now();
            for _ in 0..heard {
                let sent_at = sent.pop_front().ok_or("an answer that nobody asked for")?;
                outcome.answers_in_all += 1;
                if sent_at >= begin && now <= end {
                    outcome.latencies.push(now - sent_at);
                }
                if now < end {
                    sent.push_back(Instant::now());
                    self.send("tools/call", PARAMS).await?;
                }
            }
        }
        awake.abort();
        outcome.answers = outcome.latencies.len();
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }
}
