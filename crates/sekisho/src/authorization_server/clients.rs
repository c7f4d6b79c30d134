//! Which client an id names: one of the operator's, one that registered, or one that is known by a
//! document at the https URL that is its id (draft-ietf-oauth-client-id-metadata-document).
//!
//! A document is fetched for `/authorize` and for nothing else. From the moment a person approves,
//! the copy they saw is in the store, so that signed-in clients do not depend on somebody's web
//! server.

use std::net::IpAddr;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use http::Extensions;
use sekisho_protocol::oauth::{
    ClientId, ClientIdUrl, ClientMetadata, HostList, parse_client_metadata_document,
};

use super::AuthorizationServer;
use super::refusal::Visitor;
use crate::fetch::{Fault, Standing};
use crate::front::ClientAddress;
use crate::pages::Problem;
use crate::store::{Client, ClientOrigin, StoreError};

/// Whether the id of a client may be the URL of a document about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Documents {
    /// Never; it is not advertised.
    Off,
    /// Where the document's host may be.
    On {
        /// If not empty, only these hosts.
        allowed: HostList,
        /// In no case these.
        denied: HostList,
    },
}

impl Default for Documents {
    /// At any host.
    fn default() -> Self {
        Self::On { allowed: HostList::default(), denied: HostList::default() }
    }
}

impl Documents {
    fn allow(&self, host: &str) -> bool {
        match self {
            Self::Off => false,
            Self::On { allowed, denied } => {
                (allowed.is_empty() || allowed.contains(host)) && !denied.contains(host)
            }
        }
    }
}

/// Why an id names no client.
#[derive(Debug)]
pub(super) enum NoClient {
    /// Nobody has it.
    Unknown,
    /// It names a document that cannot be used; the words are for whoever made it.
    Document(String),
    /// Too many documents were asked for.
    TooMany(Duration),
    /// Too many documents are being fetched right now.
    Busy,
    /// We cannot look.
    Store(StoreError),
}

impl From<StoreError> for NoClient {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The address a request counts by, where it is known.
pub(super) fn caller(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get().map(|ClientAddress(address)| *address)
}

impl AuthorizationServer {
    /// The client that an authorization request names, as it describes itself today.
    pub(super) async fn client_today(
        &self,
        id: &ClientId,
        caller: Option<IpAddr>,
    ) -> Result<Client, NoClient> {
        self.client_no_older_than(Duration::MAX, id, caller).await
    }

    /// The same, its document fetched no longer ago than `age_max`.
    pub(super) async fn client_no_older_than(
        &self,
        age_max: Duration,
        id: &ClientId,
        caller: Option<IpAddr>,
    ) -> Result<Client, NoClient> {
        if !ClientIdUrl::is_meant_by(id) || self.settings.documents == Documents::Off {
            return self.known_client(id).await?.ok_or(NoClient::Unknown);
        }
        if let Some(client) = self.preregistered(id) {
            return Ok(client.clone());
        }
        let url = ClientIdUrl::parse(id.as_str())
            .map_err(|reason| NoClient::Document(reason.to_string()))?;
        if !self.settings.documents.allow(url.host()) {
            let words = "clients of this host are not allowed here";
            return Err(NoClient::Document(words.to_owned()));
        }
        let metadata = self.document(&url, age_max, caller).await?;
        Ok(self.documented(id, metadata))
    }

    /// The client that an id names, as far as we know without asking anybody.
    pub(super) async fn known_client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        if let Some(client) = self.preregistered(id) {
            return Ok(Some(client.clone()));
        }
        let found = self.store.find_client(id).await?;
        Ok(found.filter(|client| match client.origin {
            ClientOrigin::Document => ClientIdUrl::parse(id.as_str())
                .is_ok_and(|url| self.settings.documents.allow(url.host())),
            ClientOrigin::Dynamic | ClientOrigin::Preregistered => true,
        }))
    }

    /// Keeps what a person approved of a client that has a document.
    pub(super) async fn keep_document(
        &self,
        id: &ClientId,
        metadata: ClientMetadata,
    ) -> Result<(), StoreError> {
        self.store.keep_document_client(&self.documented(id, metadata)).await
    }

    /// Notes that a client was given tokens, unless that was noted a while ago. It may fail: the
    /// tokens are worth more than the note.
    pub(super) async fn note_use(&self, client: &Client) {
        let now = self.clock.now();
        if !client.last_used_at.plus(USE_NOTED_EVERY).is_over(now) {
            return;
        }
        if let Err(reason) = self.store.note_client_use(&client.id, now).await {
            tracing::warn!(client.id = %client.id, "the client's use was not noted: {reason}");
        }
    }

    fn preregistered(&self, id: &ClientId) -> Option<&Client> {
        self.settings.clients.iter().find(|client| client.id == *id)
    }

    fn documented(&self, id: &ClientId, metadata: ClientMetadata) -> Client {
        let now = self.clock.now();
        Client {
            id: id.clone(),
            metadata,
            secret: None,
            secret_expires_at: None,
            created_at: now,
            origin: ClientOrigin::Document,
            last_used_at: now,
        }
    }

    async fn document(
        &self,
        url: &ClientIdUrl,
        age_max: Duration,
        caller: Option<IpAddr>,
    ) -> Result<ClientMetadata, NoClient> {
        let admit = || self.may_fetch(caller);
        let read = {
            let (url, servers) = (url.clone(), &self.settings.servers);
            let known = servers.scopes();
            let defaults = servers.find(&[]).map_or(&known, |server| &server.scopes).clone();
            move |body: &[u8]| {
                parse_client_metadata_document(&url, body, &known, &defaults)
                    .map_err(|error| error.error_description)
            }
        };
        let standing = if self.documents.has(url.url(), age_max) {
            Standing::Stranger
        } else {
            self.standing_of(&ClientId::new(url.as_str())).await?
        };
        let document = self.documents.get(url.url(), age_max, standing, admit, read).await;
        document.map(|metadata| metadata.as_ref().clone()).map_err(|fault| {
            let reason = &fault as &dyn std::error::Error;
            tracing::info!(client.id = url.as_str(), error = reason, "no client document");
            no_document(&fault)
        })
    }

    /// Whose document it is, for a place among those that are fetched.
    pub(super) async fn standing_of(&self, id: &ClientId) -> Result<Standing, StoreError> {
        let is_known = self.preregistered(id).is_some() || self.store.is_client_in_use(id).await?;
        Ok(if is_known { Standing::Known } else { Standing::Stranger })
    }

    /// Counts a fetch that somebody made us do.
    pub(super) fn may_fetch(&self, caller: Option<IpAddr>) -> Result<(), Duration> {
        caller.map_or(Ok(()), |address| self.fetches.count(address))
    }
}

/// What may be said of a failure to a stranger: what is wrong with a document they can see anyway,
/// and nothing about what we can or cannot reach.
fn no_document(fault: &Fault) -> NoClient {
    match fault {
        Fault::Unusable(reason) => NoClient::Document(reason.clone()),
        Fault::TooMany(wait) => NoClient::TooMany(*wait),
        Fault::Busy => NoClient::Busy,
        Fault::NotAllowed
        | Fault::Unreachable(_)
        | Fault::TooSlow(_)
        | Fault::Status(_)
        | Fault::NotJson
        | Fault::Compressed
        | Fault::TooLarge(_) => NoClient::Document(
            "there is no JSON document of at most 5 KB at the client_id, answered with 200"
                .to_owned(),
        ),
    }
}

/// A page about a client that is none. Never a redirect: nobody is known who could be told.
pub(super) fn no_client(visitor: &Visitor, id: &ClientId, reason: &NoClient) -> Response {
    match reason {
        NoClient::Unknown => {
            let problem = Problem::UnknownClient { client_id: id.as_str() };
            visitor.page(StatusCode::BAD_REQUEST, problem)
        }
        NoClient::Document(what) => {
            visitor.page(StatusCode::BAD_REQUEST, Problem::ClientDocument { what })
        }
        NoClient::TooMany(wait) => visitor.too_many(*wait),
        NoClient::Busy => visitor.page(StatusCode::SERVICE_UNAVAILABLE, Problem::Unavailable),
        NoClient::Store(reason) => visitor.store_failed(reason),
    }
}

/// How often the use of a client is written down.
const USE_NOTED_EVERY: Duration = Duration::from_hours(1);
