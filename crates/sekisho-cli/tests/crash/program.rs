//! The program under test, in a folder of its own: started, killed by its own process id, and
//! started again on the same port and store. There may be several of it on one store.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use rusqlite::Connection;
use tempfile::TempDir;
use testkit::identity_provider::{CLIENT_ID, CLIENT_SECRET};
use testkit::{App, FakeIdentityProvider};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::report::Report;

/// Longest wait for a start, an answer or an end, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Says here that no answer came, or not all of one.
const NO_ANSWER: u16 = 599;
/// The last of its log that is shown when something is wrong, in bytes.
const LAST_WORDS_MAX: usize = 4000;

/// Whether nobody knows what became of the request.
pub(crate) fn is_unknown(status: StatusCode) -> bool {
    status.as_u16() == NO_ANSWER
}

pub(crate) struct Program {
    folder: Arc<TempDir>,
    /// What its files are called.
    name: String,
    binary: PathBuf,
    store: String,
    port: u16,
}

impl Program {
    pub(crate) fn new(
        store: &str,
        binary: Option<String>,
        provider: &FakeIdentityProvider,
    ) -> Self {
        Self::replicas(1, store, binary, provider).pop().expect("one")
    }

    /// So many instances of one service.
    pub(crate) fn replicas(
        many: usize,
        store: &str,
        binary: Option<String>,
        provider: &FakeIdentityProvider,
    ) -> Vec<Self> {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        if store.starts_with("postgres") {
            // Replicas share it, so the program makes none by itself.
            make_key(&folder.path().join("sekisho.key"));
        }
        let binary = binary.map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_sekisho")),
            |named| std::path::absolute(workspace().join(named)).unwrap(),
        );
        let ports: Vec<u16> = (0..many).map(|_| free_port()).collect();
        let hosts: Vec<_> = ports.iter().map(|port| format!("\"localhost:{port}\"")).collect();
        let more = format!(
            "public_url = \"http://localhost:{}\"\nallowed_hosts = [{}]\n",
            ports.first().expect("one"),
            hosts.join(", ")
        );
        let one = |port: u16| {
            let (folder, name) = (Arc::clone(&folder), format!("sekisho-{port}"));
            let store = store.to_owned();
            let program = Self { folder, name, binary: binary.clone(), store, port };
            program.write_settings(&more, provider);
            program
        };
        ports.into_iter().map(one).collect()
    }

    fn write_settings(&self, more: &str, provider: &FakeIdentityProvider) {
        let (store, port, issuer) = (&self.store, self.port, provider.issuer());
        let settings = format!(
            "listen = \"127.0.0.1:{port}\"\nstore = \"{store}\"\nlog = \"warn\"\n{more}\
             [identity]\nprovider = \"oidc\"\nissuer = \"{issuer}\"\n\
             client_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
             [limits]\nlogins_per_minute = 1000000\nregistrations_per_minute = 1000000\n\
             wrong_tokens_per_minute = 1000000\nfailures_per_minute = 1000000\n\
             calls_per_minute = 1000000\npages_per_minute = 1000000\n"
        );
        std::fs::write(self.settings(), settings).unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.folder.path().join(format!("{}.toml", self.name))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SEKISHO_") {
                command.env_remove(name);
            }
        }
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        command.args(arguments).arg("--config").arg(self.settings());
        command.current_dir(self.folder.path()).kill_on_drop(true).stderr(log);
        command
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join(format!("{}.log", self.name))
    }

    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(self.log()).unwrap();
        let from = log.len().saturating_sub(LAST_WORDS_MAX);
        String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned()
    }

    /// Starts, and comes back when it says that it is ready.
    pub(crate) async fn start(&self, report: &Arc<Report>) -> Running {
        let mut child = self
            .command(&["serve"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{} cannot be started: {error}", self.binary.display()));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            match timeout(PATIENCE, lines.next_line()).await.expect("a word at the start").unwrap()
            {
                Some(line) if line.starts_with("listening on ") => break,
                Some(_) => {}
                None => panic!("{}\nit does not start: {}", report.violations(), self.last_words()),
            }
        }
        let url = format!("http://localhost:{}", self.port);
        let readiness = http().get(format!("{url}/readyz")).send().await.unwrap();
        if readiness.status() != StatusCode::OK {
            report.violation(format!("/readyz after a start: {}", readiness.status()));
        }
        let app = app(vec![url], report);
        Running { child, _said: lines, app, dying: Arc::default() }
    }

    /// Where it answers.
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Whether the file is sound, where the store is one that can be asked.
    pub(crate) fn check_file(&self, report: &Report) {
        let Some(path) = self.store.strip_prefix("sqlite:") else { return };
        let file = self.folder.path().join(path);
        let file = Connection::open(file).unwrap();
        let mut statement = file.prepare("PRAGMA integrity_check").unwrap();
        let sound = statement.query_map([], |row| row.get(0)).unwrap();
        let sound: Vec<String> = sound.collect::<Result<_, _>>().unwrap();
        if sound != ["ok"] {
            report.violation(format!("PRAGMA integrity_check: {sound:?}"));
        }
        let mut statement = file.prepare("PRAGMA foreign_key_check").unwrap();
        let strays = statement.query_map([], |_| Ok(())).unwrap().count();
        if strays > 0 {
            report.violation(format!("PRAGMA foreign_key_check: {strays} rows"));
        }
    }
}

/// A process that answers.
pub(crate) struct Running {
    child: Child,
    _said: Lines<BufReader<ChildStdout>>,
    pub(crate) app: App,
    /// From here on an answer may stay away.
    pub(crate) dying: Arc<AtomicBool>,
}

impl Running {
    pub(crate) async fn kill_9(&mut self) {
        self.dying.store(true, Ordering::SeqCst);
        self.child.kill().await.unwrap();
    }
}

/// Passes on what a browser asks, to one after the other, and says so when there is no answer. Who
/// does not listen is passed over, as a load balancer does.
#[derive(Clone)]
struct Wire {
    urls: Vec<String>,
    turn: Arc<AtomicUsize>,
    http: reqwest::Client,
    report: Arc<Report>,
}

/// The program, or several, as the testkit knows them.
pub(crate) fn app(urls: Vec<String>, report: &Arc<Report>) -> App {
    let wire = Wire { urls, turn: Arc::default(), http: http(), report: Arc::clone(report) };
    Router::new().fallback(pass_on).with_state(wire)
}

async fn pass_on(State(wire): State<Wire>, request: Request) -> Response {
    wire.report.asked();
    let no_answer = || StatusCode::from_u16(NO_ANSWER).unwrap().into_response();
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap();
    let mut headers = parts.headers;
    headers.remove("host");
    let body = body.collect().await.unwrap().to_bytes();
    let first = wire.turn.fetch_add(1, Ordering::Relaxed);
    let mut answer = None;
    for next in (0..wire.urls.len()).map(|next| (first + next) % wire.urls.len()) {
        let target = format!("{}{target}", wire.urls.get(next).unwrap());
        let sent = wire.http.request(parts.method.clone(), target).headers(headers.clone());
        match sent.body(body.clone()).send().await {
            Err(error) if error.is_connect() => {}
            sent => {
                answer = sent.ok();
                break;
            }
        }
    }
    let Some(answer) = answer else { return no_answer() };
    let (status, headers) = (answer.status(), answer.headers().clone());
    let Ok(body) = answer.bytes().await else { return no_answer() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn http() -> reqwest::Client {
    let redirects = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(redirects).timeout(PATIENCE).build().unwrap()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn make_key(path: &Path) {
    let mut random = [0; 32];
    File::open("/dev/urandom").unwrap().read_exact(&mut random).unwrap();
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    for byte in random {
        write!(file, "{byte:02x}").unwrap();
    }
}

fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
