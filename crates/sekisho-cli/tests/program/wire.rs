//! The real listener: bytes that two readers could read as two requests, heads that are too large, and whatever a
//! client could write to name a command or a target of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Duration, timeout};

use crate::harness::{Folder, Server, http};
use crate::person::log_in;
use crate::remote::unguarded;

const PATIENCE: Duration = Duration::from_secs(60);

/// A guarded server, and somebody who may call it.
struct Site {
    folder: Folder,
    server: Server,
    token: String,
    asked: Arc<AtomicUsize>,
}

impl Site {
    async fn open() -> Self {
        let (url, asked) = unguarded().await;
        let folder = Folder::new();
        let server = folder.serve_with(&["serve", "--upstream", &format!("{url}/mcp")]).await;
        let token = log_in(&server, "demo", &server.password().unwrap()).await.access;
        Self { folder, server, token, asked }
    }

    /// The first lines of a call.
    fn head(&self) -> String {
        format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
             Mcp-Name: hello\r\n",
            self.server.port, self.token
        )
    }

    /// Writes it all at once, and then asks how the server is, if it is still there: the statuses of all answers.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.server.port)).await.unwrap();
        let last = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // Whoever refuses the beginning need not read the rest.
        let _ = stream.write_all(&[bytes, last.as_bytes()].concat()).await;
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it ends");
        let said = String::from_utf8_lossy(&said);
        let lines = said.split("HTTP/1.1 ").skip(1);
        lines.map(|line| line[..3].parse().unwrap()).collect()
    }

    fn calls(&self) -> usize {
        self.asked.swap(0, Ordering::SeqCst)
    }
}

fn call() -> String {
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({ "name": "hello", "_meta": meta });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params }).to_string()
}

/// A client that writes head and body one after the other, as many do, is refused in between and goes on.
#[tokio::test]
async fn a_connection_refused_before_its_body_arrived_takes_the_next_request() {
    let guarded = Site::open().await;
    let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost:{}\r\n", guarded.server.port);
    let mut stream = TcpStream::connect(("127.0.0.1", guarded.server.port)).await.unwrap();
    stream.write_all(format!("{head}Content-Length: 2\r\n\r\n").as_bytes()).await.unwrap();
    // Long enough for an answer, if it were given at once.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let rest = format!("{{}}{head}Content-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut said = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut said)).await.expect("it ends").unwrap();
    assert_eq!(said.matches("HTTP/1.1 401 ").count(), 2, "{said}");
}

/// RFC 9112 §6.3, §11.2. Whatever comes behind a request that could end in two places is no request of its own.
#[tokio::test]
async fn a_request_that_two_readers_could_end_differently_is_one_or_none() {
    let guarded = Site::open().await;
    let (head, body) = (guarded.head(), call());
    let length = body.len();
    let whole = format!("{head}Content-Length: {length}\r\n\r\n{body}");
    assert_eq!(guarded.statuses(whole.as_bytes()).await, [200, 200], "as it should be");
    // Found out, and its tools listed: from now on a call is one request.
    assert!(guarded.calls() > 1);
    assert_eq!(guarded.statuses(whole.as_bytes()).await, [200, 200]);
    assert_eq!(guarded.calls(), 1);

    let chunked =
        |size: &str| format!("Transfer-Encoding: chunked\r\n\r\n{size}\r\n{body}\r\n0\r\n\r\n");
    let size = format!("{length:x}");
    let plain = |more: &str| format!("{more}Content-Length: {length}\r\n\r\n{body}");
    let behind = length + whole.len();
    let refused = [
        (
            format!("Content-Length: {length}\r\nContent-Length: {behind}\r\n\r\n{body}"),
            "two lengths",
        ),
        (format!("Content-Length: {length}, {length}\r\n\r\n{body}"), "a list of lengths"),
        (format!("Content-Length: +{length}\r\n\r\n{body}"), "a sign"),
        (format!("Content-Length: -1\r\n\r\n{body}"), "less than nothing"),
        (format!("Content-Length: 99999999999999999999\r\n\r\n{body}"), "more than there is"),
        (chunked(&size).replace(": chunked", ": xchunked"), "a coding nobody knows"),
        (chunked(&size).replace(": chunked", ": chunked, identity"), "not chunked at last"),
        (chunked(&size).replace(": chunked", ": gzip, chunked"), "packed as well"),
        (chunked(&size).replace(": chunked", ": chunked, chunked"), "in chunks of chunks"),
        (format!("Transfer-Encoding: chunked\r\n{}", chunked(&size)), "the same twice"),
        (plain("Transfer-Encoding: identity\r\n"), "neither"),
        (chunked(&size).replace("Encoding:", "Encoding :"), "a space in a name"),
        (chunked(&size).replace(": chunked", ": \x0bchunked"), "a space that is none"),
        (chunked(&size).replace(": chunked", ":\r\n chunked"), "a value on the next line"),
        (plain("X-A: a\r\n b\r\n"), "a folded line"),
        (plain("X-A: a\rContent-Length: 3\r\n"), "half the end of a line"),
        (plain("X-A: a\0b\r\n"), "NUL"),
        (plain("Mcp-Param-X: a\0b\r\n"), "NUL in a header of MCP"),
        (plain("no colon\r\n"), "no header"),
        (chunked(&format!("0x{size}")), "a size with a prefix"),
        (chunked("-1"), "a chunk of less than nothing"),
        (chunked("fffffffffffffffff"), "a chunk of more than there is"),
        (chunked(&format!("{:x}", length - 2)), "a chunk longer than it says"),
        (
            chunked(&size).replace(&format!("{size}\r\n"), &format!("{size};\n")),
            "half an extension",
        ),
    ];
    for (rest, reason) in refused {
        let bytes = format!("{head}{rest}{whole}");
        assert_eq!(guarded.statuses(bytes.as_bytes()).await, [400], "{reason}");
        assert_eq!(guarded.calls(), 0, "{reason}: it goes nowhere");
    }
    let old = format!("{head}{}{whole}", chunked(&size)).replacen("HTTP/1.1", "HTTP/1.0", 1);
    assert_eq!(guarded.statuses(old.as_bytes()).await, [400], "chunks before there were any");
    assert_eq!(guarded.calls(), 0);

    // Read by the coding alone, as RFC 9112 §6.3 has it, and nothing after it: the connection ends.
    for both in [
        format!("Content-Length: {behind}\r\n{}", chunked(&size)),
        chunked(&size).replacen("\r\n", "\r\nContent-Length: 4\r\n", 1),
    ] {
        let bytes = format!("{head}{both}{whole}");
        assert_eq!(guarded.statuses(bytes.as_bytes()).await, [200], "a length and chunks");
        assert_eq!(guarded.calls(), 1);
    }

    let harmless = [
        (chunked(&size), "chunks"),
        (chunked(&size.to_uppercase()), "a size in capitals"),
        (chunked(&format!("{size};a=b")), "an extension"),
        (plain(&format!("Content-Length: {length}\r\n")), "the same length twice"),
        (
            plain("Connection: upgrade\r\nUpgrade: websocket\r\n"),
            "another protocol, which is not taken",
        ),
        (
            plain(
                "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
            ),
            "HTTP/2",
        ),
    ];
    for (rest, reason) in harmless {
        let bytes = format!("{head}{rest}");
        assert_eq!(guarded.statuses(bytes.as_bytes()).await, [200, 200], "{reason}");
        assert_eq!(guarded.calls(), 1, "{reason}");
    }
    let bare = whole.replace("\r\n", "\n");
    assert_eq!(guarded.statuses(bare.as_bytes()).await, [200, 200], "lines that end as in a file");
    assert_eq!(guarded.calls(), 1);
}

/// What is wrong with a head within 64 KiB is answered by us, with a reason and a trace id; beyond that, and where
/// there is no head at all, by the HTTP server, which keeps no more of it and ends the connection.
#[tokio::test]
async fn a_head_that_is_too_large_is_refused_and_the_connection_ends() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let ask = async |bytes: String| {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        let _ = stream.write_all(bytes.as_bytes()).await;
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it ends");
        String::from_utf8_lossy(&said).into_owned()
    };
    let host = "Host: localhost\r\nConnection: close\r\n";
    let long = |bytes: usize| format!("GET /healthz?{} HTTP/1.1\r\n{host}\r\n", "x".repeat(bytes));
    let said = ask(long(20_000)).await;
    assert!(said.starts_with("HTTP/1.1 414 ") && said.contains("x-trace-id"), "{said}");
    assert!(said.ends_with("the URL is too long\n"), "{said}");
    let many = (0..150).map(|at| format!("X-{at}: 1\r\n")).collect::<Vec<_>>().concat();
    let rows = [
        (long(70_000), "431", "a URL beyond all heads"),
        (
            format!("GET /healthz HTTP/1.1\r\n{host}X-A: {}\r\n\r\n", "x".repeat(70_000)),
            "431",
            "a header",
        ),
        (format!("GET /healthz HTTP/1.1\r\n{host}{many}\r\n"), "431", "150 of them"),
        ("x".repeat(200_000), "4", "no end of a method"),
        ("\x16\x03\x01\x02 TLS\r\n\r\n".to_owned(), "400", "TLS, where there is none"),
        ("GET /healthz\r\n\r\n".to_owned(), "400", "HTTP/0.9"),
        (format!("GET /healthz HTTP/3.0\r\n{host}\r\n"), "400", "HTTP of some other day"),
    ];
    for (bytes, status, reason) in rows {
        let said = ask(bytes).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{reason}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{reason}: {said}");
        assert!(said.contains("connection: close"), "{reason}: {said}");
    }
    assert_eq!(http().get(server.url("/healthz")).send().await.unwrap().status(), 200);
}

/// Case 104: what is started and what is reached stands in the settings.
#[tokio::test]
async fn no_client_names_a_command_or_a_target() {
    let site = Site::open().await;
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = canary.local_addr().unwrap();
    let target = format!("http://{address}");
    let reached: Arc<AtomicUsize> = Arc::default();
    let counting = Arc::clone(&reached);
    tokio::spawn(async move {
        while canary.accept().await.is_ok() {
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    let folder = Folder::new();
    let mark = folder.path().join("started");
    let wish = json!({
        "command": "touch", "args": [mark], "env": { "PATH": "/usr/bin:/bin" }, "url": target,
        "upstream": { "url": target, "command": ["touch", mark] }, "transportType": "stdio",
    });
    let mut client = testkit::McpClient::new(site.server.url("/mcp")).with_token(&site.token);
    for name in
        ["x-mcp-url", "x-upstream-url", "x-forwarded-host", "x-original-url", "mcp-param-url"]
    {
        client.set_header(name, &target);
    }
    let mut texts = Vec::new();
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": wish, "clientInfo": wish, "_meta": wish });
    texts.push(client.request("initialize", params).await.text);
    client.begin("2025-11-25").await;
    for method in
        ["tools/call", "resources/read", "server/start", "admin/servers/add", "completion/complete"]
    {
        let params = json!({ "name": "no-such", "uri": target, "arguments": wish, "_meta": wish });
        texts.push(client.request(method, params).await.text);
    }
    let command = format!("command=touch&args={}&transportType=stdio&url={target}", mark.display());
    let mut stateless = testkit::McpClient::new(site.server.url(&format!("/mcp?{command}")))
        .with_token(&site.token);
    texts.push(
        stateless.stateless("tools/call", json!({ "name": "hello", "_meta": wish })).await.text,
    );
    for path in [
        "/stdio",
        "/message",
        "/config",
        "/admin",
        "/metrics",
        "/debug",
        "/servers",
        "/api/servers",
        "/proxy",
        "/mcp/main",
        "/mcp/",
        "/main/mcp",
        "/.env",
        "/../sekisho.toml",
        "/%2e%2e/sekisho.db",
        "/sse/../config",
    ] {
        for method in [axum::http::Method::GET, axum::http::Method::POST] {
            let url = site.server.url(&format!("{path}?{command}"));
            let asked = http().request(method, url).bearer_auth(&site.token).json(&wish);
            let answer = asked.send().await.unwrap();
            assert!(
                [400, 404, 405].contains(&answer.status().as_u16()),
                "{path}: {}",
                answer.status()
            );
            texts.push(format!("{:?}", answer.headers()));
            texts.push(answer.text().await.unwrap());
        }
    }
    assert_eq!(reached.load(Ordering::SeqCst), 0, "nothing is fetched");
    assert!(!mark.exists(), "nothing is started");
    drop(TcpStream::connect(address).await.unwrap());
    let counted = async {
        while reached.load(Ordering::SeqCst) != 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.expect("whoever is there, is counted");
    let place = site.folder.path().display().to_string();
    for text in texts {
        for inner in [place.as_str(), ".rs:", "crates/", "panicked", "backtrace", "hyper/", "axum/"]
        {
            assert!(!text.contains(inner), "{inner} in {text}");
        }
    }
}

/// Case 97: where we are stands in the settings, whoever says otherwise.
#[tokio::test]
async fn what_strangers_say_of_a_proxy_changes_no_answer() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let forged = [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "444"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-uri", "/evil"),
        ("x-forwarded-server", "evil.example"),
        ("x-forwarded-for", "203.0.113.7"),
        ("forwarded", "for=203.0.113.7;host=evil.example;proto=https"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
        ("x-original-host", "evil.example"),
        ("x-real-ip", "203.0.113.7"),
        ("front-end-https", "on"),
    ];
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/mcp",
        "/authorize?client_id=nobody",
        "/mcp",
        "/nowhere",
    ] {
        let ask = async |headers: &[(&str, &str)]| {
            let mut request = http().get(server.url(path)).header("traceparent", TRACE);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            let (status, mut headers) = (answer.status(), answer.headers().clone());
            headers.remove("date");
            (status, headers, answer.text().await.unwrap())
        };
        let honest = ask(&[]).await;
        assert_eq!(ask(&forged).await, honest, "{path}");
        for one in forged {
            assert_eq!(ask(&[one]).await, honest, "{path}: {one:?}");
        }
    }
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
