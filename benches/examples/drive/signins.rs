//! Whole sign-ins and refreshes: the program with its store on a disk, beside the least that can
//! answer the same requests from memory. A sign-in is five requests to the server, one to the
//! identity provider, and one of the server's to the provider:
//!
//! ```text
//! POST /register ─▶ GET /authorize ─▶ POST /consent ─▶ (provider) ─▶ GET /auth/callback ─▶ POST /token
//! ```
//!
//! The provider runs in this driver, on the load's core, and is the same for both.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sekisho::clock::SystemClock;
use serde_json::Value;
use sha2::{Digest, Sha256};
use testkit::FakeIdentityProvider;
use testkit::identity_provider::{CLIENT_ID, CLIENT_SECRET};
use tokio::task::JoinSet;

use crate::calls::Used;
use crate::load::{self, Connection, Reply};
use crate::report::{Spread, micros};
use crate::server::{self, Server};
use crate::target::{self, RAISED_LIMITS};
use crate::{Arguments, Result};

const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";
const CODE_VERIFIER: &str = "a-verifier-that-guards-nothing-but-a-benchmark";
/// People who log in, by turns.
const PEOPLE: u64 = 1_000;
/// As the program has it by default.
const SQLITE: &str = "sqlite:sekisho.db";
/// How many sign in or refresh at once.
const CONNECTIONS: [usize; 2] = [1, 32];

/// A server that signs people in.
struct Signer {
    name: &'static str,
    server: Server,
    /// Sets people apart, so that no two servers see the same at the same time.
    people: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    SignIn,
    Refresh,
}

/// One turn of one server.
struct Turn {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cost: Duration,
    server_share: f64,
    load_share: f64,
}

/// Measures sign-ins and refreshes, round by round.
pub(crate) async fn measure(arguments: &Arguments, folder: &Path) -> Result<String> {
    let provider = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let mut signers = Vec::new();
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        for (name, store) in [("sekisho, SQLite", SQLITE), ("sekisho, in memory", "memory:")] {
            let folder = folder.join(name);
            signers.push(start_sekisho(&program, &provider, &folder, (name, store))?);
        }
    }
    let minimal = arguments.peers.canonicalize()?.join("minimal");
    signers.push(start_minimal(&minimal, &provider, &folder.join("minimal"))?);
    let mut text = String::new();
    for step in [Step::SignIn, Step::Refresh] {
        begin_table(&mut text, step)?;
        for connections in CONNECTIONS {
            let mut turns: Vec<Vec<Turn>> = signers.iter().map(|_| Vec::new()).collect();
            for round in 0..arguments.rounds {
                for at in 0..signers.len() {
                    let at = (round + at) % signers.len();
                    let (Some(signer), Some(turns)) = (signers.get(at), turns.get_mut(at)) else {
                        continue;
                    };
                    let turn = take_turn(signer, &provider, step, connections, arguments.seconds);
                    turns.push(turn.await.map_err(|error| format!("{}: {error}", signer.name))?);
                }
            }
            write_rows(&mut text, connections, &signers, &turns)?;
        }
        writeln!(text)?;
    }
    Ok(text)
}

fn start_sekisho(
    program: &Path,
    provider: &FakeIdentityProvider,
    folder: &Path,
    (name, store): (&'static str, &str),
) -> Result<Signer> {
    let more = format!(
        "store = \"{store}\"\n{RAISED_LIMITS}\n[identity]\nprovider = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret = \"{CLIENT_SECRET}\"\n",
        provider.issuer()
    );
    let address = target::write_settings(folder, &more)?;
    let server = Server::start(program, &["serve"], address, folder)?;
    Ok(Signer { name, server, people: AtomicU64::new(0) })
}

fn start_minimal(program: &Path, provider: &FakeIdentityProvider, folder: &Path) -> Result<Signer> {
    std::fs::create_dir_all(folder)?;
    let address = server::free_address()?;
    let listen = address.to_string();
    let options = [
        ["--listen", &listen],
        ["--provider", provider.issuer()],
        ["--client-id", CLIENT_ID],
        ["--client-secret", CLIENT_SECRET],
    ];
    let server = Server::start(program, options.as_flattened(), address, folder)?;
    Ok(Signer { name: "minimal, in memory", server, people: AtomicU64::new(0) })
}

async fn take_turn(
    signer: &Signer,
    provider: &FakeIdentityProvider,
    step: Step,
    connections: usize,
    seconds: f64,
) -> Result<Turn> {
    let mut people = Vec::with_capacity(connections);
    for _ in 0..connections {
        let number = signer.people.fetch_add(1, Ordering::Relaxed);
        let mut person = Person::arrive(signer.server.address, provider, number).await?;
        if step == Step::Refresh {
            person.sign_in().await?;
        }
        people.push(person);
    }
    let awake = tokio::spawn(load::stay_awake());
    let before = Used::now(signer.server.pid())?;
    let counted = Duration::from_secs_f64(seconds);
    let (began_at, mut work) = (Instant::now(), JoinSet::new());
    for mut person in people {
        work.spawn(async move {
            let mut latencies = Vec::new();
            while began_at.elapsed() < counted {
                let asked_at = Instant::now();
                match step {
                    Step::SignIn => person.sign_in().await?,
                    Step::Refresh => person.refresh().await?,
                }
                latencies.push(asked_at.elapsed());
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = work.join_next().await {
        latencies.extend(done??);
    }
    let took = began_at.elapsed().as_secs_f64();
    awake.abort();
    let used = Used::now(signer.server.pid())?.since(&before);
    latencies.sort_unstable();
    let quantile = |thousandth: usize| {
        latencies.get(latencies.len() * thousandth / 1000).copied().unwrap_or_default()
    };
    let count = u32::try_from(latencies.len())?.max(1);
    Ok(Turn {
        per_second: f64::from(count) / took,
        p50: quantile(500),
        p99: quantile(990),
        cost: used.by_server / count,
        server_share: used.server_share(),
        load_share: used.load_share(),
    })
}

/// A person with a browser and a client, at one server.
struct Person {
    server: Connection,
    provider: Connection,
    issuer: String,
    provider_host: String,
    name: String,
    refresh_token: String,
    client_id: String,
    challenge: String,
}

impl Person {
    async fn arrive(
        address: SocketAddr,
        provider: &FakeIdentityProvider,
        number: u64,
    ) -> Result<Self> {
        let provider_host = provider.issuer().trim_start_matches("http://");
        let provider_host = provider_host.split('/').next().unwrap_or_default().to_owned();
        Ok(Self {
            server: Connection::open(address).await?,
            provider: Connection::open(provider_host.parse()?).await?,
            issuer: format!("http://localhost:{}", address.port()),
            provider_host,
            name: format!("person-{}", number % PEOPLE),
            refresh_token: String::new(),
            client_id: String::new(),
            challenge: URL_SAFE_NO_PAD.encode(Sha256::digest(CODE_VERIFIER)),
        })
    }

    async fn sign_in(&mut self) -> Result<()> {
        let metadata = format!(
            r#"{{"client_name":"benchmark","redirect_uris":["{REDIRECT_URI}"],"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"],"response_types":["code"]}}"#
        );
        let json = [("Content-Type", "application/json")];
        let registered = self.ask("POST", "/register", &json, &metadata, 201).await?;
        let registered: Value = serde_json::from_str(&registered.body)?;
        self.client_id = member(&registered, "client_id")?;

        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("scope", "fortune")
            .append_pair("state", "benchmark")
            .append_pair("code_challenge", &self.challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", &format!("{}/mcp", self.issuer))
            .finish();
        let page = self.ask("GET", &format!("/authorize?{query}"), &[], "", 200).await?;
        let mut cookies = cookies(&page.head);
        let consent = field(&page.body, "consent").ok_or("no form")?;

        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("consent", consent)
            .append_pair("decision", "approve")
            .finish();
        let origin = self.issuer.clone();
        let cookie = cookies.join("; ");
        let headers = [FORM, ("Origin", &origin), ("Cookie", &cookie)];
        let sent = self.ask("POST", "/consent", &headers, &form, 303).await?;
        cookies.extend(self::cookies(&sent.head));

        let at_provider =
            location(&sent)?.replacen(&format!("http://{}", self.provider_host), "", 1);
        let cookie = format!("fake_idp_session={}", self.name);
        let host = self.provider_host.clone();
        let request = load::request("GET", &at_provider, &host, &[("Cookie", &cookie)], "");
        let back = self.provider.ask(&request).await?;

        let callback = location(&back)?.replacen(&self.issuer, "", 1);
        let cookie = cookies.join("; ");
        let done = self.ask("GET", &callback, &[("Cookie", &cookie)], "", 303).await?;
        let code = location(&done)?;
        let (_, query) = code.split_once('?').ok_or("no answer for the client")?;
        let mut answer = form_urlencoded::parse(query.as_bytes());
        let (_, code) = answer.find(|(name, _)| name == "code").ok_or("no code")?;

        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", &code)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("client_id", &self.client_id)
            .append_pair("code_verifier", CODE_VERIFIER)
            .finish();
        self.trade(&form).await
    }

    async fn refresh(&mut self) -> Result<()> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", &self.refresh_token)
            .append_pair("client_id", &self.client_id)
            .finish();
        self.trade(&form).await
    }

    async fn trade(&mut self, form: &str) -> Result<()> {
        let answer = self.ask("POST", "/token", &[FORM], form, 200).await?;
        let answer: Value = serde_json::from_str(&answer.body)?;
        member(&answer, "access_token")?;
        self.refresh_token = member(&answer, "refresh_token")?;
        Ok(())
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        status: u16,
    ) -> Result<Reply> {
        let host = self.issuer.trim_start_matches("http://");
        let request = load::request(method, path, host, headers, body);
        let reply = self.server.ask(&request).await?;
        if reply.status == status {
            return Ok(reply);
        }
        let path = path.split('?').next().unwrap_or_default();
        Err(format!("{method} {path}: {} instead of {status}: {}", reply.status, reply.body).into())
    }
}

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

fn member(object: &Value, name: &str) -> Result<String> {
    let member = object.get(name).and_then(Value::as_str);
    Ok(member.ok_or_else(|| format!("an answer has no {name}"))?.to_owned())
}

fn location(reply: &Reply) -> Result<&str> {
    load::header(&reply.head, "location").ok_or_else(|| "no redirect".into())
}

/// The cookies that an answer sets, as they go back.
fn cookies(head: &str) -> Vec<String> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"))
        .filter_map(|(_, value)| Some(value.split(';').next()?.to_owned()))
        .collect()
}

/// The value of an input.
fn field<'page>(page: &'page str, name: &str) -> Option<&'page str> {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\""))?;
    Some(rest.split_once('"')?.0)
}

fn begin_table(text: &mut String, step: Step) -> Result<()> {
    let title = match step {
        Step::SignIn => "Whole sign-ins",
        Step::Refresh => "Refreshes",
    };
    writeln!(text, "### {title}\n")?;
    writeln!(
        text,
        "| at once | server | a second | of minimal | p50 | p99 | processor time each | of minimal \
         | server on its core | driver and provider on theirs |"
    )?;
    writeln!(text, "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|")?;
    Ok(())
}

fn write_rows(
    text: &mut String,
    connections: usize,
    signers: &[Signer],
    turns: &[Vec<Turn>],
) -> Result<()> {
    let minimal = turns.last().map(Vec::as_slice).unwrap_or_default();
    for (signer, turns) in signers.iter().zip(turns) {
        let of = |figure: fn(&Turn) -> f64| Spread::of(turns.iter().map(figure));
        let of_minimal = |figure: fn(&Turn) -> f64| {
            Spread::of(turns.iter().zip(minimal).map(|(own, least)| figure(own) / figure(least)))
        };
        writeln!(
            text,
            "| {connections} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            signer.name,
            of(|turn| turn.per_second).show(0, ""),
            of_minimal(|turn| turn.per_second).show(2, ""),
            of(|turn| micros(turn.p50)).show(0, " µs"),
            of(|turn| micros(turn.p99)).show(0, " µs"),
            of(|turn| micros(turn.cost)).show(0, " µs"),
            of_minimal(|turn| micros(turn.cost)).show(2, ""),
            of(|turn| turn.server_share).show_percent(),
            of(|turn| turn.load_share).show_percent(),
        )?;
    }
    Ok(())
}
