//! The load: a closed loop of keep-alive connections over HTTP/1.1 (RFC 9112), each sending its next
//! request when it has read the answer to the last. Requests are ready-made bytes in which only a
//! counter changes; answers are read just far enough to know status and end. It never pipelines and
//! never counts an answer it did not expect: that ends the measurement. It never sleeps either.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Result;

/// What stands in a request where its counter goes.
pub(crate) const COUNTER: &str = "############";
/// How many decimal digits a counter has in a request. The first is never 0: a number that begins with it
/// is no JSON.
pub(crate) const COUNTER_DIGITS: usize = COUNTER.len();

/// Counters handed to one connection of one slice, so that no two requests ever share one. A whole
/// measurement has some 40,000 such connections.
const COUNTERS_PER_CONNECTION: u64 = 200_000;
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);

/// A request as bytes, with the places where its counter is written.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    counters: Vec<usize>,
}

impl Template {
    /// A `POST /mcp` with those header lines and that body; [`COUNTER`] may occur in either.
    pub(crate) fn post(host: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let text = request("POST", "/mcp", host, headers, body);
        let counters = text.match_indices(COUNTER).map(|(at, _)| at).collect();
        Self { bytes: text.into_bytes(), counters }
    }

    fn stamped(&mut self, counter: u64) -> &[u8] {
        for &at in &self.counters {
            let mut rest = counter;
            let digits = self.bytes.iter_mut().skip(at).take(COUNTER_DIGITS);
            for digit in digits.rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        }
        &self.bytes
    }
}

/// A request as text.
pub(crate) fn request(
    method: &str,
    path: &str,
    host: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    if !body.is_empty() {
        text.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
    }
    text.extend(["\r\n", body]);
    text
}

/// What every answer must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// The status code.
    pub status: u16,
    /// Bytes that must occur in the body.
    pub body_has: &'static [u8],
}

/// How long to push.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    /// Uncounted time at the start.
    pub warm_up: Duration,
    /// Counted time.
    pub counted: Duration,
}

/// What came of a slice.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Answers that came within the counted time.
    pub answers: usize,
    /// The time each took, sorted.
    pub latencies: Vec<Duration>,
    /// Answers of the whole slice, warm-up and the last one of each connection included.
    pub answers_in_all: usize,
}

/// Pushes with one connection per template.
pub(crate) async fn push(
    address: SocketAddr,
    templates: Vec<Template>,
    expected: Expected,
    slice: Slice,
) -> Result<Outcome> {
    let mut streams = Vec::with_capacity(templates.len());
    for template in templates {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        streams.push((stream, template));
    }
    let awake = tokio::spawn(stay_awake());
    let begin = Instant::now() + slice.warm_up;
    let end = begin + slice.counted;
    let mut connections = JoinSet::new();
    for (stream, template) in streams {
        connections.spawn(repeat(stream, template, expected, begin, end));
    }
    let mut outcome = Outcome { answers: 0, latencies: Vec::new(), answers_in_all: 0 };
    while let Some(connection) = connections.join_next().await {
        let (latencies, in_all) = connection??;
        outcome.answers += latencies.len();
        outcome.answers_in_all += in_all;
        outcome.latencies.extend(latencies);
    }
    awake.abort();
    outcome.latencies.sort_unstable();
    Ok(outcome)
}

/// Keeps this thread from sleeping while it has nothing to read. Waking a sleeper on another core is
/// paid by the server, dearly on a virtual machine, and more often by a slow server than by one
/// that keeps the load busy: it would be counted as the slow server's own cost.
pub(crate) async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

async fn repeat(
    mut stream: TcpStream,
    mut template: Template,
    expected: Expected,
    begin: Instant,
    end: Instant,
) -> Result<(Vec<Duration>, usize)> {
    static NEXT_COUNTER: AtomicU64 = AtomicU64::new(200_000_000_000);
    let mut counter = NEXT_COUNTER.fetch_add(COUNTERS_PER_CONNECTION, Ordering::Relaxed);
    let mut latencies = Vec::with_capacity(16 * 1024);
    let mut in_all = 0;
    let mut buffer = Vec::with_capacity(8 * 1024);
    let mut sent_at = Instant::now();
    while sent_at < end {
        exchange(&mut stream, template.stamped(counter), &mut buffer, expected).await?;
        let answered_at = Instant::now();
        if sent_at >= begin && answered_at <= end {
            latencies.push(answered_at - sent_at);
        }
        in_all += 1;
        counter += 1;
        sent_at = answered_at;
    }
    Ok((latencies, in_all))
}

/// Sends one request and reads its answer into `buffer`; gives where the body begins.
async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
    expected: Expected,
) -> Result<usize> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(format!("connection closed after {} bytes", buffer.len()).into());
        }
        if let Some(answer) = Answer::read(buffer)? {
            let body = buffer.get(answer.body_at..).unwrap_or_default();
            let is_expected = answer.status == expected.status
                && answer.bytes == buffer.len()
                && contains(body, expected.body_has);
            if !is_expected {
                return Err(format!("unexpected answer: {}", buffer.escape_ascii()).into());
            }
            return Ok(answer.body_at);
        }
        if buffer.len() > ANSWER_BYTES_MAX {
            return Err("an answer is longer than it may be".into());
        }
    }
}

/// A connection kept for requests that are made as they are needed.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer of any status.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 * 1024) })
    }

    /// Sends a request as it is, and reads the whole answer.
    pub(crate) async fn ask(&mut self, request: &str) -> Result<Reply> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(format!("closed after {} bytes", self.buffer.len()).into());
            }
            if let Some(answer) = Answer::read(&self.buffer)? {
                let (head, body) = self.buffer.split_at(answer.body_at);
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
                return Ok(Reply { status: answer.status, head: text(head)?, body: text(body)? });
            }
        }
    }

    /// Sends a request, and reads until `marker` has come.
    pub(crate) async fn ask_until(&mut self, request: &str, marker: &[u8]) -> Result<()> {
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer = Vec::with_capacity(1024);
        self.hear(marker).await.map(drop)
    }

    /// Reads on until `marker` has come; gives all that came since the request.
    pub(crate) async fn hear(&mut self, marker: &[u8]) -> Result<String> {
        while !contains(&self.buffer, marker) {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(format!("no stream: {}", self.buffer.escape_ascii()).into());
            }
        }
        Ok(String::from_utf8_lossy(&self.buffer).into_owned())
    }

    /// Sends a request whose answer may have nothing to say yet.
    pub(crate) async fn ask_without_waiting(&mut self, request: &str) -> Result<()> {
        Ok(self.stream.write_all(request.as_bytes()).await?)
    }

    /// Whether the connection is open, and what it has said, if anything, is not a refusal.
    pub(crate) fn is_held_open(&mut self) -> bool {
        let mut head = [0; 12];
        match self.stream.try_read(&mut head) {
            Ok(count) => count > 0 && head.starts_with(b"HTTP/1.1 200"),
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    /// Reads an answer that never ended to its end: what came after its head, and whether its last
    /// chunk says that it is the last (RFC 9112 §7.1).
    pub(crate) async fn end(mut self) -> Result<(String, bool)> {
        while self.stream.read_buf(&mut self.buffer).await? > 0 {
            if self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                break;
            }
        }
        let body_at = position(&self.buffer, b"\r\n\r\n").ok_or("no head")? + 4;
        let is_whole = chunks_end(&self.buffer, body_at)? == Some(self.buffer.len());
        Ok((String::from_utf8_lossy(&self.buffer.split_off(body_at)).into_owned(), is_whole))
    }
}

/// One exchange on a connection of its own: head and body as they came.
pub(crate) async fn once(
    address: SocketAddr,
    mut template: Template,
    expected: Expected,
) -> Result<(String, String)> {
    static NEXT_COUNTER: AtomicU64 = AtomicU64::new(100_000_000_000);
    let counter = NEXT_COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut stream = TcpStream::connect(address).await?;
    let mut buffer = Vec::new();
    let exchanged = exchange(&mut stream, template.stamped(counter), &mut buffer, expected);
    let body_at = tokio::time::timeout(ANSWER_WAIT_MAX, exchanged).await??;
    let body = String::from_utf8(buffer.split_off(body_at))?;
    Ok((String::from_utf8(buffer)?, body))
}

/// The value of a header in a head as [`once`] gives it.
pub(crate) fn header<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find_map(|(found, value)| found.trim().eq_ignore_ascii_case(name).then_some(value.trim()))
}

struct Answer {
    status: u16,
    body_at: usize,
    bytes: usize,
}

impl Answer {
    /// The answer in `buffer`; `None` while it is not whole.
    fn read(buffer: &[u8]) -> Result<Option<Self>> {
        let Some(head_bytes) = position(buffer, b"\r\n\r\n") else { return Ok(None) };
        let head = buffer.get(..head_bytes).unwrap_or_default();
        let status = head.get(9..12).ok_or("an answer has no status")?;
        let status = std::str::from_utf8(status)?.parse()?;
        let body_at = head_bytes + 4;
        let mut content_length = 0;
        for line in head.split(|&byte| byte == b'\n') {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = line.split_at(colon);
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"content-length") {
                content_length = std::str::from_utf8(value)?.parse()?;
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                let end = chunks_end(buffer, body_at)?;
                return Ok(end.map(|bytes| Self { status, body_at, bytes }));
            }
        }
        let bytes = body_at + content_length;
        Ok((buffer.len() >= bytes).then_some(Self { status, body_at, bytes }))
    }
}

/// Where a chunked body (RFC 9112 §7.1) without trailers ends; `None` while it is not whole.
fn chunks_end(buffer: &[u8], mut at: usize) -> Result<Option<usize>> {
    loop {
        let rest = buffer.get(at..).unwrap_or_default();
        let Some(line_bytes) = position(rest, b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(rest.get(..line_bytes).unwrap_or_default())?;
        let chunk_bytes = usize::from_str_radix(line, 16)?;
        at += line_bytes + 2 + chunk_bytes + 2;
        if buffer.len() < at {
            return Ok(None);
        }
        if chunk_bytes == 0 {
            return Ok(Some(at));
        }
    }
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || position(haystack, needle).is_some()
}

pub(crate) fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
