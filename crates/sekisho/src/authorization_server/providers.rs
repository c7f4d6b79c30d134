//! Who logs people in here: one identity provider, or several that a person chooses from.
//!
//! A login belongs to one provider from its beginning: which one is sealed with it, and each of
//! several has a callback of its own. An answer that comes to another's is not looked at (RFC 9700
//! §4.4.2.2), whether or not the provider names itself in it (RFC 9207). A person is the provider's
//! issuer and a subject, so what they granted says where they came from.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{RECHECK_DEFAULT, SessionRule};
use crate::identity_provider::IdentityProvider;
use crate::policy::Admission;
use crate::principal::Identity;

/// An identity provider, and on what terms its people come in.
#[derive(Debug, Clone)]
pub struct Provider {
    /// What it is called in URLs; empty for one that has the plain ones.
    pub name: String,
    /// What people call it; empty for accounts of our own.
    pub label: String,
    /// The provider itself.
    pub seam: Arc<dyn IdentityProvider>,
    /// How grants of its people depend on their sessions there.
    pub session: SessionRule,
    /// Who of them may log in at all.
    pub admission: Admission,
    told_of_no_refresh_token: Arc<AtomicBool>,
}

impl Provider {
    /// Without a name, under the usual terms: everybody may come in, and is asked about every
    /// quarter of an hour.
    pub fn new(seam: Arc<dyn IdentityProvider>) -> Self {
        Self {
            name: String::new(),
            label: String::new(),
            seam,
            session: SessionRule::Follow { recheck: RECHECK_DEFAULT },
            admission: Admission::default(),
            told_of_no_refresh_token: Arc::default(),
        }
    }

    /// With a name, which is one plain segment of a path, and what people call it.
    #[must_use]
    pub fn called(mut self, name: impl Into<String>, label: impl Into<String>) -> Self {
        (self.name, self.label) = (name.into(), label.into());
        self
    }

    /// With another rule for sessions.
    #[must_use]
    pub fn under(mut self, session: SessionRule) -> Self {
        self.session = session;
        self
    }

    /// For those alone whom this admits.
    #[must_use]
    pub fn admitting(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Where it sends browsers back to, and where it posts logout tokens, below our public URL.
    pub fn paths(name: &str) -> (String, String) {
        let below =
            |path: &str| if name.is_empty() { path.into() } else { format!("{path}/{name}") };
        (below("/auth/callback"), below("/auth/logout"))
    }

    pub(super) fn has_told_of_no_refresh_token(&self) -> bool {
        self.told_of_no_refresh_token.swap(true, std::sync::atomic::Ordering::Relaxed)
    }
}

impl<P: IdentityProvider + 'static> From<Arc<P>> for Provider {
    fn from(seam: Arc<P>) -> Self {
        Self::new(seam)
    }
}

/// All that there are: at least one. No two have the same name or issuer.
#[derive(Debug, Clone)]
pub struct Providers(Arc<[Provider]>);

/// Why these cannot stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvidersError {
    /// There is nobody.
    #[error("nobody logs people in")]
    None,
    /// Two cannot be told apart.
    #[error("two identity providers have the name {0:?}")]
    Name(String),
    /// Two would know one person.
    #[error("two identity providers have the issuer {0:?}")]
    Issuer(String),
}

impl From<Provider> for Providers {
    fn from(only: Provider) -> Self {
        Self(Arc::new([only]))
    }
}

impl Providers {
    /// These, in the order in which people see them.
    ///
    /// # Errors
    /// When there is none, or two of them are alike.
    pub fn new(all: Vec<Provider>) -> Result<Self, ProvidersError> {
        if all.is_empty() {
            return Err(ProvidersError::None);
        }
        for (number, one) in all.iter().enumerate() {
            let before = || all.iter().take(number);
            if before().any(|other| other.name == one.name) {
                return Err(ProvidersError::Name(one.name.clone()));
            }
            if before().any(|other| other.seam.issuer() == one.seam.issuer()) {
                return Err(ProvidersError::Issuer(one.seam.issuer().to_owned()));
            }
        }
        Ok(Self(all.into()))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    /// The one that everybody logs in at, if there is no choice.
    pub(super) fn only(&self) -> Option<&Provider> {
        match &*self.0 {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The one of that name.
    pub(super) fn named(&self, name: &str) -> Option<&Provider> {
        self.iter().find(|one| one.name == name)
    }

    /// The one whose people have this issuer. What is remembered of a provider that is not there any
    /// more is nobody's: its tokens go to no other, and its people log in anew.
    pub(super) fn of_issuer(&self, issuer: &str) -> Option<&Provider> {
        self.iter().find(|one| one.seam.issuer() == issuer)
    }

    /// Whether this person, or the machine that is none, may come in or stay.
    pub(super) fn admit(&self, identity: &Identity) -> bool {
        identity.is_machine()
            || self
                .of_issuer(&identity.issuer)
                .is_some_and(|provider| provider.admission.admits(identity))
    }
}
