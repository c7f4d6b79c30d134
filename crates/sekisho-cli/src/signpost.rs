//! What a person sees who opens the server in a browser: at `/` the URL to paste into a client,
//! elsewhere that nothing is there. Clients that want no page get a bare 404.

use axum::Router;
use axum::extract::Request;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sekisho::front::TraceId;
use sekisho::pages::{ErrorPage, Language, Problem, WelcomePage};

/// The pages for people, around all other routes.
pub(crate) fn signpost(routes: Router, mcp_url: String, sse_url: String) -> Router {
    let welcome = async move |headers: HeaderMap| {
        WelcomePage { mcp_url: &mcp_url, sse_url: &sse_url }.respond(Language::of(&headers))
    };
    routes.route("/", get(welcome)).fallback(not_found)
}

async fn not_found(request: Request) -> Response {
    let headers = request.headers();
    let wants_a_page = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"));
    if !wants_a_page {
        return StatusCode::NOT_FOUND.into_response();
    }
    let trace_id = request.extensions().get().map_or_else(String::new, TraceId::to_string);
    let page = ErrorPage {
        status: StatusCode::NOT_FOUND,
        problem: Problem::NotFound,
        trace_id: &trace_id,
    };
    page.respond(Language::of(headers))
}
