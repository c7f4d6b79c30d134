//! `sekisho flows`: what became of the latest logins, step by step, from the store of a running server;
//! or of the one that a trace id belongs to, as an error page shows it.

use sekisho::grant::GrantId;
use sekisho::protocol::oauth::ClientId;
use sekisho::store::{
    Client, ClientOrigin, FLOWS_KEPT, Flow, FlowStep, GrantsOf, ListedGrant, Store, StoreError,
};
use serde_json::{Value, json};

use crate::cli::FlowsArgs;
use crate::config::{Config, Flags};
use crate::outcome::Failure;
use crate::store::Missing;
use crate::telemetry::on_one_line;
use crate::user::Accounts;

/// Hex digits of a trace id.
const TRACE_ID_DIGITS: usize = 32;

/// Why nothing is said.
#[derive(Debug, thiserror::Error)]
enum FlowsError {
    #[error(
        "no login has the trace id {0}: they are kept for {days} days, 1,000 that somebody approved and \
         1,000 others, 30 a minute from one address",
        days = FLOWS_KEPT.as_secs() / (24 * 60 * 60)
    )]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Says what there is.
pub(crate) fn run(
    args: &FlowsArgs,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let trace_id = args.trace_id.as_deref().map(trace_id).transpose()?;
    let config = load(&args.output.settings.flags())?;
    let is_json = args.output.json;
    Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
        let flows = store.list_flows(trace_id.as_deref()).await?;
        let mut told = Vec::with_capacity(flows.len());
        for flow in flows {
            told.push(Told::of(flow, &config, &*store).await?);
        }
        match (&trace_id, told.is_empty(), is_json) {
            (Some(id), true, _) => Err(FlowsError::Unknown(id.clone())),
            (_, _, true) => {
                Ok(Value::from(told.iter().map(Told::as_json).collect::<Vec<_>>()).to_string())
            }
            (None, _, false) => Ok(told.iter().map(Told::as_line).collect::<Vec<_>>().join("\n")),
            (Some(_), _, false) => {
                Ok(told.iter().map(Told::as_lines).collect::<Vec<_>>().join("\n"))
            }
        }
    })
}

fn trace_id(text: &str) -> Result<String, Failure> {
    let is_id = text.len() == TRACE_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Failure::Run(format!(
        "{text:?} is no trace id: copy the {TRACE_ID_DIGITS} digits from the error page or the log"
    )))
}

/// A flow with what else is known of it.
struct Told {
    flow: Flow,
    client: Option<Client>,
    grant: Option<ListedGrant>,
}

impl Told {
    async fn of(flow: Flow, config: &Config, store: &dyn Store) -> Result<Self, StoreError> {
        let client = match &flow.client_id {
            None => None,
            Some(id) => {
                let written = config.authorization.clients.iter().find(|client| client.id == *id);
                match written {
                    Some(client) => Some(client.clone()),
                    None => store.find_client(id).await?,
                }
            }
        };
        let grant = match &flow.grant_id {
            None => None,
            Some(id) => store.list_grants(&GrantsOf::One(id.clone()), None).await?.pop(),
        };
        Ok(Self { flow, client, grant })
    }

    /// The client as people know it.
    fn who(&self) -> String {
        let Some(id) = &self.flow.client_id else { return "an unknown client".to_owned() };
        let name = self.client.as_ref().and_then(|client| client.metadata.client_name.as_deref());
        match name {
            Some(name) => format!("client {name:?} ({id})"),
            None => format!("client {id}"),
        }
    }

    /// The steps with the registration before them, if the client registered itself.
    fn steps(&self) -> impl Iterator<Item = FlowStep> + '_ {
        let registered = self.client.iter().filter(|client| client.origin == ClientOrigin::Dynamic);
        let registered = registered.map(|client| FlowStep {
            at: client.created_at,
            what: "registered".to_owned(),
            trace_id: String::new(),
            detail: None,
        });
        registered.chain(self.flow.steps.iter().cloned())
    }

    /// How it stands now.
    fn outcome(&self) -> String {
        let has = |what: &str| self.flow.steps.iter().any(|step| step.what == what);
        let last = self.flow.steps.last().map_or("", |step| step.what.as_str());
        if let Some(grant) = &self.grant {
            let resource = grant.resource.as_str();
            return match grant.last_used_at {
                Some(at) => format!("called {resource}, last noted {at}"),
                None => format!(
                    "never called {resource}: if its client tried, something in front of sekisho \
                     answers it (`sekisho doctor`)"
                ),
            };
        }
        if has("token given") {
            return "its grant has ended since".to_owned();
        }
        match last {
            "refused" | "denied" | "provider failed" => "ended there".to_owned(),
            "code given" => "the client has not traded its code".to_owned(),
            "sent to provider" => "the person has not come back from the provider".to_owned(),
            "consent shown" => "nobody has answered the consent page".to_owned(),
            _ => "nothing more is known".to_owned(),
        }
    }

    fn as_line(&self) -> String {
        let steps: Vec<_> = self.steps().map(|step| step.what).collect();
        let trace_id = self.flow.steps.first().map_or("", |step| step.trace_id.as_str());
        on_one_line(&format!(
            "{}  {}: {}; {}  (trace id {trace_id})",
            self.flow.begun_at,
            self.who(),
            steps.join(", "),
            self.outcome()
        ))
    }

    fn as_lines(&self) -> String {
        let mut lines = vec![format!("{}, {}", self.who(), self.flow.begun_at)];
        lines.extend(self.steps().map(|step| {
            let detail = step.detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            let trace_id = match step.trace_id.as_str() {
                "" => String::new(),
                id => format!("  (trace id {id})"),
            };
            format!("{}  {}{detail}{trace_id}", step.at, step.what)
        }));
        lines.push(self.outcome());
        lines.iter().map(|line| on_one_line(line)).collect::<Vec<_>>().join("\n")
    }

    fn as_json(&self) -> Value {
        let steps: Vec<_> = self
            .steps()
            .map(|step| {
                json!({
                    "at": step.at.to_string(),
                    "what": step.what,
                    "detail": step.detail,
                    "trace_id": step.trace_id,
                })
            })
            .collect();
        json!({
            "flow": self.flow.id.as_str(),
            "begun_at": self.flow.begun_at.to_string(),
            "client_id": self.flow.client_id.as_ref().map(ClientId::as_str),
            "client_name": self.client.as_ref().and_then(|client| client.metadata.client_name.as_deref()),
            "grant_id": self.flow.grant_id.as_ref().map(GrantId::as_str),
            "last_used_at": self.grant.as_ref().and_then(|grant| grant.last_used_at).map(|at| at.to_string()),
            "steps": steps,
            "outcome": self.outcome(),
        })
    }
}
