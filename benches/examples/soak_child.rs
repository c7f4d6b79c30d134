//! What the soak has behind a command: answers `fortune` at once and `stay` never, and tells with every
//! hundredth answer that its tools changed, so that whoever listens is told something.

use std::io::{self, BufRead as _, Write as _};

use serde::Deserialize;
use serde_json::value::RawValue;

const TOLD_EVERY: u64 = 100;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<&'a str>,
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: Option<&'a str>,
}

fn main() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let (mut line, mut answered) = (Vec::new(), 0);
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let message: Message<'_> = serde_json::from_slice(&line)?;
        let Some(id) = message.id else { continue };
        let tool = message.params.and_then(|params| params.name);
        let result = match (message.method, tool) {
            (Some("initialize"), _) => {
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"child","version":"1"}}"#
            }
            (Some("tools/list"), _) => {
                r#"{"tools":[{"name":"fortune","inputSchema":{"type":"object"}},{"name":"stay","inputSchema":{"type":"object"}}]}"#
            }
            (Some("tools/call"), Some("stay")) => continue,
            (Some("tools/call"), _) => {
                r#"{"content":[{"type":"text","text":"今日の運勢は: 大吉"}],"isError":false}"#
            }
            _ => "{}",
        };
        writeln!(output, r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)?;
        answered += 1;
        if answered % TOLD_EVERY == 0 {
            writeln!(output, r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}}"#)?;
        }
        output.flush()?;
    }
}
