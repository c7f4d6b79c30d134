//! Stand-in.
#![allow(missing_docs, reason = "x")]
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, StatusCode};
#[derive(Debug, Clone, Copy)]
pub enum Language {
    English,
    Japanese,
}
impl Language {
    pub fn of(_: &HeaderMap) -> Self {
        Self::English
    }
}
#[derive(Debug, Clone, Copy)]
pub enum Referrer {
    None,
    SameOrigin,
}
pub fn secure_headers(_: &mut HeaderMap, _: Referrer) {}
#[derive(Debug)]
pub struct ConsentPage<'a> {
    pub client_name: Option<&'a str>,
    pub client_id: &'a str,
    pub redirect_host: &'a str,
    pub redirect_uri: &'a str,
    pub is_loopback_only: bool,
    pub scopes: Vec<&'a str>,
    pub resource: &'a str,
    pub consent: &'a str,
}
impl ConsentPage<'_> {
    pub fn respond(self, _: Language) -> Response {
        Html(format!(
            "{} {:?} <form action=/consent method=post><input name=\"consent\" value=\"{}\"></form>",
            self.redirect_host, self.scopes, self.consent
        ))
        .into_response()
    }
}
#[derive(Debug)]
pub struct ErrorPage<'a> {
    pub status: StatusCode,
    pub problem: Problem<'a>,
    pub trace_id: &'a str,
}
impl ErrorPage<'_> {
    pub fn respond(self, _: Language) -> Response {
        (self.status, Html(format!("{:?}", self.problem))).into_response()
    }
}
#[derive(Debug)]
pub enum Problem<'a> {
    UnknownClient { client_id: &'a str },
    UnknownRedirectUri { redirect_uri: &'a str },
    BadRequest { what: &'a str },
    LoginNotFound,
    OtherBrowser,
    ForgedAnswer,
    WrongProvider,
    TooManyRequests { retry_after_seconds: u64 },
    Unavailable,
    NotFound,
    Internal,
}

#[derive(Debug)]
pub struct LoginPage<'a> {
    pub state: &'a str,
    pub username: &'a str,
    pub problem: Option<LoginProblem>,
}

#[derive(Debug, Clone, Copy)]
pub enum LoginProblem {
    WrongNameOrPassword,
    TooManyTries,
}

impl LoginPage<'_> {
    pub fn respond(self, _: Language, status: StatusCode) -> Response {
        let Self { state, problem, .. } = self;
        let form = format!(
            "<form action=\"/login\" method=\"post\">{problem:?}<input type=\"hidden\" \
             name=\"state\" value=\"{state}\"><input name=\"username\"><input name=\"password\" \
             type=\"password\"></form>"
        );
        (status, Html(form)).into_response()
    }
}
