//! The only module that draws random numbers: tokens, codes and ids in the formats we promise.

use sekisho_protocol::Secret;

use crate::grant::{GrantId, Turn};

/// Hex digits of a token that nobody can guess: 160 bits (RFC 6749 §10.10: MUST be 128, SHOULD be 160).
const UNGUESSABLE_DIGITS: usize = 40;

/// `mcp_` and 64 hex digits: the grant's family, the turn there, and what nobody can guess.
pub(crate) fn access_token(grant: &GrantId, turn: Turn) -> Secret {
    access_token_of(grant, turn, &bytes())
}

/// `mcpr_`, and as an access token.
pub(crate) fn refresh_token(grant: &GrantId, turn: Turn) -> Secret {
    refresh_token_of(grant, turn, &bytes())
}

/// `mcpp_`, and as an access token: a personal access token.
pub(crate) fn personal_token(grant: &GrantId) -> Secret {
    token("mcpp", grant, Turn::default(), &bytes())
}

/// An access token made of bytes that nobody can guess.
pub(crate) fn access_token_of(grant: &GrantId, turn: Turn, bytes: &[u8; 32]) -> Secret {
    token("mcp", grant, turn, bytes)
}

/// A refresh token made of bytes that nobody can guess.
pub(crate) fn refresh_token_of(grant: &GrantId, turn: Turn, bytes: &[u8; 32]) -> Secret {
    token("mcpr", grant, turn, bytes)
}

/// An access token in the form of before, when all of it was what nobody could guess.
pub(crate) fn older_access_token_of(bytes: &[u8; 32]) -> Secret {
    Secret::new(format!("mcp_{}", as_hex(bytes)))
}

/// A refresh token in the form of before.
pub(crate) fn older_refresh_token_of(bytes: &[u8; 32]) -> Secret {
    Secret::new(format!("mcpr_{}", as_hex(bytes)))
}

fn token(kind: &str, grant: &GrantId, turn: Turn, bytes: &[u8; 32]) -> Secret {
    let unguessable = as_hex(bytes);
    let (family, turn) = (grant.family(), turn.number());
    Secret::new(format!("{kind}_{family}{turn:08x}{unguessable:.UNGUESSABLE_DIGITS$}"))
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
    use crate::grant::TokenKey;

    #[test]
    fn the_formats_are_as_promised() {
        let (grant, turn) = (GrantId::new(id()), Turn::new(u32::MAX));
        let rows = [
            (access_token(&grant, turn), "mcp_", 64),
            (refresh_token(&grant, turn), "mcpr_", 64),
            (personal_token(&grant), "mcpp_", 64),
            (access_token_of(&grant, turn, &bytes()), "mcp_", 64),
            (refresh_token_of(&grant, turn, &bytes()), "mcpr_", 64),
            (code(), "mcp_", 32),
        ];
        for (secret, prefix, digits) in rows {
            let rest = secret.reveal().strip_prefix(prefix).unwrap_or_default();
            assert_eq!(rest.len(), digits, "{prefix}");
            assert!(rest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{prefix}");
        }
        assert_ne!(id(), id());
    }

    #[test]
    fn a_token_is_looked_for_in_the_family_of_its_grant() {
        let (grant, first) = (GrantId::new(id()), Turn::default());
        let rows = [
            (access_token(&grant, Turn::new(0x0100)), Turn::new(0x0100)),
            (refresh_token(&grant, first.next()), Turn::new(1)),
            (personal_token(&grant), first),
        ];
        for (token, turn) in rows {
            assert_eq!(TokenKey::shown(&token), TokenKey::of(&grant, Some(turn), token.hash()));
        }
        let digits = hex::<32>();
        let no_tokens = [
            ("", "nothing"),
            (digits.as_str(), "no kind"),
            (&format!("mcp_{digits}0"), "too long"),
            (&format!("mcp_{}", hex::<16>()), "a code"),
            (&format!("mcp_{}", "分".repeat(21) + "a"), "as long, and no digits"),
        ];
        for (text, reason) in no_tokens {
            let key = TokenKey::shown(&Secret::new(text));
            assert_eq!((key.family.as_str(), key.turn), ("", None), "{reason}");
        }
    }
}
