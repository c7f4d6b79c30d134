//! HTTP/2 at the real listener, frame by frame (RFC 9113): floods that cost their sender next to nothing. Case 103.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Folder, Server, http};
use crate::processes::resident_kib;
use crate::tls::Authority;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than it takes to read what is there.
const NOTHING_MOVES: Duration = Duration::from_secs(2);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 0xb;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a request to `path` in HPACK, without Huffman and without a table.
fn head(server: &Server, method: &str, path: &str) -> Vec<u8> {
    let authority = format!("localhost:{}", server.port);
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", &authority),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.bytes());
        }
    }
    block
}

/// Anything that carries HTTP/2.
trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Carrier for T {}

/// One connection, with its greeting said.
struct Connection(Box<dyn Carrier>);

impl Connection {
    async fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        Self::greet(Box::new(stream)).await
    }

    async fn greet(carrier: Box<dyn Carrier>) -> Self {
        let mut connection = Self(carrier);
        connection.0.write_all(PREFACE).await.unwrap();
        connection.0.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        connection
    }

    /// Writes this so many times without reading anything, for as long as anybody takes it; says how much was
    /// taken.
    async fn flood(&mut self, piece: &[u8], times: usize) -> usize {
        let mut taken = 0;
        for _ in 0..times {
            match timeout(NOTHING_MOVES, self.0.write_all(piece)).await {
                Ok(Ok(())) => taken += piece.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        taken
    }

    /// Does nothing but answer pings until the other end has enough; how many there were.
    async fn answer_pings(&mut self) -> usize {
        let (mut read, mut answered) = (Vec::new(), 0);
        while self.0.read_buf(&mut read).await.is_ok_and(|bytes| bytes > 0) {
            let pings: Vec<_> = frames(&read)
                .filter(|(kind, _)| *kind == PING)
                .map(|(_, payload)| frame(PING, 1, 0, payload))
                .collect();
            for ping in pings.iter().skip(answered) {
                let _ = self.0.write_all(ping).await;
            }
            answered = pings.len();
        }
        answered
    }

    /// Reads to the end; the error code of the last GOAWAY, if one came.
    async fn last_word(&mut self) -> Option<u32> {
        let mut said = Vec::new();
        // It may end with a reset, since not all was read.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut said)).await.expect("it ends");
        frames(&said)
            .filter(|(kind, _)| *kind == GOAWAY)
            .last()
            .map(|(_, payload)| u32::from_be_bytes(payload[4..8].try_into().unwrap()))
    }
}

fn frames(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes([0, *bytes.first()?, *bytes.get(1)?, *bytes.get(2)?]);
        let whole = 9 + usize::try_from(length).unwrap();
        let (frame, rest) = bytes.split_at_checked(whole)?;
        bytes = rest;
        Some((frame[3], &frame[9..]))
    })
}

async fn is_well(server: &Server) {
    let asked = timeout(PATIENCE, http().get(server.url("/healthz")).send()).await.unwrap();
    assert_eq!(asked.unwrap().status(), 200, "others go on");
}

/// CVE-2023-44487, RUSTSEC-2024-0003: requests that are taken back before they are answered.
#[tokio::test]
async fn a_flood_of_requests_taken_back_ends_the_connection() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let before = resident_kib(&server.id());
    let mut connection = Connection::open(&server).await;
    let mut flood = Vec::new();
    let head = head(&server, "GET", "/healthz");
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    connection.flood(&flood, 1).await;
    assert_eq!(connection.last_word().await, Some(ENHANCE_YOUR_CALM));
    assert!(resident_kib(&server.id()) < before + 16 * 1024, "and costs no memory");
    is_well(&server).await;
}

/// RUSTSEC-2024-0332: a head that never ends.
#[tokio::test]
async fn a_head_without_end_ends_the_connection() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let mut connection = Connection::open(&server).await;
    connection
        .0
        .write_all(&frame(HEADERS, END_STREAM, 1, &head(&server, "GET", "/")))
        .await
        .unwrap();
    let mut field = vec![0, 1, b'x', 100];
    field.extend([b'x'; 100]);
    let piece = frame(CONTINUATION, 0, 1, &field.repeat(100));
    let taken = connection.flood(&piece, 10_000).await;
    assert!(taken < 8 << 20, "{taken} bytes of a head were read");
    assert_eq!(connection.last_word().await, Some(ENHANCE_YOUR_CALM));
    is_well(&server).await;
}

/// CVE-2019-9512, -9515, -9518: what must be answered, from somebody who does not read, and what says nothing.
#[tokio::test]
async fn a_flood_of_frames_that_ask_for_nothing_costs_no_memory() {
    let folder = Folder::new();
    let server = folder.serve("").await;
    let open = frame(HEADERS, END_HEADERS, 1, &head(&server, "POST", "/token"));
    let rows = [
        (Vec::new(), frame(PING, 0, 0, &[0; 8]), "pings"),
        (Vec::new(), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]), "settings"),
        (Vec::new(), frame(PING, 1, 0, &[0; 8]), "answers to pings that nobody sent"),
        (open, frame(DATA, 0, 1, &[]), "empty pieces of a body"),
    ];
    for (beginning, piece, reason) in rows {
        let before = resident_kib(&server.id());
        let mut connection = Connection::open(&server).await;
        connection.0.write_all(&beginning).await.unwrap();
        connection.flood(&piece.repeat(1_000), 300).await;
        let after = resident_kib(&server.id());
        assert!(after < before + 16 * 1024, "{reason}: {before} KiB became {after}");
        is_well(&server).await;
    }
    let log = std::fs::metadata(folder.path().join("log")).unwrap().len();
    assert!(log < 10_000, "nor a log of {log} bytes");
}

/// Case 102: a client that lets nothing of an answer come, or a few bytes and no more, and is there all the same.
#[tokio::test]
async fn answers_that_nobody_takes_end_the_connection() {
    let (folder, behind) = (Folder::new(), Folder::new());
    let server = folder.serve("").await;
    let proxied = behind.serve("trusted_proxies = [\"127.0.0.1\"]\n").await;
    let rows = [
        (&server, 0_u32, true, "nothing"),
        (&server, 1, true, "one byte"),
        (&server, 100, true, "a part of it"),
        (&proxied, 0, false, "a proxy's, of whose callers one is slow"),
    ];
    let ends = rows.map(|(server, window, ends, reason)| async move {
        let mut connection = Connection::open(server).await;
        let mut small = vec![0, 4];
        small.extend(window.to_be_bytes());
        connection.0.write_all(&frame(SETTINGS, 0, 0, &small)).await.unwrap();
        let path = "/.well-known/oauth-authorization-server";
        let head = head(server, "GET", path);
        let ask = frame(HEADERS, END_HEADERS | END_STREAM, 1, &head);
        connection.0.write_all(&ask).await.unwrap();
        let pings = timeout(PATIENCE, connection.answer_pings());
        match pings.await {
            Ok(pings) => assert!(ends && (1..=3).contains(&pings), "{reason}: {pings} pings"),
            Err(_) => assert!(!ends, "{reason}: it goes on"),
        }
    });
    futures::future::join_all(ends).await;
    is_well(&server).await;
}

/// A connection has so many requests at once, whoever opens more is refused and may try again.
#[tokio::test]
async fn a_connection_has_so_many_requests_at_once() {
    let (authority, folder) = (Authority::new(), Folder::new());
    authority.write(&folder);
    let port = crate::harness::free_port();
    let server = folder.serve_at(port, &crate::tls::settings(port)).await;
    let carrier = authority.connect(server.port, &["h2"]).await.unwrap();
    let mut connection = Connection::greet(Box::new(carrier)).await;
    let head = head(&server, "POST", "/token");
    for number in 0..300 {
        // Bodies that do not come.
        let open = frame(HEADERS, END_HEADERS, 2 * number + 1, &head);
        connection.0.write_all(&open).await.unwrap();
    }
    connection.0.flush().await.unwrap();
    let refused = connection.refused(44).await.unwrap();
    assert_eq!(refused.first(), Some(&513), "the 257th is the first");
    assert_eq!(refused.len(), 44);
}

impl Connection {
    /// Reads until so many streams are refused, and says which.
    async fn refused(&mut self, count: usize) -> io::Result<Vec<u32>> {
        let (mut said, mut buffer) = (Vec::new(), vec![0; 4096]);
        loop {
            let mut bytes = said.as_slice();
            let mut refused = Vec::new();
            while let Some((kind, payload)) = frames(bytes).next() {
                let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
                if kind == RST_STREAM && payload == [0, 0, 0, 7] {
                    refused.push(stream);
                }
                bytes = &bytes[9 + payload.len()..];
            }
            if refused.len() >= count {
                return Ok(refused);
            }
            let read = timeout(PATIENCE, self.0.read(&mut buffer)).await.expect("it answers")?;
            assert!(read > 0, "it ended");
            said.extend(&buffer[..read]);
        }
    }
}
