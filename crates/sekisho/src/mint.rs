//! The only module that draws random numbers: tokens, codes and ids in the formats we promise.

use sekisho_protocol::Secret;

/// Hex digits of a token that nobody can guess: 160 bits (RFC 6749 §10.10: MUST be 128, SHOULD be 160).
const UNGUESSABLE_DIGITS: usize = 40;

/// `mcp_` and 64 hex digits: the 24 that say where it is kept (`GrantId::place`), and what nobody can guess.
pub(crate) fn access_token(place: &str) -> Secret {
    access_token_of(place, &bytes())
}

/// `mcpr_`, and as an access token.
pub(crate) fn refresh_token(place: &str) -> Secret {
    refresh_token_of(place, &bytes())
}

/// `mcpp_`, and as an access token: a personal access token.
pub(crate) fn personal_token(place: &str) -> Secret {
    token("mcpp", place, &bytes())
}

/// An access token made of bytes that nobody can guess.
pub(crate) fn access_token_of(place: &str, bytes: &[u8; 32]) -> Secret {
    token("mcp", place, bytes)
}

/// A refresh token made of bytes that nobody can guess.
pub(crate) fn refresh_token_of(place: &str, bytes: &[u8; 32]) -> Secret {
    token("mcpr", place, bytes)
}

/// An access token in the form of before, when all of it was what nobody could guess.
pub(crate) fn older_access_token_of(bytes: &[u8; 32]) -> Secret {
    Secret::new(format!("mcp_{}", as_hex(bytes)))
}

/// A refresh token in the form of before.
pub(crate) fn older_refresh_token_of(bytes: &[u8; 32]) -> Secret {
    Secret::new(format!("mcpr_{}", as_hex(bytes)))
}

fn token(kind: &str, place: &str, bytes: &[u8; 32]) -> Secret {
    let unguessable = as_hex(bytes);
    Secret::new(format!("{kind}_{place}{unguessable:.UNGUESSABLE_DIGITS$}"))
}

/// `mcp_` and 32 hex digits: half as long as a token, so that neither passes for the other.
pub(crate) fn code() -> Secret {
    Secret::new(format!("mcp_{}", hex::<16>()))
}

/// A client secret: 64 hex digits.
pub(crate) fn client_secret() -> Secret {
    Secret::new(hex::<32>())
}

/// A state, nonce, PKCE verifier or cookie value: 64 hex digits, 256 bits.
pub(crate) fn nonce() -> Secret {
    Secret::new(hex::<32>())
}

/// A public identifier: 32 hex digits, 128 bits, so that nobody guesses a neighbour's.
pub(crate) fn id() -> String {
    hex::<16>()
}

/// Random bytes from the operating system; in a simulation, from its seed.
#[expect(clippy::expect_used, reason = "without randomness nothing here is safe to continue")]
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[cfg(feature = "simulation")]
    if crate::simulation::fill(&mut bytes) {
        return bytes;
    }
    getrandom::fill(&mut bytes).expect("the operating system gives random numbers");
    bytes
}

fn hex<const N: usize>() -> String {
    as_hex(&bytes::<N>())
}

fn as_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit =
        |nibble: u8| DIGITS.get(usize::from(nibble)).map_or('0', |&digit| char::from(digit));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_are_as_promised() {
        let place = "0123456789abcdef01234567";
        let rows = [
            (access_token(place), "mcp_", 64),
            (refresh_token(place), "mcpr_", 64),
            (personal_token(place), "mcpp_", 64),
            (access_token_of(place, &bytes()), "mcp_", 64),
            (refresh_token_of(place, &bytes()), "mcpr_", 64),
            (code(), "mcp_", 32),
        ];
        for (secret, prefix, digits) in rows {
            let rest = secret.reveal().strip_prefix(prefix).unwrap_or_default();
            assert_eq!(rest.len(), digits, "{prefix}");
            assert!(rest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{prefix}");
        }
        assert_ne!(id(), id());
    }
}
