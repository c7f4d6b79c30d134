//! Every way to write a setting wrong, with the sentence it must get; who wins where; and that no
//! secret is ever shown.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod identity;
mod introduction;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sekisho::authorization_server::{ConsentRule, Registration, Rotation, SessionRule};
use tempfile::TempDir;

use super::keys::{KEYS, Kind};
use super::*;

/// A folder with a settings file, an environment and flags.
struct Given {
    folder: TempDir,
    variables: Vec<(OsString, OsString)>,
    flags: Flags,
}

impl Given {
    fn file(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sekisho.toml");
        std::fs::write(&path, text).unwrap();
        let flags = Flags { config: Some(path), ..Flags::default() };
        Self { folder, variables: Vec::new(), flags }
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    fn beside(self, name: &str, text: &str) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    fn load(&self) -> Result<Config, ConfigError> {
        load(&self.flags, self.variables.clone().into_iter())
    }

    /// The sentence, with `FILE` for the settings file and `DIR` for its folder.
    fn refused(&self) -> String {
        let sentence = self.load().map(|_| ()).unwrap_err().to_string();
        let folder = self.folder.path().to_str().unwrap();
        sentence.replace(&format!("{folder}/sekisho.toml"), "FILE").replace(folder, "DIR")
    }
}

const OIDC: &str = "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\n\
    client_id = \"mcp\"\n";
const TWO: &str = "[[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\" }\n[[server]]\n\
    upstream = { builtin = \"fortune\" }\n";

/// The file of a store that is one.
fn file(store: &StoreLocation) -> Option<&Path> {
    match store {
        StoreLocation::Sqlite(path) => Some(path),
        StoreLocation::Memory | StoreLocation::Postgres(_) => None,
    }
}

/// What is written, the sentence it gets, and what is wrong with it.
type Row = (&'static str, &'static str, &'static str);

fn all_refused(rows: &[Row]) {
    for (text, expected, reason) in rows {
        let sentence = Given::file(text).refused();
        // What the parser of TOML says behind it is its own.
        let is_expected = if expected.ends_with("not valid TOML") {
            sentence.starts_with(expected)
        } else {
            sentence == *expected
        };
        assert!(is_expected, "{reason}: {text:?}\n  said {sentence}\n  not  {expected}");
        assert!(!sentence.contains('\n'), "one line: {sentence}");
    }
}

#[test]
fn what_is_not_toml_gets_one_sentence() {
    all_refused(&[
        ("listen = ", "FILE, line 1: not valid TOML", "no value"),
        ("\n\nlisten = \"a\"\nlisten = \"b\"", "FILE, line 4: not valid TOML", "twice"),
        ("[identity", "FILE, line 1: not valid TOML", "an open bracket"),
    ]);
}

#[test]
fn a_wrong_name_gets_one_sentence() {
    all_refused(&[
        (
            "lisen = \"x\"",
            "FILE, line 1: lisen: there is no such setting: did you mean listen?",
            "misspelt",
        ),
        (
            "[identity]\nisuer = \"x\"",
            "FILE, line 2: identity.isuer: there is no such setting: did you mean identity.issuer?",
            "misspelt in a table",
        ),
        (
            "[identity]\npublic_url = \"x\"",
            "FILE, line 2: identity.public_url: there is no such setting: did you mean public_url?",
            "below the wrong table",
        ),
        (
            "[colours]\nred = 1",
            "FILE, line 1: colours: there is no such setting: take it out",
            "nothing like it",
        ),
        (
            "identity = \"local\"",
            "FILE, line 1: identity: it is a table: write [identity] and its settings below",
            "a text for a table",
        ),
        (
            "public_url = \"https://a.example\"\n[tls.acme]\nfolder = \"x\"",
            "FILE, line 3: tls.acme.folder = \"x\": nobody is asked for a certificate: set tls.acme.directory",
            "ACME with nobody",
        ),
        (
            "public_url = \"https://a.example\"\n[tls]\ncert_file = \"c\"\nacme.directory = \"https://b.example\"",
            "FILE, line 3: tls.cert_file = \"c\": there would be two certificates: take it or tls.acme.directory out",
            "two certificates",
        ),
        (
            "public_url = \"https://a.example\"\ntls.acme.directory = \"letsencrypt\"",
            "FILE, line 2: tls.acme.directory = \"letsencrypt\": it is no https URL: write the directory of an authority, such as \"https://acme-v02.api.letsencrypt.org/directory\"",
            "no URL",
        ),
        (
            "public_url = \"https://192.0.2.1\"\ntls.acme.directory = \"https://b.example\"",
            "FILE, line 2: tls.acme.directory = \"https://b.example\": a certificate is for a name, and public_url has an address: give it one",
            "an address",
        ),
        (
            "public_url = \"https://a.example\"\ntls.acme = { directory = \"https://b.example\", contact = [\"ops\"] }",
            "FILE, line 2: tls.acme.contact = \"ops\": one of them is no e-mail address: write for example [\"ops@example.com\"]",
            "nobody's address",
        ),
        (
            "proxy_protocol = \"on\"",
            "FILE, line 1: proxy_protocol = \"on\": nobody is believed: name the proxy in trusted_proxies",
            "headers from nobody",
        ),
        (
            "proxy_protocol = \"v2\"\ntrusted_proxies = [\"10.0.0.1\"]",
            "FILE, line 1: proxy_protocol = \"v2\": it is not one of the choices: write \"on\" or \"chained\" or \"off\"",
            "both versions or none",
        ),
        (
            "[tls]\ncertfile = \"x\"",
            "FILE, line 2: tls.certfile: there is no such setting: did you mean tls.cert_file?",
            "nearly the name of one",
        ),
        (
            "[tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\"",
            "FILE, line 2: tls.cert_file = \"c.pem\": people then come by https: set public_url to the https URL they use, such as \"https://localhost\"",
            "TLS for nobody",
        ),
        (
            "public_url = \"https://mcp.example.com\"\n[tls]\ncert_file = \"c.pem\"",
            "FILE, line 3: tls.cert_file = \"c.pem\": a certificate and its key belong together: set tls.key_file too",
            "no key",
        ),
        (
            "public_url = \"https://mcp.example.com\"\n[tls]\nkey_file = \"k.pem\"",
            "FILE, line 3: tls.key_file = \"k.pem\": a certificate and its key belong together: set tls.cert_file too",
            "no certificate",
        ),
        (
            "public_url = \"https://mcp.example.com\"\n[tls]\ncert_file = \"\"\nkey_file = \"k.pem\"",
            "FILE, line 3: tls.cert_file = \"\": it names no file: write a path",
            "no name",
        ),
        (
            "[[rule]]\ntool = \"x\"",
            "FILE, line 2: tool: there is no such setting: did you mean tools?",
            "a setting of a rule",
        ),
    ]);
}

#[test]
fn a_wrong_kind_of_value_gets_one_sentence() {
    all_refused(&[
        (
            "listen = 8000",
            "FILE, line 1: listen: it must be text: write it in quotes",
            "a number for a text",
        ),
        (
            "allowed_origins = \"x\"",
            "FILE, line 1: allowed_origins: it must be a list of texts: write for example [\"one\", \"two\"]",
            "a text for a list",
        ),
        (
            "allowed_origins = [1]",
            "FILE, line 1: allowed_origins: it must be a list of texts: write for example [\"one\", \"two\"]",
            "numbers in a list",
        ),
        (
            "[limits]\nclients_max = \"5\"",
            "FILE, line 2: limits.clients_max: it must be a whole number: write digits without quotes",
            "a text for a number",
        ),
        (
            "[limits]\nclients_max = -5",
            "FILE, line 2: limits.clients_max: it is not a whole number from 0 on: write digits only",
            "negative",
        ),
        (
            "[limits]\nclients_max = 0",
            "FILE, line 2: limits.clients_max = \"0\": it is out of range: write from 1 to 1000000000",
            "none at all",
        ),
        (
            "[limits]\nlogins_per_minute = 0",
            "FILE, line 2: limits.logins_per_minute = \"0\": it is out of range: write from 1 to 1000000",
            "none at all",
        ),
    ]);
}

#[test]
fn a_wrong_address_gets_one_sentence() {
    all_refused(&[
        (
            "public_url = \"https://mcp.example.com/\"",
            "FILE, line 1: public_url = \"https://mcp.example.com/\": it ends with a slash: write \"https://mcp.example.com\"",
            "a slash",
        ),
        (
            "public_url = \"http://mcp.example.com\"",
            "FILE, line 1: public_url = \"http://mcp.example.com\": plain http is for loopback only: use https, with a reverse proxy that ends TLS in front",
            "plain http",
        ),
        (
            "public_url = \"\"",
            "FILE, line 1: public_url = \"\": it is not an http or https URL: write for example \"https://mcp.example.com\"",
            "empty",
        ),
        (
            "listen = \"8000\"",
            "FILE, line 1: listen = \"8000\": it is not an address and a port: write for example \"127.0.0.1:8000\", or \"0.0.0.0:8000\" for every network",
            "only a port",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "FILE, line 1: listen = \"127.0.0.1:0\": clients must know the port beforehand: name one, or set public_url",
            "any port",
        ),
        (
            "metrics_listen = \"127.0.0.1:8000\"",
            "FILE, line 1: metrics_listen = \"127.0.0.1:8000\": clients are served there: choose another port, that only you can reach",
            "where clients are",
        ),
        (
            "metrics_listen = \"9090\"",
            "FILE, line 1: metrics_listen = \"9090\": it is not an address and a port: write for example \"127.0.0.1:8000\", or \"0.0.0.0:8000\" for every network",
            "only a port",
        ),
        (
            "traces_endpoint = \"127.0.0.1:4318\"",
            "FILE, line 1: traces_endpoint = \"127.0.0.1:4318\": it is no URL of a collector: write for example \"http://127.0.0.1:4318\"",
            "no scheme",
        ),
        (
            "traces_endpoint = \"https://me:secret@collector.example\"",
            "FILE, line 1: traces_endpoint = \"***\": it is no URL of a collector: write for example \"http://127.0.0.1:4318\"",
            "a password in it",
        ),
        (
            "traces_percent = 101",
            "FILE, line 1: traces_percent = \"101\": it is out of range: write from 0 to 100",
            "more than all",
        ),
    ]);
}

#[test]
fn a_wrong_store_or_key_gets_one_sentence() {
    all_refused(&[
        (
            "store = \"postgres://u:hunter2@db/x?pasword=hunter2\"",
            "FILE, line 1: store = \"postgres://***\": it has a parameter \"pasword\", which is none of sslmode, sslrootcert, sslcert, sslkey, host, port, dbname, user, password: write \"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full\"",
            "a parameter that nobody reads",
        ),
        (
            "store = \"postgres:db\"",
            "FILE, line 1: store = \"postgres://***\": it names no database: write \"postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full\"",
            "no host and no database",
        ),
        (
            "store = \"sekisho.db\"",
            "FILE, line 1: store = \"sekisho.db\": it is no store: write \"sqlite:sekisho.db\", \"postgres://…\" or \"memory:\"",
            "no kind",
        ),
        (
            "store = \"sqlite:\"",
            "FILE, line 1: store = \"sqlite:\": it names no file: write \"sqlite:sekisho.db\", \"postgres://…\" or \"memory:\"",
            "no path",
        ),
        (
            "store = \"sqlite://a.db\"",
            "FILE, line 1: store = \"sqlite://a.db\": it is no URL: write \"sqlite:a.db\" or \"sqlite:/a.db\"",
            "a URL",
        ),
        (
            "store = \"sqlite::memory:\"",
            "FILE, line 1: store = \"sqlite::memory:\": write \"memory:\" for that",
            "SQLite's own word",
        ),
        (
            "store = \"sqlite:a.db?mode=ro\"",
            "FILE, line 1: store = \"sqlite:a.db?mode=ro\": it has parameters: only a path can follow \"sqlite:\"",
            "parameters",
        ),
        (
            "key_file = \"\"",
            "FILE, line 1: key_file = \"\": it names no file: write a path",
            "no path",
        ),
        (
            "durability = \"most\"",
            "FILE, line 1: durability = \"most\": it is not one of the choices: write \"normal\" or \"full\"",
            "no such choice",
        ),
    ]);
}

#[test]
fn a_wrong_caller_gets_one_sentence() {
    all_refused(&[
        (
            "allowed_origins = [\"*\"]",
            "FILE, line 1: allowed_origins = \"*\": it would let any page call: list the origins one by one",
            "everybody",
        ),
        (
            "allowed_origins = [\"https://a.example/\"]",
            "FILE, line 1: allowed_origins = \"https://a.example/\": it is not an origin: write for example \"https://app.example.com\", no path behind it",
            "a slash",
        ),
        (
            "allowed_hosts = [\"http://a\"]",
            "FILE, line 1: allowed_hosts = \"http://a\": it is not a host name with an optional port: write for example \"mcp.internal:8000\"",
            "a URL",
        ),
        (
            "trusted_proxies = [\"proxy\"]",
            "FILE, line 1: trusted_proxies = \"proxy\": \"proxy\" is no network: write for example \"10.0.0.0/8\"",
            "a name",
        ),
        (
            "trusted_proxies = [\"0.0.0.0/0\"]",
            "FILE, line 1: trusted_proxies = \"0.0.0.0/0\": \"0.0.0.0/0\" is everybody: list the proxies you run",
            "everybody",
        ),
    ]);
}

#[test]
fn a_wrong_log_gets_one_sentence() {
    all_refused(&[
        (
            "log = \"sekisho=loud\"",
            "FILE, line 1: log = \"sekisho=loud\": it is no filter: write for example \"info\" or \"sekisho=debug\"",
            "no level",
        ),
        (
            "log_format = \"xml\"",
            "FILE, line 1: log_format = \"xml\": it is not one of the choices: write \"pretty\" or \"json\"",
            "no such choice",
        ),
    ]);
}

#[test]
fn a_wrong_identity_provider_gets_one_sentence() {
    all_refused(&[
        (
            "[identity]\nprovider = \"ldap\"",
            "FILE, line 2: identity.provider = \"ldap\": there is no such provider: write \"local\" or one of \"oidc\", \"keycloak\", \"google\", \"entra\", \"auth0\", \"okta\", \"authentik\", \"dex\", \"github\"",
            "no such provider",
        ),
        (
            "[identity]\nsession = \"login-only\"",
            "FILE, line 2: identity.session = \"login-only\": the local provider does not use it: set identity.provider to \"oidc\"",
            "accounts of our own end what they granted by themselves",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nsession = \"sometimes\"",
            "FILE, line 5: identity.session = \"sometimes\": it is not one of the choices: write \"follow\" or \"login-only\"",
            "no such choice",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nrecheck = \"0\"",
            "FILE, line 5: identity.recheck = \"0\": it is out of range: write from \"1s\" to \"1d\"",
            "never to be done with asking",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nrecheck = \"2d\"",
            "FILE, line 5: identity.recheck = \"2d\": it is out of range: write from \"1s\" to \"1d\"",
            "a person disabled long ago",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nsession = \"login-only\"\nrecheck = \"5m\"",
            "FILE, line 6: identity.recheck = \"5m\": nobody is asked again: leave it out, or set identity.session to \"follow\"",
            "one of the two is not meant",
        ),
        (
            "[identity]\nclient_id = \"mcp\"",
            "FILE, line 2: identity.client_id = \"mcp\": the local provider does not use it: set identity.provider to \"oidc\"",
            "for another provider",
        ),
        (
            "[identity]\nprovider = \"oidc\"",
            "identity.issuer: provider \"oidc\" needs it: set it to the issuer of your provider's discovery document",
            "no issuer",
        ),
        (
            "[identity]\nprovider = \"keycloak\"\nissuer = \"https://sso.example\"",
            "identity.client_id: provider \"keycloak\" needs it: set it to the client you made at your provider",
            "no client",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"http://sso.example\"\nclient_id = \"mcp\"",
            "FILE, line 3: identity.issuer = \"http://sso.example\": plain http is for loopback only: use https",
            "plain http",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"sso.example\"\nclient_id = \"mcp\"",
            "FILE, line 3: identity.issuer = \"sso.example\": it is no issuer: write for example \"https://sso.example.com/realms/main\"",
            "no scheme",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://u:p@sso.example\"\nclient_id = \"mcp\"",
            "FILE, line 3: identity.issuer = \"***\": it has a user name or password: leave them out",
            "credentials",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nscopes = [\"email\"]",
            "FILE, line 5: identity.scopes = \"email\": without \"openid\" nobody is identified: add it",
            "no openid",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nscopes = [\"openid email\"]",
            "FILE, line 5: identity.scopes = \"openid email\": without \"openid\" nobody is identified: add it",
            "two in one",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nclient_secret = \"\"",
            "FILE, line 5: identity.client_secret: it is empty: write the secret or leave it out",
            "an empty secret",
        ),
        (
            "[identity]\nprovider = \"oidc\"\nissuer = \"https://sso.example\"\nclient_id = \"mcp\"\nclient_secret_file = \"nowhere\"",
            "FILE, line 5: identity.client_secret_file = \"nowhere\": cannot read it (No such file or directory (os error 2)): name a readable file",
            "no such file",
        ),
    ]);
}

#[test]
fn another_authorization_server_is_named_and_nothing_else() {
    const UNUSED: &str = "with authorization.mode = \"external\" no token is issued here, and nobody uses it: leave it out";
    let external = |more: &str| {
        format!(
            "[authorization]\nmode = \"external\"\nissuer = \"https://sso.example/realms/main\"\n{more}"
        )
    };
    let refused = |text: &str, expected: &str| {
        assert_eq!(Given::file(text).refused(), expected, "{text:?}");
    };
    refused(
        "[authorization]\nmode = \"external\"",
        "authorization.issuer: authorization.mode \"external\" needs it: set it to the issuer of the authorization server, as its metadata says it",
    );
    refused(
        "public_url = \"https://mcp.example\"\n[authorization]\nmode = \"external\"\nissuer = \"https://mcp.example/\"",
        "FILE, line 4: authorization.issuer = \"https://mcp.example/\": it is our own public_url: write that of the other authorization server, or set authorization.mode to \"delegated\"",
    );
    refused(
        "[authorization]\nmode = \"external\"\nissuer = \"http://sso.example\"",
        "FILE, line 3: authorization.issuer = \"http://sso.example\": plain http is for loopback only: use https",
    );
    for (more, key, value) in [
        ("code_ttl = \"1m\"", "authorization.code_ttl", " = \"1m\""),
        ("[identity]\nprovider = \"local\"", "identity.provider", " = \"local\""),
        ("[limits]\nlogins_per_minute = 1", "limits.logins_per_minute", " = \"1\""),
    ] {
        let line = if more.starts_with('[') { 5 } else { 4 };
        refused(&external(more), &format!("FILE, line {line}: {key}{value}: {UNUSED}"));
    }
    refused(
        &format!("store = \"memory:\"\n{}", external("")),
        &format!("FILE, line 1: store = \"memory:\": {UNUSED}"),
    );
    refused(
        &external("[[client]]\nid = \"app\""),
        "FILE, line 4: client: with authorization.mode = \"external\" clients are registered at the other authorization server: leave it out",
    );
    refused(
        &external("client_id = \"mcp\""),
        "FILE, line 4: authorization.client_id = \"mcp\": nobody is asked about tokens: leave it out, or set authorization.verify to \"introspection\"",
    );
    refused(
        &external("verify = \"introspection\"\nclient_id = \"mcp\""),
        "FILE, line 4: authorization.verify = \"introspection\": it needs authorization.client_id and client_secret_file, as whom to ask: set them to those of a confidential client at the authorization server",
    );
    refused(
        &external(
            "verify = \"introspection\"\nclient_id = \"mcp\"\nclient_secret = \"s\"\nintrospection_ttl = \"1h\"",
        ),
        "FILE, line 7: authorization.introspection_ttl = \"1h\": it is out of range: write from \"1s\" to \"10m\"",
    );
    let servers = "[[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\" }\n[[server]]\n\
                   name = \"b\"\nupstream = { builtin = \"fortune\" }\n";
    refused(
        &external(&format!("audience = [\"api\"]\n{servers}")),
        "FILE, line 4: authorization.audience = \"api\": there are several servers, and each would take the tokens of the others: leave it out, so that a token is for the URL of one",
    );

    let config = Given::file(&external("audience = [\"api\"]")).load().unwrap();
    let IdentityConfig::External(other) = config.identity else { unreachable!() };
    assert_eq!(other.issuer, "https://sso.example/realms/main");
    assert_eq!(other.audience, ["api"]);
    assert!(matches!(other.verification, Verification::Jwt));
    assert!(matches!(config.store, StoreLocation::Memory), "nothing is remembered");
    assert_eq!(config.key_file, KeyFile::Ephemeral, "and no key is made");
    let asking = "verify = \"introspection\"\nclient_id = \"mcp\"\nclient_secret_file = \"s\"";
    let config = Given::file(&external(asking)).beside("s", "secret\n").load().unwrap();
    let IdentityConfig::External(other) = config.identity else { unreachable!() };
    let Verification::Introspection { client, ttl } = other.verification else { unreachable!() };
    assert_eq!((client.id.as_str(), client.secret.reveal()), ("mcp", "secret"));
    assert_eq!(ttl, Duration::from_secs(30));
}

#[test]
fn a_wrong_right_gets_one_sentence() {
    let rule = |text: &str| format!("[[rule]]\nname = \"r\"\n{text}");
    let rows = [
        (
            "[[rule]]\nallow = \"true\"".to_owned(),
            "FILE, line 1: name: a [[rule]] needs a name: the log says by it which rule decided",
            "no name",
        ),
        (
            rule("tools = [\"a\"]"),
            "FILE, line 1: allow: a [[rule]] needs it, or deny, or scope: write for example allow = \"'staff' in user.groups\", or \"true\" for everybody who may come in",
            "it says nothing",
        ),
        (
            rule("allow = \"true\"\ndeny = \"true\""),
            "FILE, line 4: deny = \"true\": allow is set as well: write two rules, the denying one is asked first",
            "both",
        ),
        (
            rule("scope = \"x\"\ndeny = \"true\""),
            "FILE, line 3: scope = \"x\": a scope allows, and this rule denies: leave one of them out",
            "a scope that denies",
        ),
        (
            rule("scope = \"a\\\"b\""),
            "FILE, line 3: scope = \"a\\\"b\": it is no scope: write for example \"reports:run\"",
            "no scope",
        ),
        (
            rule("tools = []\nallow = \"true\""),
            "FILE, line 3: tools = \"\": it is empty: name some, or write [\"*\"] for all of them",
            "no tools",
        ),
        (
            rule("tools = [\"\"]\nallow = \"true\""),
            "FILE, line 3: tools = \"\": a pattern has from 1 to 4096 bytes: write a name, with * for any characters",
            "an empty name",
        ),
        (
            rule("server = \"reports\"\nallow = \"true\""),
            "FILE, line 3: server = \"reports\": there is no such [[server]]: write one of fortune",
            "no such server",
        ),
        (
            format!("{}\n{}", rule("allow = \"true\""), rule("deny = \"true\"")),
            "FILE, line 5: name = \"r\": another [[rule]] has it: choose another name",
            "two of one name",
        ),
        (
            rule("allow = \"'a' in user.grups\""),
            "FILE, line 3: allow = \"'a' in user.grups\": user has no \"grups\": it has claims, email, email_verified, groups, is_machine, issuer, name, subject",
            "a slip in a condition",
        ),
        (
            rule("deny = \"user.groups\""),
            "FILE, line 3: deny = \"user.groups\": it says neither yes nor no: compare it with something",
            "no condition",
        ),
        (
            "[identity]\nallow = \"tool == 'a'\"".to_owned(),
            "FILE, line 2: identity.allow = \"tool == 'a'\": there is no \"tool\" to ask about: there are user",
            "whoever logs in wants nothing yet",
        ),
        (
            format!("{EXTERNAL}[identity]\nallow = \"true\""),
            "FILE, line 5: identity.allow = \"true\": with authorization.mode = \"external\" no token is issued here, and nobody uses it: leave it out",
            "nobody logs in here",
        ),
    ];
    for (text, expected, reason) in rows {
        assert_eq!(Given::file(&text).refused(), expected, "{reason}");
    }
    let broken = Given::file(&rule("allow = \"user.email ==\"")).refused();
    assert!(
        broken
            .starts_with("FILE, line 3: allow = \"user.email ==\": it is no condition, at column"),
        "{broken}"
    );
}

const EXTERNAL: &str = "[authorization]\nmode = \"external\"\nissuer = \"https://sso.example\"\n";

#[test]
fn rules_belong_to_their_servers_and_say_what_is_kept_and_asked_for() {
    let config = Given::file(
        "[identity]\nallow = \"user.claims.tenant == 'a'\"\n\
         [[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\" }\n\
         [[server]]\nname = \"b\"\nupstream = { builtin = \"fortune\" }\n\
         [[rule]]\nname = \"all\"\ndeny = \"user.is_machine\"\n\
         [[rule]]\nname = \"one\"\nserver = \"b\"\ntools = [\"x_*\"]\n\
         allow = \"'staff' in user.groups\"\nscope = \"b:x b\"\n",
    );
    let config = config.load().unwrap();
    let names: Vec<Vec<String>> = config
        .servers
        .iter()
        .map(|server| server.rules.iter().flat_map(|rules| rules.iter()))
        .map(|rules| rules.map(|rule| rule.name.clone()).collect())
        .collect();
    assert_eq!(names, [vec!["all"], vec!["all", "one"]]);
    let more: Vec<_> =
        config.servers.iter().map(|server| server.resource.more_scopes.to_string()).collect();
    assert_eq!(more, ["", "b:x"], "the server's own scope is none beside it");
    let names = ["groups", "tenant"].map(str::to_owned);
    assert_eq!(config.claims, sekisho::principal::WantedClaims::new(names));
    let open = Given::file("").load().unwrap();
    assert!(open.servers.iter().all(|server| server.rules.is_none()) && open.claims.is_empty());
}

#[test]
fn a_wrong_rule_for_tokens_gets_one_sentence() {
    all_refused(&[
        (
            "[authorization]\nmode = \"none\"",
            "FILE, line 2: authorization.mode = \"none\": it is not one of the choices: write \"delegated\" or \"external\"",
            "no such mode",
        ),
        (
            "[authorization]\nissuer = \"https://sso.example\"",
            "FILE, line 2: authorization.issuer = \"https://sso.example\": tokens are issued here: leave it out, or set authorization.mode to \"external\"",
            "of the other mode",
        ),
        (
            "[authorization]\nregistration = \"closed\"",
            "FILE, line 2: authorization.registration = \"closed\": there is no such rule: write \"open\", \"token\" or \"off\"",
            "no such rule",
        ),
        (
            "[authorization]\nregistration = \"token\"",
            "FILE, line 2: authorization.registration = \"token\": it needs a token: set authorization.registration_token_file",
            "no token",
        ),
        (
            "[authorization]\nregistration_token = \"0123456789abcdef\"",
            "FILE, line 2: authorization.registration_token: nobody is asked for it: set authorization.registration to \"token\"",
            "a token nobody needs",
        ),
        (
            "[authorization]\nregistration = \"token\"\nregistration_token = \"short\"",
            "FILE, line 3: authorization.registration_token: it is too short to be secret: use at least 16 characters, for example from \"openssl rand -hex 32\"",
            "a token to be guessed",
        ),
        (
            "[authorization]\nconsent = \"never\"",
            "FILE, line 2: authorization.consent = \"never\": it is not one of the choices: write \"always\" or \"remember\"",
            "no such choice",
        ),
        (
            "[authorization]\ncode_ttl = \"5\"",
            "FILE, line 2: authorization.code_ttl = \"5\": it is not a length of time: write a number and s, m, h or d, for example \"90s\" or \"1h\"",
            "no unit",
        ),
        (
            "[authorization]\ncode_ttl = \"0\"",
            "FILE, line 2: authorization.code_ttl = \"0\": it is out of range: write from \"1s\" to \"10m\"",
            "no time at all",
        ),
        (
            "[authorization]\ncode_ttl = \"11m\"",
            "FILE, line 2: authorization.code_ttl = \"11m\": it is out of range: write from \"1s\" to \"10m\"",
            "RFC 6749 §4.1.2",
        ),
        (
            "[authorization]\naccess_token_ttl = \"31d\"",
            "FILE, line 2: authorization.access_token_ttl = \"31d\": it is out of range: write from \"1s\" to \"30d\"",
            "too long",
        ),
        (
            "[authorization]\nrefresh_grace = \"11m\"",
            "FILE, line 2: authorization.refresh_grace = \"11m\": it is out of range: write from \"1s\" to \"10m\"",
            "a thief would have all that time",
        ),
        (
            "[authorization]\nrotation = \"never\"",
            "FILE, line 2: authorization.rotation = \"never\": it is not one of the choices: write \"always\" or \"off\"",
            "no such word",
        ),
        (
            "[authorization]\nclient_secret_ttl = \"ever\"",
            "FILE, line 2: authorization.client_secret_ttl = \"ever\": it is not a length of time: write a number and s, m, h or d, for example \"90s\" or \"1h\"",
            "a word",
        ),
    ]);
}

#[test]
fn a_wrong_upstream_gets_one_sentence() {
    all_refused(&[
        (
            "[[server]]\nname = \"a\"",
            "FILE, line 1: upstream: a [[server]] needs it: write upstream = { builtin = \"fortune\" }, { command = [\"PROGRAM\", \"ARGUMENT\"] }, { url = \"https://…/mcp\" } or { servers = [\"NAME\", \"NAME\"] }",
            "nothing to guard",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { builtin = \"x\" }",
            "FILE, line 3: upstream.builtin = \"x\": it is not one of the choices: write \"fortune\"",
            "no such service",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [] }",
            "FILE, line 3: upstream.command = \"\": it names no program: write [\"PROGRAM\", \"ARGUMENT\"]",
            "no program",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [\"a\"], builtin = \"fortune\" }",
            "FILE, line 3: upstream.command = \"a\": upstream.builtin is set as well: keep one of them",
            "two things at once",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [\"a\"], per = \"day\" }",
            "FILE, line 3: upstream.per = \"day\": it is not one of the choices: write \"user\" or \"session\" or \"process\"",
            "no such sharing",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\", per = \"user\" }",
            "FILE, line 3: upstream.per = \"user\": only a command or a server at a URL has it: write one of them",
            "nothing to share",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [\"a\"], env = { \"A=B\" = \"secret\" } }",
            "FILE, line 3: upstream.env: \"A=B\" cannot be a variable: no '=' and no NUL character",
            "no name; its text is not shown",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [\"a\"], env = { A = 1 } }",
            "FILE, line 3: upstream.env: it must be a table of texts: write for example { NAME = \"text\" }",
            "no text",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"ftp://x\" }",
            "FILE, line 3: upstream.url = \"ftp://x\": it is no URL of a server: write for example \"https://mcp.example.com/mcp\"",
            "another scheme",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://u:p@x/\" }",
            "FILE, line 3: upstream.url = \"***\": it has a user name or password: leave them out, and write upstream.headers instead",
            "a password, which is not shown",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/#y\" }",
            "FILE, line 3: upstream.url = \"https://x/#y\": it has a fragment, which no server ever sees: leave out everything from # on",
            "a fragment",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", transport = \"sse\" }",
            "FILE, line 3: upstream.transport = \"sse\": it is not one of the choices: write \"streamable-http\" or \"http-sse\"",
            "no such transport",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", headers = { Host = \"secret\" } }",
            "FILE, line 3: upstream.headers: \"Host\" is set by the protocol itself: leave it out",
            "not the operator's to set",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", headers = { \"A B\" = \"secret\" } }",
            "FILE, line 3: upstream.headers: \"A B\" cannot be a header: letters, digits and dashes, and a value on one line",
            "no name; its text is not shown",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [\"a\"], headers = { A = \"secret\" } }",
            "FILE, line 3: upstream.headers: only a server at a URL has it: write upstream.url",
            "a command has no headers",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", env = { A = \"secret\" } }",
            "FILE, line 3: upstream.env: only a command has it: write upstream.command",
            "a server at a URL has no environment of ours",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", command = [\"a\"] }",
            "FILE, line 3: upstream.url = \"https://x/\": upstream.command is set as well: keep one of them",
            "which of the two?",
        ),
        (
            "upstream = \"https://x/\"\n[[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\" }",
            "FILE, line 1: upstream = \"https://x/\": a [[server]] is written as well: move it there, as upstream = { url = … }",
            "which of the two?",
        ),
    ]);
}

/// A server `a`, and one that is made of what `servers` says; `more` stands at its end.
fn made_of(servers: &str, more: &str) -> String {
    format!(
        "[[server]]\nname = \"a\"\nupstream = {{ builtin = \"fortune\" }}\n[[server]]\n\
         name = \"all\"\nupstream = {{ servers = {servers}{more} }}\n"
    )
}

#[test]
fn a_wrong_merged_server_gets_one_sentence() {
    let long = "a".repeat(25);
    let many: Vec<_> = (0..33).map(|number| format!("\"a{number}\"")).collect();
    let at = |servers: &str, problem: &str| {
        format!("FILE, line 6: upstream.servers = \"{servers}\": {problem}")
    };
    let rows = [
        (made_of("[]", ""), at("", "it names no server: name at least one"), "none"),
        (
            made_of("[\"a\", \"a\"]", ""),
            at("a,a", "it names \"a\" twice: take one out"),
            "whose would it be?",
        ),
        (
            made_of(&format!("[{}]", many.join(",")), ""),
            at(
                &many.join(",").replace('"', ""),
                "it names more than 32 servers: make two of it",
            ),
            "too many",
        ),
        (
            made_of("[\"b\"]", ""),
            at("b", "\"b\": there is no such [[server]]: write its name, or take it out"),
            "nobody",
        ),
        (
            made_of("[\"a\", \"all\"]", ""),
            at("a,all", "\"all\": it is made of others itself: name those instead"),
            "itself",
        ),
        (
            made_of("[\"a_b\"]", ""),
            at(
                "a_b",
                "\"a_b\": it begins the names of tools and the schemes of URIs: give it a name of lower-case letters, digits and dashes that begins with a letter",
            ),
            "where would it end?",
        ),
        (
            made_of("[\"1a\"]", ""),
            at(
                "1a",
                "\"1a\": it begins the names of tools and the schemes of URIs: give it a name of lower-case letters, digits and dashes that begins with a letter",
            ),
            "no scheme begins so",
        ),
        (
            made_of(&format!("[\"{long}\"]"), ""),
            at(
                &long,
                &format!(
                    "\"{long}\": it begins the names of tools, of which clients take 64 characters: give it a name of at most 24"
                ),
            ),
            "nothing would be left for its tools",
        ),
        (
            made_of("[\"a\"]", ", per = \"user\""),
            "FILE, line 6: upstream.per = \"user\": only a command or a server at a URL has it: write one of them".to_owned(),
            "it has no process",
        ),
        (
            made_of("[\"a\"]", ", url = \"https://x/\""),
            "FILE, line 6: upstream.servers = \"a\": upstream.url is set as well: keep one of them".to_owned(),
            "which of the two?",
        ),
        (
            format!("{}path = \"\"\n", made_of("[\"a\"]", "")),
            "FILE, line 7: path = \"\": nobody could reach it: write a path, or name it in the upstream.servers of another [[server]]".to_owned(),
            "no endpoints, and part of nothing",
        ),
        (
            made_of("[\"a\"]", "").replacen("upstream", "path = \"\"\nscopes = [\"x\"]\nupstream", 1),
            "FILE, line 4: scopes = \"x\": without a path nobody is asked for them: leave them out".to_owned(),
            "scopes of nothing",
        ),
    ];
    for (text, expected, reason) in rows {
        assert_eq!(Given::file(&text).refused(), expected, "{reason}");
    }
    let given =
        Given::file(&made_of("[\"a\"]", "").replacen("upstream", "path = \"\"\nupstream", 1));
    let config = given.load().unwrap();
    let names = |servers: &[Server]| -> Vec<String> {
        servers.iter().map(|server| server.resource.name.clone()).collect()
    };
    assert_eq!(
        (names(&config.servers), names(&config.members_only)),
        (vec!["all".to_owned()], vec!["a".to_owned()])
    );
    let written = read(&given.flags, given.variables.clone().into_iter()).unwrap();
    assert!(show(&written, &config).contains("upstream.servers = [\"a\"]"));
}

/// A rule for every server holds at each that is no other's sum, and through those that are.
#[test]
fn a_merged_server_has_the_rules_that_name_it_and_may_give_the_scopes_of_its_members() {
    let rules = "[[rule]]\nname = \"every\"\nallow = \"true\"\n\
                 [[rule]]\nname = \"members\"\nserver = \"a\"\nscope = \"a:more\"\n";
    let own = "[[rule]]\nname = \"own\"\nserver = \"all\"\nscope = \"all:more\"\n";
    let rows = [
        (rules.to_owned(), None, "a:more", "none of its own"),
        (format!("{rules}{own}"), Some(1), "all:more a:more", "its own as well"),
    ];
    for (rules, expected, scopes, reason) in rows {
        let config = Given::file(&format!("{}{rules}", made_of("[\"a\"]", ""))).load().unwrap();
        let of =
            |name: &str| config.servers.iter().find(|server| server.resource.name == name).unwrap();
        assert_eq!(of("a").rules.as_ref().unwrap().iter().count(), 2, "{reason}");
        let all = of("all");
        assert_eq!(all.rules.as_ref().map(|rules| rules.iter().count()), expected, "{reason}");
        assert_eq!(all.resource.more_scopes.to_string(), scopes, "{reason}");
    }
}

#[test]
fn a_wrong_server_gets_one_sentence() {
    all_refused(&[
        (
            "[server]\nname = \"a\"",
            "FILE, line 1: server: it is a list of tables: begin each with [[server]]",
            "one bracket",
        ),
        (
            "[[server]]\npath = \"/\"",
            "FILE, line 1: name: a [[server]] needs a name: write for example name = \"fortune\"",
            "no name",
        ),
        (
            "[[server]]\nname = \"a\"\nnam = \"a\"",
            "FILE, line 3: nam: there is no such setting: did you mean name?",
            "misspelt",
        ),
        (
            "[[server]]\nname = \"A b\"",
            "FILE, line 2: name = \"A b\": it is no name: write lower-case letters, digits and dashes, at most 63",
            "no name",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"a\"",
            "FILE, line 3: path = \"a\": it must begin with a slash: write \"/a\"",
            "no slash",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"/a/\"",
            "FILE, line 3: path = \"/a/\": it ends with a slash: write \"/a\"",
            "a slash too many",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"/a//b\"",
            "FILE, line 3: path = \"/a//b\": it is no plain path: write letters, digits, dashes and slashes",
            "an empty part",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"/../a\"",
            "FILE, line 3: path = \"/../a\": it is no plain path: write letters, digits, dashes and slashes",
            "dots",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"/{a}\"",
            "FILE, line 3: path = \"/{a}\": it is no plain path: write letters, digits, dashes and slashes",
            "a pattern",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"/token\"",
            "FILE, line 3: path = \"/token\": sekisho's own endpoints are at \"/token\": choose another path",
            "ours",
        ),
        (
            "[[server]]\nname = \"login\"",
            "FILE, line 2: name = \"login\": sekisho's own endpoints are at \"/login\": choose another path",
            "ours, by its name",
        ),
        (
            "[[server]]\nname = \"a\"\npath = \"/.well-known/a\"",
            "FILE, line 3: path = \"/.well-known/a\": sekisho's own endpoints are at \"/.well-known\": choose another path",
            "ours",
        ),
        (
            "[[server]]\nname = \"a\"\nscopes = []\nupstream = { builtin = \"fortune\" }",
            "FILE, line 3: scopes = \"\": a server needs at least one scope: write for example [\"fortune\"]",
            "no scope",
        ),
        (
            "[[server]]\nname = \"a\"\nscopes = [\"a b\"]\nupstream = { builtin = \"fortune\" }",
            "FILE, line 3: scopes = \"a b\": a server needs at least one scope: write for example [\"fortune\"]",
            "two in one",
        ),
        (
            "[[server]]\nname = \"a\"\nscopes = [\"a\", \"a\"]\nupstream = { builtin = \"fortune\" }",
            "FILE, line 3: scopes = \"a,a\": one of them is no scope, or stands there twice: write each by itself, once",
            "twice",
        ),
    ]);
}

#[test]
fn two_servers_cannot_share_a_name_or_a_place() {
    let second = |lines: &str| {
        TWO.replace("[[server]]\nupstream", &format!("[[server]]\n{lines}\nupstream"))
    };
    let rows = [
        (
            "name = \"a\"",
            "FILE, line 5: name = \"a\": another [[server]] has it: choose another name",
        ),
        (
            "name = \"b\"\npath = \"/a\"",
            "FILE, line 6: path = \"/a\": another [[server]] is at \"/a/\": choose another path",
        ),
    ];
    for (lines, expected) in rows {
        assert_eq!(Given::file(&second(lines)).refused(), expected);
    }
    assert!(Given::file(&second("name = \"b\"")).load().is_ok());
    assert!(Given::file(&second("name = \"b\"\npath = \"/\"")).load().is_ok());
}

/// What the conformance suite asks a server for is in builds for testing alone.
#[cfg(not(feature = "conformance"))]
#[test]
fn the_conformance_server_is_not_in_this_build() {
    all_refused(&[(
        "[[server]]\nname = \"a\"\nupstream = { builtin = \"conformance\" }",
        "FILE, line 3: upstream.builtin = \"conformance\": it is for testing and not in this build: write \"fortune\", or build with --features conformance",
        "never in what is shipped",
    )]);
}

#[test]
fn a_wrong_variable_gets_one_sentence() {
    let rows = [
        (
            "SEKISHO_PUBLIC_URI",
            "x",
            "SEKISHO_PUBLIC_URI: there is no such setting: did you mean SEKISHO_PUBLIC_URL?",
            "misspelt",
        ),
        (
            "SEKISHO_IDENTITY_ISSUER",
            "x",
            "SEKISHO_IDENTITY_ISSUER: there is no such setting: did you mean SEKISHO_IDENTITY__ISSUER?",
            "one underscore",
        ),
        (
            "SEKISHO_COLOUR",
            "red",
            "SEKISHO_COLOUR: there is no such setting: unset it, every SEKISHO_ variable must be a setting",
            "nothing like it",
        ),
        (
            "SEKISHO_SERVER__NAME",
            "x",
            "SEKISHO_SERVER__NAME: [[server]] tables come from the file only: write them in sekisho.toml",
            "a table in double brackets",
        ),
        (
            "SEKISHO_TLS",
            "x",
            "SEKISHO_TLS: there is no such setting: unset it, every SEKISHO_ variable must be a setting",
            "a table of settings",
        ),
        (
            "SEKISHO_LISTEN",
            "8000",
            "SEKISHO_LISTEN = \"8000\": it is not an address and a port: write for example \"127.0.0.1:8000\", or \"0.0.0.0:8000\" for every network",
            "a wrong value",
        ),
        (
            "SEKISHO_LIMITS__CLIENTS_MAX",
            "many",
            "SEKISHO_LIMITS__CLIENTS_MAX: it is not a whole number: write digits only",
            "no number",
        ),
        (
            "SEKISHO_AUTHORIZATION__CODE_TTL",
            "soon",
            "SEKISHO_AUTHORIZATION__CODE_TTL = \"soon\": it is not a length of time: write a number and s, m, h or d, for example \"90s\" or \"1h\"",
            "no time",
        ),
    ];
    for (name, value, expected, reason) in rows {
        assert_eq!(Given::file("").variable(name, value).refused(), expected, "{reason}");
    }
}

#[test]
fn what_kubernetes_says_of_a_service_called_sekisho_is_no_setting() {
    let given = Given::file("")
        .variable("SEKISHO_SERVICE_HOST", "10.0.0.1")
        .variable("SEKISHO_SERVICE_PORT_HTTP", "8000")
        .variable("SEKISHO_PORT", "tcp://10.0.0.1:8000")
        .variable("SEKISHO_PORT_8000_TCP_PROTO", "tcp");
    assert!(given.load().is_ok());
    let refused = Given::file("").variable("SEKISHO_PORT", "8000").refused();
    assert!(refused.starts_with("SEKISHO_PORT: there is no such setting"), "{refused}");
}

#[test]
fn a_wrong_flag_gets_one_sentence() {
    let mut given = Given::file("");
    given.flags.public_url = Some("http://mcp.example.com".to_owned());
    let expected = "--public-url = \"http://mcp.example.com\": plain http is for loopback only: use \
                    https, with a reverse proxy that ends TLS in front";
    assert_eq!(given.refused(), expected);

    given.flags = Flags { config: Some(given.folder.path().join("none.toml")), ..Flags::default() };
    let expected = "--config: cannot read the settings file \"DIR/none.toml\" (No such file or \
                    directory (os error 2)): name a readable file";
    assert_eq!(given.refused(), expected);
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "tHe-sEcReT-iTsElF";
    let token = format!("registration_token = \"{secret}\"");
    let rows = [
        (format!("{OIDC}client_secret = \"{secret}\nlisten = 1"), "not closed"),
        (format!("{OIDC}client_secret = [\"{secret}\"]"), "another kind"),
        (format!("{OIDC}client_secret = \"{secret}\"\nclient_secret_file = \"f\""), "both"),
        (format!("[identity]\nclient_secret = \"{secret}\""), "for another provider"),
        (format!("[authorization]\n{token}"), "nobody asks for it"),
        (format!("[authorization]\nregistration = \"open\"\n{token}"), "nobody asks for it"),
    ];
    for (text, reason) in rows {
        let given = Given::file(&text).beside("f", secret);
        let sentence = given.refused();
        assert!(!sentence.contains(secret), "{reason}: {sentence}");
    }
    let server = format!(
        "[[server]]\nname = \"a\"\nupstream = {{ command = [\"a\"], env = {{ A = \"{secret}\" }} }}"
    );
    let given = Given::file(&format!("{OIDC}client_secret = \"{secret}\"\n{server}"))
        .variable("SEKISHO_AUTHORIZATION__REGISTRATION", "token")
        .variable("SEKISHO_AUTHORIZATION__REGISTRATION_TOKEN", secret);
    let config = given.load().unwrap();
    let written = read(&given.flags, given.variables.clone().into_iter()).unwrap();
    let shown = show(&written, &config);
    assert!(shown.contains("client_secret = \"***\""), "{shown}");
    assert!(shown.contains("upstream.env = { \"A\" = \"***\" }"), "{shown}");
    for text in [shown, format!("{config:?}"), format!("{written:?}")] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn whose_certificates_are_trusted_is_a_readable_file_of_them() {
    all_refused(&[
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", ca_file = \"nowhere\" }",
            "FILE, line 3: upstream.ca_file = \"nowhere\": cannot read it (No such file or directory (os error 2)): name a readable file",
            "no such file",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"https://x/\", ca_file = \"sekisho.toml\" }",
            "FILE, line 3: upstream.ca_file = \"sekisho.toml\": it holds no certificate: write a file of certificates in PEM",
            "a file of something else",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { url = \"http://127.0.0.1/\", ca_file = \"sekisho.toml\" }",
            "FILE, line 3: upstream.ca_file = \"sekisho.toml\": there is no TLS at upstream.url: write https:// there, or leave it out",
            "nothing to trust",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { command = [\"a\"], ca_file = \"x\" }",
            "FILE, line 3: upstream.ca_file = \"x\": only a server at a URL has it: write upstream.url",
            "a command has no certificate",
        ),
    ]);
}

#[test]
fn headers_for_a_server_at_a_url_are_secrets() {
    let secret = "Bearer tHe-sEcReT-iTsElF";
    let text = format!(
        "[[server]]\nname = \"a\"\n[server.upstream]\nurl = \"https://x.example/mcp\"\n\
         headers = {{ Authorization = \"{secret}\" }}"
    );
    let given = Given::file(&text);
    let config = given.load().unwrap();
    let written = read(&given.flags, given.variables.clone().into_iter()).unwrap();
    let shown = show(&written, &config);
    assert!(shown.contains("upstream.headers = { \"Authorization\" = \"***\" }"), "{shown}");
    for text in [shown, format!("{config:?}"), format!("{written:?}")] {
        assert!(!text.contains("tHe-sEcReT"), "{text}");
    }
}

#[test]
fn a_url_alone_guards_one_server_and_flag_beats_environment_beats_file() {
    let guarded = |given: &Given| format!("{:?}", given.load().unwrap().servers);
    let file = Given::file("[[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\" }");
    let mut environment = file.variable("SEKISHO_UPSTREAM", "http://127.0.0.1:1/by-variable");
    let shown = guarded(&environment);
    assert!(shown.contains("/by-variable") && shown.contains("main"), "{shown}");
    assert_eq!(environment.load().unwrap().servers.len(), 1);
    environment.flags.upstream = Some("http://127.0.0.1:1/by-flag".to_owned());
    assert!(guarded(&environment).contains("/by-flag"));
    environment.flags.upstream = None;
    environment.flags.command = vec!["program".to_owned()];
    assert!(guarded(&environment).contains("program"), "what was typed beats what was set");
    assert!(guarded(&Given::file("upstream = \"http://127.0.0.1:1/x\"")).contains("/x"));
}

#[test]
fn flag_beats_environment_beats_file_beats_default() {
    let port = |given: &Given| given.load().unwrap().listen.port();
    let nothing = Given { flags: Flags::default(), ..Given::file("") };
    assert_eq!(port(&nothing), 8000, "default");
    let file = Given::file("listen = \"127.0.0.1:1001\"");
    assert_eq!(port(&file), 1001, "file");
    let mut environment = file.variable("SEKISHO_LISTEN", "127.0.0.1:1002");
    assert_eq!(port(&environment), 1002, "environment");
    environment.flags.listen = Some("127.0.0.1:1003".to_owned());
    assert_eq!(port(&environment), 1003, "flag");
}

#[test]
fn the_file_can_be_named_by_a_variable_and_the_flag_beats_it() {
    let mut given = Given::file("listen = \"127.0.0.1:1001\"").beside("other.toml", "");
    let other = given.folder.path().join("other.toml");
    let named = given.flags.config.take().unwrap();
    given = given.variable("SEKISHO_CONFIG", named.to_str().unwrap());
    assert_eq!(given.load().unwrap().listen.port(), 1001);
    given.flags.config = Some(other);
    assert_eq!(given.load().unwrap().listen.port(), 8000);
}

#[test]
fn every_setting_can_come_from_the_environment() {
    for key in KEYS {
        let value = if key.kind == Kind::Number { "7" } else { "x" };
        let given = Given::file("").variable(&key.variable(), value);
        let written = read(&given.flags, given.variables.clone().into_iter()).unwrap();
        assert!(written.settings.was_written(key.path), "{}", key.variable());
    }
}

#[test]
fn lists_in_the_environment_have_commas() {
    let given = Given::file("")
        .variable("SEKISHO_ALLOWED_ORIGINS", "https://a.example, https://b.example")
        .variable("SEKISHO_ALLOWED_HOSTS", "");
    let config = given.load().unwrap();
    for origin in ["https://a.example", "https://b.example"] {
        assert!(config.origins.allows(&origin.parse().unwrap()), "{origin}");
    }
}

#[test]
fn nothing_configured_is_the_first_job() {
    let config = Given::file("").load().unwrap();
    assert_eq!(config.public_url.as_str(), "http://localhost:8000");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(file(&config.store), Some(Path::new("sekisho.db")));
    assert_eq!(config.key_file, KeyFile::At("sekisho.key".into()));
    assert!(config.identity.has_accounts() && config.identity.providers().len() == 1);
    let [server] = config.servers.as_slice() else { unreachable!("{:?}", config.servers) };
    assert_eq!(server.resource.resource.as_str(), "http://localhost:8000/mcp");
    assert_eq!(server.resource.scopes.to_string(), "fortune");
    let tokens = &config.authorization;
    assert_eq!(tokens.code_ttl, Duration::from_mins(5));
    assert_eq!(tokens.access_token_ttl, Duration::from_hours(1));
    assert_eq!(tokens.refresh_token_ttl, Duration::from_hours(30 * 24));
    assert_eq!(tokens.client_secret_ttl, None);
    assert_eq!(tokens.consent, ConsentRule::Always);
    assert!(matches!(tokens.registration, Registration::Open));
}

#[test]
fn the_url_and_the_port_follow_each_other() {
    let rows = [
        ("listen = \"127.0.0.1:9000\"", "http://localhost:9000", "127.0.0.1:9000", "a port"),
        ("listen = \"0.0.0.0:9000\"", "http://localhost:9000", "0.0.0.0:9000", "every network"),
        ("listen = \"localhost:9000\"", "http://localhost:9000", "127.0.0.1:9000", "a name"),
        ("listen = \"127.0.0.1:80\"", "http://localhost", "127.0.0.1:80", "the default port"),
        (
            "public_url = \"http://localhost:9000\"",
            "http://localhost:9000",
            "127.0.0.1:9000",
            "a URL",
        ),
        (
            "public_url = \"https://mcp.example.com\"",
            "https://mcp.example.com",
            "127.0.0.1:8000",
            "a proxy",
        ),
        (
            "public_url = \"http://localhost:9000\"\nlisten = \"0.0.0.0:8000\"",
            "http://localhost:9000",
            "0.0.0.0:8000",
            "a mapped port",
        ),
        (
            "public_url = \"https://mcp.example.com\"\nlisten = \"127.0.0.1:0\"",
            "https://mcp.example.com",
            "127.0.0.1:0",
            "any port behind a proxy",
        ),
        (
            "public_url = \"https://localhost:9000\"\n[tls]\ncert_file = \"c\"\nkey_file = \"k\"",
            "https://localhost:9000",
            "127.0.0.1:9000",
            "TLS of our own",
        ),
        (
            "public_url = \"https://localhost:9000\"",
            "https://localhost:9000",
            "127.0.0.1:8000",
            "TLS of somebody else's",
        ),
    ];
    for (text, public_url, listen, reason) in rows {
        let config = Given::file(text).load().unwrap();
        assert_eq!(config.public_url.as_str(), public_url, "{reason}");
        assert_eq!(config.listen.to_string(), listen, "{reason}");
    }
}

#[test]
fn a_relative_path_is_relative_to_who_names_it() {
    let given = Given::file("store = \"sqlite:data/a.db\"\nkey_file = \"a.key\"");
    let config = given.load().unwrap();
    let folder = given.folder.path();
    assert_eq!(file(&config.store), Some(&*folder.join("data/a.db")));
    assert_eq!(config.key_file, KeyFile::At(folder.join("a.key")));
    let given = given.variable("SEKISHO_STORE", "sqlite:b.db").variable("SEKISHO_KEY_FILE", "/b");
    let config = given.load().unwrap();
    assert_eq!(file(&config.store), Some(Path::new("b.db")));
    assert_eq!(config.key_file, KeyFile::At(PathBuf::from("/b")));
}

#[test]
fn a_memory_store_leaves_no_key_behind_unless_one_is_named() {
    let config = Given::file("store = \"memory:\"").load().unwrap();
    assert!(matches!(config.store, StoreLocation::Memory));
    assert_eq!(config.key_file, KeyFile::Ephemeral);
    let given = Given::file("store = \"memory:\"\nkey_file = \"a.key\"");
    let named = given.folder.path().join("a.key");
    assert_eq!(given.load().unwrap().key_file, KeyFile::At(named));
}

#[test]
fn a_secret_can_be_in_a_file_of_its_own() {
    let given = Given::file(&format!("{OIDC}client_secret_file = \"secret\""));
    for (text, expected, reason) in [
        ("s3cret\n", Some("s3cret"), "without the line end"),
        ("s3cret\r\n", Some("s3cret"), "without the line end of Windows"),
        (" s3cret ", Some(" s3cret "), "space counts"),
        ("\n", None, "nothing in it"),
    ] {
        std::fs::write(given.folder.path().join("secret"), text).unwrap();
        let identity = given.load().map(|config| config.identity);
        let identity = identity.unwrap_or_else(|_| IdentityConfig::Providers(Vec::new()));
        let secret = identity.providers().first().and_then(|one| match &one.kind {
            ProviderKind::Oidc(oidc) => oidc.client_secret.clone(),
            ProviderKind::Local | ProviderKind::GitHub(_) => None,
        });
        assert_eq!(secret.as_ref().map(sekisho::protocol::Secret::reveal), expected, "{reason}");
    }
}

#[test]
fn what_is_written_is_what_holds() {
    let text = "[authorization]\nregistration = \"off\"\nconsent = \"remember\"\n\
        code_ttl = \"1m\"\naccess_token_ttl = \"2h\"\nrefresh_token_ttl = \"3d\"\n\
        refresh_grace = \"0\"\nrotation = \"off\"\n\
        client_secret_ttl = \"1h\"\n[limits]\nconnections_max = 5\nconnections_per_address_max = 4\nclients_max = 6\n\
        logins_max = 7\nregistrations_per_minute = 8\nlogins_per_minute = 0x9\n\
        refreshes_per_minute = 12\n\
        sessions_max = 1_0\nsession_idle = \"11s\"\n";
    let config = Given::file(&format!("{OIDC}recheck = \"90s\"\n{text}")).load().unwrap();
    let tokens = &config.authorization;
    assert!(matches!(tokens.registration, Registration::Off));
    assert_eq!(tokens.consent, ConsentRule::Remember);
    let hours = |hours| Duration::from_hours(hours);
    assert_eq!(tokens.code_ttl, Duration::from_mins(1));
    assert_eq!((tokens.access_token_ttl, tokens.refresh_token_ttl), (hours(2), hours(72)));
    assert_eq!(tokens.client_secret_ttl, Some(hours(1)));
    let recheck = Duration::from_secs(90);
    let [provider] = config.identity.providers() else { unreachable!() };
    assert_eq!(provider.session, SessionRule::Follow { recheck });
    assert_eq!(tokens.registrations_per_minute.get(), 8);
    assert_eq!(tokens.logins_per_minute.get(), 9);
    assert_eq!(tokens.refreshes_per_minute.get(), 12);
    assert_eq!((tokens.refresh_grace, tokens.rotation), (Duration::ZERO, Rotation::PublicClients));
    assert_eq!((config.connections_max, config.tables.clients_max), (5, 6));
    assert_eq!((config.connections_per_address_max, config.tables.logins_max), (4, 7));
    assert_eq!((config.sessions.sessions_max, config.sessions.idle.as_secs()), (10, 11));
}

#[test]
fn what_is_shown_can_be_read_again() {
    let given = Given::file(&format!("log = \"debug\"\n{TWO}").replace(
        "[[server]]\nupstream",
        "[[server]]\nname = \"b\"\nscopes = [\"x\", \"y\"]\nupstream",
    ));
    let config = given.load().unwrap();
    let written = read(&given.flags, given.variables.clone().into_iter()).unwrap();
    let shown = show(&written, &config);
    let again = Given::file(&shown);
    let config = again.load().unwrap_or_else(|error| unreachable!("{error}\n{shown}"));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.servers.len(), 2);
}

#[test]
fn a_wrong_client_gets_one_sentence() {
    let rows = [
        (
            "name = \"x\"",
            "id: a [[client]] needs an id: write for example id = \"nightly\"",
            "no id",
        ),
        (
            "id = \"a b\"",
            "it is no id: write letters, digits, dots, dashes and underscores",
            "a space",
        ),
        (
            "id = \"https://a.example/c\"",
            "it is a URL, which is for clients known by a document",
            "a URL",
        ),
        ("id = \"x\"", "it needs redirect_uris to log people in", "nothing it could do"),
        (
            "id = \"x\"\nredirect_uris = [\"http://a.example/\"]",
            "plain http is for loopback only",
            "http",
        ),
        (
            "id = \"x\"\nredirect_uris = [\"https://a.example/\"]\nsecret = \"short\"",
            "it is too short to be secret",
            "a short secret",
        ),
        (
            "id = \"x\"\nredirect_uris = [\"https://a.example/\"]\njwks = '{\"keys\":[{\"d\":\"x\"}]}'",
            "jwks: jwks holds a private key: publish the public ones only",
            "a private key",
        ),
        (
            "id = \"x\"\nredirect_uris = [\"https://a.example/\"]\njwks_uri = \"http://a.example/k\"",
            "jwks_uri is not an https URL",
            "keys by plain http",
        ),
        (
            "id = \"x\"\njwks_file = \"a\"\njwks_uri = \"https://a.example/k\"",
            "jwks_file is set as well: keep one of them",
            "keys in two places",
        ),
        (
            "id = \"x\"\nsecret = \"0123456789abcdef\"\njwks_uri = \"https://a.example/k\"\nredirect_uris = [\"https://a.example/\"]",
            "it has keys as well: a client proves itself in one way",
            "two ways",
        ),
        (
            "id = \"x\"\nredirect_uris = [\"https://a.example/\"]\ntoken_endpoint_auth_method = \"private_key_jwt\"",
            "it needs keys: set jwks_file or jwks_uri",
            "signs without keys",
        ),
        (
            "id = \"x\"\nredirect_uris = [\"https://a.example/\"]\ntoken_endpoint_auth_method = \"tls_client_auth\"",
            "it is not one of the choices",
            "a method we do not have",
        ),
        (
            "id = \"x\"\ngrant_types = [\"client_credentials\"]\nscopes = [\"fortune\"]",
            "client_credentials needs a client that proves itself",
            "a public machine",
        ),
        (
            "id = \"x\"\nsecret = \"0123456789abcdef\"\ngrant_types = [\"client_credentials\"]",
            "a client that acts alone needs them",
            "a machine without scopes",
        ),
        (
            "id = \"x\"\nsecret = \"0123456789abcdef\"\ngrant_types = [\"password\"]",
            "one of them is unknown",
            "a grant we do not have",
        ),
        (
            "id = \"x\"\nsecret = \"0123456789abcdef\"\ngrant_types = [\"authorization_code\"]",
            "authorization_code needs a place for answers",
            "nowhere to answer",
        ),
        (
            "id = \"x\"\nredirect_uris = [\"https://a.example/\"]\nscopes = [\"gold\"]",
            "no [[server]] has \"gold\": write one of fortune",
            "a scope nobody has",
        ),
        ("colour = \"red\"", "colour: there is no such setting: take it out", "no such name"),
    ];
    for (text, expected, reason) in rows {
        let sentence = Given::file(&format!("[[client]]\n{text}")).refused();
        assert!(sentence.contains(expected), "{reason}: said {sentence}");
        assert!(sentence.starts_with("FILE, line ") && !sentence.contains('\n'), "{sentence}");
        assert!(!sentence.contains("0123456789abcdef"), "no secret: {sentence}");
    }
    let good = "[[client]]\nid = \"x\"\nredirect_uris = [\"https://a.example/\"]\n";
    let twice = Given::file(&format!("{good}{good}")).refused();
    assert!(twice.contains("another [[client]] has it"), "{twice}");
    let config = Given::file(good).load().unwrap();
    let client = config.authorization.clients.first().unwrap();
    assert_eq!(client.metadata.client_name.as_deref(), Some("x"));
    assert!(client.metadata.refreshes && !client.metadata.acts_alone && client.secret.is_none());
}

#[test]
fn redirect_uris_are_what_the_operator_allows() {
    let of = |text: &str| {
        Given::file(&format!("[authorization]\n{text}")).load().unwrap().authorization.redirects
    };
    let usual = of("");
    assert!(!usual.refuses_private_use && usual.hosts.is_empty());
    let strict = of("private_use_redirects = \"off\"\nredirect_hosts = [\"*.app.example\"]");
    assert!(strict.refuses_private_use && strict.hosts.contains("a.app.example"));
    all_refused(&[(
        "[authorization]\nredirect_hosts = [\"https://a.example\"]",
        "FILE, line 2: authorization.redirect_hosts = \"https://a.example\": \"https://a.example\" is no host name: write for example \"app.example\" or \"*.app.example\"",
        "a URL for a host",
    )]);
}

#[test]
fn documents_of_clients_are_taken_unless_somebody_says_otherwise() {
    use sekisho::authorization_server::Documents;
    let of = |text: &str| {
        Given::file(&format!("[authorization]\n{text}")).load().unwrap().authorization.documents
    };
    assert_eq!(of(""), Documents::default());
    assert_eq!(of("cimd = \"off\""), Documents::Off);
    let lists = of("cimd_allowed_hosts = [\"*.a.example\"]\ncimd_denied_hosts = [\"b.a.example\"]");
    assert!(matches!(lists, Documents::On { allowed, denied }
        if allowed.contains("c.a.example") && denied.contains("b.a.example")));
    all_refused(&[
        (
            "[authorization]\ncimd_denied_hosts = [\"https://a.example\"]",
            "FILE, line 2: authorization.cimd_denied_hosts = \"https://a.example\": \"https://a.example\" is no host name: write for example \"app.example\" or \"*.app.example\"",
            "a URL for a host",
        ),
        (
            "[authorization]\ncimd = \"off\"\ncimd_allowed_hosts = [\"a.example\"]",
            "FILE, line 3: authorization.cimd_allowed_hosts = \"a.example\": nobody is asked for it: set authorization.cimd to \"on\"",
            "a list for nothing",
        ),
    ]);
}

#[test]
fn what_takes_a_restart_is_named_one_by_one() {
    let fleet = "store = \"postgres://u@db/x\"\nkey_file = \"key\"\n";
    let traced = "traces_endpoint = \"http://127.0.0.1:4318\"\n";
    let body = "[limits]\nbody_bytes_max = 5000000\n";
    let rows: [(String, String, &[&str], &str); 5] = [
        (traced.into(), format!("{traced}traces_percent = 7\n"), &["traces_percent"], "its share"),
        (
            traced.into(),
            "traces_endpoint = \"http://127.0.0.1:4319\"\n".into(),
            &["traces_endpoint"],
            "and its place",
        ),
        (String::new(), body.into(), &[], "nobody passes anything on"),
        (fleet.into(), format!("{fleet}{body}"), &["limits.body_bytes_max"], "others may"),
        (fleet.into(), fleet.into(), &[], "nothing differs"),
    ];
    for (former, now, expected, reason) in rows {
        let given = Given::file(&former);
        let former = given.load().unwrap();
        let now = given.beside("sekisho.toml", &now).load().unwrap();
        assert_eq!(needing_restart(&former, &now), expected, "{reason}");
    }
}
