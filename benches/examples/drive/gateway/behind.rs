//! The server that is behind everybody: Streamable HTTP with answers that never change, made with as
//! little work as can be. At `/new/mcp` it speaks 2026-07-28, anywhere else both, and knows nothing of
//! `server/discover` there.

use std::io::Write as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::load::{contains, position};

/// The tool whose call says one thing and then nothing, for as long as its caller stays.
pub(crate) const STAYING_TOOL: &str = "stay";
/// What it says.
pub(crate) const STAYING_WORD: &[u8] = b"still here";

const RESULT: &str = r#"{"content":[{"type":"text","text":"今日の運勢は: 大吉"}],"isError":false}"#;
const STATELESS_RESULT: &str = r#"{"resultType":"complete","content":[{"type":"text","text":"今日の運勢は: 大吉"}],"isError":false,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"constant","version":"1"}}}"#;
const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"constant","version":"1"}}"#;
const DISCOVERED: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"constant","version":"1"}}}"#;
const LISTED: &str = r#"{"resultType":"complete","tools":[{"name":"fortune","inputSchema":{"type":"object"}},{"name":"stay","inputSchema":{"type":"object"}}]}"#;
const SESSION: &str = "Mcp-Session-Id: 00112233445566778899aabbccddeeff\r\n";
const STREAM: &str = concat!(
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    "69\r\n",
    r#"data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"still here"}}"#,
    "\n\n\r\n",
);

/// Answers from now on, for as long as this driver runs; says where.
pub(crate) async fn listen() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever is measured notices it, and says so.
            tokio::spawn(async { answer_all(stream).await.ok() });
        }
    });
    Ok(address)
}

async fn answer_all(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let (mut buffer, mut answer) = (Vec::with_capacity(2 * 1024), Vec::new());
    loop {
        let Some((body_at, end)) = whole(&buffer)? else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let (head, body) = buffer.get(..end).unwrap_or_default().split_at(body_at);
        answer.clear();
        answer_one(head, body, &mut answer)?;
        stream.write_all(&answer).await?;
        buffer.drain(..end);
    }
}

/// Where the body of the first request begins and ends, once all of it is there.
fn whole(buffer: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(head_bytes) = position(buffer, b"\r\n\r\n") else { return Ok(None) };
    let mut body_bytes = 0;
    for line in buffer.get(..head_bytes).unwrap_or_default().split(|&byte| byte == b'\n') {
        let Some((name, value)) = line.split_at_checked(15) else { continue };
        if name.eq_ignore_ascii_case(b"content-length:") {
            body_bytes = std::str::from_utf8(value)?.trim().parse()?;
        }
    }
    let body_at = head_bytes + 4;
    Ok((buffer.len() >= body_at + body_bytes).then_some((body_at, body_at + body_bytes)))
}

fn answer_one(head: &[u8], body: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let status = match head.first() {
        Some(b'P') => None,
        Some(b'G') => Some("405 Method Not Allowed"),
        _ => Some("200 OK"),
    };
    // A notification has no id.
    let status = status.or_else(|| (!contains(body, b"\"id\":")).then_some("202 Accepted"));
    if let Some(status) = status {
        write!(out, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(());
    }
    let id = id_in(body).ok_or("a request has no number for its id")?;
    let is_stateless = contains(body, b"io.modelcontextprotocol/");
    if contains(body, b"\"method\":\"tools/call\"") {
        if contains(body, b"\"name\":\"stay\"") {
            out.extend_from_slice(STREAM.as_bytes());
            return Ok(());
        }
        let result = if is_stateless { STATELESS_RESULT } else { RESULT };
        return write_result(id, result, "", out);
    }
    if contains(body, b"\"method\":\"tools/list\"") {
        return write_result(id, LISTED, "", out);
    }
    if contains(body, b"\"method\":\"initialize\"") {
        return write_result(id, INITIALIZED, SESSION, out);
    }
    if head.starts_with(b"POST /new/") {
        return write_result(id, DISCOVERED, "", out);
    }
    out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    Ok(())
}

fn id_in(body: &[u8]) -> Option<&[u8]> {
    let digits = body.get(position(body, b"\"id\":")? + 5..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    digits.get(..end).filter(|digits| !digits.is_empty())
}

fn write_result(id: &[u8], result: &str, header: &str, out: &mut Vec<u8>) -> Result<()> {
    const BEFORE: &[u8] = br#"{"jsonrpc":"2.0","id":"#;
    const BETWEEN: &[u8] = br#","result":"#;
    let bytes = BEFORE.len() + id.len() + BETWEEN.len() + result.len() + 1;
    write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{header}Content-Length: {bytes}\r\n\r\n"
    )?;
    out.extend_from_slice(BEFORE);
    out.extend_from_slice(id);
    out.extend_from_slice(BETWEEN);
    out.extend_from_slice(result.as_bytes());
    out.push(b'}');
    Ok(())
}
