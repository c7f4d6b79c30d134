//! Messages over the pipes of a process: one a line, both ways (MCP "stdio").

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::sync::mpsc;

use std::sync::Arc;

use super::connection::{Connection, Outgoing};
use crate::mcp::keep_on_one_line;

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
            () = read_lines(&reading, BufReader::new(input)) => {}
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
    while let Some(outgoing) = queued.recv().await {
        let mut line = Vec::from(outgoing.message);
        keep_on_one_line(&mut line);
        line.push(b'\n');
        // A process that reads no more is about to end, which the reader sees.
        if output.write_all(&line).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
