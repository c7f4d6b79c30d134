//! Traces, as a collector of OpenTelemetry gets them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Said;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sekisho::clock::SystemClock;
use serde_json::json;
use testkit::McpClient;
use testkit::identity_provider::FakeIdentityProvider;

use crate::harness::{Folder, Server, free_port};
use crate::introducing::{Belongings, Record, identity_at, log_in};
use crate::person;
use crate::remote::unguarded;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const OTHER_TRACE: &str = "1bf7651916cd43dd8448eb211c80319c";

/// What was sent, message by message.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Bytes>>>);

impl Collector {
    /// Listens, and gives its address.
    async fn start(&self) -> String {
        let got = Arc::clone(&self.0);
        let take = move |body: Bytes| async move { got.lock().unwrap().push(body) };
        let app = Router::new().route("/v1/traces", post(take));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        url
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().concat()
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.0.lock().unwrap();
        let requests = got.iter().map(|body| ExportTraceServiceRequest::decode(&**body).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        resources.flat_map(|all| all.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Said::StringValue(text) => Some(text),
        Said::IntValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

async fn stop(mut server: Server) {
    server.signal("TERM").await;
    assert!(server.ends_within(Duration::from_secs(20)).await.success());
}

#[tokio::test]
async fn a_trace_goes_from_the_login_over_the_provider_to_the_upstream_and_has_nothing_secret() {
    let (collector, heard) = (Collector::default(), Record::default());
    let fake = FakeIdentityProvider::start(Arc::new(SystemClock)).await;
    let upstream = heard.before(&unguarded().await.0).await;
    let folder = Folder::new();
    let settings = format!(
        "traces_endpoint = \"{}\"\n{}[[server]]\nname = \"tools\"\nupstream = {{ url = \"{upstream}/mcp\" }}\n",
        collector.start().await,
        identity_at(&fake)
    );
    let server = folder.serve(&settings).await;
    let mut belongings = Belongings::default();
    let tokens = log_in(&fake, &server, "tools", &mut belongings).await;
    let mut client = McpClient::new(server.url("/tools/mcp")).with_token(&tokens.access);
    client.begin("2025-11-25").await;
    client.set_header("traceparent", &format!("00-{TRACE}-b7ad6b7169203331-01"));
    client.set_header("tracestate", "vendor=it-came-with-it");
    let call = json!({ "name": "hello", "arguments": {} });
    client.request("tools/call", call.clone()).await.result();

    let mut client = McpClient::new(server.url("/tools/mcp")).with_token(&tokens.access);
    let meta = json!({ "traceparent": format!("00-{OTHER_TRACE}-c7ad6b7169203331-01") });
    let mut call = call;
    call["_meta"] = meta;
    client.begin("2025-11-25").await;
    client.request("tools/call", call).await.result();
    let mut client = McpClient::new(server.url("/tools/mcp")).with_token(&tokens.access);
    client.set_header("traceparent", "00-00000000000000000000000000000bad-b7ad6b7169203331-00");
    client.begin("2025-11-25").await;
    stop(server).await;

    let spans = collector.spans();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    // The login: three requests of one flow, and the trade of the code is part of the last.
    let steps =
        ["GET authorize", "POST consent", "GET callback"].map(|name| named(&spans, name)[0]);
    let flows: Vec<_> = steps.iter().map(|span| said(span, "sekisho.flow")).collect();
    assert!(flows[0].is_some() && flows.iter().all(|flow| *flow == flows[0]), "{flows:?}");
    let trade = named(&spans, "token")[0];
    assert_eq!(trade.trace_id, steps[2].trace_id, "{names:?}");
    assert_eq!(trade.parent_span_id, steps[2].span_id);
    assert_eq!(said(steps[2], "http.response.status_code").as_deref(), Some("303"));

    // The call: in the caller's trace, below the caller's span; the server behind is below ours.
    let request = named(&spans, "POST mcp").into_iter().find(|span| hex(&span.trace_id) == TRACE);
    let request = request.unwrap_or_else(|| panic!("{names:?}"));
    assert_eq!(hex(&request.parent_span_id), "b7ad6b7169203331");
    let calls = named(&spans, "tools/call");
    let in_trace = |trace| calls.iter().find(|span| hex(&span.trace_id) == trace).unwrap();
    let call = in_trace(TRACE);
    assert_eq!(call.parent_span_id, request.span_id);
    assert_eq!(said(call, "peer.service").as_deref(), Some("tools"));
    let told = format!("traceparent: 00-{TRACE}-{}-01", hex(&call.span_id));
    assert!(heard.text().contains(&told), "{told} in {}", heard.text());
    assert!(heard.text().contains("tracestate: vendor=it-came-with-it"), "{}", heard.text());

    // The other call says so in itself; the request that brought it is linked.
    let call = in_trace(OTHER_TRACE);
    assert_eq!(hex(&call.parent_span_id), "c7ad6b7169203331");
    let brought_by = named(&spans, "POST mcp");
    assert!(brought_by.iter().any(|span| span.span_id == call.links[0].span_id), "{names:?}");
    assert!(heard.text().contains(&format!("traceparent: 00-{OTHER_TRACE}-")));

    // The last caller wants no trace.
    assert!(spans.iter().all(|span| hex(&span.trace_id) != "00000000000000000000000000000bad"));

    let bytes = String::from_utf8_lossy(&collector.bytes()).into_owned();
    let secrets = belongings.0.iter().map(|(what, secret)| (*what, secret.as_str()));
    let others = [("a person", "alice"), ("a query", "code_challenge"), ("a port", "localhost:")];
    for (what, secret) in secrets.chain(others) {
        assert!(!bytes.contains(secret), "{what} is in the traces: {bytes}");
    }
}

#[tokio::test]
async fn a_collector_that_is_down_costs_a_line_of_the_log() {
    let folder = Folder::new();
    let settings = format!("traces_endpoint = \"http://127.0.0.1:{}\"\n", free_port());
    let server = folder.serve(&settings).await;
    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    let lines = || log().matches("the collector does not take spans").count();
    let password = server.password().unwrap();
    let tokens = person::log_in(&server, "demo", &password).await;
    tokio::time::timeout(Duration::from_secs(30), async {
        while lines() == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("it is said");
    for _ in 0..3 {
        let mut client = McpClient::new(server.url("/mcp")).with_token(&tokens.access);
        client.begin("2025-11-25").await;
        assert!(client.call_tool("fortune", json!({})).await.tool_text().contains("今日の運勢"));
    }
    stop(server).await;
    assert_eq!(lines(), 1, "{}", log());
}
