//! The provider's signing keys, as its `jwks_uri` answers.

pub(super) use crate::jwks::{KeySet, Wanted};

use super::wire::{Answer, Endpoint, Fault};

/// Reads the answer of `jwks_uri`.
pub(super) fn read(answer: &Answer) -> Result<KeySet, Fault> {
    let refused = |reason: &str| Fault::Unacceptable(format!("{} {reason}", Endpoint::Keys));
    if answer.status != http::StatusCode::OK {
        return Err(refused(&format!("answered {}", answer.status)));
    }
    KeySet::parse(&answer.body).ok_or_else(|| refused("is not a JSON Web Key Set"))
}
