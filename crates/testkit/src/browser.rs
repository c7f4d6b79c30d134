//! A browser that keeps cookies, opens what it is told to and posts forms, and follows nothing by
//! itself, so that a test sees each step.

use std::collections::BTreeMap;

use axum::body::Body;
use http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::App;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// Sends one request to an application.
    pub async fn to(app: &App, request: Request<Body>) -> Self {
        let response = app.clone().oneshot(request).await.expect("an application never fails");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the body arrives").to_bytes();
        let body = String::from_utf8_lossy(&bytes).into_owned();
        Self { status: parts.status, headers: parts.headers, body }
    }

    /// Where a redirect goes.
    pub fn location(&self) -> Option<&str> {
        self.headers.get(LOCATION).map(|value| value.to_str().unwrap())
    }

    /// A parameter of the redirect's query.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let values = self.parameters(name);
        assert!(values.len() <= 1, "{name} came more than once: {:?}", self.location());
        values.into_iter().next()
    }

    /// All values of a parameter of the redirect's query.
    pub fn parameters(&self, name: &str) -> Vec<String> {
        let query = self.location().and_then(|uri| uri.split_once('?')).map_or("", |(_, q)| q);
        form_urlencoded::parse(query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    /// The `error` member of a JSON body.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }

    /// A header as text; empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The value of a named input of the page's form.
    pub fn input(&self, name: &str) -> Option<String> {
        let tag = self
            .body
            .split('<')
            .find(|tag| tag.starts_with("input") && tag.contains(&format!("name=\"{name}\"")))?;
        let (_, value) = tag.split_once("value=\"")?;
        value.split_once('"').map(|(value, _)| value.to_owned())
    }

    /// Whether this is a page of ours: HTML that sends nobody anywhere.
    pub fn is_page(&self, status: u16) -> bool {
        self.status.as_u16() == status
            && self.location().is_none()
            && self.header("content-type").starts_with("text/html")
    }
}

/// One person's browser.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
    /// Headers sent with each request, for instance `sec-fetch-site`.
    pub extra: Vec<(&'static str, String)>,
}

impl Browser {
    /// A browser that also sends this header from now on.
    #[must_use]
    pub fn sending(mut self, name: &'static str, value: &str) -> Self {
        self.extra.retain(|(have, _)| *have != name);
        self.extra.push((name, value.to_owned()));
        self
    }

    /// Opens a URL or path.
    pub async fn open(&mut self, app: &App, url: &str) -> Answer {
        self.send(app, Method::GET, url, None).await
    }

    /// Posts a form.
    pub async fn post(&mut self, app: &App, url: &str, form: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.send(app, Method::POST, url, Some(body)).await
    }

    /// Presses a button on the consent page.
    pub async fn decide(&mut self, app: &App, page: &Answer, decision: &str) -> Answer {
        let consent = page.input("consent").expect("a consent page has its hidden field");
        self.post(app, "/consent", &[("consent", &consent), ("decision", decision)]).await
    }

    /// Cookies by name.
    pub const fn cookies(&self) -> &BTreeMap<String, String> {
        &self.cookies
    }

    /// Cookies by name, to tamper with.
    pub const fn cookies_mut(&mut self) -> &mut BTreeMap<String, String> {
        &mut self.cookies
    }

    async fn send(&mut self, app: &App, method: Method, url: &str, form: Option<String>) -> Answer {
        let path = url.strip_prefix(crate::world::ISSUER).unwrap_or(url);
        let mut request =
            Request::builder().method(method).uri(path).header("host", "localhost:8000");
        for (name, value) in &self.extra {
            request = request.header(*name, value);
        }
        if !self.cookies.is_empty() {
            let pairs: Vec<_> =
                self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header(COOKIE, pairs.join("; "));
        }
        let body = match form {
            Some(form) => {
                request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
                Body::from(form)
            }
            None => Body::empty(),
        };
        let answer = Answer::to(app, request.body(body).unwrap()).await;
        self.keep_cookies(&answer);
        answer
    }

    fn keep_cookies(&mut self, answer: &Answer) {
        for line in answer.headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (name, rest) = line.split_once('=').unwrap();
            let (value, flags) = rest.split_once(';').unwrap_or((rest, ""));
            if flags.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}
