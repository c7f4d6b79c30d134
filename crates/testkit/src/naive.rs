//! The naive server: does what a quick script does, and nothing else. Attacks that our server
//! refuses must succeed here, so that they are known to be able to succeed.
//!
//! It sends the client's own `state` on to the identity provider, asks nobody, sets no cookie,
//! sends neither PKCE nor nonce to the provider, and forgets nothing when a code comes twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Form, Json, Router};
use http::HeaderMap;
use serde_json::{Value, json};

use crate::scripted_provider::PROVIDER;
use crate::{App, ScriptedProvider};

type Parameters = HashMap<String, String>;

#[derive(Debug, Default)]
struct Naive {
    provider: Arc<ScriptedProvider>,
    transactions: Mutex<HashMap<String, Parameters>>,
    codes: Mutex<HashMap<String, String>>,
    tokens: Mutex<HashMap<String, String>>,
}

/// The naive application in front of `provider`.
pub fn app(provider: &Arc<ScriptedProvider>) -> App {
    let naive = Arc::new(Naive { provider: Arc::clone(provider), ..Naive::default() });
    Router::new()
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/auth/callback", get(callback))
        .route("/token", post(token))
        .route("/mcp", any(who_am_i))
        .with_state(naive)
}

async fn register(Json(mut metadata): Json<Value>) -> (StatusCode, Json<Value>) {
    metadata["client_id"] = json!(metadata["redirect_uris"][0]);
    (StatusCode::CREATED, Json(metadata))
}

async fn authorize(State(naive): State<Arc<Naive>>, Query(asked): Query<Parameters>) -> Response {
    let state = asked.get("state").cloned().unwrap_or_default();
    naive.transactions.lock().unwrap().insert(state.clone(), asked);
    to(&format!("{PROVIDER}/authorize?state={state}"))
}

async fn callback(State(naive): State<Arc<Naive>>, Query(answer): Query<Parameters>) -> Response {
    let person = naive.provider.redeem_carelessly(&answer["code"]).unwrap_or_default();
    let transactions = naive.transactions.lock().unwrap();
    let Some(asked) = transactions.get(&answer["state"]) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let code = format!("mcp_{}", naive.codes.lock().unwrap().len());
    naive.codes.lock().unwrap().insert(code.clone(), person);
    to(&format!("{}?code={code}&state={}", asked["redirect_uri"], answer["state"]))
}

async fn token(State(naive): State<Arc<Naive>>, Form(form): Form<Parameters>) -> Response {
    let Some(person) = naive.codes.lock().unwrap().remove(&form["code"]) else {
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": "invalid_grant" })))
            .into_response();
    };
    let token = format!("mcp_token_{}", naive.tokens.lock().unwrap().len());
    naive.tokens.lock().unwrap().insert(token.clone(), person);
    Json(json!({ "access_token": token, "token_type": "Bearer" })).into_response()
}

async fn who_am_i(State(naive): State<Arc<Naive>>, headers: HeaderMap) -> Response {
    let token = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    match naive.tokens.lock().unwrap().get(token) {
        Some(person) => Json(json!({ "subject": format!("sub-{person}") })).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn to(location: &str) -> Response {
    (StatusCode::FOUND, [(LOCATION, location.to_owned())]).into_response()
}
