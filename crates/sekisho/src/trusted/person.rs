//! A person as another server's token describes them: what is kept of it is short and plain.

use serde_json::{Map, Value};

use crate::principal::{Identity, WantedClaims};

/// Longest name that is kept, and longest e-mail address (RFC 5321 §4.5.3.1.3).
const NAME_CHARS_MAX: usize = 128;
const EMAIL_BYTES_MAX: usize = 254;

/// The claims that say more than who somebody is (Core §5.1).
#[derive(Debug, Default)]
pub(crate) struct Description {
    pub(crate) name: Option<String>,
    pub(crate) preferred_username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) email_verified: Value,
    /// All that is said beside these.
    pub(crate) rest: Map<String, Value>,
}

/// The person whom `issuer` knows as `subject`, and what rules ask about beside that.
pub(crate) fn described(
    issuer: String,
    subject: String,
    description: Description,
    wanted: &WantedClaims,
) -> Identity {
    let claims = wanted.kept(|name| description.said(name));
    let Description { name, preferred_username, email, email_verified, rest: _ } = description;
    let email = email.filter(|address| is_email(address));
    Identity {
        issuer,
        subject,
        name: name.or(preferred_username).and_then(|name| shown(&name)),
        email_verified: email.is_some() && email_verified == true,
        email,
        claims,
    }
}

impl Description {
    /// A claim as it came, before anybody shortened or doubted it.
    fn said(&self, name: &str) -> Option<Value> {
        match name {
            "name" => self.name.clone().map(Value::from),
            "preferred_username" => self.preferred_username.clone().map(Value::from),
            "email" => self.email.clone().map(Value::from),
            "email_verified" => Some(self.email_verified.clone()),
            other => self.rest.get(other).cloned(),
        }
    }
}

/// A name to show: no control characters, not endless.
fn shown(name: &str) -> Option<String> {
    let name: String =
        name.trim().chars().filter(|char| !char.is_control()).take(NAME_CHARS_MAX).collect();
    (!name.is_empty()).then_some(name)
}

/// One `@` with something on both sides. Stricter than RFC 5322, which nobody's rules about domains
/// survive: `a@x@corp.example` must never pass for an address at `corp.example`.
fn is_email(text: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty() && !part.contains(|char: char| char.is_whitespace() || char.is_control())
    };
    text.len() <= EMAIL_BYTES_MAX
        && text.split_once('@').is_some_and(|(local, domain)| {
            is_plain(local)
                && is_plain(domain)
                && !domain.contains('@')
                && !text.contains(['"', '<', '>'])
        })
}
