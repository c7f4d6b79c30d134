//! Messages over the pipes of a process: one a line, both ways (MCP "stdio").

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::sync::mpsc;

use std::sync::Arc;

use super::connection::{Connection, Outgoing, QUEUE_MAX};
use crate::mcp::keep_on_one_line;

/// What is read of a process at once.
const READ_BYTES: usize = 32 * 1024;
/// Room for lines on their way that is kept between two of them.
const LINES_BYTES_KEPT: usize = 64 * 1024;

/// Begins to read `input` and to write what is queued to `output`.
pub(super) fn carry(
    connection: &Arc<Connection>,
    queued: mpsc::Receiver<Outgoing>,
    input: impl AsyncRead + Unpin + Send + 'static,
    output: impl AsyncWrite + Unpin + Send + 'static,
) {
    let closing = connection.closing().clone();
    tokio::spawn(async move {
        tokio::select! {
            () = write_lines(queued, output) => {}
            () = closing.cancelled() => {}
        }
    });
    let reading = Arc::clone(connection);
    tokio::spawn(async move {
        tokio::select! {
            () = read_lines(&reading, BufReader::with_capacity(READ_BYTES, input)) => {}
            () = reading.closed().cancelled() => {}
        }
        reading.end();
    });
}

async fn read_lines(connection: &Connection, mut input: impl AsyncBufRead + Unpin) {
    let mut line = Vec::new();
    let bytes_max = connection.message_bytes_max();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    loop {
        line.clear();
        match (&mut input).take(most).read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) if line.len() == bytes_max && line.last() != Some(&b'\n') => {
                tracing::error!(bytes_max, "the server behind us wrote too long a line");
                return;
            }
            Ok(_) => {}
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the server behind us cannot be read");
                return;
            }
        }
        if !line.trim_ascii().is_empty() {
            connection.hear(&line, None);
        }
    }
}

async fn write_lines(mut queued: mpsc::Receiver<Outgoing>, mut output: impl AsyncWrite + Unpin) {
    let (mut waiting, mut lines) = (Vec::with_capacity(QUEUE_MAX), Vec::new());
    while queued.recv_many(&mut waiting, QUEUE_MAX).await > 0 {
        for outgoing in waiting.drain(..) {
            let mut line = Vec::from(outgoing.message);
            keep_on_one_line(&mut line);
            lines.append(&mut line);
            lines.push(b'\n');
        }
        // A process that reads no more is about to end, which the reader sees.
        if output.write_all(&lines).await.is_err() || output.flush().await.is_err() {
            return;
        }
        lines.clear();
        lines.shrink_to(LINES_BYTES_KEPT);
    }
}
