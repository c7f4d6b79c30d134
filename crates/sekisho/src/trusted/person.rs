//! A person as another server's token describes them: what is kept of it is short and plain.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::principal::{Identity, WantedClaims};

/// Longest name that is kept, and longest e-mail address (RFC 5321 §4.5.3.1.3).
const NAME_CHARS_MAX: usize = 128;
const EMAIL_BYTES_MAX: usize = 254;

/// The claims that say more than who somebody is (Core §5.1).
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Description {
    pub(crate) name: Option<String>,
    pub(crate) preferred_username: Option<String>,
    pub(crate) email: Option<String>,
    #[serde(default)]
    pub(crate) email_verified: Value,
    /// All that is said beside these.
    #[serde(flatten)]
    pub(crate) rest: Map<String, Value>,
}

/// The person whom `issuer` knows as `subject`, and what rules ask about beside that.
pub(crate) fn described(
    issuer: String,
    subject: String,
    description: Description,
    wanted: &WantedClaims,
) -> Identity {
    let mut claims = wanted.kept(|name| description.said(name));
    if wanted.iter().any(|name| description.is_elsewhere(name)) {
        claims = claims.in_part();
    }
    let Description { name, preferred_username, email, email_verified, rest: _ } = description;
    let email = email.filter(|address| is_email(address));
    let is_believed = email.as_ref().is_some_and(|address| wanted.believe(&issuer, address));
    Identity {
        issuer,
        subject,
        name: name.or(preferred_username).and_then(|name| shown(&name)),
        email_verified: is_believed && email_verified == true,
        email,
        claims,
    }
}

impl Description {
    /// A claim as it came, before anybody shortened or doubted it.
    pub(crate) fn said(&self, name: &str) -> Option<Value> {
        match name {
            "name" => self.name.clone().map(Value::from),
            "preferred_username" => self.preferred_username.clone().map(Value::from),
            "email" => self.email.clone().map(Value::from),
            "email_verified" => Some(self.email_verified.clone()),
            other => self.rest.get(other).cloned(),
        }
    }

    /// Fills in what is absent here. An address and whether it was verified belong together.
    pub(crate) fn add(&mut self, other: Self) {
        if self.email.is_none() {
            (self.email, self.email_verified) = (other.email, other.email_verified);
        }
        self.name = self.name.take().or(other.name);
        self.preferred_username = self.preferred_username.take().or(other.preferred_username);
        for (name, value) in other.rest {
            self.rest.entry(name).or_insert(value);
        }
    }

    /// Takes another claim for the word on whether the address was verified. Some say it as a number
    /// or as text.
    pub(crate) fn verified_by(mut self, claim: &str) -> Self {
        let is_verified = self.rest.get(claim).is_some_and(|said| {
            *said == true || *said == 1 || matches!(said.as_str(), Some("1" | "true" | "True"))
        });
        self.email_verified = is_verified.into();
        self
    }

    /// Whether a claim is said to be somewhere else. Entra has a word of its own for groups too.
    pub(crate) fn is_elsewhere(&self, name: &str) -> bool {
        let names = self.rest.get("_claim_names").and_then(Value::as_object);
        names.is_some_and(|names| names.contains_key(name))
            || (name == "groups" && self.rest.get("hasgroups").is_some_and(|said| *said == true))
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
