//! Starts the binary and listens to it; whatever is still running when a test ends is killed.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// Far longer than anything here takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sekisho");

/// A folder of its own for each test; what runs in it sees no settings but those of the test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes other settings for a server that runs here, as an editor does: aside, and then in place.
    pub(crate) fn change(&self, server: &Server, settings: &str) {
        let settings = format!("listen = \"127.0.0.1:{}\"\n{settings}", server.port);
        let aside = self.write("sekisho.toml.new", &settings);
        std::fs::rename(aside, self.path().join("sekisho.toml")).unwrap();
    }

    /// Waits until the log of the server has a sentence so many times.
    pub(crate) async fn logs(&self, sentence: &str, times: usize) {
        let log = || std::fs::read_to_string(self.path().join("log")).unwrap();
        let said = async {
            while log().matches(sentence).count() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(timeout(PATIENCE, said).await.is_ok(), "not said: {sentence}: {}", log());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.clean(Command::new(PROGRAM), arguments)
    }

    fn clean(&self, mut command: Command, arguments: &[&str]) -> Command {
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SEKISHO_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.path()).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end, with `input` at its standard input.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> Done {
        let mut child = self.command(arguments).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may be gone before it is told anything.
        drop(stdin.write_all(input.as_bytes()).await);
        drop(stdin);
        let output = timeout(PATIENCE, child.wait_with_output()).await.expect("an end").unwrap();
        Done::from(output)
    }

    /// Starts the server with `settings` beside a free port, and waits until it listens.
    pub(crate) async fn serve(&self, settings: &str) -> Server {
        self.serve_at(free_port(), settings).await
    }

    /// Starts the server at that port, and waits until it listens.
    pub(crate) async fn serve_at(&self, port: u16, settings: &str) -> Server {
        self.started(self.command(&["serve"]), port, settings).await
    }

    /// Starts it by these arguments at a free port.
    pub(crate) async fn serve_with(&self, arguments: &[&str]) -> Server {
        self.started(self.command(arguments), free_port(), "").await
    }

    /// Starts the server with settings from the environment too.
    pub(crate) async fn serve_in(&self, settings: &str, variables: &[(&str, &str)]) -> Server {
        let mut command = self.command(&["serve"]);
        command.envs(variables.iter().copied());
        self.started(command, free_port(), settings).await
    }

    /// Starts the server at a free port by another program, which must become it.
    pub(crate) async fn serve_by(&self, other: &[&str]) -> Server {
        let (name, arguments) = other.split_first().unwrap();
        let mut command = Command::new(name);
        command.args(arguments);
        let command = self.clean(command, &[PROGRAM, "serve"]);
        self.started(command, free_port(), "").await
    }

    async fn started(&self, mut command: Command, port: u16, settings: &str) -> Server {
        let settings = format!("listen = \"127.0.0.1:{port}\"\n{settings}");
        self.write("sekisho.toml", &settings);
        let log = std::fs::File::create(self.path().join("log")).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = Server { child, lines, said: Vec::new(), port };
        if !server.hears("listening on http://").await {
            let log = std::fs::read_to_string(self.path().join("log")).unwrap();
            panic!("the server does not listen: {log}");
        }
        server
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// All it said on standard output so far.
    pub(crate) said: Vec<String>,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }

    /// The password of `demo`, if this start has said it.
    pub(crate) fn password(&self) -> Option<String> {
        let line = self.said.iter().find(|line| line.starts_with("log in as demo, password "))?;
        line.split(' ').nth(5).map(str::to_owned)
    }

    async fn hears(&mut self, beginning: &str) -> bool {
        while let Some(line) = timeout(PATIENCE, self.lines.next_line()).await.unwrap().unwrap() {
            self.said.push(line);
            if self.said.last().is_some_and(|line| line.starts_with(beginning)) {
                return true;
            }
        }
        false
    }

    /// Its process id.
    pub(crate) fn id(&self) -> String {
        self.child.id().expect("it is running").to_string()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status().await;
        assert!(sent.unwrap().success());
    }

    /// Waits for the end, `most` at the longest.
    pub(crate) async fn ends_within(&mut self, most: Duration) -> ExitStatus {
        timeout(most, self.child.wait()).await.expect("it ends in time").unwrap()
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A port that nobody listened on a moment ago.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks without following redirects.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
