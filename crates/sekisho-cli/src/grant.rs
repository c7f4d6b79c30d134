//! `sekisho grant …`: what people allowed applications to do, in the store of a running server.
//!
//! What is ended here is refused by the server within a second, and open streams end.

use sekisho::clock::{Clock as _, SystemClock, Timestamp};
use sekisho::grant::GrantId;
use sekisho::protocol::oauth::ClientId;
use sekisho::store::{FoundBy, FoundPerson, GrantsOf, ListedGrant, Store, StoreError};
use serde_json::{Value, json};

use crate::cli::{GrantCommand, WhoseArgs, WhoseRequiredArgs};
use crate::config::{Config, Flags};
use crate::outcome::Failure;
use crate::store::Missing;
use crate::user::Accounts;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    /// There was nothing to end.
    #[error("nothing was revoked: there is no such grant")]
    Nothing,
    /// Nobody of that name has granted anything.
    #[error(
        "nobody called {0:?} has granted anything: `sekisho grant list` shows whose grants there are"
    )]
    Nobody(String),
    /// People call themselves so, which anybody may.
    #[error(
        "{name:?} is a name that anybody may take: say who is meant by the subject, one of {subjects}"
    )]
    OnlyNamed {
        /// What was typed.
        name: String,
        /// Who was found.
        subjects: String,
    },
    /// Several people answer to the name.
    #[error(
        "{name:?} may be any of {subjects}: say which by the subject, or end single grants with --grant"
    )]
    Ambiguous {
        /// What was typed.
        name: String,
        /// Who was found.
        subjects: String,
    },
    /// The store is broken.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does what was asked and says so.
pub(crate) fn run(
    command: &GrantCommand,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    match command {
        GrantCommand::List(args) => {
            let config = load(&args.output.settings.flags())?;
            let show = if args.output.json { as_json } else { as_lines };
            Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
                let of = match args.whose.find(&*store).await {
                    Err(GrantError::Nobody(_)) => return Ok(show(&[])),
                    found => found?,
                };
                Ok::<_, GrantError>(show(&all(&*store, &of).await?))
            })
        }
        GrantCommand::Revoke(args) => {
            let config = load(&args.output.settings.flags())?;
            Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
                let of = WhoseArgs::from(&args.whose).find(&*store).await?;
                match store.end_grants(&of, SystemClock.now()).await? {
                    0 => Err(GrantError::Nothing),
                    ended if args.output.json => Ok(json!({ "revoked": ended }).to_string()),
                    1 => Ok("revoked 1 grant".to_owned()),
                    ended => Ok(format!("revoked {ended} grants")),
                }
            })
        }
    }
}

impl From<&WhoseRequiredArgs> for WhoseArgs {
    fn from(args: &WhoseRequiredArgs) -> Self {
        let WhoseRequiredArgs { user, client, grant } = args.clone();
        Self { user, client, grant }
    }
}

impl WhoseArgs {
    async fn find(&self, store: &dyn Store) -> Result<GrantsOf, GrantError> {
        match (&self.user, &self.client, &self.grant) {
            (Some(name), _, _) => find_person(store, name).await,
            (None, Some(client), _) => Ok(GrantsOf::Client(ClientId::new(client.as_str()))),
            (None, None, Some(grant)) => Ok(GrantsOf::One(GrantId::new(grant.as_str()))),
            (None, None, None) => Ok(GrantsOf::Everyone),
        }
    }
}

/// The one person who is meant: by subject, which is the name of an account of ours, else by an
/// e-mail address that the provider calls verified. By a name that people give themselves nobody is
/// found, only told of.
pub(crate) async fn find_person(store: &dyn Store, name: &str) -> Result<GrantsOf, GrantError> {
    let found = store.find_people(name).await?;
    let by = |way| found.iter().filter(move |one| one.by == way).collect::<Vec<_>>();
    let is_sure = |way: &FoundBy| !by(*way).is_empty();
    let Some(way) = [FoundBy::Subject, FoundBy::VerifiedEmail].into_iter().find(is_sure) else {
        return Err(match by(FoundBy::Name).as_slice() {
            [] => GrantError::Nobody(name.to_owned()),
            some => GrantError::OnlyNamed { name: name.to_owned(), subjects: choices(some) },
        });
    };
    match by(way).as_slice() {
        [FoundPerson { issuer, subject, .. }] => {
            Ok(GrantsOf::Person { issuer: issuer.clone(), subject: subject.clone() })
        }
        several => Err(GrantError::Ambiguous { name: name.to_owned(), subjects: choices(several) }),
    }
}

fn choices(people: &[&FoundPerson]) -> String {
    let choices: Vec<_> =
        people.iter().map(|one| format!("{:?} of {}", one.subject, plain(&one.issuer))).collect();
    choices.join(", ")
}

/// All of them, page by page.
pub(crate) async fn all(store: &dyn Store, of: &GrantsOf) -> Result<Vec<ListedGrant>, StoreError> {
    let mut grants: Vec<ListedGrant> = Vec::new();
    loop {
        let page = store.list_grants(of, grants.last()).await?;
        if page.is_empty() {
            return Ok(grants);
        }
        grants.extend(page);
    }
}

fn as_lines(grants: &[ListedGrant]) -> String {
    let lines: Vec<_> = grants.iter().map(as_line).collect();
    lines.join("\n")
}

fn as_line(grant: &ListedGrant) -> String {
    let person = &grant.identity;
    let called = person.name.as_deref().filter(|name| *name != person.subject);
    let called = called.map(|name| format!(" ({})", plain(name))).unwrap_or_default();
    let client_name = grant.client.as_ref().and_then(|client| client.client_name.as_deref());
    let client = client_name.map(|name| format!("\"{}\" ", plain(name))).unwrap_or_default();
    let used =
        grant.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", on(at)));
    format!(
        "{}\t{} of {}{called}\t{client}{}\t{}\t{}\tsince {}\t{used}",
        grant.id.as_str(),
        plain(&person.subject),
        plain(&person.issuer),
        plain(grant.client_id.as_str()),
        grant.scope,
        grant.resource.as_str(),
        on(grant.created_at),
    )
}

fn as_json(grants: &[ListedGrant]) -> String {
    let grants: Vec<_> = grants.iter().map(described).collect();
    Value::from(grants).to_string()
}

/// A grant for machines.
pub(crate) fn described(grant: &ListedGrant) -> Value {
    let mut described = json!({
        "id": grant.id.as_str(),
        "user": {
            "issuer": grant.identity.issuer,
            "subject": grant.identity.subject,
            "name": grant.identity.name,
            "email": grant.identity.email,
        },
        "client_id": grant.client_id.as_str(),
        "client_name": grant.client.as_ref().and_then(|client| client.client_name.as_deref()),
        "scope": grant.scope.to_string(),
        "resource": grant.resource.as_str(),
        "created_at": on(grant.created_at),
        "last_used_at": grant.last_used_at.map(on),
    });
    if let (Some(personal), Some(described)) = (&grant.personal, described.as_object_mut()) {
        described.insert("label".to_owned(), json!(personal.label));
        described.insert("expires_at".to_owned(), on(personal.expires_at).into());
    }
    described
}

/// A moment as text.
pub(crate) fn on(moment: Timestamp) -> String {
    moment.to_string()
}

/// What a stranger wrote, so that it stays in its column and colours no terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test may panic")]
    use sekisho::principal::Identity;
    use sekisho::store::{MemoryStore, TableLimits};
    use testkit::store_contract::{person, sign_in};

    use super::*;

    #[tokio::test]
    async fn a_person_is_meant_by_what_only_they_can_be_called() {
        let store: std::sync::Arc<dyn Store> =
            std::sync::Arc::new(MemoryStore::new(TableLimits::default()));
        let at_other = Identity { issuer: "https://other.example".into(), ..person("alice") };
        let mallory = Identity { name: Some("bob".into()), ..person("mallory") };
        let twin = Identity { email: person("mallory").email, ..person("twin") };
        let people = [person("alice"), at_other, person("bob"), mallory, twin];
        for (number, identity) in people.iter().enumerate() {
            sign_in(&store, &number.to_string(), identity).await;
        }
        let rows = [
            ("bob", Ok("bob"), "by subject, whoever else calls himself so"),
            ("bob@example.com", Ok("bob"), "by a verified address"),
            (
                "alice",
                Err("may be any of \"alice\" of https://idp.example/realms/master, \"alice\" of"),
                "two",
            ),
            ("mallory@example.com", Err("may be any of \"mallory\" of"), "two with one address"),
            ("twin 山田", Err("a name that anybody may take"), "a name is told of, not taken"),
            ("carol", Err("nobody called \"carol\""), "nobody"),
        ];
        for (called, expected, reason) in rows {
            match (find_person(&*store, called).await, expected) {
                (Ok(GrantsOf::Person { subject, .. }), Ok(expected)) => {
                    assert_eq!(subject, expected, "{called}: {reason}");
                }
                (Err(error), Err(words)) => {
                    assert!(error.to_string().contains(words), "{called}: {reason}: {error}");
                }
                (found, _) => panic!("{called}: {reason}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_name_stays_in_its_column() {
        assert_eq!(plain("a\tb\n\u{1b}[31m関"), "a\\tb\\n\\u{1b}[31m関");
    }
}
