//! `upstream.identity` in the program as it is: servers of every kind hear who calls, and none of them
//! gets to see anything that is its client's.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sekisho::clock::SystemClock;
use serde_json::{Value, json};
use testkit::identity_provider::{CLIENT_ID, CLIENT_SECRET, FakeIdentityProvider, subject_of};
use testkit::world::{VERIFIER, authorize_url, public_client, redeem, tokens};
use testkit::{Browser, McpClient, SseClient, Tokens};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Folder, PROGRAM, Server, free_port};
use crate::person::{REDIRECT_URI, app};
use crate::remote::unguarded;

/// Every byte that a server at a URL got, over however many connections.
#[derive(Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Vec<u8>>>);

impl Record {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    /// Stands before `origin` and writes down what comes; gives its own origin.
    pub(crate) async fn before(&self, origin: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (record, origin) = (self.clone(), origin.strip_prefix("http://").unwrap().to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&origin).await.unwrap();
                tokio::spawn(record.clone().pass_on(client, server));
            }
        });
        format!("http://{address}")
    }

    async fn pass_on(self, client: TcpStream, server: TcpStream) {
        let (mut asking, mut answered) = client.into_split();
        let (mut answering, mut asked) = server.into_split();
        let back = tokio::io::copy(&mut answering, &mut answered);
        let forth = async {
            let mut bytes = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = asking.read(&mut bytes).await {
                self.0.lock().unwrap().extend_from_slice(&bytes[..count]);
                if asked.write_all(&bytes[..count]).await.is_err() {
                    break;
                }
            }
            drop(asked);
        };
        let _ = tokio::join!(back, forth);
    }
}

/// What a client and its browser have, that is nobody else's.
#[derive(Default)]
pub(crate) struct Belongings(pub(crate) Vec<(&'static str, String)>);

/// Alice logs in at the provider for one server.
pub(crate) async fn log_in(
    fake: &FakeIdentityProvider,
    server: &Server,
    name: &str,
    belongings: &mut Belongings,
) -> Tokens {
    let (app, mut browser) = (app(server), Browser::default());
    let client = public_client(&app, REDIRECT_URI).await;
    let resource = server.url(&format!("/{name}/mcp"));
    let page = browser.open(&app, &authorize_url(&client, &[("resource", &resource)])).await;
    let approved = browser.decide(&app, &page, "approve").await;
    let cookies = page.header("set-cookie").to_owned() + approved.header("set-cookie");
    let to_provider = approved.location().unwrap().to_owned();
    let callback = fake.log_in(&to_provider, "alice").await;
    let way = format!("{}?{}", callback.url.path(), callback.url.query().unwrap());
    let back = browser.open(&app, &way).await;
    let code = back.parameter("code").unwrap_or_else(|| panic!("no code: {back:?}"));
    let tokens = tokens(&redeem(&app, &client, &code, VERIFIER).await);
    for cookie in cookies.split(['=', ';']).filter(|part| part.len() >= 32) {
        belongings.0.push(("a cookie", cookie.to_owned()));
    }
    belongings.0.extend([
        ("an access token", tokens.access.clone()),
        ("a refresh token", tokens.refresh.clone()),
        ("a code", code),
        ("a verifier", VERIFIER.to_owned()),
        ("the provider's code", callback.code().reveal().to_owned()),
        ("our state at the provider", callback.parameter("state").unwrap()),
    ]);
    tokens
}

/// Calls as clients of every transport and era do.
async fn call(server: &Server, name: &str, token: &str) {
    let params = json!({ "name": "hello", "arguments": {} });
    let mut client = McpClient::new(server.url(&format!("/{name}/mcp"))).with_token(token);
    client.set_header("x-forwarded-user", "forged");
    client.set_header("cookie", "session=forged");
    client.begin("2025-11-25").await;
    let told = client.call_tool("hello", json!({})).await.tool_text();
    assert_eq!(told, "from behind", "{name}");
    client.end().await;
    let mut client = SseClient::open(&server.url(&format!("/{name}/sse")), Some(token)).await;
    client.initialize("2024-11-05").await;
    let told = client.request("tools/call", params.clone()).await.to_string();
    assert!(told.contains("from behind"), "{name}: {told}");
    let mut client = McpClient::new(server.url(&format!("/{name}/mcp"))).with_token(token);
    client.set_header("x-forwarded-user", "forged");
    let told = client.stateless("tools/call", params).await.tool_text();
    assert_eq!(told, "from behind", "{name}");
}

/// The bearer tokens in what a server got, each once.
fn bearers(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("authorization: Bearer "));
    let mut bearers: Vec<_> = lines.map(|token| token.trim().to_owned()).collect();
    bearers.sort();
    bearers.dedup();
    bearers
}

/// Settings with somebody who logs people in.
pub(crate) fn identity_at(fake: &FakeIdentityProvider) -> String {
    format!(
        "[identity]\nprovider = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\n\
         client_secret = '{CLIENT_SECRET}'\n",
        fake.issuer()
    )
}

/// Case 57 and G1, byte for byte.
#[tokio::test]
async fn no_byte_that_a_server_gets_is_its_clients_however_it_hears_who_calls() {
    const WAYS: [(&str, &str); 8] = [
        ("nothing", ""),
        ("headers", ", identity = { by = \"headers\" }"),
        ("jwt", ", identity = { by = \"jwt\" }"),
        ("sse-jwt", ", identity = { by = \"jwt\", header = \"X-Caller\" }"),
        ("provider", ", identity = { by = \"provider-token\" }"),
        ("sse-provider", ", identity = { by = \"provider-token\" }"),
        ("exchange", ", identity = { by = \"token-exchange\", audience = [\"tools\"] }"),
        ("static", ", headers = { Authorization = \"Bearer operators\" }"),
    ];
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let folder = Folder::new();
    let mut settings = vec![identity_at(&fake)];
    let mut records = Vec::new();
    for (name, identity) in WAYS {
        let record = Record::default();
        let origin = record.before(&unguarded().await.0).await;
        let path = if name.starts_with("sse-") { "sse" } else { "mcp" };
        settings.push(format!(
            "[[server]]\nname = \"{name}\"\nupstream = {{ url = \"{origin}/{path}\"{identity} }}\n"
        ));
        records.push((name, origin, record));
    }
    folder.write("guarded.toml", "");
    let script = format!("env > seen; tee heard | {PROGRAM} stdio --config guarded.toml");
    settings.push(format!(
        "[[server]]\nname = \"command\"\n[server.upstream]\ncommand = [\"sh\", \"-c\", {script:?}]\n\
         identity = {{ by = \"environment\" }}\n"
    ));
    let server = folder.serve(&settings.concat()).await;
    let mut belongings = Belongings::default();
    for (name, _, _) in &records {
        let tokens = log_in(&fake, &server, name, &mut belongings).await;
        call(&server, name, &tokens.access).await;
    }
    let tokens = log_in(&fake, &server, "command", &mut belongings).await;
    let mut client = McpClient::new(server.url("/command/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    assert!(client.call_tool("fortune", json!({})).await.tool_text().contains("今日の運勢は"));

    let mut got: Vec<_> = records.iter().map(|(name, _, record)| (*name, record.text())).collect();
    for file in ["seen", "heard"] {
        got.push(("command", std::fs::read_to_string(folder.path().join(file)).unwrap()));
    }
    assert!(belongings.0.len() > 9 * 6, "also the cookies: {}", belongings.0.len());
    for (name, text) in &got {
        assert!(text.len() > 100, "{name} got something: {text}");
        for (what, secret) in &belongings.0 {
            assert!(!text.contains(secret), "{name} got {what}: {text}");
        }
        for (what, of) in [
            ("provider-refresh-", "the provider's refresh token"),
            ("fake secret", "our secret at the provider"),
            ("mcp_", "some token of a client's"),
            ("mcpr_", "some refresh token"),
            ("forged", "what the client said of itself"),
        ] {
            assert!(!text.contains(what), "{name} got {of}: {text}");
        }
        let may_have_access = name.ends_with("provider");
        assert_eq!(text.contains("provider-access-"), may_have_access, "{name}: {text}");
    }
    let text = |wanted: &str| &got.iter().find(|(name, _)| *name == wanted).unwrap().1;
    assert_eq!(bearers(text("nothing")), Vec::<String>::new());
    assert_eq!(bearers(text("static")), ["operators"]);
    assert_eq!(bearers(text("exchange")), ["exchanged/tools/"]);
    let subject = subject_of("alice");
    assert!(text("headers").contains(&format!("x-forwarded-user: {subject}")));
    assert!(text("command").contains(&format!("MCP_USER_SUBJECT={subject}")));
    let keys: Value = reqwest::get(server.url("/jwks.json")).await.unwrap().json().await.unwrap();
    let [token] = &bearers(text("jwt"))[..] else { panic!("one token, kept: {}", text("jwt")) };
    let (_, origin, _) = records.iter().find(|(name, ..)| *name == "jwt").unwrap();
    let claims = testkit::verified(token, &keys, &server.url(""), &format!("{origin}/mcp"));
    assert_eq!(claims["sub"], subject);
    assert_eq!(claims["idp"], fake.issuer());
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    for secret in ["provider-access-", "exchanged/", token.as_str()] {
        assert!(!log.contains(secret), "{secret} in the log: {log}");
    }
}

/// A key is rotated beside a running server, and what was signed before is verified after.
#[tokio::test]
async fn a_rotated_key_breaks_no_verification() {
    let record = Record::default();
    let origin = record.before(&unguarded().await.0).await;
    let folder = Folder::new();
    let server = folder
        .serve(&format!(
            "[[server]]\nname = \"main\"\npath = \"/\"\n\
             upstream = {{ url = \"{origin}/mcp\", identity = {{ by = \"jwt\" }} }}\n"
        ))
        .await;
    let password = server.password().unwrap();
    let mut all = Vec::new();
    for round in 0..2 {
        // Another token of the client's, for which another one is signed.
        let tokens = crate::person::log_in(&server, "demo", &password).await;
        let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
        client.begin("2025-11-25").await;
        client.call_tool("hello", json!({})).await.tool_text();
        all = bearers(&record.text());
        if round == 0 {
            let done = folder.run(&["key", "rotate"], "").await;
            assert_eq!(done.code, Some(0), "{}", done.err);
        }
    }
    assert_eq!(all.len(), 2, "one before, one after");
    let keys: Value = reqwest::get(server.url("/jwks.json")).await.unwrap().json().await.unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    for token in &all {
        testkit::verified(token, &keys, &server.url(""), &format!("{origin}/mcp"));
    }
}

/// A sekisho behind a sekisho takes the word of the one in front, and of nobody else.
#[tokio::test]
async fn another_checkpoint_lets_in_whom_the_first_one_has_signed_for() {
    let (inside, outside) = (free_port(), free_port());
    let inner = Folder::new();
    let guarding = inner
        .serve_at(
            inside,
            &format!(
                "[authorization]\nmode = \"external\"\nissuer = \"http://localhost:{outside}\"\n"
            ),
        )
        .await;
    let outer = Folder::new();
    let server = outer
        .serve_at(
            outside,
            &format!(
                "[[server]]\nname = \"main\"\npath = \"/\"\nscopes = [\"fortune\"]\n\
                 upstream = {{ url = \"{}\", identity = {{ by = \"jwt\" }} }}\n",
                guarding.url("/mcp")
            ),
        )
        .await;
    let tokens = crate::person::log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    let told = client.call_tool("fortune", json!({})).await.tool_text();
    assert!(told.starts_with("今日の運勢は: "), "{told}");
    let directly = McpClient::new(guarding.url("/mcp")).with_token(&tokens.access);
    assert_eq!({ directly }.begin("2025-11-25").await.status, 401, "not with the client's own");
}

#[tokio::test]
async fn keys_are_published_where_somebody_has_to_verify_and_nowhere_else() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    assert_eq!(reqwest::get(server.url("/jwks.json")).await.unwrap().status(), 404);
    let metadata = server.url("/.well-known/oauth-authorization-server");
    let metadata = reqwest::get(metadata).await.unwrap().text().await.unwrap();
    assert!(!metadata.contains("jwks_uri"), "{metadata}");
}

#[tokio::test]
async fn who_has_no_login_at_the_provider_hears_so() {
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let record = Record::default();
    let origin = record.before(&unguarded().await.0).await;
    let folder = Folder::new();
    let server = folder
        .serve(&format!(
            "{}[[client]]\nid = \"nightly\"\n\
             secret = \"a-long-secret-of-a-machine\"\ngrant_types = [\"client_credentials\"]\nscopes = [\"main\"]\n\
             [[server]]\nname = \"main\"\npath = \"/\"\n\
             upstream = {{ url = \"{origin}/mcp\", identity = {{ by = \"provider-token\" }} }}\n",
            identity_at(&fake)
        ))
        .await;
    let form = [("grant_type", "client_credentials")];
    let machine = testkit::RegisteredClient {
        id: "nightly".to_owned(),
        secret: Some("a-long-secret-of-a-machine".to_owned()),
        redirect_uri: String::new(),
    };
    let answer = testkit::world::post_as(&app(&server), &machine, "/token", &form).await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let mut client = McpClient::new(server.url("/mcp")).with_token(&token);
    let answer = client.stateless("tools/call", json!({ "name": "hello", "arguments": {} })).await;
    assert!(answer.text.contains("log in with a browser"), "{}", answer.text);
    assert_eq!(record.text(), "", "the server is not asked");
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains("no login at the identity provider stands behind"), "{log}");

    let done = tokio::time::timeout(Duration::from_secs(30), folder.run(&["stdio"], "")).await;
    let done = done.unwrap();
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("nobody is known to call"), "{}", done.err);
    let done = folder.run(&["doctor"], "").await;
    assert!(done.out.contains("upstream of main: it hears who calls"), "{}", done.out);
}
