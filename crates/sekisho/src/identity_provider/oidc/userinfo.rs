//! What the provider says of a person beside the ID token (`OpenID` Connect Core §5.3): believed only
//! about the very person whom the ID token is about, and never instead of it.

use sekisho_protocol::Secret;
use serde::Deserialize;
use url::Url;

use crate::trusted::{Description, Endpoint, Fault, Wire};

#[derive(Deserialize)]
struct Claims {
    sub: String,
    #[serde(flatten)]
    description: Description,
}

/// Asks about the person whose access token this is, who must be `subject`.
pub(super) async fn ask(
    wire: &Wire,
    url: &Url,
    access_token: &Secret,
    subject: &str,
) -> Result<Description, Fault> {
    let refused = |what: String| Fault::Unacceptable(format!("{} {what}", Endpoint::Userinfo));
    let answer = wire.get_as(Endpoint::Userinfo, url.clone(), access_token).await?;
    if answer.status != http::StatusCode::OK {
        return Err(refused(format!("answered {}", answer.status)));
    }
    let claims: Claims = serde_json::from_slice(&answer.body)
        .map_err(|_| refused("answered with something that is no JSON about a person".into()))?;
    // Core §5.3.2: else the answer must not be used.
    if claims.sub != subject {
        return Err(refused("answered about another person".into()));
    }
    Ok(claims.description)
}
