//! One thing that is known of a caller, as text: for a variable as it is, for a header so that it
//! stays one line of ASCII.
//!
//! A text is written as it is, and what is no text (a list of groups, a number) as JSON. In a header
//! every byte that is not printable ASCII, and `%`, is percent-encoded as UTF-8 (RFC 3986 §2.1), and
//! so is a space at either end: decoding gives the text back, and nothing can end the line.

use std::borrow::Cow;

use http::HeaderValue;
use serde_json::Value;

use super::NotIntroduced;
use crate::principal::Principal;

/// Longest value that is told, in bytes: half of what common servers take as all their headers.
pub const TOLD_BYTES_MAX: usize = 8 * 1024;

/// Something that is known of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// The provider's stable id for the person; of a client that acts for itself, its id.
    Subject,
    /// Who says so: the provider's issuer, `local`, or `client` for a client that acts for itself.
    Issuer,
    /// A name to show. People may choose theirs.
    Name,
    /// The e-mail address, if the provider says that it was verified.
    Email,
    /// The client they use.
    Client,
    /// What the token may do, with spaces between.
    Scopes,
    /// What the provider says under this name.
    Claim(String),
}

/// A word for an attribute that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is nothing that is known of a caller: write \"subject\", \"issuer\", \"name\", \"email\", \
     \"client\", \"scopes\" or \"claims.NAME\""
)]
pub struct UnknownAttribute;

impl Attribute {
    /// The attribute of this word.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(text: &str) -> Result<Self, UnknownAttribute> {
        Ok(match text {
            "subject" => Self::Subject,
            "issuer" => Self::Issuer,
            "name" => Self::Name,
            "email" => Self::Email,
            "client" => Self::Client,
            "scopes" => Self::Scopes,
            _ => match text.strip_prefix("claims.") {
                Some(name) if !name.is_empty() => Self::Claim(name.to_owned()),
                Some(_) | None => return Err(UnknownAttribute),
            },
        })
    }

    /// The claim it needs to be kept of people, if it is one.
    pub fn claim(&self) -> Option<&str> {
        match self {
            Self::Claim(name) => Some(name),
            Self::Subject
            | Self::Issuer
            | Self::Name
            | Self::Email
            | Self::Client
            | Self::Scopes => None,
        }
    }

    /// Whether it is the same for all that a person does, whatever client they use.
    pub fn is_the_persons(&self) -> bool {
        !matches!(self, Self::Client | Self::Scopes)
    }

    /// What it is of this caller, as it stands in an environment; nothing if it is not known.
    pub(super) fn of<'a>(
        &self,
        caller: &'a Principal,
    ) -> Result<Option<Cow<'a, str>>, NotIntroduced> {
        let identity = &caller.identity;
        let text = match self {
            Self::Subject => Some(Cow::Borrowed(identity.subject.as_str())),
            Self::Issuer => Some(Cow::Borrowed(identity.issuer.as_str())),
            Self::Name => identity.name.as_deref().map(Cow::Borrowed),
            Self::Email => {
                identity.email.as_deref().filter(|_| identity.email_verified).map(Cow::Borrowed)
            }
            Self::Client => Some(Cow::Borrowed(caller.client_id.as_str())),
            Self::Scopes => Some(Cow::Owned(caller.scopes.to_string())),
            Self::Claim(name) => identity.claims.find(name).map(|value| match value {
                Value::String(text) => Cow::Borrowed(text.as_str()),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => Cow::Owned(value.to_string()),
            }),
        };
        match text {
            Some(text) if text.len() > TOLD_BYTES_MAX || text.contains('\0') => {
                Err(self.untellable())
            }
            told => Ok(told),
        }
    }

    /// The same for a header.
    pub(super) fn header_of(
        &self,
        caller: &Principal,
    ) -> Result<Option<HeaderValue>, NotIntroduced> {
        let Some(text) = self.of(caller)? else { return Ok(None) };
        let value = encoded(&text);
        let fitting = (value.len() <= TOLD_BYTES_MAX).then(|| HeaderValue::from_str(&value).ok());
        fitting.flatten().map(Some).ok_or_else(|| self.untellable())
    }

    fn untellable(&self) -> NotIntroduced {
        let what = match self {
            Self::Subject => "subject",
            Self::Issuer => "issuer",
            Self::Name => "name",
            Self::Email => "email",
            Self::Client => "client",
            Self::Scopes => "scopes",
            Self::Claim(name) => {
                return NotIntroduced::Untellable { what: format!("claims.{name}") };
            }
        };
        NotIntroduced::Untellable { what: what.to_owned() }
    }
}

/// One line of printable ASCII, from which the text can be had back.
fn encoded(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let mut line = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_edge = at == 0 || at == last;
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => percent(&mut line, byte),
            b' ' if is_edge => percent(&mut line, byte),
            plain => line.push(char::from(plain)),
        }
    }
    line
}

fn percent(line: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    line.push('%');
    for nibble in [byte >> 4, byte & 15] {
        line.push(digit(nibble).to_ascii_uppercase());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;
    use sekisho_protocol::Secret;
    use sekisho_protocol::oauth::{ClientId, ScopeSet};
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::grant::GrantId;
    use crate::principal::{Claims, Identity};

    fn caller(name: &str, claims: &Value) -> Principal {
        let claims = claims.as_object().unwrap().clone().into_iter();
        Principal {
            identity: Identity {
                issuer: "https://sso.example".to_owned(),
                subject: "7f3a".to_owned(),
                name: Some(name.to_owned()),
                email: Some("alice@example.com".to_owned()),
                email_verified: false,
                claims: claims.collect::<Claims>(),
            },
            client_id: ClientId::new("desk"),
            grant_id: GrantId::new("grant"),
            scopes: ScopeSet::of(["read", "write"]),
            token: Secret::new("token").hash(),
            expires_at: Timestamp::from_unix_seconds(i64::MAX),
        }
    }

    #[test]
    fn what_is_told_in_a_header_is_one_line_of_ascii() {
        let rows = [
            ("Alice", "Alice", "plain"),
            ("Alice Liddell", "Alice Liddell", "a space inside"),
            (" Alice ", "%20Alice%20", "spaces at the ends, which servers cut off"),
            (" ", "%20", "nothing but a space"),
            ("", "", "nothing"),
            ("関所", "%E9%96%A2%E6%89%80", "not ASCII"),
            ("Zoë", "Zo%C3%AB", "nearly ASCII"),
            ("100%", "100%25", "what would be decoded"),
            ("a\r\nX-Admin: yes", "a%0D%0AX-Admin: yes", "a line of their own"),
            ("a\tb\u{7f}", "a%09b%7F", "control characters"),
            ("a,b;c=\"d\"", "a,b;c=\"d\"", "signs that mean something in lists"),
        ];
        for (text, expected, reason) in rows {
            let told = Attribute::Name.header_of(&caller(text, &json!({}))).unwrap().unwrap();
            assert_eq!(told.to_str().unwrap(), expected, "{reason}");
        }
    }

    #[test]
    fn each_attribute_is_told_as_it_is_known() {
        let claims = json!({ "groups": ["staff", "a,b"], "level": 3, "title": "Dr.", "long": "x" });
        let mut alice = caller("Alice", &claims);
        let rows = [
            ("subject", Some("7f3a"), "the provider's id"),
            ("issuer", Some("https://sso.example"), "who says so"),
            ("name", Some("Alice"), "a name"),
            ("email", None, "an address that nobody verified"),
            ("client", Some("desk"), "the client"),
            ("scopes", Some("read write"), "what it may do"),
            ("claims.groups", Some("[\"staff\",\"a,b\"]"), "a list"),
            ("claims.level", Some("3"), "a number"),
            ("claims.title", Some("Dr."), "a text"),
            ("claims.absent", None, "what the provider did not say"),
        ];
        for (word, expected, reason) in rows {
            let told = Attribute::parse(word).unwrap();
            assert_eq!(told.of(&alice).unwrap().as_deref(), expected, "{reason}");
        }
        alice.identity.email_verified = true;
        let told = Attribute::Email.of(&alice).unwrap();
        assert_eq!(told.as_deref(), Some("alice@example.com"), "and once somebody did");
        for word in ["", "claims", "claims.", "Subject", "token", "email "] {
            assert_eq!(Attribute::parse(word), Err(UnknownAttribute), "{word:?}");
        }
    }

    #[test]
    fn what_cannot_be_told_whole_is_not_told_at_all() {
        let long = "x".repeat(TOLD_BYTES_MAX);
        let swollen = "é".repeat(TOLD_BYTES_MAX / 4);
        assert!(Attribute::Name.header_of(&caller(&long, &json!({}))).is_ok(), "as much as fits");
        for (name, reason) in [
            (format!("{long}x"), "too long"),
            (swollen, "too long once it is encoded"),
            ("a\0b".to_owned(), "no variable and no header has NUL"),
        ] {
            let told = Attribute::Name.header_of(&caller(&name, &json!({})));
            assert!(matches!(told, Err(NotIntroduced::Untellable { .. })), "{reason}");
        }
    }

    proptest! {
        #[test]
        fn a_header_gives_the_text_back(text in "\\PC{0,40}|[ -~\\r\\n\\t]{0,40}") {
            let told = encoded(&text);
            prop_assert!(told.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(told.trim(), told.as_str());
            let mut bytes = Vec::new();
            let mut rest = told.as_bytes();
            while let Some((first, after)) = rest.split_first() {
                rest = after;
                if *first == b'%' {
                    let (digits, after) = rest.split_at(2);
                    let digits = std::str::from_utf8(digits).unwrap();
                    bytes.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = after;
                } else {
                    bytes.push(*first);
                }
            }
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
    }
}
