//! Which redirect URIs an operator lets clients have, of those that anybody can register (spec: A14;
//! attack 75). What the operator wrote down for a client is not judged by it.

use url::Url;

use super::{ClientMetadata, HostList, OAuthError, OAuthErrorCode, RegisteredRedirectUri};

/// The rule; by default everything that can be registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedirectRule {
    /// Whether private-use schemes (RFC 8252 §7.1), as desktop applications have, are out.
    pub refuses_private_use: bool,
    /// If not empty, the only hosts of https URIs. Loopback is nobody's host.
    pub hosts: HostList,
}

impl RedirectRule {
    /// The client with those of its redirect URIs that may be. Some clients name one for each of the
    /// programs they come in, so that one too many must not keep the others out.
    ///
    /// # Errors
    /// When none is left.
    pub fn narrow(&self, mut metadata: ClientMetadata) -> Result<ClientMetadata, OAuthError> {
        metadata.redirect_uris.retain(|uri| self.allows(uri));
        if metadata.redirect_uris.is_empty() {
            return Err(OAuthError::new(
                OAuthErrorCode::InvalidRedirectUri,
                "no redirect URI is of a kind and host that are allowed here",
            ));
        }
        Ok(metadata)
    }

    fn allows(&self, uri: &RegisteredRedirectUri) -> bool {
        let Ok(url) = Url::parse(uri.as_str()) else { return false };
        match url.scheme() {
            "https" => {
                let host = url.host_str().unwrap_or_default();
                uri.is_loopback() || self.hosts.is_empty() || self.hosts.contains(host)
            }
            // Of http only loopback can be registered.
            "http" => true,
            _ => !self.refuses_private_use,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::oauth::{ScopeSet, TokenEndpointAuthMethod};

    const URIS: [&str; 5] = [
        "https://app.example/cb",
        "https://evil.example/cb",
        "http://127.0.0.1:33418/cb",
        "http://localhost/cb",
        "cursor://anysphere.cursor/cb",
    ];

    fn left(rule: &RedirectRule, uris: &[&str]) -> Result<Vec<String>, OAuthErrorCode> {
        let uris = uris.iter().map(|uri| RegisteredRedirectUri::parse(uri).unwrap()).collect();
        let metadata = ClientMetadata {
            client_name: None,
            redirect_uris: uris,
            token_endpoint_auth_method: TokenEndpointAuthMethod::None,
            refreshes: true,
            scope: ScopeSet::parse("fortune").unwrap(),
            client_uri: None,
            keys: None,
            acts_alone: false,
        };
        let narrowed = rule.narrow(metadata).map_err(|refused| refused.error)?;
        Ok(narrowed.redirect_uris.iter().map(|uri| uri.as_str().to_owned()).collect())
    }

    #[test]
    fn a_client_keeps_the_redirect_uris_that_the_operator_allows() {
        let [ours, evil, loopback, localhost, cursor] = URIS;
        let hosts = HostList::parse(&["app.example".to_owned()]).unwrap();
        let rows: [(bool, &HostList, &[&str], &str); 4] = [
            (false, &HostList::default(), &URIS, "everything"),
            (true, &HostList::default(), &[ours, evil, loopback, localhost], "no private schemes"),
            (false, &hosts, &[ours, loopback, localhost, cursor], "one host"),
            (true, &hosts, &[ours, loopback, localhost], "both"),
        ];
        for (refuses_private_use, hosts, expected, reason) in rows {
            let rule = RedirectRule { refuses_private_use, hosts: hosts.clone() };
            assert_eq!(left(&rule, &URIS).unwrap(), expected, "{reason}");
        }
        let strict = RedirectRule { refuses_private_use: true, hosts };
        for none in [[evil].as_slice(), &[cursor], &[evil, cursor]] {
            assert_eq!(left(&strict, none), Err(OAuthErrorCode::InvalidRedirectUri), "{none:?}");
        }
    }
}
