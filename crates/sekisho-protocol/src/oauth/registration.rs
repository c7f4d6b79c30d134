//! `POST /register` (RFC 7591 §2, §3): from a client's JSON to [`ClientMetadata`].
//!
//! What we do not support and need not understand is ignored, since real clients send fields and
//! grant types of every server they know; what would be unsafe or cannot work is refused.

use serde_json::{Map, Value};
use url::Url;

use super::{
    ClientKeys, ClientMetadata, OAuthError, OAuthErrorCode, RegisteredRedirectUri, ScopeSet,
    TokenEndpointAuthMethod, is_loopback,
};

/// Redirect URIs one client may have.
const REDIRECT_URIS_MAX: usize = 16;
/// A client's name is cut to this many characters.
const CLIENT_NAME_CHARS_MAX: usize = 120;
/// Longest `client_uri` and the like, in bytes.
const METADATA_URI_BYTES_MAX: usize = 2 * 1024;

/// Fields whose value, in any language (`tos_uri#ja`), must be a URL that is safe to show.
const METADATA_URIS: [&str; 5] = ["client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri"];

/// Reads a registration request. `known` are all scopes here and `defaults` what a client that
/// names none may ask for.
///
/// # Errors
/// `invalid_redirect_uri` or `invalid_client_metadata` with the field and what is wrong with it.
pub fn parse_registration(
    body: &[u8],
    known: &ScopeSet,
    defaults: &ScopeSet,
) -> Result<ClientMetadata, OAuthError> {
    let fields: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| refused("the body is not a JSON object"))?;
    understand(&fields, auth_method(&fields)?, known, defaults)
}

/// What both ways of introducing oneself share; the method is judged by the caller.
pub(super) fn understand(
    fields: &Map<String, Value>,
    token_endpoint_auth_method: TokenEndpointAuthMethod,
    known: &ScopeSet,
    defaults: &ScopeSet,
) -> Result<ClientMetadata, OAuthError> {
    let redirect_uris = redirect_uris(fields)?;
    check_application_type(fields, &redirect_uris)?;
    check_response_types(fields)?;
    check_metadata_uris(fields)?;
    Ok(ClientMetadata {
        client_name: client_name(fields)?,
        redirect_uris,
        token_endpoint_auth_method,
        refreshes: refreshes(fields)?,
        scope: scope(fields, known, defaults)?,
        client_uri: text(fields, "client_uri")?.map(str::to_owned),
        keys: keys(fields, token_endpoint_auth_method)?,
        acts_alone: false,
    })
}

/// RFC 7591 §2: `jwks` or `jwks_uri`, not both, and at least one for who signs with them. Keys of
/// others are nobody's business and not kept.
fn keys(
    fields: &Map<String, Value>,
    method: TokenEndpointAuthMethod,
) -> Result<Option<ClientKeys>, OAuthError> {
    let present = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let keys = match (present("jwks"), text(fields, "jwks_uri")?) {
        (Some(_), Some(_)) => return Err(refused("jwks and jwks_uri cannot both be given")),
        (Some(jwks), None) => Some(ClientKeys::inline(jwks)),
        (None, Some(uri)) => Some(ClientKeys::at(uri)),
        (None, None) => None,
    };
    let keys = keys.transpose().map_err(|reason| refused(&reason.to_string()))?;
    match (method, keys) {
        (TokenEndpointAuthMethod::PrivateKeyJwt, None) => {
            Err(refused("private_key_jwt needs jwks or jwks_uri"))
        }
        (TokenEndpointAuthMethod::PrivateKeyJwt, keys) => Ok(keys),
        (
            TokenEndpointAuthMethod::None
            | TokenEndpointAuthMethod::ClientSecretBasic
            | TokenEndpointAuthMethod::ClientSecretPost,
            _,
        ) => Ok(None),
    }
}

pub(super) fn refused(description: &str) -> OAuthError {
    OAuthError::new(OAuthErrorCode::InvalidClientMetadata, description)
}

pub(super) fn text<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<&'a str>, OAuthError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(refused(&format!("{name} is not a string"))),
    }
}

fn texts<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
) -> Result<Option<Vec<&'a str>>, OAuthError> {
    let not_texts = || refused(&format!("{name} is not an array of strings"));
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().ok_or_else(not_texts))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(not_texts()),
    }
}

fn redirect_uris(fields: &Map<String, Value>) -> Result<Vec<RegisteredRedirectUri>, OAuthError> {
    let invalid =
        |description: &str| OAuthError::new(OAuthErrorCode::InvalidRedirectUri, description);
    let uris = texts(fields, "redirect_uris")
        .map_err(|error| invalid(&error.error_description))?
        .unwrap_or_default();
    if uris.is_empty() {
        return Err(invalid("redirect_uris is missing or empty"));
    }
    if uris.len() > REDIRECT_URIS_MAX {
        return Err(invalid("redirect_uris has too many entries"));
    }
    uris.into_iter()
        .map(|uri| {
            RegisteredRedirectUri::parse(uri)
                .map_err(|reason| invalid(&format!("redirect_uri '{}': {reason}", shortened(uri))))
        })
        .collect()
}

/// Enough of a refused URI to recognise it.
fn shortened(uri: &str) -> String {
    uri.chars().take(80).collect()
}

/// A web client lives on a server, so loopback cannot be its address (`OpenID` registration §2).
fn check_application_type(
    fields: &Map<String, Value>,
    redirect_uris: &[RegisteredRedirectUri],
) -> Result<(), OAuthError> {
    match text(fields, "application_type")? {
        Some("web") if redirect_uris.iter().any(RegisteredRedirectUri::is_loopback) => {
            Err(OAuthError::new(
                OAuthErrorCode::InvalidRedirectUri,
                "a web client cannot have a loopback redirect_uri: register it with application_type native",
            ))
        }
        _ => Ok(()),
    }
}

fn check_response_types(fields: &Map<String, Value>) -> Result<(), OAuthError> {
    match texts(fields, "response_types")? {
        Some(types) if !types.is_empty() && !types.contains(&"code") => {
            Err(refused("response_types must contain code"))
        }
        _ => Ok(()),
    }
}

/// RFC 7591 §5: these are shown to people or fetched, so nothing but https (or loopback) may stand there.
fn check_metadata_uris(fields: &Map<String, Value>) -> Result<(), OAuthError> {
    for (name, value) in fields {
        let base = name.split('#').next().unwrap_or(name);
        if !METADATA_URIS.contains(&base) || value.is_null() {
            continue;
        }
        let safe = value.as_str().is_some_and(|uri| {
            uri.len() <= METADATA_URI_BYTES_MAX
                && Url::parse(uri).is_ok_and(|url| {
                    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url))
                })
        });
        if !safe {
            return Err(refused(&format!("{base} is not an https URL")));
        }
    }
    Ok(())
}

fn client_name(fields: &Map<String, Value>) -> Result<Option<String>, OAuthError> {
    let name = text(fields, "client_name")?;
    Ok(name.map(|name| name.chars().take(CLIENT_NAME_CHARS_MAX).collect()))
}

fn auth_method(fields: &Map<String, Value>) -> Result<TokenEndpointAuthMethod, OAuthError> {
    match text(fields, "token_endpoint_auth_method")? {
        // RFC 7591 §2: the default.
        None | Some("client_secret_basic") => Ok(TokenEndpointAuthMethod::ClientSecretBasic),
        Some("client_secret_post") => Ok(TokenEndpointAuthMethod::ClientSecretPost),
        Some("none") => Ok(TokenEndpointAuthMethod::None),
        Some("private_key_jwt") => Ok(TokenEndpointAuthMethod::PrivateKeyJwt),
        Some(_) => Err(refused(
            "token_endpoint_auth_method must be none, client_secret_basic, client_secret_post or \
             private_key_jwt",
        )),
    }
}

/// Grant types we do not have are ignored, if one that we have is among them.
fn refreshes(fields: &Map<String, Value>) -> Result<bool, OAuthError> {
    match texts(fields, "grant_types")? {
        None => Ok(true),
        Some(types) if types.is_empty() => Ok(true),
        Some(types) if types.contains(&"authorization_code") => {
            Ok(types.contains(&"refresh_token"))
        }
        Some(_) => Err(refused("grant_types must contain authorization_code")),
    }
}

fn scope(
    fields: &Map<String, Value>,
    known: &ScopeSet,
    defaults: &ScopeSet,
) -> Result<ScopeSet, OAuthError> {
    let asked = ScopeSet::parse(text(fields, "scope")?.unwrap_or_default())
        .map_err(|reason| refused(&reason.to_string()))?
        .restricted_to(known);
    Ok(if asked.is_empty() { defaults.clone() } else { asked })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use serde_json::json;

    use super::*;

    fn parse(body: &Value) -> Result<ClientMetadata, OAuthErrorCode> {
        let known = ScopeSet::of(["fortune", "admin"]);
        parse_registration(&serde_json::to_vec(body).unwrap(), &known, &ScopeSet::of(["fortune"]))
            .map_err(|error| error.error)
    }

    #[test]
    fn what_is_unsafe_or_cannot_work_is_refused() {
        use OAuthErrorCode::{InvalidClientMetadata, InvalidRedirectUri};
        let with = |name: &str, value: Value| json!({ "redirect_uris": ["https://a.example/cb"], name: value });
        let many: Vec<String> = (0..17).map(|n| format!("https://a.example/{n}")).collect();
        let rows = [
            (json!({}), InvalidRedirectUri, "no redirect URI"),
            (json!({ "redirect_uris": [] }), InvalidRedirectUri, "empty"),
            (
                json!({ "redirect_uris": "https://a.example/cb" }),
                InvalidRedirectUri,
                "not an array",
            ),
            (json!({ "redirect_uris": [1] }), InvalidRedirectUri, "not strings"),
            (json!({ "redirect_uris": many }), InvalidRedirectUri, "too many"),
            (
                json!({ "redirect_uris": ["https://a.example/cb", "javascript:alert(1)"] }),
                InvalidRedirectUri,
                "one of them is dangerous",
            ),
            (json!([]), InvalidClientMetadata, "not an object"),
            (with("client_name", json!(1)), InvalidClientMetadata, "a name that is a number"),
            (with("client_uri", json!("javascript:alert(1)")), InvalidClientMetadata, "script"),
            (with("logo_uri", json!("http://evil.example/l.png")), InvalidClientMetadata, "http"),
            (with("tos_uri", json!("data:text/html,x")), InvalidClientMetadata, "data"),
            (with("policy_uri", json!(7)), InvalidClientMetadata, "a number"),
            (with("jwks_uri", json!("http://169.254.169.254/")), InvalidClientMetadata, "http"),
            (
                with("logo_uri#ja", json!("javascript:alert(1)")),
                InvalidClientMetadata,
                "by language",
            ),
            (
                with("token_endpoint_auth_method", json!("private_key_jwt")),
                InvalidClientMetadata,
                "a key is needed",
            ),
            (
                with("token_endpoint_auth_method", json!("client_secret_jwt")),
                InvalidClientMetadata,
                "method",
            ),
            (with("jwks", json!("text")), InvalidClientMetadata, "keys that are none"),
            (
                json!({ "redirect_uris": ["https://a.example/cb"], "jwks": { "keys": [] }, "jwks_uri": "https://a.example/k" }),
                InvalidClientMetadata,
                "keys in two places",
            ),
            (with("token_endpoint_auth_method", json!(["none"])), InvalidClientMetadata, "type"),
            (with("grant_types", json!(["password"])), InvalidClientMetadata, "grant type"),
            (
                with("grant_types", json!(["refresh_token"])),
                InvalidClientMetadata,
                "no way to begin",
            ),
            (with("response_types", json!(["token"])), InvalidClientMetadata, "implicit"),
            (with("scope", json!("a\"b")), InvalidClientMetadata, "scope syntax"),
            (
                json!({ "redirect_uris": ["http://127.0.0.1/cb"], "application_type": "web" }),
                InvalidRedirectUri,
                "a web client on loopback",
            ),
        ];
        for (body, expected, reason) in rows {
            assert_eq!(parse(&body).map(|_| ()), Err(expected), "{reason}: {body}");
        }
        let deep = "[".repeat(100_000);
        let parsed =
            parse_registration(deep.as_bytes(), &ScopeSet::default(), &ScopeSet::default());
        assert_eq!(parsed.unwrap_err().error, InvalidClientMetadata, "depth");
    }

    #[test]
    fn what_real_clients_send_is_understood() {
        let cursor = parse(&json!({
            "client_name": "Cursor",
            "redirect_uris": [
                "cursor://anysphere.cursor-mcp/oauth/callback",
                "https://www.cursor.com/agents/mcp/oauth/callback",
                "http://localhost:8787/callback"
            ],
            "grant_types": ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "software_id": "x", "contacts": []
        }))
        .unwrap();
        assert_eq!(cursor.redirect_uris.len(), 3);
        assert!(cursor.refreshes);
        assert_eq!(cursor.token_endpoint_auth_method, TokenEndpointAuthMethod::None);
        assert_eq!(cursor.scope.to_string(), "fortune", "missing scope: the default");

        let bare = parse(&json!({ "redirect_uris": ["https://a.example/cb"] })).unwrap();
        assert_eq!(bare.token_endpoint_auth_method, TokenEndpointAuthMethod::ClientSecretBasic);
        assert!(bare.refreshes, "omitted grant types: all we have");

        let once = parse(&json!({
            "redirect_uris": ["https://a.example/cb"],
            "grant_types": ["authorization_code"],
            "scope": "stale admin",
            "client_name": "n".repeat(10_000),
        }))
        .unwrap();
        assert!(!once.refreshes);
        assert_eq!(once.scope.to_string(), "admin", "stale scopes are dropped");
        assert_eq!(once.client_name.unwrap().chars().count(), CLIENT_NAME_CHARS_MAX);
    }
}
