//! A real `PostgreSQL` server for tests: one for each test process, one database for each test.
//!
//! Debian's package (`postgresql`) has to be installed; the server that Debian starts is not used.
//! The server listens on a socket in its own temporary folder only, and ends with the process that
//! started it, however that ends.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sekisho_protocol::Secret;

/// How long the server may take to start.
const START_WAIT: Duration = Duration::from_secs(30);

/// The URL of a new, empty database.
pub fn database() -> Secret {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let folder = SERVER.get_or_init(start);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    ask(folder, "postgres", &format!("CREATE DATABASE {name}"));
    Secret::new(format!("postgres:///{name}?user=postgres&host={}", folder.display()))
}

/// Runs a statement as whoever owns the server, in the database of that URL.
pub fn execute(database: &Secret, statement: &str) {
    let url = url::Url::parse(database.reveal()).expect("a URL of ours");
    let (_, folder) = url.query_pairs().find(|(name, _)| name == "host").expect("a folder");
    ask(Path::new(&*folder), url.path().trim_start_matches('/'), statement);
}

fn ask(folder: &Path, database: &str, statement: &str) {
    let asked = Command::new(program("psql"))
        .args(["--quiet", "--no-psqlrc", "--username", "postgres", "--host"])
        .arg(folder)
        .args(["--dbname", database, "--command", statement])
        .stdin(Stdio::null())
        .output()
        .expect("psql can be started");
    assert!(asked.status.success(), "{statement}: {}", String::from_utf8_lossy(&asked.stderr));
}

/// Makes a server and waits until it answers.
#[expect(clippy::disallowed_methods, reason = "another process is waited for, once")]
fn start() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("sekisho-postgres-").tempdir();
    let folder = folder.expect("a temporary folder").keep();
    // The server refuses to run as root.
    let is_root = is_owned_by_root(&folder);
    if is_root {
        let given = Command::new("chown").arg("postgres:").arg(&folder).status();
        assert!(given.is_ok_and(|status| status.success()), "the user postgres owns its folder");
    }
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("a private folder");

    // The signal of a parent's death is that of the thread's death, so this thread stays.
    let (home, parked) = (folder.clone(), thread::Builder::new().name("postgres".into()));
    parked
        .spawn(move || {
            let mut server = server(&home, is_root).spawn().expect("the server can be started");
            let ended = server.wait();
            panic!("the PostgreSQL server ended: {ended:?}, see {}", home.join("log").display());
        })
        .expect("a thread");

    let socket = folder.join(".s.PGSQL.5432");
    let given_up_at = Instant::now() + START_WAIT;
    while !is_ready(&folder) {
        assert!(Instant::now() < given_up_at, "no server at {}", socket.display());
        thread::sleep(Duration::from_millis(50));
    }
    folder
}

/// Makes the files, runs the server, and removes the files when it is told to end.
fn server(folder: &Path, is_root: bool) -> Command {
    const SCRIPT: &str = r#"
        trap 'kill -INT "$server" 2>/dev/null; wait; rm -rf "$0"; exit' TERM
        "$1" --pgdata="$0/data" --username=postgres --auth=trust --no-sync >"$0/log" 2>&1 || exit 1
        "$2" -D "$0/data" -k "$0" -c listen_addresses= -c fsync=off -c max_connections=400 \
            >>"$0/log" 2>&1 &
        server=$!
        wait
    "#;
    let mut command = Command::new("setpriv");
    if is_root {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command
        .args(["--pdeathsig=TERM", "sh", "-c", SCRIPT])
        .arg(folder)
        .args([program("initdb"), program("postgres")])
        .current_dir("/")
        .stdin(Stdio::null());
    command
}

fn is_ready(folder: &Path) -> bool {
    let asked =
        Command::new(program("pg_isready")).arg("--quiet").arg("--host").arg(folder).status();
    asked.is_ok_and(|status| status.success())
}

/// Debian keeps the programs of each version apart; the newest is taken.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.into_iter().flatten().filter_map(io::Result::ok);
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max()
        .expect("PostgreSQL is installed (Debian: postgresql)");
    Path::new("/usr/lib/postgresql").join(newest.to_string()).join("bin").join(name)
}

fn is_owned_by_root(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == 0)
}
