//! The only module that draws random numbers: tokens, codes and ids in the formats we promise.

use sekisho_protocol::Secret;

/// `mcp_` and 64 hex digits.
pub(crate) fn access_token() -> Secret {
    Secret::new(format!("mcp_{}", hex::<32>()))
}

/// `mcpr_` and 64 hex digits.
pub(crate) fn refresh_token() -> Secret {
    Secret::new(format!("mcpr_{}", hex::<32>()))
}

/// `mcpp_` and 64 hex digits: a personal access token.
pub(crate) fn personal_token() -> Secret {
    Secret::new(format!("mcpp_{}", hex::<32>()))
}

/// An access token made of bytes that nobody can guess.
pub(crate) fn access_token_of(bytes: &[u8; 32]) -> Secret {
    Secret::new(format!("mcp_{}", as_hex(bytes)))
}

/// A refresh token made of bytes that nobody can guess.
pub(crate) fn refresh_token_of(bytes: &[u8; 32]) -> Secret {
    Secret::new(format!("mcpr_{}", as_hex(bytes)))
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
        let rows = [
            (access_token(), "mcp_", 64),
            (refresh_token(), "mcpr_", 64),
            (personal_token(), "mcpp_", 64),
            (access_token_of(&bytes()), "mcp_", 64),
            (refresh_token_of(&bytes()), "mcpr_", 64),
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
