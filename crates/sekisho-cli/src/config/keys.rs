//! Every setting there is: its name, what it holds, its default, what it is for. The file, the
//! environment, the suggestions for misspelt names and `config show` all go by this one table.

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text in quotes.
    Text,
    /// Text that is never shown.
    Secret,
    /// A list of texts; in the environment with commas between them.
    List,
    /// Names and their texts, which are never shown; in the file only.
    Table,
    /// Names and what stands under them; in the file only.
    Names,
    /// A whole number, not negative.
    Number,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its place in the file, with dots between the levels.
    pub(crate) path: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// What holds where nobody sets it, as it would be written in the environment.
    pub(crate) default: Option<&'static str>,
    /// What it is for, in a line.
    pub(crate) purpose: &'static str,
}

const fn key(
    path: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    purpose: &'static str,
) -> Key {
    Key { path, kind, default, purpose }
}

use Kind::{List, Names, Number, Secret, Table, Text};

/// The settings of the whole program.
pub(crate) const KEYS: &[Key] = &[
    key(
        "public_url",
        Text,
        None,
        "the URL people and clients use, which is also the issuer; default http://localhost and the port of listen",
    ),
    key("listen", Text, Some("127.0.0.1:8000"), "address and port to listen on"),
    key(
        "store",
        Text,
        Some("sqlite:sekisho.db"),
        "\"memory:\", \"sqlite:PATH\" or \"postgres://…\"",
    ),
    key(
        "durability",
        Text,
        Some("normal"),
        "what outlives a power cut: \"normal\" (all but the last moments) or \"full\" (everything, slower)",
    ),
    key("key_file", Text, Some("sekisho.key"), "the key that seals what must be read back"),
    key(
        "allowed_origins",
        List,
        Some(""),
        "origins whose pages may call, beside our own and loopback",
    ),
    key(
        "fleet_listen",
        Text,
        None,
        "with store = \"postgres://…\", where the other instances reach this one; default the address that the database sees it at, and a free port",
    ),
    key("allowed_hosts", List, Some(""), "host names we answer to, beside that of public_url"),
    key("trusted_proxies", List, Some(""), "networks whose X-Forwarded-For counts"),
    key(
        "proxy_protocol",
        Text,
        Some("off"),
        "whether trusted_proxies say by the PROXY protocol whose connection they pass on: \"on\", \"chained\" (before proxies that write X-Forwarded-For), \"off\"",
    ),
    key(
        "metrics_listen",
        Text,
        Some(""),
        "address and port of the metrics, for those alone who may know them; empty is nowhere",
    ),
    key(
        "traces_endpoint",
        Text,
        Some(""),
        "the URL of a collector of OpenTelemetry that takes OTLP over HTTP; empty is none",
    ),
    key("traces_percent", Number, Some("100"), "of so many requests in a hundred a trace is sent"),
    key(
        "drain",
        Text,
        Some("8s"),
        "how long what is being worked on may take when the program stops, or a server ends by other settings",
    ),
    key("log", Text, Some("info"), "what is logged: a level, or target=level with commas"),
    key("log_format", Text, Some("pretty"), "\"pretty\" or \"json\""),
    key("upstream", Text, None, "the URL of a server to guard at /, instead of any [[server]]"),
    key(
        "identity.provider",
        Text,
        Some("local"),
        "who logs people in: \"local\", \"oidc\", or by name: \"keycloak\", \"google\", \"github\", \"entra\", \"auth0\", \"okta\", \"authentik\", \"dex\"",
    ),
    key(
        "identity.name",
        Text,
        None,
        "in [[identity]], what it is called in URLs; default its provider",
    ),
    key("identity.label", Text, None, "in [[identity]], what people read where they choose"),
    key(
        "identity.tenant",
        Text,
        None,
        "for \"entra\" the directory (tenant) id, for \"auth0\" and \"okta\" the domain; instead of issuer",
    ),
    key(
        "identity.prompt",
        Text,
        None,
        "which page the provider is to show at each login: \"login\", \"consent\", \"select_account\"",
    ),
    key("identity.audience", Text, None, "for \"auth0\", the API that access tokens are for"),
    key("identity.issuer", Text, None, "the provider's issuer, as its discovery document says it"),
    key("identity.client_id", Text, None, "our name at the provider"),
    key("identity.client_secret", Secret, None, "our secret at the provider"),
    key("identity.client_secret_file", Text, None, "a file with that secret"),
    key(
        "identity.scopes",
        List,
        None,
        "what we ask the provider for; default what it needs, mostly openid, email, profile",
    ),
    key(
        "identity.allow",
        Text,
        None,
        "who may log in at all, a condition over user, such as \"'staff' in user.groups\"; default everybody",
    ),
    key(
        "identity.email_domains",
        List,
        Some(""),
        "domains for whose addresses this provider speaks, and for no others; empty: for all that no other names",
    ),
    key(
        "identity.session",
        Text,
        Some("follow"),
        "\"follow\": a grant ends when the provider says that the session is over, \"login-only\": nobody asks again",
    ),
    key(
        "identity.recheck",
        Text,
        Some("15m"),
        "under \"follow\", the longest time between two questions to the provider",
    ),
    key(
        "authorization.mode",
        Text,
        Some("delegated"),
        "\"delegated\": we issue the tokens, \"external\": another authorization server does",
    ),
    key(
        "authorization.issuer",
        Text,
        None,
        "under \"external\", the issuer of that server, as its metadata says it",
    ),
    key(
        "authorization.verify",
        Text,
        Some("jwt"),
        "under \"external\", how tokens are checked: \"jwt\" by its keys, \"introspection\" by asking it",
    ),
    key(
        "authorization.audience",
        List,
        Some(""),
        "under \"external\", what a token must be for, instead of the URL of the only server",
    ),
    key("authorization.client_id", Text, None, "our name where we ask about tokens"),
    key("authorization.client_secret", Secret, None, "our secret there"),
    key("authorization.client_secret_file", Text, None, "a file with that secret"),
    key(
        "authorization.introspection_ttl",
        Text,
        Some("30s"),
        "how long it is remembered what that server said of a token",
    ),
    key(
        "authorization.registration",
        Text,
        Some("open"),
        "dynamic registration: \"open\", \"token\", \"off\"",
    ),
    key("authorization.registration_token", Secret, None, "what a client must show to register"),
    key("authorization.registration_token_file", Text, None, "a file with that token"),
    key(
        "authorization.consent",
        Text,
        Some("always"),
        "when a person is asked: \"always\", \"remember\"",
    ),
    key(
        "authorization.cimd",
        Text,
        Some("on"),
        "clients known by a document at the https URL that is their id: \"on\", \"off\"",
    ),
    key(
        "authorization.cimd_allowed_hosts",
        List,
        Some(""),
        "if not empty, the only hosts of such documents; *.example.com is all below it",
    ),
    key("authorization.cimd_denied_hosts", List, Some(""), "hosts of such documents never taken"),
    key(
        "authorization.private_use_redirects",
        Text,
        Some("on"),
        "redirect URIs of private-use schemes, as desktop applications register: \"on\", \"off\"",
    ),
    key(
        "authorization.redirect_hosts",
        List,
        Some(""),
        "if not empty, the only https hosts that clients may be answered at, beside loopback",
    ),
    key(
        "authorization.client_idle_ttl",
        Text,
        Some("90d"),
        "a client that registered itself and was not used for so long is forgotten; 0 is never",
    ),
    key(
        "authorization.id_jag_issuers",
        List,
        Some(""),
        "identity providers whose word is taken that a client may act for somebody (ID-JAG), by their issuers",
    ),
    key("authorization.code_ttl", Text, Some("5m"), "life of a code"),
    key("authorization.access_token_ttl", Text, Some("1h"), "life of an access token"),
    key("authorization.refresh_token_ttl", Text, Some("30d"), "life of a refresh token"),
    key(
        "authorization.refresh_grace",
        Text,
        Some("60s"),
        "how long a traded refresh token gives the same successor once more; 0 is never",
    ),
    key(
        "authorization.rotation",
        Text,
        Some("always"),
        "\"always\", or \"off\" for confidential clients: they keep their refresh token",
    ),
    key(
        "authorization.client_secret_ttl",
        Text,
        Some("0"),
        "life of a client's secret; 0 is for ever",
    ),
    key("limits.connections_max", Number, Some("10000"), "open connections"),
    key(
        "limits.connections_per_address_max",
        Number,
        Some("1000"),
        "open connections of one address that is no trusted proxy's",
    ),
    key("limits.clients_max", Number, Some("100000"), "registered clients"),
    key("limits.logins_max", Number, Some("100000"), "logins on their way"),
    key("limits.registrations_per_minute", Number, Some("60"), "registrations from one address"),
    key("limits.logins_per_minute", Number, Some("60"), "logins begun from one address"),
    key(
        "limits.document_fetches_per_minute",
        Number,
        Some("20"),
        "documents and keys of clients that one address makes us fetch",
    ),
    key(
        "limits.failures_per_minute",
        Number,
        Some("60"),
        "wrong secrets, codes and tokens from one address at /token and /revoke",
    ),
    key(
        "limits.pages_per_minute",
        Number,
        Some("600"),
        "pages asked for, and forms posted from them, by one address",
    ),
    key(
        "limits.calls_per_minute",
        Number,
        Some("6000"),
        "requests to /token, /revoke and /introspect by one address",
    ),
    key(
        "limits.wrong_tokens_per_minute",
        Number,
        Some("60"),
        "wrong access tokens shown by one address",
    ),
    key("limits.refreshes_per_minute", Number, Some("30"), "refreshes of one grant"),
    key("limits.sessions_max", Number, Some("10000"), "MCP sessions of one server"),
    key(
        "limits.sessions_per_person_max",
        Number,
        Some("100"),
        "MCP sessions of one person at one server",
    ),
    key(
        "limits.session_idle",
        Text,
        Some("30m"),
        "an MCP session unused for this long is forgotten",
    ),
    key("limits.body_bytes_max", Number, Some("4194304"), "bytes of one MCP message"),
    key(
        "tls.cert_file",
        Text,
        None,
        "a certificate (PEM) and those of its issuers, to end TLS here; read again when it changes",
    ),
    key("tls.key_file", Text, None, "the private key (PEM) of that certificate"),
    key(
        "tls.acme.directory",
        Text,
        None,
        "instead, the https URL of an authority's directory (ACME), whose terms you agree to",
    ),
    key("tls.acme.contact", List, Some(""), "e-mail addresses that it may write to"),
    key("tls.acme.folder", Text, Some("acme"), "where its account and certificate are kept"),
    key(
        "tls.acme.ca_file",
        Text,
        None,
        "certificates (PEM) of the authorities that its directory is trusted by",
    ),
];

/// The settings of one `[[server]]`.
pub(crate) const SERVER_KEYS: &[Key] = &[
    key("name", Text, None, "its name: lower-case letters, digits and dashes"),
    key("path", Text, None, "where it is; default its name; empty: only as part of another"),
    key("scopes", List, None, "what a token needs; default its name"),
    key("upstream.builtin", Text, None, "\"fortune\""),
    key("upstream.command", List, None, "a program that speaks MCP over stdio, and its arguments"),
    key("upstream.env", Table, None, "variables for it, beside those of ours that are no settings"),
    key(
        "upstream.per",
        Text,
        None,
        "who shares a process, or a session at a URL: \"user\" (default), \"session\", \"process\" (all)",
    ),
    key("upstream.url", Text, None, "the URL of a server that is there already"),
    key(
        "upstream.transport",
        Text,
        None,
        "how it is spoken to: \"streamable-http\", \"http-sse\"; default what it answers to",
    ),
    key("upstream.headers", Table, None, "headers it gets with every request, such as credentials"),
    key(
        "upstream.ca_file",
        Text,
        None,
        "certificates (PEM) of the authorities it is trusted by; default those of this machine",
    ),
    key(
        "upstream.identity.by",
        Text,
        None,
        "how it hears who calls: \"headers\", \"jwt\", \"provider-token\", \"token-exchange\", a command \"environment\"; default not at all",
    ),
    key(
        "upstream.identity.names",
        Names,
        None,
        "headers or variables and what each tells: \"subject\", \"issuer\", \"name\", \"email\", \"client\", \"scopes\", \"claims.NAME\"",
    ),
    key("upstream.identity.header", Text, None, "where the token stands; default Authorization"),
    key(
        "upstream.identity.audience",
        List,
        None,
        "whom the token is for; default for \"jwt\" upstream.url as it is written",
    ),
    key("upstream.identity.claims", List, None, "what else of the provider's \"jwt\" says"),
    key("upstream.identity.scopes", List, None, "what \"token-exchange\" asks for"),
    key("upstream.servers", List, None, "other [[server]] that are one here, by their names"),
];

/// The settings of one `[[rule]]`.
pub(crate) const RULE_KEYS: &[Key] = &[
    key("name", Text, None, "what the log and `sekisho explain` call it"),
    key("server", Text, None, "the [[server]] it is for; default every one"),
    key(
        "tools",
        List,
        None,
        "tools it is about, * for any characters; default, without the next two too, everything",
    ),
    key("resources", List, None, "resources it is about, by URI"),
    key("prompts", List, None, "prompts it is about"),
    key("allow", Text, None, "a condition in CEL; if it holds, what the rule is about is allowed"),
    key("deny", Text, None, "the same to deny, which comes first"),
    key("scope", Text, None, "what a token needs for it beside the server's own scopes"),
];

/// The settings of one `[[client]]`.
pub(crate) const CLIENT_KEYS: &[Key] = &[
    key("id", Text, None, "its id: letters, digits, dots, dashes and underscores"),
    key("name", Text, None, "the name people see; default its id"),
    key("redirect_uris", List, None, "where answers may go"),
    key("secret", Secret, None, "its secret"),
    key("secret_file", Text, None, "a file with that secret"),
    key("jwks", Text, None, "its public keys, as JSON, if it signs"),
    key("jwks_file", Text, None, "a file with these keys"),
    key("jwks_uri", Text, None, "an https URL of these keys"),
    key(
        "token_endpoint_auth_method",
        Text,
        None,
        "how it proves itself; default by what it has: a secret, keys, or nothing",
    ),
    key("grant_types", List, None, "what it may ask for; default by whether it has redirect_uris"),
    key("scopes", List, None, "the most it may have; default what each server has"),
];

impl Key {
    /// The environment variable that sets it.
    pub(crate) fn variable(&self) -> String {
        format!("SEKISHO_{}", self.path.to_uppercase().replace('.', "__"))
    }
}

/// The name in `known` that somebody most likely meant, if any is near enough.
pub(crate) fn nearest<'a>(asked: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .map(|name| {
            let by_leaf = edits(&last(asked), &last(name)).saturating_add(1);
            (edits(asked, name).min(by_leaf), name)
        })
        .filter(|(distance, name)| *distance <= last(name).len() / 3)
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be added, dropped or changed (Levenshtein), in one row of the table.
fn edits(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (above, from) in from.chars().enumerate() {
        let mut corner = above;
        let mut left = above + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(to.chars()) {
            let best = (corner + usize::from(from != to)).min(*cell + 1).min(left + 1);
            corner = std::mem::replace(cell, best);
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let rows = [
            ("provder", Some("identity.provider"), "a letter is missing, at the wrong level"),
            ("identity.isuer", Some("identity.issuer"), "a letter is missing"),
            ("identity.public_url", Some("public_url"), "written below the wrong table"),
            ("public-url", Some("public_url"), "a dash"),
            ("publicurl", Some("public_url"), "no dash"),
            ("identity.clientid", Some("identity.client_id"), "no dash"),
            ("authorization.token_ttl", None, "which of two?"),
            ("colour", None, "nothing like it"),
        ];
        for (asked, expected, reason) in rows {
            let found = nearest(asked, KEYS.iter().map(|key| key.path));
            assert_eq!(found, expected, "{reason}: {asked}");
        }
    }

    /// A running server looks at all of these (`ConfigFile::files`).
    #[test]
    fn a_setting_that_names_a_file_is_called_so() {
        for key in [KEYS, SERVER_KEYS, RULE_KEYS, CLIENT_KEYS].concat() {
            let names_one = key.purpose.starts_with("a file with") || key.purpose.contains("(PEM)");
            assert!(!names_one || key.path.ends_with("_file"), "{}", key.path);
        }
    }

    #[test]
    fn names_are_unique_and_explained() {
        let mut names: Vec<_> = KEYS.iter().map(|key| key.path).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
        assert!(
            [KEYS, SERVER_KEYS, RULE_KEYS, CLIENT_KEYS]
                .concat()
                .iter()
                .all(|key| !key.purpose.is_empty())
        );
    }
}
