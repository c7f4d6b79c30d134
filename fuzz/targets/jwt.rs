//! Tokens that pretend to be signed: with keys of which nobody has the other half, none is ever accepted. Two
//! lines: a token, a set of keys.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::fuzzing::is_signed;
use sekisho_protocol::oauth::AssertionClaims;

fuzz_target!(|input: &str| {
    let (token, keys) = input.split_once('\n').unwrap_or((input, ""));
    assert!(!is_signed(token, KEYS), "{token}");
    // Whoever writes the keys can sign with them; it must only not break.
    let _ = is_signed(token, keys);
    let _ = AssertionClaims::unverified_subject(token);
});

/// Their private halves were thrown away.
const KEYS: &str = include_str!("../keys.json");
