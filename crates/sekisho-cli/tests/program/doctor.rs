//! `sekisho doctor`: what is wrong has a line that says what to do, and what is right has none of those.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use sekisho::clock::SystemClock;
use serde_json::Value;
use testkit::identity_provider::{
    CLIENT_ID, CLIENT_SECRET, Endpoint, FakeIdentityProvider, Faults, Trouble,
};

use crate::harness::{Done, Folder, PROGRAM, Server, free_port};
use crate::proxy::{Proxy, Wrong};
use crate::remote::unguarded;

/// The lines that say what is wrong.
fn problems(done: &Done) -> Vec<&str> {
    done.out.lines().filter(|line| line.starts_with("problem ")).collect()
}

/// A server behind a proxy that does one thing wrong.
async fn behind(folder: &Folder, wrong: Wrong) -> (Server, Proxy) {
    let port = free_port();
    let proxy = Proxy::start(port, wrong).await;
    let settings = format!("public_url = \"http://localhost:{}\"\n", proxy.port);
    (folder.serve_at(port, &settings).await, proxy)
}

#[tokio::test]
async fn a_healthy_server_has_no_problem() {
    let folder = Folder::new();
    let (_server, _proxy) = behind(&folder, Wrong::Nothing).await;
    let before = std::fs::read_dir(folder.path()).unwrap().count();
    let done = folder.run(&["doctor"], "").await;
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert_eq!(problems(&done), Vec::<&str>::new());
    for expected in [
        "ok       key: ",
        "ok       store: ",
        "ok       public_url: ",
        "ok       metadata: all 6 documents are as the settings make them",
        "ok       server fortune: ",
        "ok       stream: 4 events came as they were sent",
        "ok       upstream of fortune: it answers and lists 1 tools",
    ] {
        assert!(done.out.contains(expected), "{expected}: {}", done.out);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), before, "nothing is made");

    let json = folder.run(&["doctor", "--json"], "").await;
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let lines: Vec<_> = done.out.lines().collect();
    assert_eq!(json["findings"].as_array().unwrap().len(), lines.len(), "{json}");
    assert!(["ok", "warning"].contains(&json["state"].as_str().unwrap()), "{json}");
}

#[tokio::test]
async fn what_a_proxy_does_wrong_has_a_line_with_the_rule_that_is_missing() {
    let rows = [
        (Wrong::HoldsStreamsBack, "problem  stream: ", "proxy_buffering off", "buffers"),
        (
            Wrong::CutsStreams,
            "problem  stream: it is cut after 1 of 4",
            "proxy_read_timeout",
            "cuts",
        ),
        (
            Wrong::HidesChallenge,
            "problem  server fortune: /mcp answers 401 without WWW-Authenticate",
            "no proxy_hide_header",
            "clients cannot find the login",
        ),
        (
            Wrong::RewritesHost,
            "problem  server fortune: /mcp is refused (421)",
            "proxy_set_header Host $host",
            "our name is lost",
        ),
        (
            Wrong::DropsSuffixedPaths,
            "problem  metadata: /.well-known/oauth-authorization-server/mcp, ",
            "nginx: location /.well-known/ { proxy_pass http://127.0.0.1:",
            "half of the places",
        ),
        (
            Wrong::DropsAuthorization,
            "problem  server fortune: /mcp never sees the Authorization header",
            "have the proxy pass Authorization on",
            "tokens do not arrive",
        ),
        (
            Wrong::AddsCors,
            "problem  metadata: /.well-known/oauth-authorization-server, ",
            "take CORS headers out of the proxy's settings",
            "doubled headers",
        ),
        (
            Wrong::DropsCors,
            "so that pages cannot read it",
            "have the proxy pass our CORS headers on",
            "pages cannot read",
        ),
        (
            Wrong::AnswersPreflights,
            "problem  server fortune: /mcp does not answer the preflight of a page",
            "have the proxy pass OPTIONS",
            "pages cannot ask",
        ),
        (
            Wrong::Forbids,
            "problem  server fortune: /mcp answers 403 to a call without a token: a firewall",
            "let POST and GET with JSON bodies pass",
            "a firewall",
        ),
        (
            Wrong::IsAlone,
            "answers 502 Bad Gateway: its reverse proxy does not reach sekisho",
            "have the proxy pass on to http://127.0.0.1:",
            "nobody behind it",
        ),
    ];
    let rows = rows.into_iter().map(async |(wrong, what, fix, reason)| {
        let folder = Folder::new();
        let (_server, _proxy) = behind(&folder, wrong).await;
        let done = folder.run(&["doctor"], "").await;
        assert_eq!(done.code, Some(1), "{reason}: {}", done.out);
        let line = problems(&done).into_iter().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{reason}: {what}: {}", done.out));
        let (_, said) = line.split_once("; fix: ").expect(reason);
        assert!(said.contains(fix), "{reason}: {line}");
    });
    futures::future::join_all(rows).await;
}

#[tokio::test]
async fn a_proxy_that_nobody_trusts_is_told_of() {
    let folder = Folder::new();
    let (_server, _proxy) = behind(&folder, Wrong::IsNotTrusted).await;
    let done = folder.run(&["doctor"], "").await;
    assert_eq!(done.code, Some(0), "{}", done.out);
    let line = done.out.lines().find(|line| line.starts_with("warning  stream: X-Forwarded-For"));
    assert!(line.unwrap().contains("; fix: name the address of the proxy in trusted_proxies"));
}

#[tokio::test]
async fn a_server_with_other_settings_is_found_out() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let other = folder.write(
        "other.toml",
        &format!(
            "listen = \"127.0.0.1:{}\"\n[authorization]\nregistration = \"off\"\n",
            server.port
        ),
    );
    let done = folder.run(&["doctor", "--config", other.to_str().unwrap()], "").await;
    assert_eq!(done.code, Some(1), "{}", done.out);
    let expected = "registration_endpoint is too much; fix: restart the server with these settings";
    assert!(done.out.contains(expected), "{}", done.out);
}

#[tokio::test]
async fn without_a_server_the_rest_is_examined() {
    let folder = Folder::new();
    folder.write("sekisho.toml", &format!("listen = \"127.0.0.1:{}\"\n", free_port()));
    let done = folder.run(&["doctor"], "").await;
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    assert!(done.out.contains("and no server listens at "), "{}", done.out);
    assert!(done.out.contains("; fix: start `sekisho serve` and ask again"), "{}", done.out);
    assert!(done.out.contains("sekisho.db\" is not there yet"), "{}", done.out);
    assert!(done.out.contains("sekisho.key\" is not there yet"), "{}", done.out);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "neither key nor store is made");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_one_line_and_code_2() {
    let folder = Folder::new();
    folder.write("sekisho.toml", "public_url = \"http://mcp.example\"\n");
    let done = folder.run(&["doctor"], "").await;
    assert_eq!((done.code, done.out.lines().count()), (Some(2), 1), "{}", done.out);
    assert!(
        done.out.starts_with("problem  settings: sekisho.toml, line 1: public_url"),
        "{}",
        done.out
    );
    assert_eq!(done.err, "");
    let done = folder.run(&["doctor", "--json"], "").await;
    assert_eq!(done.code, Some(2));
    let json: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(json["findings"][0]["about"], "settings");
}

#[tokio::test]
async fn risky_settings_have_their_remedy() {
    let rows = [
        ("public_url = \"https://mcp.example\"", "trusted_proxies is empty", "[\"127.0.0.1\"]"),
        ("listen = \"0.0.0.0:PORT\"", "opens the port to others", "set listen to \"127.0.0.1:"),
        ("store = \"memory:\"", "forgets every client", "sqlite:sekisho.db"),
        (
            "store = \"sqlite:/tmp/sekisho-doctor/s.db\"",
            "emptied without asking",
            "folder of its own",
        ),
        (
            "[limits]\nconnections_max = 100\nconnections_per_address_max = 100",
            "lets one address take all 100",
            "a tenth of",
        ),
        ("[limits]\nconnections_max = 1000000", "files open", "LimitNOFILE="),
    ];
    for (settings, what, fix) in rows {
        let folder = Folder::new();
        let settings = settings.replace("PORT", &free_port().to_string());
        let settings = if settings.contains("listen") {
            settings
        } else {
            format!("listen = \"127.0.0.1:{}\"\n{settings}", free_port())
        };
        folder.write("sekisho.toml", &settings);
        let done = folder.run(&["doctor"], "").await;
        let line = done.out.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{settings}: {}", done.out));
        assert!(line.starts_with("warning  settings: "), "{line}");
        assert!(line.split_once("; fix: ").unwrap().1.contains(fix), "{line}");
    }
}

#[tokio::test]
async fn a_store_or_key_that_cannot_be_used_has_its_remedy_and_stays_as_it_is() {
    const OTHER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let folder = Folder::new();
    let mut server = folder.serve("").await;
    let port = server.port;
    server.kill().await;
    let (store, key) = (folder.path().join("sekisho.db"), folder.path().join("sekisho.key"));
    let right = std::fs::read_to_string(&key).unwrap();
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let examine = async |what: &str, fix: &str, code| {
        let done = folder.run(&["doctor"], "").await;
        assert_eq!(done.code, Some(code), "{what}: {}", done.out);
        let line = done.out.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{what}: {}", done.out));
        assert!(line.contains(fix), "{line}");
        assert!(!done.out.contains(right.trim()), "a key is shown");
    };

    std::fs::write(&key, OTHER).unwrap();
    examine("was sealed with a key that is not in key_file", "put that key back", 1).await;
    mode(&key, 0o640);
    examine("problem  key: ", "run chmod 600", 1).await;
    mode(&key, 0o600);
    std::fs::remove_file(&key).unwrap();
    examine("is missing, but ", "put the key back", 1).await;
    assert!(!key.exists(), "no other is made");
    std::fs::write(&key, &right).unwrap();
    mode(&key, 0o600);
    mode(&store, 0o644);
    examine("can be read by others (mode 0644)", "run chmod 600", 0).await;
    mode(&store, 0o600);

    sql(
        &store,
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)",
    );
    examine("warning  store: ", "keep a backup", 0).await;
    examine("has schema ", "brings it up to date", 0).await;
    sql(&store, "UPDATE _sqlx_migrations SET version = 9999 WHERE version = 1");
    examine("was written by a newer version", "run that version", 1).await;
    std::fs::write(&store, "no database at all, however long it is looked at").unwrap();
    examine("is not an SQLite database", "restore a backup", 1).await;
    folder.write(
        "sekisho.toml",
        &format!("listen = \"127.0.0.1:{port}\"\nstore = \"sqlite:no/where.db\"\n"),
    );
    examine("there is no folder", "make the folder", 1).await;
}

fn sql(path: &std::path::Path, statement: &str) {
    rusqlite::Connection::open(path).unwrap().execute(statement, []).unwrap();
}

/// Settings of an `OpenID` provider, without a server.
fn at_provider(folder: &Folder, issuer: &str, secret: &str) {
    folder.write(
        "sekisho.toml",
        &format!(
            "listen = \"127.0.0.1:{}\"\n[identity]\nprovider = \"oidc\"\nissuer = \"{issuer}\"\n\
             client_id = \"{CLIENT_ID}\"\nclient_secret = \"{secret}\"\n",
            free_port()
        ),
    );
}

#[tokio::test]
async fn what_is_wrong_at_the_provider_has_its_remedy() {
    type Row = (fn(&mut Faults), &'static str, &'static str, &'static str, &'static str);
    let rows: [Row; 10] = [
        (
            |_| {},
            "another secret",
            "problem  identity provider: it does not take our client_id and client_secret",
            "copy client_id and client_secret anew",
            "a wrong secret",
        ),
        (
            |it| it.knows_no_redirect_uri = true,
            CLIENT_SECRET,
            "problem  identity provider: it does not know our redirect URI http://localhost:",
            "/auth/callback for our client there (Keycloak: Valid redirect URIs)",
            "an unregistered redirect URI",
        ),
        (
            |it| it.authorize_error = Some("invalid_scope"),
            CLIENT_SECRET,
            "it refuses the scopes",
            "assign identity.scopes",
            "scopes that the client may not have",
        ),
        (
            |it| it.authorize_error = Some("unauthorized_client"),
            CLIENT_SECRET,
            "it refuses to begin a login (unauthorized_client)",
            "Keycloak: Standard flow",
            "no code flow",
        ),
        (
            |it| it.metadata("issuer", "https://other.example"),
            CLIENT_SECRET,
            "it is for issuer \"https://other.example\"",
            "set identity.issuer to what the provider calls itself",
            "another issuer",
        ),
        (
            |it| it.metadata("scopes_supported", vec!["openid", "email"]),
            CLIENT_SECRET,
            "warning  identity provider: it does not offer offline_access",
            "set identity.session to \"login-only\"",
            "no offline access",
        ),
        (
            |it| it.date = Some("Thu, 01 Jan 2026 00:00:00 GMT"),
            CLIENT_SECRET,
            "s behind ours: tokens will be refused",
            "set both machines by NTP",
            "a clock that is behind",
        ),
        (
            |it| it.trouble(Endpoint::Metadata, Trouble::Status(404)),
            CLIENT_SECRET,
            "answered 404",
            "set identity.issuer",
            "no such realm",
        ),
        (
            |it| it.trouble(Endpoint::Token, Trouble::Status(503)),
            CLIENT_SECRET,
            "the token endpoint answered 503",
            "look at the log of the provider",
            "an outage",
        ),
        (
            |it| it.trouble(Endpoint::Authorize, Trouble::Junk),
            CLIENT_SECRET,
            "warning  identity provider: whether it knows our redirect URI cannot be told",
            "log in once",
            "a page of its own",
        ),
    ];
    for (wrong, secret, what, fix, reason) in rows {
        let folder = Folder::new();
        let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
        fake.misbehave(wrong);
        at_provider(&folder, fake.issuer(), secret);
        let done = folder.run(&["doctor"], "").await;
        let line = done.out.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{reason}: {what}: {}", done.out));
        assert!(line.contains(fix), "{reason}: {line}");
        let code = i32::from(!line.starts_with("warning"));
        assert_eq!(done.code, Some(code), "{reason}: {}", done.out);
        assert!(!done.out.contains(secret) && !done.err.contains(secret), "{reason}: a secret");
        assert_eq!(fake.requests(Endpoint::Canary), 0, "{reason}");
    }
}

#[tokio::test]
async fn a_provider_that_is_right_or_gone_is_told_so() {
    let folder = Folder::new();
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    at_provider(&folder, fake.issuer(), CLIENT_SECRET);
    let done = folder.run(&["doctor"], "").await;
    assert_eq!(done.code, Some(0), "{}", done.out);
    for expected in [
        "ok       identity provider: it knows our client_id and client_secret",
        "ok       identity provider: it knows our redirect URI http://localhost:",
    ] {
        assert!(done.out.contains(expected), "{}", done.out);
    }
    let gone = format!("http://127.0.0.1:{}/realms/test", free_port());
    at_provider(&folder, &gone, CLIENT_SECRET);
    let done = folder.run(&["doctor"], "").await;
    assert_eq!(done.code, Some(1), "{}", done.out);
    assert!(done.out.contains(&format!("{gone} cannot be reached")), "{}", done.out);
}

/// What `token-exchange` needs of the provider.
#[tokio::test]
async fn a_provider_that_trades_no_tokens_is_told_so() {
    const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
    type Row = (fn(&mut Faults), &'static str);
    let rows: [Row; 5] = [
        (|_| {}, "ok       identity provider: it trades tokens for our client"),
        (
            |it| it.metadata("grant_types_supported", vec!["authorization_code", GRANT]),
            "ok       identity provider: it trades tokens for our client",
        ),
        (
            |it| it.metadata("grant_types_supported", vec!["authorization_code"]),
            "problem  identity provider: it trades no tokens; fix: let our client trade tokens there",
        ),
        (
            |it| it.token_error = Some((400, "unsupported_grant_type")),
            "problem  identity provider: it does not trade tokens (unsupported_grant_type)",
        ),
        (
            |it| it.trouble(Endpoint::Token, Trouble::Junk),
            "warning  identity provider: whether it trades tokens cannot be told: it answers 200",
        ),
    ];
    for (wrong, expected) in rows {
        let folder = Folder::new();
        let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
        fake.misbehave(wrong);
        at_provider(&folder, fake.issuer(), CLIENT_SECRET);
        let settings = std::fs::read_to_string(folder.path().join("sekisho.toml")).unwrap();
        let silent = folder.run(&["doctor"], "").await;
        assert!(!silent.out.contains("trade"), "nobody wants it: {}", silent.out);
        folder.write(
            "sekisho.toml",
            &format!(
                "{settings}\n[[server]]\nname = \"main\"\nupstream = {{ url = \"http://127.0.0.1:9/\", \
                 identity = {{ by = \"token-exchange\", audience = [\"tools\"] }} }}\n"
            ),
        );
        let done = folder.run(&["doctor"], "").await;
        assert!(done.out.contains(expected), "{expected}: {}", done.out);
        assert!(!done.out.contains(CLIENT_SECRET), "{}", done.out);
    }
}

/// Settings of another authorization server, without a server; gives the URL that tokens are for.
fn external(folder: &Folder, issuer: &str, more: &str) -> String {
    let port = free_port();
    folder.write(
        "sekisho.toml",
        &format!(
            "listen = \"127.0.0.1:{port}\"\n[authorization]\nmode = \"external\"\n\
             issuer = \"{issuer}\"\n{more}"
        ),
    );
    format!("http://localhost:{port}/mcp")
}

#[tokio::test]
async fn what_a_token_of_another_server_lacks_has_a_name() {
    const HERE: &str = "";
    type Row = (fn(&mut Faults), &'static str, &'static str, &'static str, &'static str);
    let rows: [Row; 7] = [
        (
            |_| {},
            "http://elsewhere.example/mcp",
            "does not name http://localhost:",
            "an audience mapper",
            "aud",
        ),
        (
            |it| it.claim("scope", "openid email"),
            HERE,
            "scope lacks fortune",
            "a client scope",
            "scope",
        ),
        (
            |it| it.claim("iss", "https://other.example"),
            HERE,
            "iss is \"https://other.example\"",
            "authorization.issuer",
            "iss",
        ),
        (
            |it| it.claim("exp", 1_000),
            HERE,
            "exp is 1970-01-01T00:16:40Z",
            "ask for a new token",
            "exp",
        ),
        (
            |it| it.claim("azp", Value::Null),
            HERE,
            "names the client",
            "put azp into access tokens",
            "client",
        ),
        (
            |it| it.claim("typ", "ID"),
            HERE,
            "it is no access token (typ \"ID\")",
            "not its id_token",
            "an ID token",
        ),
        (
            |it| it.signing = testkit::identity_provider::Signing::OtherSignature,
            HERE,
            "the token's signature is wrong",
            "a new access token",
            "signature",
        ),
    ];
    for (wrong, audience, what, fix, reason) in rows {
        let folder = Folder::new();
        let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
        let here = external(&folder, fake.issuer(), "");
        fake.misbehave(wrong);
        let audience = if audience == HERE { here.as_str() } else { audience };
        let token = fake.access_token("alice", audience);
        let done = folder.run(&["doctor", "--token", "-"], &token).await;
        assert_eq!(done.code, Some(1), "{reason}: {}", done.out);
        let line = problems(&done).into_iter().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{reason}: {what}: {}", done.out));
        assert!(line.starts_with("problem  token at fortune: "), "{line}");
        assert!(line.contains(fix), "{reason}: {line}");
        let signature = token.rsplit('.').next().unwrap();
        assert!(
            !done.out.contains(signature) && !done.err.contains(signature),
            "{reason}: the token"
        );
    }
}

#[tokio::test]
async fn a_token_that_opens_the_door_and_the_server_behind_it_are_told_so() {
    let folder = Folder::new();
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let here = external(&folder, fake.issuer(), "");
    let token = folder.write("token", &fake.access_token("alice", &here));
    let done = folder.run(&["doctor", "--token", token.to_str().unwrap()], "").await;
    assert_eq!(done.code, Some(0), "{}", done.out);
    assert!(
        done.out.contains("ok       token at fortune: it opens the door for client \"mcp\""),
        "{}",
        done.out
    );
    assert!(done.out.contains("is there, and publishes keys"), "{}", done.out);

    fake.misbehave(|it| it.trouble(Endpoint::Keys, Trouble::Status(500)));
    let done = folder.run(&["doctor"], "").await;
    assert_eq!(done.code, Some(1), "{}", done.out);
    assert!(done.out.contains("the key set answered 500"), "{}", done.out);
}

#[tokio::test]
async fn credentials_for_introspection_are_tried() {
    let settings = |secret: &str| {
        format!(
            "verify = \"introspection\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{secret}\"\n"
        )
    };
    for (secret, code, expected) in [
        (CLIENT_SECRET, 0, "and answers our client about tokens"),
        ("another secret", 1, "copy authorization.client_id and client_secret anew"),
    ] {
        let folder = Folder::new();
        let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
        external(&folder, fake.issuer(), &settings(secret));
        let done = folder.run(&["doctor"], "").await;
        assert_eq!(done.code, Some(code), "{}", done.out);
        assert!(done.out.contains(expected), "{}", done.out);
        assert!(!done.out.contains(secret), "{}", done.out);
    }
}

#[tokio::test]
async fn our_own_tokens_have_nothing_to_decode() {
    let folder = Folder::new();
    folder.write("sekisho.toml", &format!("listen = \"127.0.0.1:{}\"\n", free_port()));
    let done = folder.run(&["doctor", "--token", "-"], "mcp_00112233\n").await;
    assert_eq!(done.code, Some(1), "{}", done.out);
    assert!(
        done.out.contains("there is nothing to decode; fix: leave --token out"),
        "{}",
        done.out
    );
    let done = folder.run(&["doctor", "--token", "no/such/file"], "").await;
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""));
    assert!(done.err.contains("name a readable file"), "{}", done.err);
}

#[tokio::test]
async fn an_upstream_that_cannot_be_used_has_its_remedy() {
    const TOOLS: &str = "while read -r line; do \
        id=$(printf '%s' \"$line\" | sed -n 's/.*\"id\":\\([^,}]*\\).*/\\1/p'); \
        case \"$line\" in \
        *initialize\\\"*) printf '{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"protocolVersion\":\
            \"2025-11-25\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"t\",\
            \"version\":\"1\"}}}\\n' \"$id\";; \
        *tools/list*) printf '{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"tools\":[\
            {\"name\":\"good\"},{\"name\":\"not good\"}]}}\\n' \"$id\";; \
        esac; done";
    let command = |words: &[&str]| format!("command = {words:?}");
    let rows = [
        (
            command(&["no-such-program-anywhere"]),
            1,
            "problem  upstream of tools: the server behind this one ended before it answered",
            "run what upstream.command says",
        ),
        (
            command(&["sh", "-c", "exit 3"]),
            1,
            "problem  upstream of tools: ",
            "read what it says on standard error",
        ),
        (
            command(&["sh", "-c", TOOLS]),
            0,
            "some clients refuse these names of tools: \"not good\"",
            "at most 64 letters",
        ),
        (
            format!("url = \"http://127.0.0.1:{}/mcp\"", free_port()),
            1,
            "problem  upstream of tools: the server behind this one cannot be reached",
            "start what should answer at upstream.url",
        ),
    ];
    for (upstream, code, what, fix) in rows {
        let folder = Folder::new();
        folder.write(
            "sekisho.toml",
            &format!(
                "listen = \"127.0.0.1:{}\"\n[[server]]\nname = \"tools\"\nupstream = {{ {upstream} }}\n",
                free_port()
            ),
        );
        let done = folder.run(&["doctor"], "").await;
        let line = done.out.lines().find(|line| line.contains(what));
        let line = line.unwrap_or_else(|| panic!("{upstream}: {}{}", done.out, done.err));
        assert!(line.contains(fix), "{line}");
        assert_eq!(done.code, Some(code), "{}", done.out);
    }
    let folder = Folder::new();
    folder.write("guarded.toml", "");
    folder.write(
        "sekisho.toml",
        &format!(
            "listen = \"127.0.0.1:{}\"\n[[server]]\nname = \"tools\"\nupstream = {{ command = \
             [{PROGRAM:?}, \"stdio\", \"--config\", \"guarded.toml\"] }}\n",
            free_port()
        ),
    );
    let done = folder.run(&["doctor"], "").await;
    assert!(
        done.out.contains("ok       upstream of tools: it answers and lists 1 tools"),
        "{}",
        done.out
    );
}

#[tokio::test]
async fn a_server_at_a_url_lists_its_tools() {
    for path in ["/mcp", "/sse"] {
        let (url, _) = unguarded().await;
        let folder = Folder::new();
        folder.write(
            "sekisho.toml",
            &format!(
                "listen = \"127.0.0.1:{}\"\n[[server]]\nname = \"far\"\nupstream = {{ url = \"{url}{path}\" }}\n",
                free_port()
            ),
        );
        let done = folder.run(&["doctor"], "").await;
        assert_eq!(done.code, Some(0), "{path}: {}{}", done.out, done.err);
        let expected = "ok       upstream of far: it answers and lists 1 tools";
        assert!(done.out.contains(expected), "{path}: {}", done.out);
    }
}
