//! `upstream.identity`: what can be told of callers, and what is refused with its remedy.

use sekisho::gateway::GuardedServer;
use sekisho::principal::WantedClaims;

use super::*;
use crate::config::{TokenKind, TokenWish, Upstream};

const AT_URL: &str =
    "[[server]]\nname = \"a\"\n[server.upstream]\nurl = \"https://x.example/mcp\"\n";
const COMMAND: &str = "[[server]]\nname = \"a\"\n[server.upstream]\ncommand = [\"a\"]\n";

const EXTERNAL: &str =
    "[authorization]\nmode = \"external\"\nissuer = \"https://sso.example/realms/main\"\n";

/// The server alone, line 5 being the first of `identity`.
fn at_url(identity: &str) -> String {
    format!("{AT_URL}{identity}")
}

fn command(identity: &str) -> String {
    format!("{COMMAND}{identity}")
}

/// With somebody who logs people in before it; ten lines more.
fn with_provider(identity: &str, secret: &str) -> String {
    format!("{OIDC}{secret}{}", at_url(identity))
}

/// What the log shows of the server, and the token that it gets.
fn understood(text: &str) -> (GuardedServer, Option<TokenWish>, Config) {
    let mut config = Given::file(text).load().unwrap();
    let Upstream::Guarded { server, introduced, .. } = config.servers.remove(0).upstream else {
        unreachable!("it is guarded")
    };
    (*server, introduced.token, config)
}

#[test]
fn what_a_server_cannot_be_told_gets_one_sentence() {
    let rows = [
        (
            at_url("identity = { by = \"cookie\" }"),
            "FILE, line 5: upstream.identity.by = \"cookie\": it is not one of the choices: write \"headers\" or \"jwt\" or \"provider-token\" or \"token-exchange\" or \"environment\"",
        ),
        (
            at_url("identity = { header = \"X\" }"),
            "FILE, line 5: upstream.identity.header = \"X\": nothing is told of callers: write upstream.identity.by too, for example by = \"headers\"",
        ),
        (
            at_url("identity = { by = \"headers\", audience = [\"x\"] }"),
            "FILE, line 5: upstream.identity.audience = \"x\": by = \"headers\" does not use it: leave it out",
        ),
        (
            at_url("per = \"process\"\nidentity = { by = \"headers\" }"),
            "FILE, line 5: upstream.per = \"process\": all callers would share what only one of them is: write \"user\" or \"session\", or leave upstream.identity out",
        ),
        (
            command("per = \"process\"\nidentity = { by = \"environment\" }"),
            "FILE, line 5: upstream.per = \"process\": all callers would share what only one of them is: write \"user\" or \"session\", or leave upstream.identity out",
        ),
        (
            at_url("identity = { by = \"environment\" }"),
            "FILE, line 5: upstream.identity.by = \"environment\": a server at a URL has no environment of ours: write \"headers\" or \"jwt\"",
        ),
        (
            command("identity = { by = \"headers\" }"),
            "FILE, line 5: upstream.identity.by = \"headers\": a command gets no headers: write \"environment\"",
        ),
        (
            command("identity = { by = \"jwt\" }"),
            "FILE, line 5: upstream.identity.by = \"jwt\": a process keeps what it was started with, and a token ends before it does: write \"environment\", or guard a server at a URL",
        ),
        (
            at_url("identity = { by = \"headers\", names = { X = \"token\" } }"),
            "FILE, line 5: upstream.identity.names: \"X\" = \"token\": it is nothing that is known of a caller: write \"subject\", \"issuer\", \"name\", \"email\", \"client\", \"scopes\" or \"claims.NAME\"",
        ),
        (
            at_url("identity = { by = \"headers\", names = { } }"),
            "FILE, line 5: upstream.identity.names: it is empty: leave it out for the usual names",
        ),
        (
            at_url("identity = { by = \"headers\", names = { Authorization = \"name\" } }"),
            "FILE, line 5: upstream.identity.names: \"Authorization\" is for credentials, and this is none: choose another",
        ),
        (
            at_url("identity = { by = \"headers\", names = { \"Mcp-User\" = \"name\" } }"),
            "FILE, line 5: upstream.identity.names: \"mcp-user\" is set by the protocol itself: leave it out",
        ),
        (
            at_url(
                "headers = { X-User = \"s\" }\nidentity = { by = \"headers\", names = { x-user = \"name\" } }",
            ),
            "FILE, line 6: upstream.identity.names: \"x-user\" would be set twice: keep one of them",
        ),
        (
            at_url("headers = { Authorization = \"s\" }\nidentity = { by = \"jwt\" }"),
            "FILE, line 6: upstream.identity.by = \"jwt\": \"authorization\" would be set twice: keep one of them",
        ),
        (
            at_url("identity = { by = \"jwt\", header = \"a b\" }"),
            "FILE, line 5: upstream.identity.header = \"a b\": it cannot be a header: write letters, digits and dashes",
        ),
        (
            at_url("identity = { by = \"jwt\", audience = [] }"),
            "FILE, line 5: upstream.identity.audience = \"\": it names nobody: write whom a token is for, each by itself",
        ),
        (
            at_url("identity = { by = \"jwt\", claims = [\"sub\"] }"),
            "FILE, line 5: upstream.identity.claims = \"sub\": \"sub\" is said by us in any case: leave it out",
        ),
        (
            command(
                "env = { WHO = \"s\" }\nidentity = { by = \"environment\", names = { WHO = \"name\" } }",
            ),
            "FILE, line 6: upstream.identity.names: \"WHO\" has a value already: choose another name",
        ),
        (
            command("identity = { by = \"environment\", names = { WHO = \"client\" } }"),
            "FILE, line 5: upstream.identity.names: \"WHO\" would be another for each client of a person, who share a process: leave \"client\" and \"scopes\" out",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(Given::file(&text).refused(), expected, "{text}");
    }
    // A variable of the environment that we were started in.
    let taken = command("identity = { by = \"environment\", names = { PATH = \"name\" } }");
    let sentence = Given::file(&taken).variable("PATH", "/bin").refused();
    assert!(sentence.contains("\"PATH\" has a value already"), "{sentence}");
}

#[test]
fn what_the_rest_of_the_settings_cannot_give_is_refused() {
    let rows = [
        (
            at_url("identity = { by = \"provider-token\" }"),
            "FILE, line 5: upstream.identity.by = \"provider-token\": accounts of our own have no token of anybody's: write \"jwt\" or \"headers\", or set identity.provider to \"oidc\" or \"keycloak\"",
        ),
        (
            at_url("identity = { by = \"token-exchange\" }"),
            "FILE, line 5: upstream.identity.by = \"token-exchange\": upstream.identity.audience or upstream.identity.scopes is missing: write for whom a token is traded",
        ),
        (
            format!("{EXTERNAL}{}", at_url("identity = { by = \"provider-token\" }")),
            "FILE, line 8: upstream.identity.by = \"provider-token\": with authorization.mode = \"external\" nobody logs in here, and no token of the provider's is kept: write \"jwt\" or \"headers\"",
        ),
        (
            format!("{EXTERNAL}{}", at_url("identity = { by = \"jwt\" }")),
            "FILE, line 8: upstream.identity.by = \"jwt\": it signs by key_file, and there is none: set key_file, the same for every replica",
        ),
        (
            "[[server]]\nname = \"a\"\nupstream = { builtin = \"fortune\", identity = { by = \"headers\" } }"
                .to_owned(),
            "FILE, line 3: upstream.identity.by = \"headers\": only a command or a server at a URL has it: write one of them",
        ),
    ];
    for (text, expected) in rows {
        assert_eq!(Given::file(&text).refused(), expected, "{text}");
    }
    let public =
        with_provider("identity = { by = \"token-exchange\", audience = [\"tools\"] }", "");
    let sentence = Given::file(&public).refused();
    assert!(sentence.ends_with("set identity.client_secret_file"), "{sentence}");
}

#[test]
fn each_way_to_tell_who_calls_is_understood() {
    let (server, token, config) = understood(&at_url("identity = { by = \"headers\" }"));
    assert!(matches!(server, GuardedServer::Remote(_)) && token.is_none());
    assert!(config.claims.is_empty());

    let names = "names = { X-Who = \"name\", X-Groups = \"claims.groups\" }";
    let (_, _, config) =
        understood(&at_url(&format!("identity = {{ by = \"headers\", {names} }}")));
    assert_eq!(config.claims, WantedClaims::new(["groups".to_owned()]), "it is kept of people");

    let (server, _, config) =
        understood(&command("identity = { by = \"environment\", names = { G = \"claims.g\" } }"));
    let GuardedServer::Command(command) = server else { unreachable!("it is one") };
    assert_eq!(command.told.len(), 1);
    assert_eq!(config.claims, WantedClaims::new(["g".to_owned()]));

    let (_, token, config) =
        understood(&at_url("identity = { by = \"jwt\", claims = [\"groups\"] }"));
    let token = token.unwrap();
    assert_eq!(token.header.as_str(), "authorization");
    let TokenKind::Signed { audience, claims } = token.kind else { unreachable!("we sign") };
    assert_eq!(audience, ["https://x.example/mcp"], "the URL as it is written");
    assert_eq!(claims, ["groups"]);
    assert_eq!(config.claims, WantedClaims::new(["groups".to_owned()]));

    let secret = "client_secret = \"s\"\n";
    let provider = with_provider("identity = { by = \"provider-token\" }", "");
    let (_, token, _) = understood(&provider);
    assert!(matches!(token.unwrap().kind, TokenKind::Provider), "for a public client too");
    let exchange = "identity = { by = \"token-exchange\", audience = [\"tools\"], \
                    scopes = [\"read\"], header = \"X-Token\" }";
    let (_, token, _) = understood(&with_provider(exchange, secret));
    let token = token.unwrap();
    assert_eq!(token.header.as_str(), "x-token");
    let TokenKind::Exchanged(wish) = token.kind else { unreachable!("it is traded") };
    assert_eq!((wish.audience, wish.scopes), (vec!["tools".into()], vec!["read".into()]));

    let external = format!("key_file = \"k\"\n{EXTERNAL}{}", at_url("identity = { by = \"jwt\" }"));
    assert!(Given::file(&external).load().is_ok(), "replicas that share a key");
    let external = format!("{EXTERNAL}{}", at_url("identity = { by = \"headers\" }"));
    assert!(Given::file(&external).load().is_ok(), "what is known of a caller is known there too");
}

#[test]
fn names_are_shown_and_secrets_are_not() {
    let given = Given::file(&at_url(
        "headers = { X-Key = \"hidden\" }\nidentity = { by = \"headers\", names = { X-Who = \"name\" } }",
    ));
    let config = given.load().unwrap();
    let written = read(&given.flags, given.variables.clone().into_iter()).unwrap();
    let shown = show(&written, &config);
    assert!(shown.contains("upstream.identity.names = { \"X-Who\" = \"name\" }"), "{shown}");
    assert!(shown.contains("upstream.headers = { \"X-Key\" = \"***\" }"), "{shown}");
}
