//! `GET /authorize` (OAuth 2.1 §4.1.1): from parameters to a request in which every part is proven.
//!
//! Two kinds of refusal, and the order matters: until client and redirect URI are known, nothing may
//! be sent anywhere, so the person sees a page; from then on the client hears the error.

use serde::{Deserialize, Serialize};

use super::{
    ClientId, ClientMetadata, CodeChallenge, OAuthError, OAuthErrorCode, Parameters,
    ProtectedResource, ProtectedResources, RedirectUri, ResourceUri, ScopeSet,
};

/// Longest `state` that is echoed, in bytes.
const STATE_BYTES_MAX: usize = 4 * 1024;

/// Scopes that mean "refresh tokens, please" and say nothing about the server.
const OFFLINE_ACCESS: &str = "offline_access";

/// What a client asked for, with every part proven against its registration and our servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRequest {
    /// A registered client.
    pub client_id: ClientId,
    /// One of its redirect URIs.
    pub redirect_uri: RedirectUri,
    /// The client's own `state`, echoed as it came; absent if it sent none.
    pub state: Option<String>,
    /// The PKCE commitment.
    pub code_challenge: CodeChallenge,
    /// What is asked for; never empty unless the server has no scopes.
    pub scope: ScopeSet,
    /// For which server, by its canonical URI.
    pub resource: ResourceUri,
}

/// Where an answer may go, known before anything else is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnAddress {
    /// One of the client's redirect URIs.
    pub redirect_uri: RedirectUri,
    /// The client's `state`, unless it came twice.
    pub state: Option<String>,
}

/// Reasons for a page instead of a redirect (RFC 6749 §4.1.2.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReturnAddress {
    /// `client_id` is missing or doubled.
    #[error("client_id is missing or came more than once")]
    NoClientId,
    /// `redirect_uri` came more than once.
    #[error("redirect_uri came more than once")]
    DoubledRedirectUri,
    /// The redirect URI is not one of this client's, or none was named and it has several.
    #[error("redirect_uri is not registered for this client")]
    UnregisteredRedirectUri,
}

/// The client a request names, before anybody knows whether there is one.
///
/// # Errors
/// When it is absent or ambiguous.
pub fn named_client(parameters: &Parameters) -> Result<ClientId, NoReturnAddress> {
    parameters.value("client_id").map(ClientId::new).ok_or(NoReturnAddress::NoClientId)
}

impl ReturnAddress {
    /// Finds the place for answers among the client's registered redirect URIs.
    ///
    /// # Errors
    /// Every error here must become a page.
    pub fn find(parameters: &Parameters, client: &ClientMetadata) -> Result<Self, NoReturnAddress> {
        if parameters.is_doubled("redirect_uri") {
            return Err(NoReturnAddress::DoubledRedirectUri);
        }
        let redirect_uri = client
            .find_redirect_uri(parameters.value("redirect_uri"))
            .ok_or(NoReturnAddress::UnregisteredRedirectUri)?;
        let state = parameters.value("state").filter(|state| state.len() <= STATE_BYTES_MAX);
        Ok(Self { redirect_uri, state: state.map(str::to_owned) })
    }
}

impl AuthorizationRequest {
    /// Proves the rest of a request whose client and return address are known.
    ///
    /// # Errors
    /// The error that the client must hear by redirect.
    pub fn prove(
        parameters: &Parameters,
        client_id: ClientId,
        return_address: &ReturnAddress,
        servers: &ProtectedResources,
    ) -> Result<Self, OAuthError> {
        use OAuthErrorCode::{InvalidRequest, InvalidTarget};
        if parameters.has_doubled() {
            return Err(OAuthError::new(InvalidRequest, "a parameter came more than once"));
        }
        if parameters.value("state").is_some_and(|state| state.len() > STATE_BYTES_MAX) {
            return Err(OAuthError::new(InvalidRequest, "state is too long"));
        }
        check_response(parameters)?;
        let code_challenge = CodeChallenge::parse(
            parameters.value("code_challenge"),
            parameters.value("code_challenge_method"),
        )
        .map_err(|reason| OAuthError::new(InvalidRequest, &reason.to_string()))?;
        let server = servers
            .find(parameters.resources())
            .map_err(|reason| OAuthError::new(InvalidTarget, &reason.to_string()))?;
        Ok(Self {
            client_id,
            redirect_uri: return_address.redirect_uri.clone(),
            state: return_address.state.clone(),
            code_challenge,
            scope: granted_scope(parameters.value("scope"), server)?,
            resource: server.resource.clone(),
        })
    }
}

/// Only `response_type=code` by query, and no request objects.
fn check_response(parameters: &Parameters) -> Result<(), OAuthError> {
    use OAuthErrorCode::{
        InvalidRequest, RequestNotSupported, RequestUriNotSupported, UnsupportedResponseType,
    };
    if parameters.has("request") {
        return Err(OAuthError::new(RequestNotSupported, "request objects are not supported"));
    }
    if parameters.has("request_uri") {
        return Err(OAuthError::new(RequestUriNotSupported, "request_uri is not supported"));
    }
    match parameters.value("response_type") {
        Some("code") => {}
        Some(_) => {
            return Err(OAuthError::new(UnsupportedResponseType, "response_type must be code"));
        }
        None => return Err(OAuthError::new(InvalidRequest, "response_type is missing")),
    }
    match parameters.value("response_mode") {
        None | Some("query") => Ok(()),
        Some(_) => Err(OAuthError::new(InvalidRequest, "response_mode must be query")),
    }
}

/// Unknown scopes are dropped, since clients carry stale ones; `invalid_scope` is for bad syntax
/// and for requests of which nothing is left. A client's registered scope is no limit here: the
/// person decides, and clients step up beyond what they registered.
fn granted_scope(asked: Option<&str>, server: &ProtectedResource) -> Result<ScopeSet, OAuthError> {
    use OAuthErrorCode::InvalidScope;
    let asked = ScopeSet::parse(asked.unwrap_or_default())
        .map_err(|reason| OAuthError::new(InvalidScope, &reason.to_string()))?;
    if asked.iter().all(|token| token == OFFLINE_ACCESS) {
        return Ok(server.scopes.clone());
    }
    let known = asked.restricted_to(&server.all_scopes());
    if known.is_empty() {
        return Err(OAuthError::new(
            InvalidScope,
            &format!("none of these scopes is known here: the server has {}", server.all_scopes()),
        ));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::{Issuer, RegisteredRedirectUri, TokenEndpointAuthMethod};
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn client(redirect_uris: &[&str]) -> ClientMetadata {
        ClientMetadata {
            client_name: None,
            redirect_uris: redirect_uris
                .iter()
                .map(|uri| RegisteredRedirectUri::parse(uri).unwrap())
                .collect(),
            token_endpoint_auth_method: TokenEndpointAuthMethod::None,
            refreshes: true,
            scope: ScopeSet::of(["fortune"]),
            client_uri: None,
            keys: None,
            acts_alone: false,
        }
    }

    fn prove(query: &str) -> Result<AuthorizationRequest, OAuthErrorCode> {
        let issuer = Issuer::parse("http://localhost:8000").unwrap();
        let scopes = ScopeSet::of(["fortune", "admin"]);
        let servers =
            ProtectedResources::new(vec![ProtectedResource::new(&issuer, "fortune", "/", scopes)]);
        let parameters = Parameters::parse(query.as_bytes());
        let address = ReturnAddress::find(&parameters, &client(&["https://a.example/cb"])).unwrap();
        AuthorizationRequest::prove(&parameters, ClientId::new("c"), &address, &servers)
            .map_err(|error| error.error)
    }

    #[test]
    fn every_refusal_has_its_word() {
        use OAuthErrorCode::*;
        let good =
            format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256");
        let long_state = format!("{good}&state={}", "s".repeat(STATE_BYTES_MAX + 1));
        let long_scope = format!("{good}&scope={}", "s".repeat(100_000));
        let rows: &[(&str, OAuthErrorCode, &str)] = &[
            ("", InvalidRequest, "nothing asked"),
            ("response_type=code", InvalidRequest, "no challenge"),
            (
                &format!("response_type=code&code_challenge={CHALLENGE}"),
                InvalidRequest,
                "method absent means plain",
            ),
            (
                &format!(
                    "response_type=code&code_challenge={CHALLENGE}&code_challenge_method=plain"
                ),
                InvalidRequest,
                "plain",
            ),
            ("response_type=token", UnsupportedResponseType, "implicit"),
            ("response_type=id_token", UnsupportedResponseType, "id token"),
            ("response_type=code+token", UnsupportedResponseType, "hybrid"),
            (&format!("{good}&response_mode=fragment"), InvalidRequest, "fragment"),
            (&format!("{good}&response_mode=form_post"), InvalidRequest, "form_post"),
            (&format!("{good}&request=eyJ"), RequestNotSupported, "request object"),
            (&format!("{good}&request_uri=http://canary/"), RequestUriNotSupported, "by reference"),
            (&format!("{good}&scope=fortune&scope=admin"), InvalidRequest, "doubled scope"),
            (&format!("{good}&state=a&state=b"), InvalidRequest, "doubled state"),
            (&format!("{good}&response_type=code"), InvalidRequest, "doubled response_type"),
            (&long_state, InvalidRequest, "a state nobody needs"),
            (&format!("{good}&scope=unknown"), InvalidScope, "nothing known is left"),
            (&format!("{good}&scope=fo%22rtune"), InvalidScope, "a quote"),
            (&format!("{good}&scope=a%0D%0ASet-Cookie:x"), InvalidScope, "a line break"),
            (&long_scope, InvalidScope, "100 kB"),
            (&format!("{good}&resource=https://evil.example/mcp"), InvalidTarget, "not ours"),
            (&format!("{good}&resource=mcp"), InvalidTarget, "relative"),
            (&format!("{good}&resource=http://localhost:8000/mcp%23f"), InvalidTarget, "fragment"),
        ];
        for (query, expected, reason) in rows {
            assert_eq!(prove(query).map(|_| ()), Err(*expected), "{reason}");
        }
    }

    #[test]
    fn what_is_left_of_the_scopes_is_echoed() {
        let good =
            format!("response_type=code&code_challenge={CHALLENGE}&code_challenge_method=S256");
        let rows = [
            ("", "fortune admin", "omitted: the server's"),
            ("&scope=", "fortune admin", "empty: the server's"),
            ("&scope=offline_access", "fortune admin", "only a wish for refresh tokens"),
            ("&scope=fortune", "fortune", "as asked"),
            ("&scope=stale+fortune+offline_access", "fortune", "unknown ones are dropped"),
        ];
        for (scope, expected, reason) in rows {
            let request = prove(&format!("{good}{scope}")).unwrap();
            assert_eq!(request.scope.to_string(), expected, "{reason}");
        }
    }

    #[test]
    fn without_a_sure_return_address_there_is_none() {
        use NoReturnAddress::*;
        let one: &[&str] = &["https://a.example/cb"];
        let two: &[&str] = &["https://a.example/cb", "https://a.example/cb2"];
        let rows: &[(&[&str], &str, Result<&str, NoReturnAddress>, &str)] = &[
            (one, "redirect_uri=https://a.example/cb", Ok("https://a.example/cb"), "registered"),
            (one, "", Ok("https://a.example/cb"), "omitted, one registered"),
            (two, "", Err(UnregisteredRedirectUri), "omitted, two registered"),
            (one, "redirect_uri=https://evil.example/cb", Err(UnregisteredRedirectUri), "another"),
            (
                one,
                "redirect_uri=https://a.example/cb&redirect_uri=https://a.example/cb",
                Err(DoubledRedirectUri),
                "doubled",
            ),
        ];
        for (registered, query, expected, reason) in rows {
            let found =
                ReturnAddress::find(&Parameters::parse(query.as_bytes()), &client(registered));
            let found =
                found.as_ref().map(|address| address.redirect_uri.as_str()).map_err(Clone::clone);
            assert_eq!(found, *expected, "{reason}");
        }
        let named = |query: &str| named_client(&Parameters::parse(query.as_bytes()));
        assert_eq!(named("client_id=a"), Ok(ClientId::new("a")));
        assert_eq!(named("client_id=a&client_id=b"), Err(NoClientId));
        assert_eq!(named(""), Err(NoClientId));
    }
}
