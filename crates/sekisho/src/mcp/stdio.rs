//! MCP over standard input and output: a message a line, nothing else on the output, no OAuth
//! (whoever starts a process speaks for it). Serves requests with and without a handshake. Ends when the input ends.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};

use super::legacy::{
    Duplex, EventStream, Next, Reader, Retention, Session, SessionLimits, Transport,
};
use super::modern::{RequestState, Stateless};
use super::refusal::{Refusal, Refused};
use super::service::McpService;
use super::sse::keep_on_one_line;
use crate::clock::{SystemClock, Timestamp};
use crate::seal::Sealer;

/// How long answers may take once the input has ended, and how long writing them may.
const SETTLE_WAIT: Duration = Duration::from_secs(2);

/// Serves one client until its input ends; requests that came before get two more seconds.
///
/// # Errors
/// When reading or writing fails, or when the client does not read its answers.
pub async fn serve_stdio(
    service: Arc<dyn McpService>,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let limits = SessionLimits::default();
    let never = Timestamp::from_unix_seconds(0);
    let id = crate::mint::id();
    let session = Session::new(id, Transport::Stdio, None, &limits, never);
    let out = EventStream::new(&limits, Retention::None);
    // A session that has just begun has room.
    let _ = session.listen_on(&out);
    if let Some(changes) = service.changes() {
        let session: Weak<Session> = Arc::downgrade(&session);
        changes.add(session);
    }
    let mut writing = tokio::spawn(write_lines(out.read(None), output));
    let request_state = RequestState::new(Sealer::ephemeral(), Arc::new(SystemClock), None);
    let stateless = Stateless::new(Arc::clone(&service), &limits, request_state);
    if let Some(changes) = service.changes() {
        changes.add(stateless.audience());
    }
    let duplex = Duplex {
        session,
        sender: None,
        out,
        reader_wait: limits.reader_wait,
        stateless: Some(Arc::new(stateless)),
    };

    let served = tokio::select! {
        served = read_lines(&duplex, &service, &limits, BufReader::new(input)) => served,
        written = &mut writing => return written.map_err(io::Error::other)?.and(Err(unread())),
    };
    duplex.session.settle(SETTLE_WAIT).await;
    duplex.session.end();
    duplex.out.finish();
    let Ok(written) = tokio::time::timeout(SETTLE_WAIT, &mut writing).await else {
        writing.abort();
        return Err(unread());
    };
    written.map_err(io::Error::other)?.and(served)
}

fn unread() -> io::Error {
    io::Error::new(io::ErrorKind::WriteZero, "the client does not read its answers")
}

async fn read_lines(
    duplex: &Duplex,
    service: &Arc<dyn McpService>,
    limits: &SessionLimits,
    mut input: impl AsyncBufRead + Unpin,
) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        // Whoever does not read answers is not asked for more to do.
        duplex.out.caught_up().await;
        line.clear();
        let most = u64::try_from(limits.body_bytes_max).unwrap_or(u64::MAX);
        if (&mut input).take(most).read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let refused = if line.len() == limits.body_bytes_max && line.last() != Some(&b'\n') {
            skip_line(&mut input).await?;
            Some(Refusal::BodyTooLarge { bytes_max: limits.body_bytes_max }.into())
        } else if line.trim_ascii().is_empty() {
            None
        } else {
            duplex.accept(service, &line).err()
        };
        if let Some(refused) = refused {
            refuse(duplex, &refused);
        }
    }
}

/// There is no status to refuse with, so the error is the answer.
fn refuse(duplex: &Duplex, refused: &Refused) {
    duplex.out.push(Bytes::from(refused.to_json()));
}

async fn skip_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf().await?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let skipped = end.map_or(buffer.len(), |end| end + 1);
        input.consume(skipped);
        if end.is_some() || skipped == 0 {
            return Ok(());
        }
    }
}

async fn write_lines(mut messages: Reader, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(Next::Event(message)) = messages.next().await {
        let mut line = Vec::from(message.data);
        keep_on_one_line(&mut line);
        line.push(b'\n');
        output.write_all(&line).await?;
        output.flush().await?;
    }
    Ok(())
}
