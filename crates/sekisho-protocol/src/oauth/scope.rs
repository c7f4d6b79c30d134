//! Scopes (RFC 6749 §3.3): what a person allows, as a set that keeps its order.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest `scope` parameter that is read, in bytes.
pub const SCOPE_BYTES_MAX: usize = 4 * 1024;

/// Distinct scope tokens in the order they were first named; may be empty.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(Vec<String>);

/// The parameter breaks the grammar of RFC 6749 §3.3 or is longer than [`SCOPE_BYTES_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scope is not a space-separated list of scope tokens")]
pub struct MalformedScope;

impl ScopeSet {
    /// Reads a space-separated list. Several spaces in a row are forgiven; empty text is an empty set.
    ///
    /// # Errors
    /// When a character is outside `%x21 / %x23-5B / %x5D-7E`, or the text is too long.
    pub fn parse(text: &str) -> Result<Self, MalformedScope> {
        if text.len() > SCOPE_BYTES_MAX {
            return Err(MalformedScope);
        }
        let mut scopes = Self::default();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            if !token.bytes().all(is_scope_byte) {
                return Err(MalformedScope);
            }
            scopes.insert(token);
        }
        Ok(scopes)
    }

    /// A set of tokens that are known to be well formed; others are left out.
    pub fn of<'a>(tokens: impl IntoIterator<Item = &'a str>) -> Self {
        let mut scopes = Self::default();
        for token in tokens {
            if !token.is_empty() && token.bytes().all(is_scope_byte) {
                scopes.insert(token);
            }
        }
        scopes
    }

    fn insert(&mut self, token: &str) {
        if !self.contains(token) {
            self.0.push(token.to_owned());
        }
    }

    /// Whether one token is in the set.
    pub fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|have| have == token)
    }

    /// Whether every token of `wanted` is in this set.
    pub fn covers(&self, wanted: &Self) -> bool {
        wanted.0.iter().all(|token| self.contains(token))
    }

    /// The tokens of this set that `known` has too, in this set's order.
    #[must_use]
    pub fn restricted_to(&self, known: &Self) -> Self {
        Self(self.0.iter().filter(|token| known.contains(token)).cloned().collect())
    }

    /// No scope at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

const fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E)
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopeSet({self})")
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_scope_is_a_list_of_tokens() {
        let rows: &[(&str, Option<&str>, &str)] = &[
            ("fortune", Some("fortune"), "one"),
            ("b a", Some("b a"), "order is kept"),
            ("a a b a", Some("a b"), "once each"),
            ("a  b ", Some("a b"), "spaces are forgiven"),
            ("", Some(""), "none"),
            ("mcp:tools/read.all", Some("mcp:tools/read.all"), "punctuation"),
            ("a\"b", None, "a quote"),
            ("a\\b", None, "a backslash"),
            ("a\tb", None, "a tab is no separator"),
            ("a\r\nSet-Cookie: x", None, "a line break"),
            ("é", None, "not ASCII"),
        ];
        for (text, expected, reason) in rows {
            let parsed = ScopeSet::parse(text).ok().map(|scopes| scopes.to_string());
            assert_eq!(parsed.as_deref(), *expected, "{reason}");
        }
        assert_eq!(ScopeSet::parse(&"a ".repeat(SCOPE_BYTES_MAX)), Err(MalformedScope), "too long");
    }

    #[test]
    fn covering_is_by_every_token() {
        let have = ScopeSet::parse("read write").unwrap();
        assert!(have.covers(&ScopeSet::parse("write").unwrap()));
        assert!(have.covers(&ScopeSet::default()));
        assert!(!have.covers(&ScopeSet::parse("write admin").unwrap()));
        let asked = ScopeSet::parse("admin write").unwrap();
        assert_eq!(asked.restricted_to(&have).to_string(), "write");
    }
}
