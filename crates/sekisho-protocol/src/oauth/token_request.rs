//! `POST /token` (OAuth 2.1 §3.2): which grant is asked for, and who asks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{
    AssertionClaims, CLIENT_ASSERTION_TYPE, ClientId, CodeVerifier, OAuthError, OAuthErrorCode,
    Parameters,
};
use crate::Secret;

/// A request for tokens, by grant type.
#[derive(Debug)]
pub enum TokenRequest {
    /// `authorization_code` (OAuth 2.1 §4.1.3).
    Code(CodeRequest),
    /// `refresh_token` (OAuth 2.1 §4.3).
    Refresh(RefreshRequest),
    /// `client_credentials` (OAuth 2.1 §4.2): a machine asks for itself.
    Machine(MachineRequest),
    /// `urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523 §2.1): somebody vouches for a person.
    Assertion(AssertionRequest),
}

/// A code and the proof that goes with it.
#[derive(Debug)]
pub struct CodeRequest {
    /// The code as it came.
    pub code: Secret,
    /// The PKCE proof; `None` if it breaks the grammar and so cannot match.
    pub code_verifier: Option<CodeVerifier>,
    /// Optional in OAuth 2.1, but if sent it must be the one of the authorization request.
    pub redirect_uri: Option<String>,
    /// For which resource; usually repeated from the authorization request.
    pub resources: Vec<String>,
}

/// A refresh token and what to narrow to.
#[derive(Debug)]
pub struct RefreshRequest {
    /// The refresh token as it came.
    pub refresh_token: Secret,
    /// Narrower scopes, as text.
    pub scope: Option<String>,
    /// For which resource; it must be the grant's.
    pub resources: Vec<String>,
}

/// What a machine wants to do, and where.
#[derive(Debug)]
pub struct MachineRequest {
    /// The scopes, as text; none for all it may have.
    pub scope: Option<String>,
    /// For which resource.
    pub resources: Vec<String>,
}

/// A word of somebody who is trusted, and what is wished by it.
#[derive(Debug)]
pub struct AssertionRequest {
    /// The JWT as it came.
    pub assertion: Secret,
    /// The scopes, as text; none for all that it allows.
    pub scope: Option<String>,
    /// For which resource; what the assertion says counts.
    pub resources: Vec<String>,
}

/// RFC 7523 §2.1.
pub const JWT_BEARER_GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

impl TokenRequest {
    /// Reads the form of a token request.
    ///
    /// # Errors
    /// `invalid_request` for missing or doubled parameters, `unsupported_grant_type`.
    pub fn parse(parameters: &Parameters) -> Result<Self, OAuthError> {
        use OAuthErrorCode::{InvalidRequest, UnsupportedGrantType};
        if parameters.has_doubled() {
            return Err(OAuthError::new(InvalidRequest, "a parameter came more than once"));
        }
        let required = |name: &str| {
            let missing = || OAuthError::new(InvalidRequest, &format!("{name} is missing"));
            parameters.value(name).ok_or_else(missing)
        };
        match required("grant_type")? {
            "authorization_code" => Ok(Self::Code(CodeRequest {
                code: Secret::new(required("code")?),
                code_verifier: CodeVerifier::parse(required("code_verifier")?),
                redirect_uri: parameters.value("redirect_uri").map(str::to_owned),
                resources: parameters.resources().to_vec(),
            })),
            "refresh_token" => Ok(Self::Refresh(RefreshRequest {
                refresh_token: Secret::new(required("refresh_token")?),
                scope: parameters.value("scope").map(str::to_owned),
                resources: parameters.resources().to_vec(),
            })),
            "client_credentials" => Ok(Self::Machine(MachineRequest {
                scope: parameters.value("scope").map(str::to_owned),
                resources: parameters.resources().to_vec(),
            })),
            JWT_BEARER_GRANT => Ok(Self::Assertion(AssertionRequest {
                assertion: Secret::new(required("assertion")?),
                scope: parameters.value("scope").map(str::to_owned),
                resources: parameters.resources().to_vec(),
            })),
            _ => Err(OAuthError::new(
                UnsupportedGrantType,
                "grant_type must be authorization_code, refresh_token or client_credentials",
            )),
        }
    }
}

/// Who a client says it is, and its proof, before either is checked.
#[derive(Debug)]
pub struct ClientCredentials {
    /// The id it names.
    pub client_id: ClientId,
    /// What it shows for it.
    pub proof: ClientProof,
}

/// How a client proves to be the one it names.
#[derive(Debug)]
pub enum ClientProof {
    /// Not at all: a public client.
    None,
    /// By its secret, in a header or in the form.
    Secret(Secret),
    /// By a JWT of its own (RFC 7523 §2.2).
    Assertion(Secret),
}

/// Why no credentials could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// No `client_id` anywhere: `invalid_client`, 401.
    #[error("client_id is missing")]
    Missing,
    /// The `Authorization` header is not Basic with an id and a secret: `invalid_client`, 401.
    #[error("the Authorization header is not valid Basic authentication")]
    MalformedBasic,
    /// Half an assertion, of another type, or without a subject: `invalid_client`, 401.
    #[error("client_assertion and client_assertion_type are not a JWT for client authentication")]
    MalformedAssertion,
    /// RFC 6749 §2.3: one method a request: `invalid_request`, 400.
    #[error("the client authenticates in two ways at once")]
    TwoMethods,
}

impl ClientCredentials {
    /// Reads credentials from the `Authorization` header, if there is one, or from the form.
    ///
    /// # Errors
    /// When there are none, or two kinds, or the header is malformed.
    pub fn parse(
        authorization: Option<&str>,
        parameters: &Parameters,
    ) -> Result<Self, CredentialsError> {
        let in_body = parameters.value("client_id");
        let has_assertion =
            ["client_assertion", "client_assertion_type"].iter().any(|name| parameters.has(name));
        let methods = [authorization.is_some(), parameters.has("client_secret"), has_assertion];
        if methods.into_iter().filter(|is_used| *is_used).count() > 1 {
            return Err(CredentialsError::TwoMethods);
        }
        if has_assertion {
            return parse_assertion(parameters);
        }
        let Some(header) = authorization else {
            let client_id = in_body.map(ClientId::new).ok_or(CredentialsError::Missing)?;
            let secret = parameters.value("client_secret").map(Secret::new);
            return Ok(Self {
                client_id,
                proof: secret.map_or(ClientProof::None, ClientProof::Secret),
            });
        };
        let credentials = parse_basic(header).ok_or(CredentialsError::MalformedBasic)?;
        match in_body {
            Some(id) if id != credentials.client_id.as_str() => Err(CredentialsError::TwoMethods),
            _ => Ok(credentials),
        }
    }
}

/// RFC 7521 §4.2: `client_id` is optional beside an assertion, whose subject says the same.
fn parse_assertion(parameters: &Parameters) -> Result<ClientCredentials, CredentialsError> {
    let (Some(CLIENT_ASSERTION_TYPE), Some(assertion)) =
        (parameters.value("client_assertion_type"), parameters.value("client_assertion"))
    else {
        return Err(CredentialsError::MalformedAssertion);
    };
    let client_id = match parameters.value("client_id") {
        Some(id) => ClientId::new(id),
        None => AssertionClaims::unverified_subject(assertion)
            .ok_or(CredentialsError::MalformedAssertion)?,
    };
    Ok(ClientCredentials { client_id, proof: ClientProof::Assertion(Secret::new(assertion)) })
}

/// RFC 6749 §2.3.1: id and secret are form-encoded before they are joined and base64-encoded.
fn parse_basic(header: &str) -> Option<ClientCredentials> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = STANDARD.decode(encoded.trim()).ok()?;
    let joined = String::from_utf8(joined).ok()?;
    let (id, secret) = joined.split_once(':')?;
    let client_id = form_decoded(id).filter(|id| !id.is_empty())?;
    let secret = form_decoded(secret)?;
    let proof = match secret.as_str() {
        "" => ClientProof::None,
        _ => ClientProof::Secret(Secret::new(secret)),
    };
    Some(ClientCredentials { client_id: ClientId::new(client_id), proof })
}

/// Undoes form-encoding of one value; `None` for a broken escape or text that is not UTF-8.
fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_token_request_names_its_grant() {
        use OAuthErrorCode::{InvalidRequest, UnsupportedGrantType};
        let rows = [
            ("", Some(InvalidRequest), "nothing"),
            ("grant_type=password&username=a&password=b", Some(UnsupportedGrantType), "password"),
            ("grant_type=client_credentials", None, "machines"),
            (
                "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer",
                Some(InvalidRequest),
                "no assertion",
            ),
            (
                "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a",
                None,
                "somebody's word",
            ),
            ("grant_type=authorization_code&code_verifier=v", Some(InvalidRequest), "no code"),
            ("grant_type=authorization_code&code=c", Some(InvalidRequest), "no verifier"),
            (
                "grant_type=authorization_code&code=c&code_verifier=v",
                None,
                "a verifier too short is judged later",
            ),
            (
                "grant_type=authorization_code&code=c&code=d&code_verifier=v",
                Some(InvalidRequest),
                "doubled",
            ),
            ("grant_type=refresh_token", Some(InvalidRequest), "no token"),
            ("grant_type=refresh_token&refresh_token=t", None, "refresh"),
        ];
        for (form, expected, reason) in rows {
            let parsed = TokenRequest::parse(&Parameters::parse(form.as_bytes()));
            assert_eq!(parsed.err().map(|error| error.error), expected, "{reason}");
        }
    }

    #[test]
    fn credentials_come_in_one_way() {
        use CredentialsError::*;
        // {"sub":"machine"}
        const JWT: &str = "e30.eyJzdWIiOiJtYWNoaW5lIn0.c2ln";
        let basic = |text: &str| Some(format!("Basic {}", STANDARD.encode(text)));
        let assertion = |rest: &str| {
            format!("{rest}client_assertion_type={CLIENT_ASSERTION_TYPE}&client_assertion={JWT}")
        };
        let (named, alone) = (assertion("client_id=c&"), assertion(""));
        let (with_secret, rubbish) = (assertion("client_secret=s&"), alone.replace(JWT, "rubbish"));
        let rows: Vec<(
            Option<String>,
            &str,
            Result<(&str, Option<&str>), CredentialsError>,
            &str,
        )> = vec![
            (None, "client_id=c", Ok(("c", None)), "public"),
            (None, "client_id=c&client_secret=s", Ok(("c", Some("s"))), "post"),
            (basic("c:s"), "", Ok(("c", Some("s"))), "basic"),
            (
                basic("c:s").map(|text| text.replace("Basic", "bAsIc")),
                "",
                Ok(("c", Some("s"))),
                "scheme case",
            ),
            (basic("c:s"), "client_id=c", Ok(("c", Some("s"))), "basic and the same id"),
            (basic("a%3Ab:s%2Bt+u"), "", Ok(("a:b", Some("s+t u"))), "form-encoded"),
            (basic("c:"), "", Ok(("c", None)), "an empty secret is none"),
            (None, "", Err(Missing), "nobody"),
            (None, "client_id=", Err(Missing), "empty"),
            (basic("c:s"), "client_secret=s", Err(TwoMethods), "both"),
            (basic("c:s"), "client_id=d", Err(TwoMethods), "two ids"),
            (basic("no colon"), "", Err(MalformedBasic), "no colon"),
            (basic(":s"), "", Err(MalformedBasic), "no id"),
            (basic("c%zz:s"), "", Err(MalformedBasic), "bad escape"),
            (basic("c%f:s"), "", Err(MalformedBasic), "short escape"),
            (Some("Basic !!!".into()), "", Err(MalformedBasic), "bad base64"),
            (Some("Basic".into()), "", Err(MalformedBasic), "nothing behind"),
            (Some("Bearer abc".into()), "client_id=c", Err(MalformedBasic), "another scheme"),
            (None, &named, Ok(("c", Some(JWT))), "an assertion"),
            (None, &alone, Ok(("machine", Some(JWT))), "an assertion names its client"),
            (None, &with_secret, Err(TwoMethods), "assertion and secret"),
            (basic("c:s"), &alone, Err(TwoMethods), "assertion and Basic"),
            (None, "client_id=c&client_assertion=x", Err(MalformedAssertion), "no type"),
            (
                None,
                "client_id=c&client_assertion_type=urn:other&client_assertion=x",
                Err(MalformedAssertion),
                "another type",
            ),
            (None, &rubbish, Err(MalformedAssertion), "nobody's assertion"),
        ];
        for (header, form, expected, reason) in rows {
            let parsed =
                ClientCredentials::parse(header.as_deref(), &Parameters::parse(form.as_bytes()));
            match (parsed, expected) {
                (Ok(have), Ok((id, secret))) => {
                    assert_eq!(have.client_id.as_str(), id, "{reason}");
                    let shown = match &have.proof {
                        ClientProof::None => None,
                        ClientProof::Secret(shown) | ClientProof::Assertion(shown) => Some(shown),
                    };
                    assert_eq!(shown.map(Secret::reveal), secret, "{reason}");
                }
                (have, expected) => assert_eq!(have.err(), Some(expected.unwrap_err()), "{reason}"),
            }
        }
    }
}
