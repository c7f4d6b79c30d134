//! TLS on the way to a server at a URL: who is trusted, and what becomes of whatever is wrong with it. The caller
//! hears in general words and in time, the operator exactly and what to do.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use sekisho::gateway::{RemoteServer, RemoteServerError};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::rig::{Plan, Rig, caller};
use crate::web::{Person, Speaks, Web, in_front_of};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

/// A certificate for `name` that is valid in these years.
fn certified(by: &Authority, name: &str, years: (i32, i32)) -> TlsAcceptor {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let key = key();
    let certificate = params.signed_by(&key, by).unwrap();
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What becomes of a connection.
#[derive(Clone)]
enum Takes {
    /// It is TLS with this certificate, and behind it a server.
    Tls(TlsAcceptor),
    /// Nothing is ever said on it.
    Silence,
    /// It is closed.
    HangsUp,
    /// No TLS: what a web server says to what it does not understand.
    PlainWords,
}

const ALWAYS: (i32, i32) = (2000, 4000);

/// A port where all connections become that. Answers its `host:port`.
async fn port(takes: Takes, web: &Web) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = web.origin.strip_prefix("http://").unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (takes, behind) = (takes.clone(), behind.clone());
            tokio::spawn(async move {
                match takes {
                    Takes::Tls(acceptor) => {
                        let Ok(mut stream) = acceptor.accept(stream).await else { return };
                        let mut server = TcpStream::connect(behind).await.unwrap();
                        // However it ends, the test looks at what came of it.
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
                    }
                    Takes::Silence => std::future::pending().await,
                    Takes::HangsUp => drop(stream),
                    Takes::PlainWords => {
                        let words = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
                        stream.write_all(words).await.unwrap();
                    }
                }
            });
        }
    });
    format!("localhost:{port}")
}

/// What the log says on this thread, on which all of a test runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || written.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn reaching(url: &str, authority: Option<&Authority>) -> Rig {
    let server = RemoteServer::new(url, None, []).unwrap();
    let server = match authority {
        Some(authority) => server.trusting(authority.as_ref().pem().as_bytes()).unwrap(),
        None => server,
    };
    let mut plan = Plan { server: server.into(), ..Plan::at("http://127.0.0.1/") };
    plan.limits.connect_wait = Duration::from_secs(2);
    plan.begin()
}

#[tokio::test]
async fn a_server_is_trusted_by_the_authority_that_the_operator_names() {
    for speaks in Speaks::ALL {
        let authority = authority("ours");
        let web = Web::serve(speaks.server()).await;
        let host = port(Takes::Tls(certified(&authority, "localhost", ALWAYS)), &web).await;
        let rig = reaching(&format!("https://{host}{}", speaks.path()), Some(&authority));
        rig.call(&caller("alice"), "odd").await.unwrap();
        rig.stop().await;
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_tls_is_a_general_error_in_time_and_a_remedy_in_the_log() {
    let (ours, foreign) = (authority("ours"), authority("foreign"));
    let tls = |by: &Authority, name, years| Takes::Tls(certified(by, name, years));
    let unknown = "name the authority that signed it in upstream.ca_file";
    let never = "have it renewed, or set the clock";
    let rows = [
        ("https", tls(&foreign, "localhost", ALWAYS), true, unknown, "another authority"),
        ("https", tls(&ours, "localhost", (2000, 2001)), true, never, "expired"),
        ("https", tls(&ours, "localhost", (3000, 3001)), true, never, "not valid yet"),
        (
            "https",
            tls(&ours, "other.example", ALWAYS),
            true,
            "write that name in upstream.url",
            "another name",
        ),
        ("https", Takes::PlainWords, true, "write http:// in upstream.url", "no TLS at all"),
        (
            "https",
            Takes::Silence,
            true,
            "it takes too long to be reached",
            "a handshake that hangs",
        ),
        ("https", Takes::HangsUp, true, "it cannot be reached", "cut off in the handshake"),
        ("http", tls(&ours, "localhost", ALWAYS), false, "it broke off", "TLS at an http URL"),
    ];
    for (scheme, takes, is_named, remedy, reason) in rows {
        let (log, _guard) = Log::begin();
        let web = Web::serve(Speaks::Handshake.server()).await;
        let host = port(takes, &web).await;
        let authority = is_named.then_some(&ours);
        let rig = reaching(&format!("{scheme}://{host}/mcp"), authority);
        let front = in_front_of(&rig.gateway).await;
        let mut client = testkit::McpClient::new(front.url("/mcp"));
        client.set_header("x-test-person", "alice");
        let began = Instant::now();
        let answer = client.stateless("tools/call", json!({ "name": "odd" })).await;
        assert!(began.elapsed() < Duration::from_secs(20), "{reason}");
        assert_eq!(answer.status.as_u16(), 200, "{reason}: {}", answer.text);
        let message = answer.message();
        assert_eq!(message["id"], 1, "{reason}: {message}");
        assert_eq!(message["error"]["code"], -32603, "{reason}: {message}");
        let words = message["error"]["message"].as_str().unwrap();
        assert!(words.starts_with("the server behind this one "), "{reason}: {words}");
        for exact in ["localhost", "ertificate", "TLS", "upstream."] {
            assert!(!words.contains(exact), "{reason}: {words}");
        }
        assert!(log.text().contains(remedy), "{reason}: {}", log.text());
        assert_eq!(web.count("tools/call"), 0, "{reason}");
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_handshake_that_hangs_holds_nobody_else_up() {
    let web = Web::serve(Speaks::Handshake.server()).await;
    let host = port(Takes::Silence, &web).await;
    let hanging = reaching(&format!("https://{host}/mcp"), Some(&authority("ours")));
    let well = Plan::at(&web.url("/mcp")).begin();
    let front = in_front_of(&well.gateway).await;
    let alice = caller("alice");
    let hangs = hanging.call(&alice, "odd");
    tokio::pin!(hangs);
    tokio::select! {
        answer = &mut hangs => panic!("it hangs: {answer:?}"),
        () = async {
            let bob = Person::begin(&front, "bob", &[]).await;
            let answer = bob.post("tools/call", Some(1), json!({ "name": "odd" })).await;
            assert_eq!(answer.status(), 200);
        } => {}
    }
    let error = hangs.await.unwrap_err();
    assert!(error.contains("takes too long"), "{error}");
    hanging.stop().await;
    well.stop().await;
}

#[test]
fn what_holds_no_certificate_is_refused_at_once() {
    let server = || RemoteServer::new("https://localhost/", None, []).unwrap();
    let begin = "-----BEGIN CERTIFICATE-----\n";
    let end = "\n-----END CERTIFICATE-----\n";
    for (pem, reason) in [
        (String::new(), "nothing"),
        ("certificate".to_owned(), "words"),
        (key().serialize_pem(), "a key"),
        (format!("{begin}aGVsbG8={end}"), "something else in its place"),
        (format!("{begin}!{end}"), "no Base64"),
    ] {
        let refused = server().trusting(pem.as_bytes()).map(drop);
        assert_eq!(refused, Err(RemoteServerError::Authorities), "{reason}");
    }
    assert!(server().trusting(authority("ours").as_ref().pem().as_bytes()).is_ok());
}
