//! `sekisho client …`: clients that the operator registers, in the store of a running server, and a
//! look at all there are. A secret is said once, when it is made.

use sekisho::authorization_server::new_client_credentials;
use sekisho::clock::{Clock as _, SystemClock};
use sekisho::protocol::Secret;
use sekisho::protocol::oauth::{
    ClientId, ClientKeys, ClientMetadata, RegisteredRedirectUri, ScopeSet, TokenEndpointAuthMethod,
};
use sekisho::store::{Client, ClientOrigin, Store, StoreError};
use serde_json::{Value, json};

use crate::cli::{AddClientArgs, ClientCommand, OneClientArgs};
use crate::config::{Config, Flags, client_id};
use crate::outcome::Failure;
use crate::store::Missing;
use crate::user::Accounts;

/// Does what was asked and says so.
pub(crate) fn run(
    command: &ClientCommand,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    match command {
        ClientCommand::Add(args) => add(&load(&args.output.settings.flags())?, args),
        ClientCommand::Remove(args) => remove(&load(&args.output.settings.flags())?, args),
        ClientCommand::List(args) => {
            let config = load(&args.settings.flags())?;
            let show = if args.json { as_json } else { as_lines };
            Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
                let mut clients = config.authorization.clients.clone();
                clients.extend(all(&*store).await?);
                Ok::<_, ClientError>(show(&clients))
            })
        }
    }
}

/// Why a client cannot be added or removed.
#[derive(Debug, thiserror::Error)]
enum ClientError {
    #[error("there is a client \"{0}\" already")]
    Taken(String),
    #[error("there is no client \"{0}\"")]
    Unknown(String),
    #[error("the client \"{0}\" is written in the settings: take it out there")]
    InSettings(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn add(config: &Config, args: &AddClientArgs) -> Result<(), Failure> {
    let (random_id, random_secret) = new_client_credentials();
    let id = match &args.id {
        None => random_id,
        Some(text) => client_id(text).map_err(|problem| wrong("--id", text, problem))?,
    };
    let metadata = metadata(config, args)?;
    let secret = match metadata.token_endpoint_auth_method {
        TokenEndpointAuthMethod::ClientSecretBasic | TokenEndpointAuthMethod::ClientSecretPost => {
            Some(random_secret)
        }
        TokenEndpointAuthMethod::None | TokenEndpointAuthMethod::PrivateKeyJwt => None,
    };
    let now = SystemClock.now();
    let client = Client {
        id,
        metadata,
        secret: secret.as_ref().map(Secret::hash),
        secret_expires_at: None,
        created_at: now,
        origin: ClientOrigin::Preregistered,
        last_used_at: now,
    };
    let is_written = config.authorization.clients.iter().any(|other| other.id == client.id);
    Accounts::open(config, Missing::Make)?.run(|store| async move {
        if is_written || store.find_client(&client.id).await?.is_some() {
            return Err(ClientError::Taken(client.id.to_string()));
        }
        store.register_client(&client).await?;
        Ok(if args.output.json {
            let mut told = described(&client);
            if let (Some(secret), Value::Object(fields)) = (&secret, &mut told) {
                fields.insert("client_secret".to_owned(), secret.reveal().into());
            }
            told.to_string()
        } else {
            added(&client, secret.as_ref())
        })
    })
}

fn remove(config: &Config, args: &OneClientArgs) -> Result<(), Failure> {
    let id = ClientId::new(args.id.as_str());
    let is_written = config.authorization.clients.iter().any(|client| client.id == id);
    Accounts::open(config, Missing::Refuse)?.run(|store| async move {
        if is_written {
            return Err(ClientError::InSettings(id.to_string()));
        }
        if !store.remove_client(&id, SystemClock.now()).await? {
            return Err(ClientError::Unknown(id.to_string()));
        }
        Ok(if args.output.json {
            json!({ "client_id": id.as_str() }).to_string()
        } else {
            format!("removed {id} and everything granted to it")
        })
    })
}

fn metadata(config: &Config, args: &AddClientArgs) -> Result<ClientMetadata, Failure> {
    let redirect_uris = args.redirect_uris.iter().map(|uri| {
        RegisteredRedirectUri::parse(uri).map_err(|problem| wrong("--redirect-uri", uri, problem))
    });
    let redirect_uris: Vec<_> = redirect_uris.collect::<Result<_, _>>()?;
    if redirect_uris.is_empty() && !args.machine {
        let problem = "a client needs --redirect-uri to log people in, or --machine to act alone";
        return Err(Failure::Run(problem.to_owned()));
    }
    let known = config.authorization.servers.scopes();
    if let Some(unknown) = args.scopes.iter().find(|scope| !known.contains(scope)) {
        let problem = format!("no server has it: write one of {known}");
        return Err(wrong("--scope", unknown, problem));
    }
    if args.machine && args.scopes.is_empty() {
        let problem = "--machine needs --scope: nobody else says what it may do";
        return Err(Failure::Run(problem.to_owned()));
    }
    let keys = keys(args)?;
    let token_endpoint_auth_method = match (&keys, args.public) {
        (Some(_), _) => TokenEndpointAuthMethod::PrivateKeyJwt,
        (None, true) => TokenEndpointAuthMethod::None,
        (None, false) => TokenEndpointAuthMethod::ClientSecretBasic,
    };
    Ok(ClientMetadata {
        client_name: Some(args.name.clone()),
        refreshes: !redirect_uris.is_empty(),
        redirect_uris,
        token_endpoint_auth_method,
        scope: ScopeSet::of(args.scopes.iter().map(String::as_str)),
        client_uri: None,
        keys,
        acts_alone: args.machine,
    })
}

fn keys(args: &AddClientArgs) -> Result<Option<ClientKeys>, Failure> {
    if let Some(path) = &args.jwks {
        let named = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            wrong("--jwks", &named, format!("cannot read it ({error}): name a readable file"))
        })?;
        return ClientKeys::parse(&text)
            .map(Some)
            .map_err(|problem| wrong("--jwks", &named, problem));
    }
    let at =
        |uri: &String| ClientKeys::at(uri).map_err(|problem| wrong("--jwks-uri", uri, problem));
    args.jwks_uri.as_ref().map(at).transpose()
}

fn wrong(flag: &str, value: &str, problem: impl std::fmt::Display) -> Failure {
    Failure::Run(format!("{flag} {value:?}: {problem}"))
}

async fn all(store: &dyn Store) -> Result<Vec<Client>, StoreError> {
    let mut clients: Vec<Client> = Vec::new();
    loop {
        let page = store.list_clients(clients.last().map(|client| &client.id)).await?;
        if page.is_empty() {
            return Ok(clients);
        }
        clients.extend(page);
    }
}

fn added(client: &Client, secret: Option<&Secret>) -> String {
    let mut lines = vec![format!("client_id      {}", client.id)];
    lines.extend(
        secret.map(|secret| format!("client_secret  {}  (shown only this once)", secret.reveal())),
    );
    lines.join("\n")
}

fn as_lines(clients: &[Client]) -> String {
    let lines: Vec<_> = clients
        .iter()
        .map(|client| {
            let name = client.metadata.client_name.as_deref().unwrap_or_default();
            // A client names itself as it likes; a line stays a line.
            format!(
                "{}\t{}\t{}\t{}",
                client.id,
                origin(client),
                name.escape_debug(),
                moment(client)
            )
        })
        .collect();
    lines.join("\n")
}

fn as_json(clients: &[Client]) -> String {
    Value::from(clients.iter().map(described).collect::<Vec<_>>()).to_string()
}

/// A client without anything secret.
fn described(client: &Client) -> Value {
    let metadata = &client.metadata;
    let mut told = json!({
        "client_id": client.id.as_str(),
        "client_name": metadata.client_name,
        "origin": origin(client),
        "redirect_uris": metadata.redirect_uris,
        "token_endpoint_auth_method": metadata.token_endpoint_auth_method,
        "grant_types": grant_types(metadata),
        "scope": metadata.scope.to_string(),
    });
    if let (Value::Object(fields), false) = (&mut told, is_written(client)) {
        fields.insert("created_at".to_owned(), client.created_at.to_string().into());
        fields.insert("last_used_at".to_owned(), client.last_used_at.to_string().into());
    }
    told
}

fn grant_types(metadata: &ClientMetadata) -> Vec<&'static str> {
    let has_people = !metadata.redirect_uris.is_empty();
    [
        (has_people, "authorization_code"),
        (has_people && metadata.refreshes, "refresh_token"),
        (metadata.acts_alone, "client_credentials"),
    ]
    .into_iter()
    .filter_map(|(has, name)| has.then_some(name))
    .collect()
}

fn origin(client: &Client) -> &'static str {
    match client.origin {
        ClientOrigin::Dynamic => "registered itself",
        ClientOrigin::Document => "known by its document",
        ClientOrigin::Preregistered if is_written(client) => "written in the settings",
        ClientOrigin::Preregistered => "added by the operator",
    }
}

fn moment(client: &Client) -> String {
    if is_written(client) {
        return String::new();
    }
    format!("last used {}", client.last_used_at)
}

/// What stands in the settings has no beginning and no use.
fn is_written(client: &Client) -> bool {
    client.created_at.unix_seconds() == 0
}
