//! The least that can be called an MCP server over standard input and output: reads a line, knows its
//! method and id, writes a constant answer, one after the other.

use std::io::{self, BufRead as _, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
}

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let (mut line, mut answer) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let message: Message<'_> = serde_json::from_slice(&line)?;
        let Some(id) = message.id else { continue };
        let result = match message.method {
            Some("initialize") => {
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"child","version":"1"}}"#
            }
            Some("tools/call") => {
                r#"{"content":[{"type":"text","text":"今日の運勢は: 大吉"}],"isError":false}"#
            }
            _ => "{}",
        };
        answer.clear();
        writeln!(answer, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)?;
        output.write_all(&answer)?;
        output.flush()?;
    }
}
