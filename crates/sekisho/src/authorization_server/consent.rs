//! `POST /consent`: a person says yes or no. Only now does a login begin, and it is bound to the
//! browser that said yes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use http::{Extensions, HeaderMap};
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{
    AuthorizationRequest, ClientMetadata, OAuthError, OAuthErrorCode, Parameters,
};

use super::clients::{NoClient, no_client};
use super::flows::{self, Known, Step};
use super::login::new_attempt;
use super::refusal::{Visitor, provider_error, refuse_by_redirect};
use super::{AuthorizationServer, Provider};
use crate::audit::{self, Details, Event};
use crate::front::is_posted_by_our_page;
use crate::grant::{PendingConsent, PendingLogin};
use crate::pages::{ChooserForm, ChooserPage, Problem};
use crate::principal::Identity;
use crate::seal::{Purpose, Sealed};

pub(super) async fn consent(
    State(server): State<Arc<AuthorizationServer>>,
    headers: HeaderMap,
    extensions: Extensions,
    form: Result<Bytes, BytesRejection>,
) -> Response {
    let visitor = Visitor::of(&headers, &extensions);
    let form = Parameters::parse(&form.unwrap_or_default());
    let Some(pending) = server.answered(&headers, &form) else {
        return visitor.page(StatusCode::FORBIDDEN, Problem::ForgedAnswer);
    };
    flows::resume(pending.flow.as_ref());
    if pending.expires_at.is_over(server.clock.now()) {
        return visitor.page(StatusCode::BAD_REQUEST, Problem::LoginNotFound);
    }
    match form.value("decision") {
        Some("approve") => server.approved(&visitor, &extensions, &form, pending).await,
        Some("deny") => {
            let client = Some(&pending.request.client_id);
            let details = Details { client, detail: Some(&"denied"), ..Details::default() };
            audit::note(Event::Consent, &details);
            flows::note(Step::Denied, &Known::default());
            let error = OAuthError::new(OAuthErrorCode::AccessDenied, "the person said no");
            server.tell_client(&pending.request, &error)
        }
        Some(_) | None => {
            let what = "decision must be approve or deny";
            visitor.page(StatusCode::BAD_REQUEST, Problem::BadRequest { what })
        }
    }
}

impl AuthorizationServer {
    /// The request behind the form, if our page posted it from the browser it was shown in.
    fn answered(&self, headers: &HeaderMap, form: &Parameters) -> Option<PendingConsent> {
        if !is_posted_by_our_page(headers, &self.settings.issuer) {
            return None;
        }
        let csrf = self.cookies.csrf_sent(headers)?;
        let sealed = Sealed::from_text(form.value("consent")?)?;
        self.sealer.open_value(Purpose::Consent, csrf.hash().as_bytes(), &sealed).ok()
    }

    /// A person said yes: to a client that is still there, or to the document they were shown. Where
    /// several providers log people in, they say of which; until then the same yes waits in the form.
    async fn approved(
        &self,
        visitor: &Visitor,
        extensions: &Extensions,
        form: &Parameters,
        pending: PendingConsent,
    ) -> Response {
        let chosen = form.value("provider").and_then(|name| self.providers.named(name));
        let Some(provider) = self.providers.only().or(chosen) else {
            let consent = form.value("consent").unwrap_or_default();
            return self.choice(ChooserForm::Consent(consent)).respond(visitor.language());
        };
        let PendingConsent { request, document, expires_at: _, flow: _ } = pending;
        let client_id = &request.client_id;
        if document.is_none() {
            match self.known_client(client_id).await {
                Ok(Some(_)) => {}
                Ok(None) => return no_client(visitor, client_id, &NoClient::Unknown),
                Err(reason) => return visitor.store_failed(&reason),
            }
        }
        self.begin_login(visitor, extensions, provider, request, document, None).await
    }

    /// Sends the browser to the identity provider, with a state of our own that only this browser
    /// can bring back. From now on the client is known by the document that was approved.
    pub(super) async fn begin_login(
        &self,
        visitor: &Visitor,
        extensions: &Extensions,
        provider: &Provider,
        request: AuthorizationRequest,
        document: Option<ClientMetadata>,
        expected: Option<Identity>,
    ) -> Response {
        let approved = if expected.is_some() { Step::Remembered } else { Step::Approved };
        flows::note(approved, &Known { client: Some(&request.client_id), ..Known::default() });
        if let Err(wait) = self.logins.count_caller(extensions) {
            return visitor.too_many(wait);
        }
        let attempt = new_attempt();
        let location = match provider.seam.authorization_url(&attempt).await {
            Ok(location) => location,
            Err(reason) => return self.tell_client(&request, &provider_error(&reason)),
        };
        let client_id = request.client_id.clone();
        let user = expected.clone();
        let pending = PendingLogin {
            request,
            nonce: attempt.nonce.reveal().to_owned(),
            code_verifier: attempt.code_verifier.reveal().to_owned(),
            provider: provider.name.clone(),
            expected,
            flow: flows::current(),
        };
        if let Some(document) = document
            && let Err(reason) = self.keep_document(&client_id, document).await
        {
            return visitor.store_failed(&reason);
        }
        let seal = |login_state: &SecretHash| {
            self.sealer.seal_value(Purpose::Login, login_state.as_bytes(), &pending)
        };
        let response = match self.depart(visitor, &attempt, &location, seal).await {
            Ok(response) => response,
            Err(page) => return page,
        };
        let answer = if user.is_some() { "remembered" } else { "approved" };
        let (client, user) = (Some(&client_id), user.as_ref());
        let details = Details { client, user, detail: Some(&answer), ..Details::default() };
        audit::note(Event::Consent, &details);
        flows::note(Step::SentToProvider, &Known::default());
        let login = attempt.login_state.hash();
        tracing::debug!(client.id = %client_id, ?login, "approved, login begins");
        response
    }

    /// The page on which somebody says where they log in.
    pub(super) fn choice<'a>(&'a self, form: ChooserForm<'a>) -> ChooserPage<'a> {
        let providers = self.providers.iter();
        let providers = providers.map(|one| (one.name.as_str(), one.label.as_str()));
        ChooserPage { form, providers: providers.collect() }
    }

    /// The client hears an error about its own request.
    pub(super) fn tell_client(
        &self,
        request: &AuthorizationRequest,
        error: &OAuthError,
    ) -> Response {
        let issuer = &self.settings.issuer;
        refuse_by_redirect(issuer, &request.redirect_uri, request.state.as_deref(), error)
    }
}
