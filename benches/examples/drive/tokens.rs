//! A million live grants in an `SQLite` store, each with the code it came from, an access token and a
//! refresh token: the size of the file, the memory of the program, how soon it answers, and what a
//! look-up among them costs. The rows are written by SQL into the tables the program has made, in the
//! form it writes itself.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection as Store;
use sekisho::protocol::Secret;

use crate::load::Connection;
use crate::report::{mebibytes, micros};
use crate::server::Server;
use crate::target::{self, RAISED_LIMITS, Target};
use crate::{Arguments, Result, procfs};

/// Grants whose tokens are known here, spread over all.
const KNOWN: usize = 4_000;
const SETTLE: Duration = Duration::from_secs(3);
/// The one client of them all.
const CLIENT: &str = "00000000000000000000000000000000";

/// Fills a store and looks.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<String> {
    let Some(program) = &arguments.sekisho else { return Ok(String::new()) };
    let program = program.canonicalize()?;
    let mut text = String::new();
    writeln!(text, "### Live tokens in an SQLite store\n")?;
    writeln!(
        text,
        "| grants, each with two tokens | file | a grant | first answer | listens | memory at rest \
         | with the tokens below in memory | call, token not in memory: p50 / p99 | again: p50 / p99 |"
    )?;
    writeln!(text, "|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    for grants in [KNOWN, arguments.tokens] {
        measure_with(&program, &folder.join(grants.to_string()), grants, &mut text).await?;
    }
    writeln!(text)?;
    Ok(text)
}

async fn measure_with(
    program: &Path,
    folder: &Path,
    grants: usize,
    text: &mut String,
) -> Result<()> {
    let address = target::write_settings(folder, RAISED_LIMITS)?;
    let resource = format!("http://localhost:{}/mcp", address.port());
    // Makes the tables.
    drop(Server::start_and_listen(program, address, folder).await?);
    let file = folder.join("sekisho.db");
    let mut store = Store::open(&file)?;
    let known = fill(&mut store, grants, &resource)?;
    store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    store.close().map_err(|(_, error)| error)?;
    let bytes = std::fs::metadata(&file)?.len();

    let began_at = Instant::now();
    let server = Server::start_and_listen(program, address, folder).await?;
    let listens = began_at.elapsed();
    let first_answer = server.first_answer_after;
    tokio::time::sleep(SETTLE).await;
    let idle = procfs::resident_kib(server.pid())?.0;
    let first = ask_all(&server, &known).await?;
    let again = ask_all(&server, &known).await?;
    let used = procfs::resident_kib(server.pid())?.0;
    writeln!(
        text,
        "| {grants} | {} | {} bytes | {} ms | {} ms | {} | {} | **{:.0}** / {:.0} µs | **{:.0}** / {:.0} µs |",
        mebibytes(bytes / 1024),
        bytes / u64::try_from(grants)?,
        first_answer.as_millis(),
        listens.as_millis(),
        mebibytes(idle),
        mebibytes(used),
        micros(quantile(&first, 500)),
        micros(quantile(&first, 990)),
        micros(quantile(&again, 500)),
        micros(quantile(&again, 990)),
    )?;
    Ok(())
}

/// A call with each of the known tokens, on one connection; the time each took, sorted.
async fn ask_all(server: &Server, known: &[String]) -> Result<Vec<Duration>> {
    let mut connection = Connection::open(server.address).await?;
    let mut took = Vec::with_capacity(KNOWN);
    for token in known {
        let request = Target::wire_of(server, token.clone()).call();
        let asked_at = Instant::now();
        let answer = connection.ask(&request).await?;
        took.push(asked_at.elapsed());
        if answer.status != 200 {
            return Err(format!("a known token: {} {}", answer.status, answer.body).into());
        }
    }
    took.sort_unstable();
    Ok(took)
}

fn quantile(sorted: &[Duration], thousandth: usize) -> Duration {
    sorted.get(sorted.len() * thousandth / 1000).copied().unwrap_or_default()
}

/// Grants of a hundred thousand people, each with a token of each kind that lives.
/// Gives those access tokens that are known.
fn fill(store: &mut Store, grants: usize, resource: &str) -> Result<Vec<String>> {
    store.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000")?;
    let step = store.transaction()?;
    step.execute(
        "INSERT INTO clients (id, metadata, created_at, has_finished_login, origin, last_used_at)
         VALUES ($1, $2, unixepoch(), TRUE, 'preregistered', unixepoch())",
        [CLIENT, r#"{"client_name":"benchmark","redirect_uris":[],"token_endpoint_auth_method":"none","refreshes":true,"scope":"fortune"}"#],
    )?;
    let count = i64::try_from(grants)?;
    step.execute(
        "WITH RECURSIVE numbers (n) AS
            (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1)
         INSERT INTO grants (id, client_id, issuer, subject, name, email, email_verified, scope,
            resource, created_at, last_used_at)
         SELECT lower(hex(randomblob(16))), $2, 'local',
            'person-' || (n % 100000), 'Person ' || (n % 100000),
            'person-' || (n % 100000) || '@example.com', TRUE, 'fortune', $3, unixepoch(),
            unixepoch()
         FROM numbers",
        (count, CLIENT, resource),
    )?;
    for statement in [
        "INSERT INTO codes (code, grant_id, request, issuer, subject, name, email, email_verified,
            expires_at, is_redeemed, client_id)
         SELECT randomblob(32), id, json_object('client_id', client_id, 'redirect_uri',
                'http://127.0.0.1:33418/callback', 'code_challenge',
                'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM', 'scope', scope, 'resource', resource),
            issuer, subject, name, email, TRUE, unixepoch() + 300, TRUE, client_id
         FROM grants",
        "INSERT INTO tokens (family, turn, token, kind, grant_id, scope, expires_at)
         SELECT substr(id, 1, 16), 0, randomblob(32), 'access', id, scope, unixepoch() + 3600
         FROM grants",
        "INSERT INTO tokens (family, turn, token, kind, grant_id, expires_at)
         SELECT substr(id, 1, 16), 0, randomblob(32), 'refresh', id, unixepoch() + 2592000
         FROM grants",
    ] {
        step.execute(statement, [])?;
    }
    // Every so many-th becomes one we know.
    let known = i64::try_from(KNOWN)?;
    let grants: Vec<String> = step
        .prepare("SELECT id FROM grants WHERE rowid % $1 = 0 LIMIT $2")?
        .query_map(((count / known).max(1), known), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut tokens = Vec::with_capacity(KNOWN);
    for (number, grant) in grants.into_iter().enumerate() {
        let family = grant.get(..16).ok_or("a grant's id is too short")?;
        let token = format!("mcp_{family}{:08x}{number:040x}", 0);
        step.execute(
            "UPDATE tokens SET token = $1 WHERE family = $2 AND kind = 'access'",
            (Secret::new(token.as_str()).hash().as_bytes().as_slice(), family),
        )?;
        tokens.push(token);
    }
    step.commit()?;
    Ok(tokens)
}
