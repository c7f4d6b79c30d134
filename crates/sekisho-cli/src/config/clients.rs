//! The clients that the operator writes down: each `[[client]]` becomes what the store would hold.

use sekisho::clock::Timestamp;
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::{
    ClientId, ClientIdUrl, ClientKeys, ClientMetadata, RegisteredRedirectUri, ScopeSet,
    TokenEndpointAuthMethod,
};
use sekisho::store::{Client, ClientOrigin};

use super::error::{ConfigError, Origin};
use super::understood::{choose, secret};
use super::written::Settings;

/// Shortest secret: whoever holds it acts for the client.
pub(crate) const SECRET_BYTES_MIN: usize = 16;
/// Longest id.
const ID_BYTES_MAX: usize = 128;

const AUTHORIZATION_CODE: &str = "authorization_code";
const REFRESH_TOKEN: &str = "refresh_token";
const CLIENT_CREDENTIALS: &str = "client_credentials";

/// Understands every `[[client]]`; `known` are the scopes of all servers.
pub(super) fn clients(
    written: &[(Origin, Settings)],
    known: &ScopeSet,
) -> Result<Vec<Client>, ConfigError> {
    let mut clients: Vec<Client> = Vec::new();
    for (origin, settings) in written {
        let client = client(origin, settings, known)?;
        if clients.iter().any(|other| other.id == client.id) {
            return Err(settings.refuse("id", "another [[client]] has it: choose another id"));
        }
        clients.push(client);
    }
    Ok(clients)
}

fn client(origin: &Origin, settings: &Settings, known: &ScopeSet) -> Result<Client, ConfigError> {
    if !settings.was_written("id") {
        let problem = "a [[client]] needs an id: write for example id = \"nightly\"";
        return Err(ConfigError::at(origin, "id", None, problem));
    }
    let id = settings.parse("id", client_id)?;
    let redirect_uris = redirect_uris(settings)?;
    let secret = client_secret(settings)?;
    let keys = keys(settings)?;
    let token_endpoint_auth_method = auth_method(settings, secret.is_some(), keys.is_some())?;
    let grants = Grants::read(origin, settings, &redirect_uris, token_endpoint_auth_method)?;
    let scope = scopes(settings, known)?;
    if grants.acts_alone && scope.is_empty() {
        let problem = "a client that acts alone needs them: nobody else says what it may do";
        return Err(ConfigError::at(origin, "scopes", None, problem));
    }
    let name = if settings.was_written("name") { settings.text("name") } else { id.as_str() };
    let metadata = ClientMetadata {
        client_name: Some(name.to_owned()),
        redirect_uris,
        token_endpoint_auth_method,
        refreshes: grants.refreshes,
        scope,
        client_uri: None,
        keys,
        acts_alone: grants.acts_alone,
    };
    let always = Timestamp::from_unix_seconds(0);
    Ok(Client {
        id,
        metadata,
        secret: secret.as_ref().map(Secret::hash),
        secret_expires_at: None,
        created_at: always,
        origin: ClientOrigin::Preregistered,
        // Its use is nobody's business: it stays as long as it is written.
        last_used_at: Timestamp::from_unix_seconds(i64::MAX),
    })
}

/// An id that no client can get or take in another way, and that every form can hold.
pub(crate) fn client_id(text: &str) -> Result<ClientId, &'static str> {
    let id = ClientId::new(text);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if ClientIdUrl::is_meant_by(&id) {
        return Err("it is a URL, which is for clients known by a document: write a plain id");
    }
    if text.is_empty() || text.len() > ID_BYTES_MAX || !text.bytes().all(is_plain) {
        return Err(
            "it is no id: write letters, digits, dots, dashes and underscores, at most 128",
        );
    }
    Ok(id)
}

fn redirect_uris(settings: &Settings) -> Result<Vec<RegisteredRedirectUri>, ConfigError> {
    let uris = settings.list("redirect_uris").iter();
    uris.map(|uri| RegisteredRedirectUri::parse(uri).map_err(|reason| format!("{uri:?}: {reason}")))
        .collect::<Result<_, _>>()
        .map_err(|problem| settings.refuse("redirect_uris", problem))
}

fn client_secret(settings: &Settings) -> Result<Option<Secret>, ConfigError> {
    let found = secret(settings, "secret", "secret_file")?;
    if found.as_ref().is_some_and(|secret| secret.reveal().len() < SECRET_BYTES_MIN) {
        let key = if settings.was_written("secret") { "secret" } else { "secret_file" };
        let problem = format!(
            "it is too short to be secret: use at least {SECRET_BYTES_MIN} characters, for example \
             from \"openssl rand -hex 32\""
        );
        return Err(settings.refuse(key, problem));
    }
    Ok(found)
}

fn keys(settings: &Settings) -> Result<Option<ClientKeys>, ConfigError> {
    let places = ["jwks", "jwks_file", "jwks_uri"];
    let mut written = places.into_iter().filter(|key| settings.was_written(key));
    let Some(key) = written.next() else { return Ok(None) };
    if let Some(other) = written.next() {
        return Err(settings.refuse(other, format!("{key} is set as well: keep one of them")));
    }
    let keys = match key {
        "jwks" => ClientKeys::parse(settings.text(key)),
        "jwks_uri" => ClientKeys::at(settings.text(key)),
        _ => {
            let text = super::read_text(&settings.path(key)).map_err(|error| {
                settings.refuse(key, format!("cannot read it ({error}): name a readable file"))
            })?;
            ClientKeys::parse(&text)
        }
    };
    keys.map(Some).map_err(|reason| ConfigError::at(settings.origin(key), key, None, reason))
}

/// What a client has says how it proves itself; what is written as well must agree.
fn auth_method(
    settings: &Settings,
    has_secret: bool,
    has_keys: bool,
) -> Result<TokenEndpointAuthMethod, ConfigError> {
    use TokenEndpointAuthMethod::{ClientSecretBasic, ClientSecretPost, None, PrivateKeyJwt};
    const KEY: &str = "token_endpoint_auth_method";
    const METHODS: [(&str, TokenEndpointAuthMethod); 4] = [
        ("none", None),
        ("client_secret_basic", ClientSecretBasic),
        ("client_secret_post", ClientSecretPost),
        ("private_key_jwt", PrivateKeyJwt),
    ];
    let by_what_it_has = match (has_secret, has_keys) {
        (true, true) => {
            let key = if settings.was_written("secret") { "secret" } else { "secret_file" };
            let problem =
                "it has keys as well: a client proves itself in one way, keep one of them";
            return Err(settings.refuse(key, problem));
        }
        (true, false) => ClientSecretBasic,
        (false, true) => PrivateKeyJwt,
        (false, false) => None,
    };
    if !settings.was_written(KEY) {
        return Ok(by_what_it_has);
    }
    let method = choose(settings, KEY, &METHODS)?;
    let agrees = match method {
        ClientSecretBasic | ClientSecretPost => has_secret,
        PrivateKeyJwt => has_keys,
        None => !has_secret && !has_keys,
    };
    if agrees {
        return Ok(method);
    }
    let problem = match method {
        ClientSecretBasic | ClientSecretPost => "it needs a secret: set secret_file",
        PrivateKeyJwt => "it needs keys: set jwks_file or jwks_uri",
        None => "it has a secret or keys: leave them out, or write how it uses them",
    };
    Err(settings.refuse(KEY, problem))
}

/// What a client may ask for.
struct Grants {
    refreshes: bool,
    acts_alone: bool,
}

impl Grants {
    fn read(
        origin: &Origin,
        settings: &Settings,
        redirect_uris: &[RegisteredRedirectUri],
        method: TokenEndpointAuthMethod,
    ) -> Result<Self, ConfigError> {
        const KEY: &str = "grant_types";
        let written = settings.list(KEY);
        if written.is_empty() && redirect_uris.is_empty() {
            let problem = "it needs redirect_uris to log people in, or grant_types = \
                           [\"client_credentials\"] to act alone";
            return Err(ConfigError::at(origin, "client", None, problem));
        }
        let has = |name: &str| written.iter().any(|grant| grant == name);
        let known = [AUTHORIZATION_CODE, REFRESH_TOKEN, CLIENT_CREDENTIALS];
        let problem = if written.iter().any(|grant| !known.contains(&grant.as_str())) {
            "one of them is unknown: write authorization_code, refresh_token or client_credentials"
        } else if has(REFRESH_TOKEN) && !has(AUTHORIZATION_CODE) {
            "refresh_token alone begins nothing: add authorization_code"
        } else if has(AUTHORIZATION_CODE) && redirect_uris.is_empty() {
            "authorization_code needs a place for answers: set redirect_uris"
        } else if !written.is_empty() && !has(AUTHORIZATION_CODE) && !redirect_uris.is_empty() {
            "redirect_uris are of use for authorization_code only: add it, or leave them out"
        } else if has(CLIENT_CREDENTIALS) && method == TokenEndpointAuthMethod::None {
            "client_credentials needs a client that proves itself: set secret_file or jwks_file"
        } else {
            return Ok(Self {
                refreshes: written.is_empty() || has(REFRESH_TOKEN),
                acts_alone: has(CLIENT_CREDENTIALS),
            });
        };
        Err(settings.refuse(KEY, problem))
    }
}

fn scopes(settings: &Settings, known: &ScopeSet) -> Result<ScopeSet, ConfigError> {
    let written = settings.list("scopes");
    match written.iter().find(|scope| !known.contains(scope)) {
        None => Ok(ScopeSet::of(written.iter().map(String::as_str))),
        Some(unknown) => {
            let problem = format!("no [[server]] has {unknown:?}: write one of {known}");
            Err(settings.refuse("scopes", problem))
        }
    }
}
