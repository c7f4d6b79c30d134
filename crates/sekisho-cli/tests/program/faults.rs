//! What the caller sees while the machine fails us, and that it passes by itself: the store locked
//! by somebody else, the disk full, a folder that nobody may write to. What was acknowledged before
//! goes on all the while.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use rusqlite::Connection;
use testkit::world::{call, public_client, tokens};
use testkit::{Answer, App, RegisteredClient, Tokens};
use tokio::process::Command;

use crate::harness::{Folder, Server, free_port, http};
use crate::person::{REDIRECT_URI, app, log_in, open_login};

/// No answer may take longer, whatever the store does.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes that a full disk still takes: none of a page of the store.
const ROOM_LEFT: u64 = 100;

#[tokio::test]
async fn a_locked_store_is_503_for_a_while_and_tokens_in_force_go_on() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let person = SignedIn::at(&server).await;
    let path = folder.path().join("sekisho.db");
    let other = Connection::open(&path).unwrap();

    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    person.cannot_write_but_may_enter().await;
    other.execute_batch("ROLLBACK").unwrap();

    person.goes_on(&server).await;
}

#[tokio::test]
async fn a_full_disk_is_503_until_there_is_room_and_tokens_in_force_go_on() {
    let folder = Folder::new();
    // A limit on the size of files stands in for the disk: it needs no rights, and it can be lifted.
    let server = folder.serve_by(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).await;
    let person = SignedIn::at(&server).await;

    limit_files(&server, &ROOM_LEFT.to_string()).await;
    person.cannot_write_but_may_enter().await;
    limit_files(&server, "unlimited").await;

    person.goes_on(&server).await;
}

/// The same on a disk that is really full, where this machine lets us have one.
#[tokio::test]
async fn a_full_file_system_is_503_until_there_is_room_and_tokens_in_force_go_on() {
    let folder = Folder::new();
    let Some(disk) = SmallDisk::mount(folder.path().join("disk")) else {
        // Only root may mount: elsewhere the limit on files above stands for it.
        eprintln!("not tried: no file system can be mounted here, which root may");
        return;
    };
    let server = folder.serve("store = \"sqlite:disk/sekisho.db\"\n").await;
    let person = SignedIn::at(&server).await;

    disk.fill();
    let person = person.uses_up_what_is_left().await;
    person.cannot_write_but_may_enter().await;
    disk.make_room();

    person.goes_on(&server).await;
    drop(server);
}

#[tokio::test]
async fn a_store_of_a_later_version_or_a_broken_one_is_one_sentence_and_no_start() {
    let later = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', 1, x'00', 1)";
    for (harm, words, reason) in [
        (Harm::Statement(later), "was written by a newer version of sekisho (schema 9999", "later"),
        (Harm::CutTo(5000), "restore a backup", "cut off in the middle"),
        (Harm::Overwritten, "is not an SQLite database", "something else by now"),
    ] {
        let folder = Folder::new();
        let mut server = folder.serve("").await;
        SignedIn::at(&server).await;
        server.signal("TERM").await;
        server.ends_within(ANSWER_MAX).await;
        let path = folder.path().join("sekisho.db");
        harm.inflict(&path);
        let before = std::fs::read(&path).unwrap();

        let done = folder.run(&["serve"], "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(1), ""), "{reason}: {done:?}");
        let is_said = done.err.starts_with("sekisho: ") && done.err.contains(words);
        assert!(is_said && done.err.lines().count() == 1, "{reason}: {done:?}");
        assert!(!done.err.contains("panicked"), "{reason}: {done:?}");
        assert!(std::fs::read(&path).unwrap() == before, "{reason}: it is left as it is");
    }
}

/// What happens to a file while nobody has it open.
enum Harm {
    Statement(&'static str),
    CutTo(u64),
    Overwritten,
}

impl Harm {
    fn inflict(&self, path: &Path) {
        match self {
            Self::Statement(statement) => {
                let other = Connection::open(path).unwrap();
                other.execute_batch(statement).unwrap();
                other.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
            }
            Self::CutTo(bytes) => {
                OpenOptions::new().write(true).open(path).unwrap().set_len(*bytes).unwrap();
            }
            Self::Overwritten => std::fs::write(path, [b'x'; 5000]).unwrap(),
        }
    }
}

/// A file system of a few megabytes, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nobody may mount one.
    fn mount(place: PathBuf) -> Option<Self> {
        std::fs::create_dir(&place).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&place)
            .stderr(std::process::Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(place))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        let full = (0..1_000_000).map(|_| file.write(&[0; 4096])).find_map(Result::err).unwrap();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may not be quite gone yet.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_place_that_nobody_may_write_to_is_one_sentence_and_no_start() {
    let rows = [
        ("store = \"sqlite:/proc/sekisho.db\"", 1, "/proc/sekisho.db", "not even root may"),
        ("store = \"sqlite:nowhere/sekisho.db\"", 1, "nowhere/sekisho.db", "no such folder"),
        ("key_file = \"/proc/sekisho.key\"", 2, "/proc/sekisho.key", "the same for the key"),
    ];
    for (setting, expected, named, reason) in rows {
        let folder = Folder::new();
        folder
            .write("sekisho.toml", &format!("listen = \"127.0.0.1:{}\"\n{setting}\n", free_port()));
        let done = folder.run(&["serve"], "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(expected), ""), "{reason}: {done:?}");
        assert!(
            done.err.starts_with("sekisho: ") && done.err.contains(named),
            "{reason}: {done:?}"
        );
        assert_eq!(done.err.lines().count(), 1, "{reason}: {done:?}");
    }
}

/// Refreshes that fit into what a file has been given of a disk already.
const LEFT_IN_A_BLOCK_MAX: usize = 4;

/// Who logged in before the trouble began.
struct SignedIn {
    app: App,
    client: RegisteredClient,
    tokens: Tokens,
    password: String,
}

impl SignedIn {
    async fn at(server: &Server) -> Self {
        let password = server.password().unwrap();
        let form = open_login(server).await;
        let client = form.client.clone();
        let tokens = form.finish(server, "demo", &password).await;
        Self { app: app(server), client, tokens, password }
    }

    /// A block of the disk may have room for a page or two of the log: a refresh needs no more.
    async fn uses_up_what_is_left(mut self) -> Self {
        for _ in 0..LEFT_IN_A_BLOCK_MAX {
            let answer = self.post("/token").await;
            if answer.status != 200 {
                return self;
            }
            self.tokens = tokens(&answer);
        }
        panic!("the disk is not full");
    }

    /// Whatever must be written is refused in time, and asked to come again; who is in stays in.
    async fn cannot_write_but_may_enter(&self) {
        for (what, path) in [("a refresh", "/token"), ("a revocation", "/revoke")] {
            let began = Instant::now();
            let answer = self.post(path).await;
            assert_eq!(answer.status, 503, "{what}: {answer:?}");
            assert!(!answer.header("retry-after").is_empty(), "{what}: {answer:?}");
            assert!(began.elapsed() < ANSWER_MAX, "{what} took {:?}", began.elapsed());
        }
        assert_ne!(self.door().await, 401, "a token in force goes on");
        assert!(self.door().await < 500, "a token in force goes on");
    }

    /// Nothing was lost, nothing was half done, and nobody had to start anything again.
    async fn goes_on(self, server: &Server) {
        assert!(self.door().await < 500 && self.door().await != 401);
        let renewed = self.post("/token").await;
        assert_eq!(renewed.status, 200, "the refresh token was not spent: {renewed:?}");
        let renewed = Self { tokens: tokens(&renewed), ..self };
        assert_ne!(renewed.door().await, 401);
        assert_eq!(renewed.post("/revoke").await.status, 200);
        assert_eq!(renewed.door().await, 401, "and revoked is revoked");
        public_client(&renewed.app, REDIRECT_URI).await;
        log_in(server, "demo", &renewed.password).await;
        let ready = http().get(server.url("/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 200);
    }

    async fn door(&self) -> u16 {
        call(&self.app, "/mcp", &self.tokens.access).await.status.as_u16()
    }

    /// Sends the refresh token to be traded or given back.
    async fn post(&self, path: &str) -> Answer {
        let (client, refresh) = (&self.client.id, &self.tokens.refresh);
        let form = format!(
            "client_id={client}&grant_type=refresh_token&refresh_token={refresh}&token={refresh}"
        );
        let request =
            Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        Answer::to(&self.app, request.body(Body::from(form)).unwrap()).await
    }
}

/// From now on no file of the server's may grow beyond so many bytes.
async fn limit_files(server: &Server, bytes: &str) {
    let process = format!("--pid={}", server.id());
    let limited = Command::new("prlimit").args([&process, &format!("--fsize={bytes}:")]).status();
    assert!(limited.await.unwrap().success(), "prlimit (Debian: util-linux) works");
}
