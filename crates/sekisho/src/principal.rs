//! Who is calling, once a token was checked.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{ClientId, ScopeSet};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::grant::GrantId;

/// The issuer of clients that act for themselves, as [`Identity::issuer`] has it. No provider is
/// called so: theirs are URLs.
pub const CLIENT_ISSUER: &str = "client";

/// A person as the identity provider knows them. The key is `(issuer, subject)`, never the e-mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The identity provider's issuer, or `local` for our own accounts.
    pub issuer: String,
    /// The provider's stable id for the person (`sub`).
    pub subject: String,
    /// A name to show; unverified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The e-mail address, if the provider gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider says that the address was verified.
    #[serde(default)]
    pub email_verified: bool,
    /// What else the provider says of the person that rules ask about.
    #[serde(default, skip_serializing_if = "Claims::is_empty")]
    pub claims: Claims,
}

/// Most bytes of one claim that are kept, as JSON: some hundred names of groups.
pub const CLAIM_BYTES_MAX: usize = 16 * 1024;

/// The names of the claims that rules ask about; nothing else is kept of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedClaims(BTreeSet<String>);

impl WantedClaims {
    /// These, each once.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Whether nobody asks about any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Those of them that are there. One that is longer than [`CLAIM_BYTES_MAX`] is left out whole:
    /// half of a list would be another list.
    pub fn kept(&self, said: impl Fn(&str) -> Option<Value>) -> Claims {
        let mut claims = Map::new();
        for name in &self.0 {
            let Some(value) = said(name).filter(|value| !value.is_null()) else { continue };
            if value.to_string().len() > CLAIM_BYTES_MAX {
                tracing::warn!(claim = name, "a claim is too long to be kept: rules do not see it");
                continue;
            }
            claims.insert(name.clone(), value);
        }
        Claims(claims)
    }
}

/// Claims by their names, as the provider said them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was said under this name.
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }
}

impl FromIterator<(String, Value)> for Claims {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(claims: T) -> Self {
        Self(claims.into_iter().collect())
    }
}

impl Identity {
    /// A client that acts for itself: its subject is its id (RFC 9068 §5).
    pub fn of_machine(client: &ClientId, name: Option<&str>) -> Self {
        Self {
            issuer: CLIENT_ISSUER.to_owned(),
            subject: client.as_str().to_owned(),
            name: name.map(str::to_owned),
            email: None,
            email_verified: false,
            claims: Claims::default(),
        }
    }

    /// Whether nobody is behind this: a client acts for itself.
    pub fn is_machine(&self) -> bool {
        self.issuer == CLIENT_ISSUER
    }

    /// Whether both are the same person, whatever name or address they carry today.
    pub fn is_same_person(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}

/// A verified caller: a person, the client they use and what they allowed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The person.
    pub identity: Identity,
    /// The client they use.
    pub client_id: ClientId,
    /// What they allowed; all its tokens speak for the same principal.
    pub grant_id: GrantId,
    /// What the token may do.
    pub scopes: ScopeSet,
    /// Which token was shown, as its hash.
    pub token: SecretHash,
    /// When that token ends.
    pub expires_at: Timestamp,
}

impl Principal {
    /// Who this is, whatever client and token they come with.
    pub fn person(self: &Arc<Self>) -> Person {
        Person(Arc::clone(self))
    }

    /// Whether a session begun by `other` may be continued by this caller: same person, same
    /// client, same grant. The token may differ, since clients refresh theirs.
    pub fn may_continue(&self, other: &Self) -> bool {
        self.identity.is_same_person(&other.identity)
            && self.client_id == other.client_id
            && self.grant_id == other.grant_id
    }
}

/// A person, as a key of tables: issuer and subject, and nothing else of a caller.
#[derive(Debug, Clone)]
pub struct Person(Arc<Principal>);

impl Hash for Person {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.identity.issuer.hash(state);
        self.0.identity.subject.hash(state);
    }
}

impl PartialEq for Person {
    fn eq(&self, other: &Self) -> bool {
        self.0.identity.is_same_person(&other.0.identity)
    }
}

impl Eq for Person {}
