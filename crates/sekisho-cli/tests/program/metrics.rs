//! The metrics, as Prometheus would read them.

use std::collections::BTreeSet;

use serde_json::json;
use testkit::McpClient;

use crate::harness::{Folder, Server, free_port, http};
use crate::person::log_in;

/// What the metrics say, and where.
struct Metrics(String);

impl Metrics {
    async fn text(&self) -> String {
        let answer = http().get(&self.0).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        answer.text().await.unwrap()
    }

    /// The names and labels of all series.
    async fn series(&self) -> BTreeSet<String> {
        let text = self.text().await;
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    }

    /// The value of one series.
    async fn value(&self, series: &str) -> Option<f64> {
        let text = self.text().await;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }
}

async fn measured(folder: &Folder) -> (Server, Metrics) {
    let port = free_port();
    let server = folder.serve(&format!("metrics_listen = \"127.0.0.1:{port}\"\n")).await;
    (server, Metrics(format!("http://127.0.0.1:{port}/metrics")))
}

#[tokio::test]
async fn a_login_and_a_call_are_counted_where_they_belong() {
    let folder = Folder::new();
    let (server, metrics) = measured(&folder).await;
    let tokens = log_in(&server, "demo", &server.password().unwrap()).await;
    let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    client.call_tool("fortune", json!({})).await;
    let unknown = McpClient::new(server.url("/mcp")).with_token("mcp_nobodys");
    assert_eq!(unknown.post("{}").await.status, 401);

    let rows = [
        ("sekisho_sign_ins_total{outcome=\"logged_in\"}", 1.0),
        ("sekisho_audit_events_total{event=\"token\"}", 1.0),
        ("sekisho_refusals_total{reason=\"access_token\"}", 1.0),
        ("sekisho_refusals_total{reason=\"code\"}", 0.0),
        ("sekisho_login_steps_total{step=\"code given\"}", 1.0),
        ("sekisho_requests_total{route=\"token\",method=\"POST\",status=\"2xx\"}", 1.0),
        ("sekisho_requests_total{route=\"mcp\",method=\"POST\",status=\"4xx\"}", 1.0),
        ("sekisho_request_seconds_count{route=\"token\"}", 1.0),
        ("sekisho_places_taken{limit=\"mcp_sessions\"}", 1.0),
        ("sekisho_store_seconds_count{verb=\"redeem_code\",outcome=\"done\"}", 1.0),
        ("sekisho_turned_away_total{limit=\"connections\"}", 0.0),
        (concat!("sekisho_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
    ];
    for (series, expected) in rows {
        assert_eq!(metrics.value(series).await, Some(expected), "{series}");
    }
    let taken = metrics.value("sekisho_places_taken{limit=\"connections\"}").await.unwrap();
    let places = metrics.value("sekisho_places{limit=\"connections\"}").await.unwrap();
    assert!(taken >= 1.0 && taken < places, "{taken} of {places}");
    assert!(metrics.value("process_resident_memory_bytes").await.unwrap() > 1e6);
}

#[tokio::test]
async fn strangers_make_no_series() {
    let folder = Folder::new();
    let (server, metrics) = measured(&folder).await;
    let http = http();
    let ask = async |method: &str, path: &str, host: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = http.request(method, server.url(path)).header("host", host);
        request.bearer_auth(format!("mcp_{path}")).body("{}").send().await.unwrap().status()
    };
    let ours = format!("localhost:{}", server.port);
    // One of each kind, so that what there is to be seen is there.
    for (method, path, host) in [
        ("GET", "/nobodys", ours.as_str()),
        ("STRANGE", "/nobodys", &ours),
        ("GET", "/nobodys", "nobodys.example"),
        ("STRANGE", "/nobodys", "nobodys.example"),
        ("GET", "/mcp", &ours),
        ("POST", "/mcp", &ours),
        ("STRANGE", "/mcp", &ours),
        ("POST", "/token", &ours),
    ] {
        ask(method, path, host).await;
    }
    for _ in 0..70 {
        // Wrong tokens of one address become 429 at some time.
        ask("GET", "/mcp", &ours).await;
    }
    let before = metrics.series().await;
    for number in 0..500 {
        ask("GET", &format!("/{number}/nobodys?client_id={number}"), &ours).await;
        ask(&format!("STRANGE{number}"), &format!("/{number}/mcp"), &ours).await;
        ask("GET", "/nobodys", &format!("{number}.example")).await;
        ask(&format!("M{number}"), &format!("/mcp?{number}"), &ours).await;
        ask("POST", &format!("/mcp?{number}"), &ours).await;
        ask("POST", &format!("/token?client_id={number}"), &ours).await;
    }
    let after = metrics.series().await;
    let made: Vec<_> = after.difference(&before).collect();
    assert!(made.is_empty(), "made by strangers: {made:?}");
}

#[tokio::test]
async fn clients_see_no_metrics_and_metrics_see_no_clients() {
    let folder = Folder::new();
    let (server, metrics) = measured(&folder).await;
    assert_eq!(http().get(server.url("/metrics")).send().await.unwrap().status(), 404);
    for path in ["/authorize", "/mcp", "/healthz", "/metrics/"] {
        let url = metrics.0.replace("/metrics", path);
        assert_eq!(http().get(url).send().await.unwrap().status(), 404, "{path}");
    }
    assert_eq!(http().post(&metrics.0).send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let folder = Folder::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let other = free_port();
    folder.write(
        "sekisho.toml",
        &format!("listen = \"127.0.0.1:{other}\"\nmetrics_listen = \"{address}\"\n"),
    );
    let done = folder.run(&["serve"], "").await;
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.err.contains(&format!("metrics_listen = \"{address}\": cannot listen")),
        "{done:?}"
    );
}
