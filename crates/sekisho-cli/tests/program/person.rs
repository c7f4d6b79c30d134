//! A person with a browser and an MCP client, at a running server.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use http_body_util::BodyExt as _;
use testkit::world::{VERIFIER, authorize_url, public_client, redeem, tokens};
use testkit::{Answer, App, Browser, RegisteredClient, Tokens};

use crate::harness::{Server, http};

pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// The server as the testkit knows it: an application that passes everything on to the socket.
pub(crate) fn app(server: &Server) -> App {
    Router::new().fallback(pass_on).with_state(server.url(""))
}

async fn pass_on(State(url): State<String>, request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
    let mut headers = parts.headers;
    headers.remove("host");
    let body = body.collect().await.unwrap().to_bytes();
    let sent = http().request(parts.method, format!("{url}{target}")).headers(headers).body(body);
    let answer = sent.send().await.unwrap();
    let mut response = axum::response::Response::builder().status(answer.status());
    *response.headers_mut().unwrap() = answer.headers().clone();
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

/// A login on its way: consent is given, the login form is open.
pub(crate) struct LoginForm {
    pub(crate) browser: Browser,
    pub(crate) client: RegisteredClient,
    form: Answer,
}

/// Registers a client, opens `/authorize`, says yes, and is shown the login form.
pub(crate) async fn open_login(server: &Server) -> LoginForm {
    let app = app(server);
    let client = public_client(&app, REDIRECT_URI).await;
    let mut browser = Browser::default();
    let page = browser.open(&app, &authorize_url(&client, &[])).await;
    assert!(page.is_page(200), "expected the consent page: {page:?}");
    let approved = browser.decide(&app, &page, "approve").await;
    let login = approved.location().expect("to the login page").to_owned();
    let form = browser.open(&app, &login).await;
    assert!(form.is_page(200), "expected the login page: {form:?}");
    LoginForm { browser, client, form }
}

impl LoginForm {
    /// Fills the form in; what comes back is the way to the callback, or the form again.
    pub(crate) async fn submit(&mut self, server: &Server, name: &str, password: &str) -> Answer {
        let state = self.form.input("state").expect("the form knows its login");
        let fields = [("state", state.as_str()), ("username", name), ("password", password)];
        self.browser.post(&app(server), "/login", &fields).await
    }

    /// Goes on to what the client is told.
    async fn return_to_client(&mut self, server: &Server, name: &str, password: &str) -> Answer {
        let sent = self.submit(server, name, password).await;
        let callback = sent.location().unwrap_or_else(|| panic!("not logged in: {sent:?}"));
        self.browser.open(&app(server), callback).await
    }

    /// Goes the rest of the way, to tokens.
    pub(crate) async fn finish(mut self, server: &Server, name: &str, password: &str) -> Tokens {
        let back = self.return_to_client(server, name, password).await;
        let code = back.parameter("code").unwrap_or_else(|| panic!("no code: {back:?}"));
        tokens(&redeem(&app(server), &self.client, &code, VERIFIER).await)
    }
}

/// The whole way from registration to where the client is answered.
pub(crate) async fn answer_to_login(server: &Server, name: &str, password: &str) -> String {
    let back = open_login(server).await.return_to_client(server, name, password).await;
    back.location().unwrap_or_else(|| panic!("no answer: {back:?}")).to_owned()
}

/// The whole way from registration to tokens.
pub(crate) async fn log_in(server: &Server, name: &str, password: &str) -> Tokens {
    open_login(server).await.finish(server, name, password).await
}
