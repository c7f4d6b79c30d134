//! `sekisho explain`: what the rules say of somebody who wants something, and which of them decided.
//! Goes by the settings file, and by the store of a running server or a file of claims; asks nobody.

use std::path::Path;

use sekisho::clock::{Clock as _, SystemClock};
use sekisho::grant::GrantId;
use sekisho::policy::{Decision, Explained, Rules, Wish};
use sekisho::principal::{Identity, Principal};
use sekisho::protocol::Secret;
use sekisho::protocol::mcp::{owner_of_name, owner_of_uri};
use sekisho::protocol::oauth::{ClientId, ScopeSet};
use sekisho::store::{GrantsOf, Store, StoreError};
use serde_json::{Map, Value, json};

use crate::cli::ExplainArgs;
use crate::config::{Config, ConfigError, Flags, IdentityConfig, Server};
use crate::grant::{GrantError, all, find_person, plain};
use crate::outcome::{Failure, say};
use crate::store::Missing;
use crate::user::Accounts;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExplainError {
    /// Nobody of that name is known.
    #[error(transparent)]
    Person(#[from] GrantError),
    /// The store is broken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is passed along cannot be read.
    #[error("--args: {0}: write an object that names each member once")]
    Arguments(serde_json::Error),
    /// The server is made of others, and it is none of theirs.
    #[error(
        "{0} is of none of the servers that this one is made of: write \"NAME_\" before a tool or \
         prompt, \"NAME+\" before a URI"
    )]
    Nobodys(String),
}

/// Says what the rules say.
pub(crate) fn run(
    args: &ExplainArgs,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let config = load(&args.output.settings.flags())?;
    let server = server(&config, args.server.as_deref())?;
    if let Some(path) = &args.claims {
        let identity = from_claims(path)?;
        let answer = answer(args, &config, server, identity);
        return say(&answer.map_err(|error| Failure::because(&error))?);
    }
    let name = args.user.as_deref().unwrap_or_default();
    if let IdentityConfig::External(other) = &config.identity {
        let issuer = &other.issuer;
        let problem = format!(
            "--user: with authorization.mode = \"external\" people are known at {issuer} alone: \
             write the claims of a token into a file, and name it with --claims"
        );
        return Err(ConfigError::new(problem).into());
    }
    let is_local = config.identity.has_accounts();
    let config = &config;
    Accounts::open(config, Missing::Refuse)?.run(|store| async move {
        let identity = known(&*store, name, is_local).await?;
        answer(args, config, server, identity)
    })
}

/// A person as the store has them: as the provider last described them.
async fn known(store: &dyn Store, name: &str, is_local: bool) -> Result<Identity, ExplainError> {
    if is_local && let Some(user) = store.find_user(name).await? {
        return Ok(user.into_identity());
    }
    let of: GrantsOf = find_person(store, name).await?;
    let newest = all(store, &of).await?.pop();
    let newest = newest.ok_or_else(|| GrantError::Nobody(name.to_owned()))?;
    Ok(newest.identity)
}

/// A person as a token describes them: a JSON object of its claims.
fn from_claims(path: &Path) -> Result<Identity, Failure> {
    let refuse = |problem: String| {
        let path = path.display();
        Failure::from(ConfigError::new(format!("--claims: \"{path}\": {problem}")))
    };
    let text = crate::config::read_text(path)
        .map_err(|error| refuse(format!("cannot read it ({error}): name a readable file")))?;
    let claims: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|error| refuse(format!("{error}: write a JSON object of claims")))?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    Ok(Identity {
        issuer: text("iss").unwrap_or_default(),
        subject: text("sub").unwrap_or_default(),
        name: text("name").or_else(|| text("preferred_username")),
        email: text("email"),
        email_verified: claims.get("email_verified") == Some(&Value::Bool(true)),
        claims: claims.into_iter().collect(),
    })
}

fn server<'a>(config: &'a Config, name: Option<&str>) -> Result<&'a Server, Failure> {
    let found = match (name, config.servers.as_slice()) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(name), _) => config.every_server().find(|server| server.resource.name == name),
    };
    found.ok_or_else(|| {
        let names = config.every_server().map(|server| server.resource.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        ConfigError::new(format!("--server: name one of {names}")).into()
    })
}

fn answer(
    args: &ExplainArgs,
    config: &Config,
    server: &Server,
    identity: Identity,
) -> Result<String, ExplainError> {
    let wish = match (&args.tool, &args.resource, &args.prompt) {
        (Some(tool), _, _) => Wish::Tool(tool),
        (None, Some(uri), _) => Wish::Resource(uri),
        (None, None, prompt) => Wish::Prompt(prompt.as_deref().unwrap_or_default()),
    };
    let Some(asked) = asked(config, server, wish) else {
        return Err(ExplainError::Nobodys(wish.to_string()));
    };
    let scopes = server.resource.scopes.iter().chain(args.scopes.iter().map(String::as_str));
    let caller = Principal {
        identity,
        client_id: ClientId::new(args.client.as_deref().unwrap_or_default()),
        grant_id: GrantId::new(String::new()),
        scopes: ScopeSet::of(scopes),
        token: Secret::new("").hash(),
        expires_at: SystemClock.now(),
    };
    // Whoever says nothing of arguments asks about a call without any.
    let passed = args.args.as_deref().unwrap_or("{}");
    let mut answer = None;
    for (server, rules, wish) in asked {
        let explained = rules.explain(wish, Some(passed), &caller);
        let explained = explained.map_err(ExplainError::Arguments)?;
        answer = Some(if args.output.json {
            as_json(server, rules, &explained)
        } else {
            as_lines(wish, &explained)
        });
        if !matches!(explained.decision, Decision::Allowed { .. }) {
            break;
        }
    }
    let name = &server.resource.name;
    Ok(answer.unwrap_or_else(|| {
        if args.output.json {
            json!({ "server": name, "allowed": true, "by": null, "rules": [] }).to_string()
        } else {
            format!("allowed: the server {name} has no rules, whoever may come in may do all")
        }
    }))
}

/// Who is asked about what, in turn: of a server that is made of others its own rules, and then those of
/// the one it belongs to. Nothing if it belongs to none.
fn asked<'a>(
    config: &'a Config,
    server: &'a Server,
    wish: Wish<'a>,
) -> Option<Vec<(&'a Server, &'a Rules, Wish<'a>)>> {
    let mut asked = vec![(server, wish)];
    if server.upstream.is_merged() {
        let (owner, own) = match wish {
            Wish::Tool(name) => owner_of_name(name).map(|(owner, own)| (owner, Wish::Tool(own))),
            Wish::Prompt(name) => {
                owner_of_name(name).map(|(owner, own)| (owner, Wish::Prompt(own)))
            }
            Wish::Resource(uri) => {
                owner_of_uri(uri).map(|(owner, own)| (owner, Wish::Resource(own)))
            }
            Wish::Template(uri) => {
                owner_of_uri(uri).map(|(owner, own)| (owner, Wish::Template(own)))
            }
        }?;
        let name = server.upstream.members().iter().find(|name| name.as_str() == owner)?;
        asked.push((config.every_server().find(|server| server.is_called(name))?, own));
    }
    let with_rules = asked.into_iter().filter_map(|(server, wish)| {
        let rules = server.rules.as_deref()?;
        Some((server, rules, wish))
    });
    Some(with_rules.collect())
}

fn as_lines(wish: Wish<'_>, explained: &Explained<'_>) -> String {
    let mut lines = vec![match &explained.decision {
        Decision::Allowed { by } => format!("allowed: {wish}, by the rule {by:?}"),
        Decision::Lacks { by, scopes } => format!(
            "not with this token: {wish} needs the scope {scopes}, by the rule {by:?}; a client is \
             asked to get it"
        ),
        Decision::Denied { by: Some(by) } => format!("denied: {wish}, by the rule {by:?}"),
        Decision::Denied { by: None } => format!("denied: {wish}, no rule allows it"),
    }];
    for (rule, verdict) in &explained.verdicts {
        let condition = rule.condition().map(|condition| format!("  [{condition}]"));
        let line = format!("  {:?} {verdict}{}", rule.name, condition.unwrap_or_default());
        lines.push(plain(&line));
    }
    lines.join("\n")
}

fn as_json(server: &Server, rules: &Rules, explained: &Explained<'_>) -> String {
    let (is_allowed, by, missing) = match &explained.decision {
        Decision::Allowed { by } => (true, Some(*by), None),
        Decision::Lacks { by, scopes } => (false, Some(*by), Some(scopes.to_string())),
        Decision::Denied { by } => (false, *by, None),
    };
    debug_assert_eq!(rules.iter().count(), explained.verdicts.len());
    let verdicts: Vec<Value> = explained
        .verdicts
        .iter()
        .map(|(rule, verdict)| {
            json!({
                "name": rule.name,
                "condition": rule.condition().map(ToString::to_string),
                "verdict": verdict.to_string(),
            })
        })
        .collect();
    json!({
        "server": server.resource.name,
        "allowed": is_allowed,
        "by": by,
        "missing_scope": missing,
        "rules": verdicts,
    })
    .to_string()
}
