//! The contract of stores, held against each of them; then what only a file or a cache can do.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::Connection;
use sekisho::grant::{Grant, GrantId, IssuedTokens, TokenKey};
use sekisho::seal::{Purpose, Sealer};
use sekisho::store::{
    CachedStore, Client, CodeRecord, CodeRedemption, Condition, Contents, DueSessions, Durability,
    GrantsOf, LOCAL_ISSUER, LocalUser, LoginRecord, MemoryStore, OpenError, PostgresStore,
    ProviderSession, RefreshRotation, SchemaAge, SqliteStore, Store, StoreError, Swept,
    TableLimits,
};
use sekisho_protocol::oauth::ClientId;
use sekisho_protocol::{Secret, SecretHash};
use tempfile::TempDir;
use testkit::store_contract::{
    NOW, STRICT, access_of, client, code, grant, is_alive, key, person, redeem, refresh_of,
    sign_in, tokens,
};

#[expect(clippy::unused_async, reason = "every store opens by one signature")]
async fn memory(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    (Arc::new(MemoryStore::new(limits)), ())
}

async fn sqlite(limits: TableLimits) -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sekisho.db");
    let store = SqliteStore::open(&path, limits, Durability::Normal).await.unwrap();
    (Arc::new(store), folder)
}

async fn postgres(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    let store = PostgresStore::open(&testkit::postgres::database(), limits).await.unwrap();
    (Arc::new(store), ())
}

async fn cached_memory(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    let (behind, ()) = memory(limits).await;
    (Arc::new(CachedStore::new(behind)), ())
}

async fn cached_sqlite(limits: TableLimits) -> (Arc<dyn Store>, TempDir) {
    let (behind, folder) = sqlite(limits).await;
    (Arc::new(CachedStore::new(behind)), folder)
}

async fn cached_postgres(limits: TableLimits) -> (Arc<dyn Store>, ()) {
    let (behind, ()) = postgres(limits).await;
    (Arc::new(CachedStore::new(behind)), ())
}

testkit::store_contract!(the_memory_store, memory);
testkit::store_contract!(the_sqlite_store, sqlite);
testkit::store_contract!(the_postgres_store, postgres);
testkit::store_contract!(the_cached_memory_store, cached_memory);
testkit::store_contract!(the_cached_sqlite_store, cached_sqlite);
testkit::store_contract!(the_cached_postgres_store, cached_postgres);

// --- the database -------------------------------------------------------------------------------

#[tokio::test]
async fn several_instances_open_one_database_at_once() {
    let url = testkit::postgres::database();
    let open = || PostgresStore::open(&url, TableLimits::default());
    let (one, two, three) = tokio::join!(open(), open(), open());
    let stores = [one.unwrap(), two.unwrap(), three.unwrap()];
    let mut ids = Vec::new();
    for store in &stores {
        ids.push(store.instance_id().await.unwrap());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "one service, one id: {ids:?}");
}

#[tokio::test]
async fn a_database_that_drops_its_connections_costs_nothing() {
    let url = testkit::postgres::database();
    let store = PostgresStore::open(&url, TableLimits::default()).await.unwrap();
    assert!(store.add_user(&account("alice")).await.unwrap());
    testkit::postgres::execute(
        &url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    assert!(store.find_user("alice").await.unwrap().is_some());
    store.check().await.unwrap();
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_refused_with_a_reason_and_without_a_password() {
    let good = testkit::postgres::database();
    PostgresStore::open(&good, TableLimits::default()).await.unwrap();
    let elsewhere = |from: &str, to: &str| Secret::new(good.reveal().replace(from, to));
    let altered = "UPDATE sekisho._sqlx_migrations SET checksum = '\\x00' WHERE version = 1";
    let later = "UPDATE sekisho._sqlx_migrations SET version = 1000 WHERE version = 1";
    let rows = [
        (elsewhere("/test_", "/hunter2_"), "", "refuses us", "no such database"),
        (elsewhere("user=postgres", "user=x&password=hunter2"), "", "refuses us", "no such user"),
        (Secret::new("postgres://u:hunter2@127.0.0.1:1/x"), "", "does not answer", "nobody there"),
        (good.clone(), altered, "another schema", "a schema that we know otherwise"),
        (good.clone(), later, "newer version", "written by a later program"),
    ];
    for (url, spoilt_by, said, reason) in rows {
        if !spoilt_by.is_empty() {
            testkit::postgres::execute(&good, spoilt_by);
        }
        let refused = PostgresStore::open(&url, TableLimits::default()).await.unwrap_err();
        let message = refused.to_string();
        assert!(message.contains(said), "{reason}: {message}");
        assert!(!message.contains("password=hunter2"), "{reason}: {message}");
        assert!(!message.contains("u:hunter2"), "{reason}: {message}");
    }
}

#[tokio::test]
async fn looking_at_a_database_makes_and_changes_nothing() {
    let url = testkit::postgres::database();
    let looked = async || PostgresStore::look(&url).await;
    assert_eq!(looked().await.unwrap().schema, SchemaAge::Absent);
    testkit::postgres::execute(&url, "CREATE SCHEMA sekisho");
    assert_eq!(looked().await.unwrap().schema, SchemaAge::Absent, "none was made");
    let store: Arc<dyn Store> =
        Arc::new(PostgresStore::open(&url, TableLimits::default()).await.unwrap());
    is_looked_at(looked().await.unwrap(), &store, async || looked().await.unwrap()).await;
    testkit::postgres::execute(&url, "DELETE FROM sekisho._sqlx_migrations WHERE version = 13");
    let older = SchemaAge::Older { found: 12, known: 13 };
    for _ in 0..2 {
        assert_eq!(looked().await.unwrap(), Condition { schema: older, contents: None });
    }
    testkit::postgres::execute(
        &url,
        "UPDATE sekisho._sqlx_migrations SET version = 14 WHERE version = 1",
    );
    let refused = looked().await.unwrap_err().to_string();
    assert!(refused.contains("newer version"), "{refused}");
}

#[tokio::test]
async fn looking_at_a_file_makes_and_changes_nothing() {
    let file = File::new();
    let looked = async || SqliteStore::look(&file.path).await;
    assert!(looked().await.is_err() && !file.path.exists(), "none is made");
    std::fs::write(&file.path, "").unwrap();
    assert_eq!(looked().await.unwrap().schema, SchemaAge::Absent);
    assert_eq!(std::fs::read(&file.path).unwrap(), b"", "it stays empty");
    let store = file.open().await;
    is_looked_at(looked().await.unwrap(), &any(&store), async || looked().await.unwrap()).await;
    let raw = Connection::open(&file.path).unwrap();
    raw.execute("DELETE FROM _sqlx_migrations WHERE version = 13", ()).unwrap();
    let older = SchemaAge::Older { found: 12, known: 13 };
    for _ in 0..2 {
        assert_eq!(looked().await.unwrap(), Condition { schema: older, contents: None });
    }
    raw.execute_batch("DROP TABLE _sqlx_migrations; PRAGMA application_id = 1").unwrap();
    let refused = looked().await.unwrap_err();
    assert!(matches!(refused, OpenError::Foreign { .. }), "{refused}");
}

/// An empty store of today, and the same with something in it.
async fn is_looked_at(empty: Condition, store: &Arc<dyn Store>, look: impl AsyncFn() -> Condition) {
    let nothing = Contents { clients: 0, logins: 0, sealing_key: None };
    assert_eq!(empty, Condition { schema: SchemaAge::Current(13), contents: Some(nothing) });
    store.register_client(&client("client", NOW)).await.unwrap();
    let keys = Sealer::ephemeral().key_ids();
    store.claim_keys(&keys).await.unwrap();
    let sealing_key = Some(keys[0].as_str().to_owned());
    let something = Contents { clients: 1, logins: 0, sealing_key };
    let found = look().await;
    assert_eq!(found, Condition { schema: SchemaAge::Current(13), contents: Some(something) });
}

fn account(name: &str) -> LocalUser {
    LocalUser { name: name.into(), password_hash: "hash".into(), created_at: NOW }
}

// --- the file -----------------------------------------------------------------------------------

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    for durability in [Durability::Normal, Durability::Full] {
        let file = File::new();
        let store = file.open_with(durability).await;
        let seen = any(&store);
        let grant = sign_in(&seen, "a", &person("alice")).await;
        let instance_id = store.instance_id().await.unwrap();
        store.close().await;
        assert!(!file.beside("-wal").exists(), "a closed store is one file");

        let store = file.open_with(durability).await;
        assert_eq!(store.instance_id().await.unwrap(), instance_id);
        let seen = any(&store);
        assert!(is_alive(&seen, "a").await);
        let refresh = store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().unwrap();
        assert_eq!(refresh.grant, grant);
    }
}

/// What a process leaves behind that had no time to close anything is what the disk holds now.
#[tokio::test]
async fn an_acknowledged_write_survives_a_kill() {
    let file = File::new();
    let store = file.open().await;
    let seen = any(&store);
    sign_in(&seen, "a", &person("alice")).await;
    let taken = code("b", "client", &person("alice"));
    store.issue_code(&taken).await.unwrap();
    redeem(&seen, &taken, "b").await;

    let left_behind = File::new();
    for part in ["", "-wal"] {
        std::fs::copy(file.beside(part), left_behind.beside(part)).unwrap();
    }
    let store = left_behind.open().await;
    let seen = any(&store);
    assert!(is_alive(&seen, "a").await && is_alive(&seen, "b").await);
    let again = store.redeem_code(&taken.code, &taken.grant.redeemed(NOW), &tokens("c")).await;
    assert_eq!(again.unwrap(), CodeRedemption::Replayed);
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = File::new();
    let store = file.open().await;
    store.check().await.unwrap();
    for part in ["", "-wal", "-shm"] {
        let mode = std::fs::metadata(file.beside(part)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{part:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_others_could_read_is_its_owners_alone_once_it_was_opened() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = File::new();
    sign_in(&any(&file.open().await), "a", &person("alice")).await;
    let all = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&file.path, all.clone()).unwrap();
    let store = file.open().await;
    assert!(is_alive(&any(&store), "a").await, "it is opened all the same");
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for part in ["", "-wal", "-shm"] {
        assert_eq!(mode(&file.beside(part)), 0o600, "{part:?}");
    }

    let theirs = File::holding(&[b'x'; 5000]);
    std::fs::set_permissions(&theirs.path, all).unwrap();
    SqliteStore::open(&theirs.path, TableLimits::default(), Durability::Normal).await.unwrap_err();
    assert_eq!(mode(&theirs.path), 0o644, "another program's is left as it is");
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_with_a_remedy_and_left_alone() {
    let foreign = "CREATE TABLE theirs (id INTEGER); INSERT INTO theirs VALUES (1);";
    let newer = "INSERT INTO _sqlx_migrations VALUES (9999, 'later', '2030-01-01', 1, x'00', 1);";
    let altered = "UPDATE _sqlx_migrations SET checksum = x'00';";
    let rows: [(&str, File, &[&str]); 6] = [
        ("garbage", File::holding(&[b'x'; 5000]), &["not an SQLite database", "backup"]),
        ("another program's", File::made_by(foreign), &["another program", "another file"]),
        ("newer", File::ours_after(newer).await, &["newer version", "schema 9999", "up to 13"]),
        ("altered", File::ours_after(altered).await, &["another schema 1", "backup"]),
        ("in no folder", File::new().named("none/sekisho.db"), &["cannot create", "folder exists"]),
        ("a folder", File::new().named("."), &["cannot open", "permissions"]),
    ];
    for (reason, file, words) in rows {
        let before = std::fs::read(&file.path).unwrap_or_default();
        let refused = SqliteStore::open(&file.path, TableLimits::default(), Durability::Normal);
        let message = refused.await.unwrap_err().to_string();
        for word in words {
            assert!(message.contains(word), "{reason}: {message}");
        }
        assert!(!message.contains("no such") && !message.contains('\n'), "{reason}: {message}");
        assert!(std::fs::read(&file.path).unwrap_or_default() == before, "{reason}: untouched");
        assert!(!file.beside("-wal").exists(), "{reason}: nothing beside it");
    }
}

#[tokio::test]
async fn a_truncated_file_is_an_error_and_no_panic() {
    let file = File::new();
    let store = file.open().await;
    sign_in(&any(&store), "a", &person("alice")).await;
    store.close().await;
    let bytes = std::fs::read(&file.path).unwrap();
    for kept in [bytes.len() / 2, 4096, 100, 20] {
        let torn = File::holding(&bytes[..kept]);
        match SqliteStore::open(&torn.path, TableLimits::default(), Durability::Normal).await {
            Err(error) => {
                let is_told =
                    matches!(error, OpenError::NotDatabase { .. } | OpenError::Unusable { .. });
                assert!(is_told, "{kept}: {error:?}");
            }
            Ok(store) => {
                let found = store.find_access_token(&key(access_of("a"))).await;
                assert!(matches!(found, Err(StoreError::Unavailable(_))), "{kept}: {found:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_a_new_file_at_once() {
    let file = Arc::new(File::new());
    let opening: Vec<_> = (0..8)
        .map(|_| {
            let file = Arc::clone(&file);
            tokio::spawn(async move { file.open().await.instance_id().await.unwrap() })
        })
        .collect();
    let mut ids = Vec::new();
    for opened in opening {
        ids.push(opened.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one instance: {ids:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_redeemed_once_by_two_processes() {
    let file = File::new();
    let (here, there) = (file.open().await, file.open().await);
    for round in 0..20 {
        let code = code(&round.to_string(), "client", &person("alice"));
        here.issue_code(&code).await.unwrap();
        let grant = code.grant.redeemed(NOW);
        let (ours, theirs) = (tokens(&format!("{round} here")), tokens(&format!("{round} there")));
        let (a, b) = tokio::join!(
            here.redeem_code(&code.code, &grant, &ours),
            there.redeem_code(&code.code, &grant, &theirs),
        );
        let mut outcomes = [format!("{:?}", a.unwrap()), format!("{:?}", b.unwrap())];
        outcomes.sort();
        assert_eq!(outcomes, ["Fresh", "Replayed"]);
    }
}

/// A client that hangs up drops the step wherever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_dropped_half_way_leaves_all_or_nothing() {
    let file = File::new();
    let store = file.open().await;
    let seen = any(&store);
    let (mut finished, mut dropped) = (0, 0);
    for patience in 0..60 {
        let name = patience.to_string();
        let code = code(&name, "client", &person("alice"));
        store.issue_code(&code).await.unwrap();
        let (grant, tokens) = (code.grant.redeemed(NOW), tokens(&name));
        tokio::select! {
            biased;
            redeemed = redeem_with_little_time(patience % 30, &store, &code.code, &grant, &tokens)
                => redeemed.unwrap(),
            () = give_up_after(patience / 30) => {}
        }
        match store.redeem_code(&code.code, &grant, &tokens).await.unwrap() {
            CodeRedemption::Fresh => dropped += 1,
            CodeRedemption::Replayed => finished += 1,
            CodeRedemption::Unknown => panic!("the code is gone"),
        }
        assert!(is_alive(&seen, &name).await, "{name}");
        assert!(
            store.find_refresh_token(&key(refresh_of(&name))).await.unwrap().is_some(),
            "{name}"
        );
    }
    assert!(dropped > 0 && finished > 0, "{dropped} were dropped, {finished} went on");
}

/// The runtime takes the thread away from the step when it has used up what is left.
async fn redeem_with_little_time(
    left: u32,
    store: &SqliteStore,
    code: &SecretHash,
    grant: &Grant,
    tokens: &IssuedTokens,
) -> Result<(), StoreError> {
    for _ in left..TURNS_OF_A_TASK {
        tokio::task::coop::consume_budget().await;
    }
    store.redeem_code(code, grant, tokens).await.map(|_| ())
}

/// What `tokio` lets a task do in one go.
const TURNS_OF_A_TASK: u32 = 128;

#[tokio::test]
async fn a_row_that_we_did_not_write_is_an_error_and_no_panic() {
    let rows = [
        ("UPDATE clients SET metadata = '{'", "clients", "not JSON"),
        ("UPDATE clients SET metadata = 'null'", "clients", "other JSON"),
        ("UPDATE clients SET secret = x'00'", "clients", "not a hash"),
        ("UPDATE tokens SET scope = char(10)", "tokens", "not a scope"),
        ("UPDATE grants SET email_verified = 'x'", "", "refused by the file itself"),
    ];
    for (damage, damaged, reason) in rows {
        let file = File::new();
        let store = file.open().await;
        sign_in(&any(&store), "a", &person("alice")).await;
        store.register_client(&client("client", NOW)).await.unwrap();
        let is_refused = file.try_run(damage).is_err();
        assert_eq!(is_refused, damaged.is_empty(), "{reason}");

        let client = store.find_client(&ClientId::new("client")).await.map(|_| ());
        let access = store.find_access_token(&key(access_of("a"))).await.map(|_| ());
        for (table, found) in [("clients", client), ("tokens", access)] {
            match found {
                Ok(()) => assert_ne!(table, damaged, "{reason}"),
                Err(StoreError::Unreadable { table: named, .. }) => {
                    assert_eq!((table, table), (damaged, named), "{reason}");
                }
                Err(other) => panic!("{reason}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn nothing_secret_is_on_the_disk() {
    let file = File::new();
    let store = file.open().await;
    let secrets: Vec<Secret> = (0..6).map(|n| Secret::new(format!("mcp_{n:064x}"))).collect();
    let [access, refresh, code_text, state, cookie, client_secret] = secrets.as_slice() else {
        panic!("six secrets")
    };
    let provider_token = Secret::new("the identity provider's refresh token");
    let sealed = Sealer::ephemeral().seal(
        Purpose::ProviderTokens,
        b"grant a",
        provider_token.reveal().as_bytes(),
    );
    let client = Client { secret: Some(client_secret.hash()), ..client("client", NOW) };
    store.register_client(&client).await.unwrap();
    let login = LoginRecord {
        login_state: state.hash(),
        browser: cookie.hash(),
        sealed: sealed.clone(),
        expires_at: NOW,
    };
    store.begin_login(&login).await.unwrap();
    store.begin_browser_session(&cookie.hash(), &person("alice"), NOW).await.unwrap();
    let code = CodeRecord { code: code_text.hash(), ..code("a", "client", &person("alice")) };
    let session = ProviderSession {
        grant_id: code.grant.grant_id.clone(),
        issuer: "https://idp.example".into(),
        subject: "alice".into(),
        sid: None,
        browser: Some(cookie.hash()),
        tokens: sealed,
        is_offline: false,
        check_at: None,
    };
    store.issue_code_of_session(&code, &session).await.unwrap();
    let mut issued = tokens("a");
    issued.access = access.hash();
    issued.refresh = Some((refresh.hash(), NOW));
    store.redeem_code(&code.code, &code.grant.redeemed(NOW), &issued).await.unwrap();

    let mut disk = Vec::new();
    for part in ["", "-wal", "-shm"] {
        disk.extend(std::fs::read(file.beside(part)).unwrap());
    }
    let holds = |wanted: &[u8]| disk.windows(wanted.len()).any(|window| window == wanted);
    assert!(holds(access.hash().as_bytes()), "the hash is there, so this looks at the right bytes");
    for secret in secrets.iter().chain([&provider_token]) {
        assert!(!holds(secret.reveal().as_bytes()), "a secret in clear");
    }
}

/// A file of the first schema, with these rows.
fn first_file(rows: &str) -> File {
    const FIRST: &str = include_str!("../migrations/sqlite/0001_tables.sql");
    let file = File::new();
    let old = Connection::open(&file.path).unwrap();
    old.execute_batch(FIRST).unwrap();
    // As `sqlx` wrote it down, byte for byte.
    let written_down = "
        CREATE TABLE _sqlx_migrations (
            version BIGINT PRIMARY KEY,
            description TEXT NOT NULL,
            installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
            success BOOLEAN NOT NULL,
            checksum BLOB NOT NULL,
            execution_time BIGINT NOT NULL
        );
        INSERT INTO _sqlx_migrations VALUES (1, 'tables', '2026-11-23 09:00:00', TRUE,
            x'34ac033aadaa96af7a88c6ae6648c30cd22bd41a156e5aec\
              a90b7ace51eb03f9f6c1a92663f10f80ae56acb289e559d0', 1000);";
    old.execute_batch(written_down).unwrap();
    old.execute_batch(rows).unwrap();
    old.close().unwrap();
    file
}

/// There the provider's tokens stood at the grant and its code.
#[tokio::test]
async fn tokens_of_the_provider_that_an_older_version_kept_are_found_again() {
    let file = first_file(
        "INSERT INTO grants VALUES ('g', 'client', 'https://idp.example', 'alice', NULL, NULL, FALSE,
            'fortune', 'http://localhost:8000/mcp', x'0102', 1795305600);
        INSERT INTO grants VALUES ('local', 'client', 'local', 'demo', NULL, NULL, FALSE,
            'fortune', 'http://localhost:8000/mcp', NULL, 1795305600);
        INSERT INTO codes VALUES (x'aa', 'c', '{}', 'https://idp.example', 'bob', NULL, NULL, FALSE,
            x'0304', 1795305600, FALSE);",
    );
    let store = file.open().await;
    let claimed = store.claim_provider_sessions(NOW, NOW, NOW, 9, DueSessions::All).await.unwrap();
    let mut claimed: Vec<_> = claimed
        .iter()
        .map(|one| (one.grant_id.as_str(), one.subject.as_str(), one.tokens.as_bytes()))
        .collect();
    claimed.sort_unstable();
    let expected: [(&str, &str, &[u8]); 2] = [("c", "bob", &[3, 4]), ("g", "alice", &[1, 2])];
    assert_eq!(claimed, expected, "at the grant they were sealed at, and due");
}

/// Tokens of before schema 13: all of them was random, and said nothing of their grant.
struct OlderTokens {
    grant: GrantId,
    access: Secret,
    refresh: Secret,
    spent: Secret,
}

impl OlderTokens {
    fn new() -> Self {
        let secret = |kind: &str, digit: &str| Secret::new(format!("{kind}_{}", digit.repeat(64)));
        let (access, refresh, spent) =
            (secret("mcp", "a"), secret("mcpr", "b"), secret("mcpr", "c"));
        Self { grant: grant("older"), access, refresh, spent }
    }

    /// Their rows, with hashes as this database has them written.
    fn rows(&self, hash: impl Fn(&str) -> String) -> String {
        let id = self.grant.as_str();
        let hash = |secret: &Secret| {
            let of = secret.hash();
            let digits: Vec<_> = of.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            hash(&digits.concat())
        };
        format!(
            "INSERT INTO access_tokens VALUES ({}, '{id}', 'fortune', 1795305600);
            INSERT INTO refresh_tokens VALUES ({}, '{id}', 1795305600, FALSE);
            INSERT INTO refresh_tokens VALUES ({}, '{id}', 1795305600, TRUE);",
            hash(&self.access),
            hash(&self.refresh),
            hash(&self.spent),
        )
    }

    /// They open, are traded and end like any; nothing of them is left then.
    async fn go_on(&self, store: &dyn Store) {
        let opens = async |token: &Secret| {
            let found = store.find_access_token(&TokenKey::shown(token)).await.unwrap();
            found.map(|found| found.principal.grant_id.clone())
        };
        assert_eq!(opens(&self.access).await, Some(self.grant.clone()));
        assert_eq!(opens(&Secret::new(format!("mcp_{}", "d".repeat(64)))).await, None, "another");
        assert_eq!(opens(&self.refresh).await, None, "no access token");
        let find = async |token: &Secret| {
            store.find_refresh_token(&TokenKey::shown(token)).await.unwrap().unwrap()
        };
        assert!(find(&self.spent).await.is_spent);
        let found = find(&self.refresh).await;
        assert!(!found.is_spent);
        let next = tokens("next");
        let traded = store.rotate_refresh_token(&found.key(), &next, STRICT).await.unwrap();
        assert_eq!(traded, RefreshRotation::Fresh);
        assert!(find(&self.refresh).await.is_spent, "and is still found");
        let next = store.find_refresh_token(&key(refresh_of("next"))).await.unwrap().unwrap();
        assert_eq!(next.grant.id, self.grant);

        store.revoke_grant(&self.grant, NOW).await.unwrap();
        assert_eq!(opens(&self.access).await, None);
        for token in [&self.refresh, &self.spent] {
            assert_eq!(store.find_refresh_token(&TokenKey::shown(token)).await.unwrap(), None);
        }
        store.sweep(NOW, NOW).await.unwrap();
    }
}

#[tokio::test]
async fn tokens_of_an_older_file_go_on() {
    let older = OlderTokens::new();
    let id = older.grant.as_str();
    let file = first_file(&format!(
        "INSERT INTO grants VALUES ('{id}', 'client', 'https://idp.example', 'alice', NULL, NULL,
            FALSE, 'fortune', 'http://localhost:8000/mcp', NULL, 1795305600);
        {}",
        older.rows(|digits| format!("x'{digits}'"))
    ));
    older.go_on(&*file.open().await).await;
    let raw = Connection::open(&file.path).unwrap();
    let left = "SELECT (SELECT COUNT(*) FROM tokens) + (SELECT COUNT(*) FROM older_tokens)";
    assert_eq!(raw.query_row(left, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn tokens_of_an_older_database_go_on() {
    let older = OlderTokens::new();
    let url = testkit::postgres::database();
    let open = async || PostgresStore::open(&url, TableLimits::default()).await.unwrap();
    open().await.close().await;
    // As schema 12 had it.
    testkit::postgres::execute(
        &url,
        &format!(
            "SET search_path = sekisho;
            DELETE FROM _sqlx_migrations WHERE version = 13;
            DROP TABLE tokens, older_tokens;
            CREATE TABLE access_tokens (token BYTEA PRIMARY KEY, grant_id TEXT, scope TEXT,
                expires_at BIGINT);
            CREATE TABLE refresh_tokens (token BYTEA PRIMARY KEY, grant_id TEXT, expires_at BIGINT,
                is_spent BOOLEAN, spent_at BIGINT, next_access BYTEA, next_access_expires_at BIGINT,
                next_scope TEXT);
            CREATE INDEX logins_by_end ON logins (expires_at);
            CREATE INDEX clients_by_use ON clients (last_used_at);
            CREATE INDEX grants_by_subject ON grants (subject);
            CREATE INDEX grants_by_name ON grants (name);
            CREATE INDEX grants_by_email ON grants (email);
            INSERT INTO grants (id, client_id, issuer, subject, email_verified, scope, resource,
                created_at)
            VALUES ('{}', 'client', 'https://idp.example', 'alice', FALSE, 'fortune',
                'http://localhost:8000/mcp', 1795305600);
            {}",
            older.grant.as_str(),
            older.rows(|digits| format!("'\\x{digits}'"))
        ),
    );
    older.go_on(&open().await).await;
}

/// Tokens of which those that are over lie behind more living ones than one statement looks at.
const MANY: u64 = 25_000;
const MANY_LIVING: u64 = 15_000;

#[tokio::test]
async fn however_many_tokens_there_are_those_that_are_over_go() {
    let file = File::new();
    let store = file.open().await;
    let grant = sign_in(&any(&store), "a", &person("alice")).await;
    let raw = Connection::open(&file.path).unwrap();
    raw.execute_batch(&format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})
        INSERT INTO tokens (family, turn, token, kind, grant_id, expires_at, scope)
        SELECT substr('{id}', 1, 16), n / 10, randomblob(32), 'access', '{id}', {now} + (n <= {MANY_LIVING}), 'fortune'
        FROM numbers",
        id = grant.id.as_str(),
        now = NOW.unix_seconds(),
    ))
    .unwrap();
    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: MANY - MANY_LIVING });
    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: 0 });
    let left = "SELECT COUNT(*) FROM tokens WHERE kind = 'access' AND expires_at > ?1";
    let left: i64 = raw.query_row(left, [NOW.unix_seconds()], |row| row.get(0)).unwrap();
    assert_eq!(left.unsigned_abs(), MANY_LIVING + 1, "and that of the sign-in");
    assert!(is_alive(&any(&store), "a").await);
}

#[tokio::test]
async fn however_many_tokens_a_database_has_those_that_are_over_go() {
    let url = testkit::postgres::database();
    let store = Arc::new(PostgresStore::open(&url, TableLimits::default()).await.unwrap());
    let seen: Arc<dyn Store> = store.clone();
    let grant = sign_in(&seen, "a", &person("alice")).await;
    testkit::postgres::execute(
        &url,
        &format!(
            "INSERT INTO sekisho.tokens (family, turn, token, kind, grant_id, expires_at, scope)
            SELECT substr('{id}', 1, 16), n / 10, sha256(n::text::bytea), 'access', '{id}',
                {now} + (n <= {MANY_LIVING})::int, 'fortune'
            FROM generate_series(1, {MANY}) AS numbers (n)",
            id = grant.id.as_str(),
            now = NOW.unix_seconds(),
        ),
    );
    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: MANY - MANY_LIVING });
    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: 0 });
    assert!(is_alive(&seen, "a").await);
}

// --- the cache ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_known_token_is_checked_without_asking_the_store() {
    let file = File::new();
    let store = file.open().await;
    let cached = CachedStore::new(any(&store));
    sign_in(&any(&store), "a", &person("alice")).await;
    assert!(cached.access_token_in_memory(&access_of("a")).is_none(), "not seen yet");
    let found = cached.find_access_token(&key(access_of("a"))).await.unwrap().unwrap();
    store.close().await;

    let again = cached.find_access_token(&key(access_of("a"))).await.unwrap().unwrap();
    let at_once = cached.access_token_in_memory(&access_of("a")).unwrap();
    assert!(Arc::ptr_eq(&found, &again) && Arc::ptr_eq(&found, &at_once), "nothing is copied");
    let unknown = cached.find_access_token(&key(access_of("b"))).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable(_))), "this one had to be asked for");
}

#[tokio::test]
async fn made_up_tokens_displace_no_real_one() {
    let cached = CachedStore::new(Arc::new(MemoryStore::new(TableLimits::default())));
    let cached = Arc::new(cached);
    let seen = any(&cached);
    sign_in(&seen, "a", &person("alice")).await;
    assert!(is_alive(&seen, "a").await);
    for number in 0..60_000_u32 {
        let made_up = SecretHash::of(&number.to_be_bytes());
        assert!(cached.find_access_token(&key(made_up)).await.unwrap().is_none());
    }
    assert!(cached.access_token_in_memory(&access_of("a")).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_revokes_is_refused_here_within_a_second() {
    let file = File::new();
    let (here, there) = (file.open().await, file.open().await);
    let cached = Arc::new(CachedStore::new(any(&here)));
    let seen = any(&cached);
    let alice = person("alice");
    let local = sekisho::principal::Identity { issuer: LOCAL_ISSUER.into(), ..person("bob") };
    sign_in(&seen, "stays", &person("carol")).await;
    assert!(is_cached(&cached, "stays").await);
    let following = tokio::spawn(Arc::clone(&cached).follow(Duration::from_millis(250)));
    // Its first look forgets all there is.
    let is_followed = || async { cached.access_token_in_memory(&access_of("stays")).is_none() };
    wait_until(is_followed).await;
    let user = LocalUser { name: "bob".into(), password_hash: "hash".into(), created_at: NOW };
    there.add_user(&user).await.unwrap();

    for verb in ["revoke_grant", "revoke_access_token", "end_grants", "remove_user"] {
        let identity = if verb == "remove_user" { &local } else { &alice };
        let grant = sign_in(&seen, verb, identity).await;
        wait_until(|| async {
            is_cached(&cached, verb).await && is_cached(&cached, "stays").await
        })
        .await;
        match verb {
            "revoke_grant" => there.revoke_grant(&grant.id, NOW).await.unwrap(),
            "revoke_access_token" => {
                there.revoke_access_token(&key(access_of(verb)), NOW).await.unwrap();
            }
            "end_grants" => {
                assert_eq!(there.end_grants(&GrantsOf::person(&alice), NOW).await.unwrap(), 2);
            }
            _ => assert!(there.remove_user("bob", NOW).await.unwrap()),
        }
        let gone = || async { cached.access_token_in_memory(&access_of(verb)).is_none() };
        tokio::time::timeout(Duration::from_secs(1), wait_until(gone)).await.expect(verb);
        assert!(!is_alive(&seen, verb).await, "{verb}");
        assert!(cached.access_token_in_memory(&access_of("stays")).is_some(), "{verb}");
    }
    following.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_before_following_began_is_forgotten_too() {
    let file = File::new();
    let (here, there) = (file.open().await, file.open().await);
    let cached = Arc::new(CachedStore::new(any(&here)));
    let grant = sign_in(&any(&here), "a", &person("alice")).await;
    assert!(is_cached(&cached, "a").await);
    there.revoke_grant(&grant.id, NOW).await.unwrap();
    assert!(is_cached(&cached, "a").await, "nobody told us");
    let following = tokio::spawn(Arc::clone(&cached).follow(Duration::from_millis(250)));
    wait_until(|| async { !is_cached(&cached, "a").await }).await;
    following.abort();
}

#[tokio::test]
async fn following_outlives_an_outage_and_trusts_nothing_from_before() {
    let log = Log::default();
    let _listening = tracing::subscriber::set_default(log.clone());
    let file = File::new();
    let store = file.open().await;
    let cached = Arc::new(CachedStore::new(any(&store)));
    let following = tokio::spawn(Arc::clone(&cached).follow(Duration::from_millis(10)));
    sign_in(&any(&store), "a", &person("alice")).await;
    wait_until(|| async { is_cached(&cached, "a").await }).await;

    let turns_failed = AtomicUsize::new(0);
    file.run("ALTER TABLE revocations RENAME TO away");
    wait_until(|| async { !log.levels().is_empty() }).await;
    wait_until(|| async {
        // A question of our own fails as those of the follower do.
        turns_failed.fetch_add(1, Ordering::Relaxed);
        store.revocations_since(None).await.is_err() && turns_failed.load(Ordering::Relaxed) > 10
    })
    .await;
    assert!(!following.is_finished());
    assert_eq!(*log.levels(), [tracing::Level::WARN], "said once, though it failed many times");
    assert!(is_cached(&cached, "a").await, "what is known still holds");
    // Missed: nothing is written down that would tell of it later.
    file.run("DELETE FROM grants");
    file.run("ALTER TABLE away RENAME TO revocations");
    wait_until(|| async { cached.access_token_in_memory(&access_of("a")).is_none() }).await;

    assert_eq!(*log.levels(), [tracing::Level::WARN, tracing::Level::INFO], "and once its end");
    let grant = sign_in(&any(&store), "b", &person("alice")).await;
    wait_until(|| async { is_cached(&cached, "b").await }).await;
    file.open().await.revoke_grant(&grant.id, NOW).await.unwrap();
    wait_until(|| async { cached.access_token_in_memory(&access_of("b")).is_none() }).await;
    following.abort();
}

// --- with these -----------------------------------------------------------------------------------

/// The same store, as those see it who do not know which one it is.
fn any(store: &Arc<impl Store + 'static>) -> Arc<dyn Store> {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    store
}

/// Hears how loud our own module says something, on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<tracing::Level>>>);

impl Log {
    fn levels(&self) -> MutexGuard<'_, Vec<tracing::Level>> {
        self.0.lock().unwrap()
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("sekisho::store")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        self.levels().push(*event.metadata().level());
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// A place for a store in a folder of its own.
struct File {
    path: PathBuf,
    _folder: TempDir,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("sekisho.db"), _folder: folder }
    }

    fn named(self, name: &str) -> Self {
        Self { path: self.path.with_file_name(name), ..self }
    }

    fn holding(bytes: &[u8]) -> Self {
        let file = Self::new();
        std::fs::write(&file.path, bytes).unwrap();
        file
    }

    fn made_by(statements: &str) -> Self {
        let file = Self::new();
        file.run(statements);
        file
    }

    async fn ours_after(statements: &str) -> Self {
        let file = Self::new();
        file.open().await.close().await;
        file.run(statements);
        file
    }

    async fn open(&self) -> Arc<SqliteStore> {
        self.open_with(Durability::Normal).await
    }

    async fn open_with(&self, durability: Durability) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.path, TableLimits::default(), durability).await.unwrap())
    }

    /// Runs SQL on the file as another program would.
    fn run(&self, statements: &str) {
        self.try_run(statements).unwrap();
    }

    fn try_run(&self, statements: &str) -> rusqlite::Result<()> {
        Connection::open(&self.path)?.execute_batch(statements)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        Path::new(&name).to_owned()
    }
}

/// Asks for the token and says whether it is in memory now.
async fn is_cached(cached: &CachedStore, name: &str) -> bool {
    cached.find_access_token(&key(access_of(name))).await.unwrap();
    cached.access_token_in_memory(&access_of(name)).is_some()
}

/// Asks until it is so; a test that waits for what never comes ends by its own time limit.
async fn wait_until<F: Future<Output = bool>>(mut is_so: impl FnMut() -> F) {
    let asking = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.expect("it never came to be");
}

/// Lets the other side of a `select!` be polled about so many times.
async fn give_up_after(polls: u32) {
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}
