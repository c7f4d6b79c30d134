//! `sekisho token …`: personal access tokens, in the store of a running server.
//!
//! A token is printed once, by the command that makes it; afterwards it goes by its id.

use sekisho::authorization_server::personal_token::{
    self, PersonalTokenError, PersonalTokenRequest,
};
use sekisho::clock::{Clock as _, SystemClock};
use sekisho::grant::GrantId;
use sekisho::principal::Identity;
use sekisho::protocol::oauth::{ProtectedResource, ScopeSet};
use sekisho::store::{GrantsOf, ListedGrant, Store, StoreError};
use serde_json::{Value, json};

use crate::cli::{AddTokenArgs, TokenCommand};
use crate::config::{Config, Flags, parse_duration};
use crate::grant::{GrantError, all, described, find_person, on, plain};
use crate::outcome::Failure;
use crate::store::Missing;
use crate::user::Accounts;

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error(transparent)]
    Personal(#[from] PersonalTokenError),
    #[error(transparent)]
    Person(#[from] GrantError),
    #[error("nobody called {0:?} has logged in yet: log in once, or make the token at /account")]
    NeverLoggedIn(String),
    #[error(
        "nothing was revoked: there is no personal token {0:?}; `sekisho token list` shows them"
    )]
    Nothing(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does what was asked and says so.
pub(crate) fn run(
    command: &TokenCommand,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    match command {
        TokenCommand::Add(args) => add(args, &load(&args.output.settings.flags())?),
        TokenCommand::List(args) => {
            let config = load(&args.output.settings.flags())?;
            let show = if args.output.json { as_json } else { as_lines };
            Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
                let of = match &args.user {
                    None => GrantsOf::Everyone,
                    Some(name) => match find_person(&*store, name).await {
                        Err(GrantError::Nobody(_)) => return Ok(show(&[])),
                        found => found?,
                    },
                };
                let mut tokens = all(&*store, &of).await?;
                tokens.retain(|grant| grant.personal.is_some());
                Ok::<_, TokenError>(show(&tokens))
            })
        }
        TokenCommand::Revoke(args) => {
            let config = load(&args.output.settings.flags())?;
            Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
                let of = GrantsOf::One(GrantId::new(args.id.as_str()));
                let found = store.list_grants(&of, None).await?;
                let is_personal = found.iter().any(|grant| grant.personal.is_some());
                if !is_personal || store.end_grants(&of, SystemClock.now()).await? == 0 {
                    // Not echoed if it looks like a token: somebody may have pasted one.
                    let id = if args.id.starts_with("mcp") { "…" } else { args.id.as_str() };
                    return Err(TokenError::Nothing(id.to_owned()));
                }
                Ok(if args.output.json {
                    json!({ "revoked": 1 }).to_string()
                } else {
                    "revoked 1 personal token".to_owned()
                })
            })
        }
    }
}

fn add(args: &AddTokenArgs, config: &Config) -> Result<(), Failure> {
    let server = server(config, args.server.as_deref())?;
    let scope = ScopeSet::parse(&args.scope)
        .map_err(|error| Failure::Run(format!("--scope {:?}: {error}", args.scope)))?;
    let life = parse_duration(&args.expires)
        .map_err(|problem| Failure::Run(format!("--expires {:?}: {problem}", args.expires)))?;
    Accounts::open(config, Missing::Refuse)?.run(|store| async move {
        let identity = person(config, &*store, &args.user).await?;
        let (identity, label, session) = (&identity, args.label.as_str(), None);
        let request = PersonalTokenRequest { identity, server, scope, life, label, session };
        let made = personal_token::add(&*store, &SystemClock, &request).await?;
        let token = made.token.reveal();
        Ok::<_, TokenError>(if args.output.json {
            let (id, scope) = (made.id.as_str(), made.scope.to_string());
            let resource = server.resource.as_str();
            json!({
                "token": token, "id": id, "scope": scope, "resource": resource,
                "expires_at": on(made.expires_at),
            })
            .to_string()
        } else {
            format!(
                "{token}\nshown only this once; id {}, for {} until {}",
                made.id.as_str(),
                server.name,
                on(made.expires_at)
            )
        })
    })
}

fn server<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a ProtectedResource, Failure> {
    let names: Vec<_> = config.servers.iter().map(|server| server.resource.name.as_str()).collect();
    let found = match (name, config.servers.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), servers) => servers.iter().find(|server| server.resource.name == name),
    };
    found.map(|server| &server.resource).ok_or_else(|| {
        let asked = name.map(|name| format!(" {name:?}")).unwrap_or_default();
        Failure::Run(format!("--server{asked}: name one of {}", names.join(", ")))
    })
}

/// A local account, or somebody whom the provider has logged in before: nobody else is known here.
async fn person(config: &Config, store: &dyn Store, name: &str) -> Result<Identity, TokenError> {
    if config.identity.has_accounts() {
        let user = store.find_user(name).await?;
        if let Some(user) = user {
            return Ok(user.into_identity());
        }
        if config.identity.providers().len() == 1 {
            return Err(PersonalTokenError::NoAccount(name.to_owned()).into());
        }
    }
    let of = match find_person(store, name).await {
        Err(GrantError::Nobody(name)) => return Err(TokenError::NeverLoggedIn(name)),
        found => found?,
    };
    let grants = store.list_grants(&of, None).await?;
    let newest = grants.into_iter().next_back();
    newest.map(|grant| grant.identity).ok_or_else(|| TokenError::NeverLoggedIn(name.to_owned()))
}

fn as_lines(tokens: &[ListedGrant]) -> String {
    let lines: Vec<_> = tokens.iter().map(as_line).collect();
    lines.join("\n")
}

fn as_line(token: &ListedGrant) -> String {
    let used =
        token.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", on(at)));
    let (label, ends) = token.personal.as_ref().map_or((None, String::new()), |personal| {
        (personal.label.as_deref(), on(personal.expires_at))
    });
    format!(
        "{}\t{} of {}\t{}\t{}\t{}\tsince {}\tuntil {ends}\t{used}",
        token.id.as_str(),
        plain(&token.identity.subject),
        plain(&token.identity.issuer),
        plain(label.unwrap_or("-")),
        token.scope,
        token.resource.as_str(),
        on(token.created_at),
    )
}

fn as_json(tokens: &[ListedGrant]) -> String {
    let tokens: Vec<_> = tokens.iter().map(described).collect();
    Value::from(tokens).to_string()
}
