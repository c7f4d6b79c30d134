//! TLS that ends here: what is shown, what is spoken behind it, and what becomes of a certificate that is
//! exchanged, wrong, or old.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::harness::{Folder, Server, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

/// Signs certificates, and makes clients that trust it alone.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, key()).unwrap())
    }

    /// A certificate for `localhost` and its key, valid in these years.
    fn certify(&self, years: (i32, i32)) -> (String, String) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = key();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// Lays a new one where the settings look for it.
    pub(crate) fn write(&self, folder: &Folder) {
        let (certificate, key) = self.certify(ALWAYS);
        folder.write("cert.pem", &certificate);
        folder.write("key.pem", &key);
    }

    fn http(&self) -> reqwest::ClientBuilder {
        let ours = reqwest::Certificate::from_der(self.0.der()).unwrap();
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .tls_certs_only([ours])
    }

    pub(crate) fn connector(&self, protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }

    /// A connection with its handshake made.
    pub(crate) async fn connect(&self, port: u16, protocols: &[&str]) -> io::Result<Connected> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("localhost").unwrap();
        self.connector(protocols).connect(name, stream).await
    }
}

pub(crate) type Connected = TlsStream<TcpStream>;

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

const ALWAYS: (i32, i32) = (2000, 4000);

/// The settings for it at this port.
pub(crate) fn settings(port: u16) -> String {
    format!(
        "public_url = \"https://localhost:{port}\"\ntls.cert_file = \"cert.pem\"\ntls.key_file = \"key.pem\"\n"
    )
}

async fn serve(folder: &Folder, more: &str) -> Server {
    let port = free_port();
    folder.serve_at(port, &format!("{}{more}", settings(port))).await
}

/// A personal access token of `demo`.
pub(crate) async fn token(folder: &Folder) -> String {
    let made = folder.run(&["token", "add", "--user", "demo", "--json"], "").await;
    let made: Value = serde_json::from_str(&made.out).unwrap();
    made["token"].as_str().unwrap().to_owned()
}

/// What certificate is shown now.
async fn shown(authority: &Authority, port: u16) -> Vec<u8> {
    let stream = authority.connect(port, &["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn log(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap()
}

async fn said(folder: &Folder, words: &str) {
    let look = async {
        let mut turn = tokio::time::interval(Duration::from_millis(20));
        while !log(folder).contains(words) {
            turn.tick().await;
        }
    };
    timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("no {words:?} in {}", log(folder)));
}

/// Asks on an open connection, and reads the head of the answer.
async fn is_answered(stream: &mut Connected) -> bool {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = vec![0; 1024];
    let read = timeout(PATIENCE, stream.read(&mut said)).await.unwrap().unwrap();
    said[..read].starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_behind_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    authority.write(&folder);
    let server = serve(&folder, "").await;
    let url = format!("https://localhost:{}", server.port);
    assert_eq!(server.said.last().unwrap(), &format!("listening on {url}"));
    let token = token(&folder).await;
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "fortune", "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        } },
    });
    for (http, version) in [
        (authority.http().build().unwrap(), axum::http::Version::HTTP_2),
        (authority.http().http1_only().build().unwrap(), axum::http::Version::HTTP_11),
    ] {
        let refused = http.post(format!("{url}/mcp")).json(&call).send().await.unwrap();
        assert_eq!((refused.status().as_u16(), refused.version()), (401, version));
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap();
        let metadata = format!("{url}/.well-known/oauth-protected-resource/mcp");
        assert!(challenge.contains(&metadata), "{challenge}");
        let asked = http
            .post(format!("{url}/mcp"))
            .bearer_auth(&token)
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "fortune")
            .header("accept", "application/json, text/event-stream");
        let answer = asked.json(&call).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert!(answer.text().await.unwrap().contains("今日の運勢は: "));
    }
    let other = authority.connect(server.port, &["spdy/3"]).await;
    assert!(other.is_err(), "a protocol that is not spoken");
    let plain = reqwest::get(format!("http://localhost:{}/healthz", server.port)).await;
    assert!(plain.is_err(), "nothing is said without TLS: {plain:?}");
}

#[tokio::test]
async fn a_certificate_is_exchanged_without_a_restart_and_nobody_is_cut_off() {
    let (authority, folder) = (Authority::new(), Folder::new());
    authority.write(&folder);
    let server = serve(&folder, "").await;
    let mut before = authority.connect(server.port, &["http/1.1"]).await.unwrap();
    assert!(is_answered(&mut before).await);
    let first = shown(&authority, server.port).await;

    let (certificate, key) = authority.certify(ALWAYS);
    folder.write("cert.pem", &certificate);
    said(&folder, "the certificate at hand goes on: tls.key_file").await;
    assert!(log(&folder).contains("is not the key of the first certificate"), "{}", log(&folder));
    assert_eq!(shown(&authority, server.port).await, first, "half of it changes nothing");

    folder.write("key.pem", &key);
    said(&folder, "the certificate has changed").await;
    assert_ne!(shown(&authority, server.port).await, first);
    assert!(is_answered(&mut before).await, "who was there stays");

    folder.write("cert.pem", "junk");
    said(&folder, "holds no certificate").await;
    assert_ne!(shown(&authority, server.port).await, first, "the last good one goes on");
    let key = key.lines().nth(1).unwrap();
    assert!(!log(&folder).contains(key), "a key is shown");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_one_sentence_and_no_start() {
    let authority = Authority::new();
    let (certificate, key) = authority.certify(ALWAYS);
    let (_, other) = authority.certify(ALWAYS);
    let rows = [
        (None, Some(&key), "tls.cert_file \"cert.pem\" cannot be read", "no file"),
        (Some(&certificate), None, "tls.key_file \"key.pem\" cannot be read", "no key"),
        (Some(&key), Some(&key), "tls.cert_file \"cert.pem\" holds no certificate", "a key"),
        (
            Some(&certificate),
            Some(&other),
            "tls.key_file \"key.pem\" is not the key of the first certificate in tls.cert_file \
             \"cert.pem\": name two files that belong together",
            "the key of another",
        ),
    ];
    for (certificate, key, expected, reason) in rows {
        let folder = Folder::new();
        for (name, text) in [("cert.pem", certificate), ("key.pem", key)] {
            if let Some(text) = text {
                folder.write(name, text);
            }
        }
        folder.write("sekisho.toml", &settings(free_port()));
        let done = folder.run(&["serve"], "").await;
        assert_eq!((done.code, done.out.as_str()), (Some(2), ""), "{reason}: {}", done.err);
        assert!(done.err.contains(expected), "{reason}: {}", done.err);
        assert_eq!(done.err.lines().count(), 1, "{reason}: {}", done.err);
    }
}

#[tokio::test]
async fn what_clients_will_refuse_is_warned_of_and_shown_all_the_same() {
    let authority = Authority::new();
    let rows = [
        ((2000, 2001), "localhost", "the certificate ended on 2001-01-01T00:00:00Z"),
        ((3000, 3001), "localhost", "the certificate begins on 3000-01-01T00:00:00Z only"),
        (ALWAYS, "127.0.0.1", "the certificate is not for 127.0.0.1, the host of public_url"),
    ];
    for (years, host, warning) in rows {
        let (folder, port) = (Folder::new(), free_port());
        let (certificate, key) = authority.certify(years);
        folder.write("cert.pem", &certificate);
        folder.write("key.pem", &key);
        let settings = settings(port).replace("localhost", host);
        let _server = folder.serve_at(port, &settings).await;
        assert!(log(&folder).contains(warning), "{}", log(&folder));
        let insecure = authority.http().tls_danger_accept_invalid_certs(true).build().unwrap();
        let answer = insecure.get(format!("https://localhost:{port}/healthz")).send().await;
        assert_eq!(answer.unwrap().status(), 200, "{warning}");
    }
}

/// As without TLS, but that nobody can be told why.
#[tokio::test]
async fn connections_are_counted_behind_tls_too() {
    let (authority, folder) = (Authority::new(), Folder::new());
    authority.write(&folder);
    let server = serve(&folder, "[limits]\nconnections_per_address_max = 2\n").await;
    let mut open = authority.connect(server.port, &["http/1.1"]).await.unwrap();
    let other = authority.connect(server.port, &["h2"]).await.unwrap();
    assert!(authority.connect(server.port, &["http/1.1"]).await.is_err(), "two are in");
    drop(other);
    let again = async {
        while authority.connect(server.port, &["http/1.1"]).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the place is given back");
    assert!(is_answered(&mut open).await, "who was in is not disturbed");
}
