//! A proxy that passes connections on without looking into them, and says by the PROXY protocol whose they are.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Duration, timeout};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::harness::{Folder, Server, free_port};
use crate::tls::Authority;

const PATIENCE: Duration = Duration::from_secs(30);

/// The proxy is at one address of this machine, and strangers at another.
const SETTINGS: &str = "trusted_proxies = [\"127.0.0.2\"]\nproxy_protocol = \"on\"\n";

async fn from(address: &str, server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(([127, 0, 0, 1], server.port).into()).await.unwrap()
}

/// Writes all of it, and reads all that comes back.
async fn said_to(mut stream: TcpStream, bytes: &[u8]) -> String {
    // Whoever is refused may be gone before all is written.
    let _ = stream.write_all(bytes).await;
    let mut said = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it ends");
    String::from_utf8_lossy(&said).into_owned()
}

fn second(client: [u8; 4]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".as_slice(), &client, &[10, 0, 0, 1, 0x11, 0x67, 0, 80]]
        .concat()
}

const ASKED: &[u8] =
    b"GET /healthz/stream?pause=0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const WRONG: &[u8] =
    b"POST /mcp HTTP/1.1\r\nHost: HOST\r\nAuthorization: Bearer mcp_x\r\nConnection: close\r\n\
    Content-Length: 0\r\n\r\n";

#[tokio::test]
async fn limits_count_whoever_a_trusted_proxy_names() {
    let (folder, port) = (Folder::new(), free_port());
    let settings = format!("{SETTINGS}[limits]\nwrong_tokens_per_minute = 1\n");
    let server = folder.serve_at(port, &settings).await;
    let wrong = String::from_utf8_lossy(WRONG).replace("HOST", &format!("localhost:{port}"));
    let headers = [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4455 80\r\n".to_vec(), "401", "the first of one"),
        (second([192, 0, 2, 1]), "429", "the same in the other version"),
        (second([192, 0, 2, 9]), "401", "another"),
        (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), "401", "another, of IPv6"),
        (b"PROXY TCP6 2001:db8::2 ::1 1 2\r\n".to_vec(), "429", "of the same network"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "401", "the proxy itself"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "429", "once more"),
    ];
    for (header, status, reason) in headers {
        let bytes = [header.as_slice(), wrong.as_bytes()].concat();
        let said = said_to(from("127.0.0.2", &server).await, &bytes).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{reason}: {said}");
    }
}

/// Whoever is in a network that is trusted, or comes where the proxy says of nobody whose it is, may write
/// any address: only the operator can say that it is one.
#[tokio::test]
async fn what_a_request_says_of_its_caller_counts_in_a_chain_alone() {
    let inside = b"PROXY TCP4 10.5.5.5 10.0.0.1 4455 80\r\n".as_slice();
    let rows = [
        ("on", inside, "429", "the header has said whose it is"),
        ("on", b"PROXY UNKNOWN\r\n", "429", "nobody has"),
        ("chained", inside, "401", "a proxy before the proxy"),
        ("chained", b"PROXY UNKNOWN\r\n", "429", "nobody has, in a chain either"),
    ];
    for (spoken, header, status, reason) in rows {
        let (folder, port) = (Folder::new(), free_port());
        let settings = format!(
            "trusted_proxies = [\"127.0.0.2\", \"10.0.0.0/8\"]\nproxy_protocol = \"{spoken}\"\n\
             [limits]\nwrong_tokens_per_minute = 1\n"
        );
        let server = folder.serve_at(port, &settings).await;
        let wrong = String::from_utf8_lossy(WRONG).replace("HOST", &format!("localhost:{port}"));
        for (forwarded, status) in [("203.0.113.1", "401"), ("203.0.113.2", status)] {
            let head = format!("Host: localhost:{port}\r\n");
            let more = format!("{head}X-Forwarded-For: {forwarded}\r\n");
            let request = wrong.replace(&head, &more);
            let bytes = [header, request.as_bytes()].concat();
            let said = said_to(from("127.0.0.2", &server).await, &bytes).await;
            assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{reason}: {said}");
        }
    }
}

#[tokio::test]
async fn a_strangers_header_is_refused_and_a_proxy_without_one_too() {
    let folder = Folder::new();
    let server = folder.serve(SETTINGS).await;
    let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4455 80\r\n";
    let said = said_to(from("127.0.0.1", &server).await, &[header, ASKED].concat()).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "a stranger's: {said}");
    let binary = [second([192, 0, 2, 1]).as_slice(), ASKED].concat();
    let said = said_to(from("127.0.0.1", &server).await, &binary).await;
    assert!(!said.contains("HTTP/1.1 200 "), "a stranger's, of the second version: {said}");
    let said = said_to(from("127.0.0.1", &server).await, ASKED).await;
    assert!(said.starts_with("HTTP/1.1 200 "), "a stranger without one: {said}");

    let log = || std::fs::read_to_string(folder.path().join("log")).unwrap();
    for bytes in [ASKED, b"PROXY TCP4 nobody\r\n", &[header.as_slice(), header, ASKED].concat()] {
        let said = said_to(from("127.0.0.2", &server).await, bytes).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 400 "), "the proxy's: {said}");
    }
    let told = "a connection of a trusted proxy was refused, since there is no header";
    assert_eq!(log().matches("a connection of a trusted proxy was refused").count(), 1);
    assert!(log().contains(told), "{}", log());
}

#[tokio::test]
async fn no_header_is_looked_for_where_nobody_said_so() {
    let folder = Folder::new();
    let server = folder.serve("trusted_proxies = [\"127.0.0.2\"]\n").await;
    let header = b"PROXY TCP4 192.0.2.1 10.0.0.1 4455 80\r\n";
    let said = said_to(from("127.0.0.2", &server).await, &[header, ASKED].concat()).await;
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
}

#[tokio::test]
async fn a_share_is_of_whoever_is_named_and_tls_comes_after() {
    let (authority, folder, port) = (Authority::new(), Folder::new(), free_port());
    authority.write(&folder);
    let settings = format!(
        "{}{SETTINGS}[limits]\nconnections_per_address_max = 1\n",
        crate::tls::settings(port)
    );
    let server = folder.serve_at(port, &settings).await;
    let enter = async |client: u8| {
        let mut stream = from("127.0.0.2", &server).await;
        stream.write_all(&second([192, 0, 2, client])).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        authority.connector(&["http/1.1"]).connect(name, stream).await
    };
    let first = enter(1).await.unwrap();
    assert!(enter(1).await.is_err(), "one has its share");
    let other = enter(2).await.unwrap();
    drop((first, other));
}
