//! Who is calling, once a token was checked.

use std::collections::{BTreeMap, BTreeSet};
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

/// Which provider may say whose an e-mail address is, by its domain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EmailDomains {
    /// The issuers that speak for a domain, in lower case. Nobody else does.
    issuers_of: BTreeMap<String, BTreeSet<String>>,
    /// Those that speak for some, and for no other.
    bound: BTreeSet<String>,
}

impl EmailDomains {
    /// Lets this issuer speak for these domains alone, and nobody for them but it and whoever else is
    /// bound to them.
    #[must_use]
    pub fn bind(mut self, issuer: &str, domains: impl IntoIterator<Item = String>) -> Self {
        for domain in domains {
            let speak = self.issuers_of.entry(domain.to_lowercase()).or_default();
            speak.insert(issuer.to_owned());
            self.bound.insert(issuer.to_owned());
        }
        self
    }

    /// Whether this issuer's word counts that an address was verified. Case is nothing, as it is to
    /// conditions.
    pub fn believe(&self, issuer: &str, address: &str) -> bool {
        let domain = address.rsplit_once('@').map(|(_, domain)| domain.to_lowercase());
        match domain.and_then(|domain| self.issuers_of.get(&domain)) {
            Some(issuers) => issuers.contains(issuer),
            None => !self.bound.contains(issuer),
        }
    }
}

/// The names of the claims that rules ask about; nothing else is kept of a person. And whose word counts
/// for their addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedClaims {
    names: BTreeSet<String>,
    domains: EmailDomains,
}

impl WantedClaims {
    /// These, each once.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().collect(), domains: EmailDomains::default() }
    }

    /// The same, where each address is believed of those alone who speak for its domain.
    #[must_use]
    pub fn believing(self, domains: EmailDomains) -> Self {
        Self { domains, ..self }
    }

    /// Whether this issuer's word counts that an address was verified.
    pub fn believe(&self, issuer: &str, address: &str) -> bool {
        self.domains.believe(issuer, address)
    }

    /// Whether nobody asks about any.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Those of them that are there. One that is longer than [`CLAIM_BYTES_MAX`] is left out whole:
    /// half of a list would be another list. Then they are said in part.
    pub fn kept(&self, said: impl Fn(&str) -> Option<Value>) -> Claims {
        let (mut claims, mut are_in_part) = (Map::new(), false);
        for name in &self.names {
            let Some(value) = said(name).filter(|value| !value.is_null()) else { continue };
            if value.to_string().len() > CLAIM_BYTES_MAX {
                tracing::warn!(claim = name, "a claim is too long to be kept: rules do not see it");
                are_in_part = true;
                continue;
            }
            claims.insert(name.clone(), value);
        }
        let claims = Claims::from(claims);
        if are_in_part { claims.in_part() } else { claims }
    }
}

/// Claims by their names, as the provider said them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Claims {
    said: Map<String, Value>,
    are_in_part: bool,
}

impl Claims {
    /// Whether nothing was said, and nothing was left out either.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && !self.are_in_part
    }

    /// What was said under this name.
    pub fn find(&self, name: &str) -> Option<&Value> {
        self.said.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.said.iter()
    }

    /// The same, by somebody who leaves out what there may be: of what is not among them nothing is
    /// known.
    #[must_use]
    pub fn in_part(mut self) -> Self {
        self.are_in_part = true;
        self
    }

    /// Whether of what is not among them nothing is known.
    pub fn are_in_part(&self) -> bool {
        self.are_in_part
    }
}

/// Stands among claims that are said in part, wherever they are written down.
const IN_PART: &str = "";

impl From<Map<String, Value>> for Claims {
    fn from(mut said: Map<String, Value>) -> Self {
        let are_in_part = said.remove(IN_PART).is_some();
        Self { said, are_in_part }
    }
}

impl From<Claims> for Map<String, Value> {
    fn from(Claims { mut said, are_in_part }: Claims) -> Self {
        if are_in_part {
            said.insert(IN_PART.to_owned(), true.into());
        }
        said
    }
}

impl FromIterator<(String, Value)> for Claims {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(claims: T) -> Self {
        Self::from(Map::from_iter(claims))
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

impl Person {
    /// The caller by whom this person is known.
    pub(crate) fn principal(&self) -> &Arc<Principal> {
        &self.0
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_from_whoever_speaks_for_its_domain() {
        let corp = |name: &str| vec![name.to_owned()];
        let domains = EmailDomains::default()
            .bind("https://corp.example", corp("Corp.example"))
            .bind("https://kin.example", corp("kin.example"))
            .bind("https://other.example", Vec::new());
        let rows = [
            ("https://corp.example", "a@corp.example", true, "its own"),
            ("https://corp.example", "a@CORP.example", true, "however it is spelled"),
            ("https://other.example", "a@corp.example", false, "another's"),
            ("https://nobody.example", "a@corp.example", false, "of whoever is not listed too"),
            ("https://other.example", "a@\u{212a}in.example", false, "in letters that are lowered"),
            ("https://other.example", "a@else.example", true, "nobody's"),
            ("https://corp.example", "a@else.example", false, "it speaks for its own alone"),
            ("https://other.example", "a@sub.corp.example", true, "another domain"),
            ("https://other.example", "a@notcorp.example", true, "another that ends so"),
        ];
        for (issuer, address, expected, reason) in rows {
            assert_eq!(domains.believe(issuer, address), expected, "{issuer} {address}: {reason}");
        }
        assert!(
            EmailDomains::default().believe("anybody", "a@corp.example"),
            "where nobody is bound"
        );
    }

    #[test]
    fn claims_in_part_stay_so_wherever_they_are_written_down() {
        let claims: Claims = [("a".to_owned(), Value::from(1))].into_iter().collect();
        for claims in [Claims::default(), claims] {
            for claims in [claims.clone(), claims.in_part()] {
                let text = serde_json::to_string(&claims).unwrap_or_default();
                assert_eq!(serde_json::from_str::<Claims>(&text).ok(), Some(claims), "{text}");
            }
        }
        let claims = Claims::default().in_part();
        assert!(!claims.is_empty() && claims.iter().next().is_none() && claims.find("").is_none());
    }

    #[test]
    fn a_claim_that_is_too_long_is_unknown_and_not_absent() {
        let wanted = WantedClaims::new(["groups".to_owned()]);
        let long = Value::from("x".repeat(CLAIM_BYTES_MAX));
        assert!(wanted.kept(|_| Some(long.clone())).are_in_part());
        assert!(!wanted.kept(|_| None).are_in_part(), "absent is absent");
    }
}
