//! Who may log in at all: a condition over the person, asked when they come from the provider and each
//! time the provider describes them anew. Says nothing of clients that act for themselves: those the
//! operator wrote down.

use std::sync::Arc;

use super::expression::{Expression, Outcome};
use super::rule::person;
use crate::principal::Identity;

/// Who may log in.
#[derive(Debug, Clone, Default)]
pub struct Admission {
    condition: Option<Arc<Expression>>,
}

impl Admission {
    /// Those for whom the condition holds.
    pub fn only(condition: Expression) -> Self {
        Self { condition: Some(Arc::new(condition)) }
    }

    /// Whether this person may. If it cannot be decided they may not, and the log says why.
    pub fn admits(&self, identity: &Identity) -> bool {
        let Some(condition) = self.condition.as_ref().filter(|_| !identity.is_machine()) else {
            return true;
        };
        match condition.decide(&person(identity).scene()) {
            Outcome::Yes => true,
            Outcome::No | Outcome::Unknown => false,
            Outcome::Failed(reason) => {
                tracing::warn!(
                    reason,
                    "identity.allow could not be decided: nobody comes in by it"
                );
                false
            }
        }
    }

    /// The claims that it asks about.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.condition.iter().flat_map(|condition| condition.claims())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use serde_json::json;

    use super::super::Scope;
    use super::*;
    use crate::principal::Claims;

    const CORP: &str = "user.email.endsWith('@corp.com')";

    /// What a company's word leaves out is no answer, neither yes nor no.
    #[test]
    fn what_was_not_said_of_a_person_is_not_taken_for_nothing() {
        let person = |claims: Claims| Identity {
            issuer: "https://idp.example".into(),
            subject: "1".into(),
            name: None,
            email: None,
            email_verified: false,
            claims,
        };
        let nothing = person(Claims::default().in_part());
        let claims = [("groups", json!(["staff"])), ("tenant", json!("a"))];
        let claims: Claims =
            claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let some = person(claims.in_part());
        let known = person(Claims::default());
        let rows = [
            ("!('banned' in user.groups)", &known, true, "there are none"),
            ("!('banned' in user.groups)", &nothing, false, "nobody said"),
            ("!('banned' in user.groups)", &some, true, "somebody did"),
            ("!('banned' in user['groups'])", &nothing, false, "written otherwise"),
            ("!has(user.groups) || !('banned' in user.groups)", &nothing, false, "asked first"),
            ("!has(user.claims.banned)", &known, true, "it is not there"),
            ("!has(user.claims.banned)", &nothing, false, "nobody said"),
            ("!has(user['claims'].banned)", &nothing, false, "written otherwise"),
            ("!has(user.claims.banned)", &some, false, "of another claim"),
            ("has(user.claims.tenant)", &some, true, "of this one"),
            ("user.email != 'a@b.example'", &known, true, "no address"),
            ("user.email != 'a@b.example'", &nothing, false, "nobody said"),
            ("!user.email_verified", &nothing, false, "nor this"),
            ("user.name != 'Bob'", &nothing, false, "nor this"),
            ("'staff' in user.groups || user.subject == '1'", &nothing, true, "it does not matter"),
            ("user.issuer == 'https://idp.example'", &nothing, true, "this is always said"),
        ];
        for (condition, identity, expected, reason) in rows {
            let admission = Admission::only(Expression::parse(condition, Scope::Login).unwrap());
            assert_eq!(admission.admits(identity), expected, "{condition}: {reason}");
        }
    }

    #[test]
    fn whoever_the_condition_does_not_know_stays_out() {
        let person = |email: Option<&str>, email_verified| Identity {
            issuer: "https://idp.example".into(),
            subject: "1".into(),
            name: None,
            email: email.map(str::to_owned),
            email_verified,
            claims: Claims::default(),
        };
        let alice = person(Some("Alice@Corp.com"), true);
        let in_group = |groups| Identity {
            claims: [("groups".to_owned(), groups)].into_iter().collect(),
            ..alice.clone()
        };
        let rows = [
            (CORP, &alice, true, "an address there, however it is spelled"),
            (CORP, &person(Some("alice@corp.com"), false), false, "nobody verified it"),
            (CORP, &person(None, false), false, "no address"),
            (CORP, &person(Some("a@corp.com.evil.example"), true), false, "elsewhere"),
            (CORP, &person(Some("a@evilcorp.com"), true), false, "another domain that ends so"),
            ("'staff' in user.groups", &in_group(json!(["staff"])), true, "a group"),
            ("'staff' in user.groups", &in_group(json!("staff")), true, "a single one"),
            ("'staff' in user.groups", &in_group(json!(["staffing"])), false, "another one"),
            ("'staff' in user.groups", &in_group(json!({"staff": 1})), false, "no list"),
            ("'staff' in user.groups", &alice, false, "no groups"),
            ("user.issuer == 'https://idp.example'", &alice, true, "a provider"),
            (
                "user.claims.tenant == 'a'",
                &alice,
                false,
                "a claim that is not there decides nothing",
            ),
        ];
        for (condition, identity, expected, reason) in rows {
            let admission = Admission::only(Expression::parse(condition, Scope::Login).unwrap());
            assert_eq!(admission.admits(identity), expected, "{condition}: {reason}");
        }
        assert!(Admission::default().admits(&person(None, false)), "without a condition everybody");
        let nobody = Admission::only(Expression::parse("false", Scope::Login).unwrap());
        let robot = Identity::of_machine(&sekisho_protocol::oauth::ClientId::new("robot"), None);
        assert!(nobody.admits(&robot), "a machine is no person");
    }
}
