//! The log: a line an event to standard error, as text or JSON, with the trace id of the request
//! that the event belongs to. A line stays a line whatever a caller sent.

use std::error::Error;
use std::fmt::{self, Write as _};

use sekisho::front::TraceId;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Warns once for each odd frame, as many as a stranger sends: only said if somebody asks for it.
const HTTP2: &str = "h2";

/// Whether a filter can be understood.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn check_filter(text: &str) -> Result<(), String> {
    text.parse::<Targets>().map(|_| ()).map_err(|_| "it is no filter".to_owned())
}

/// Begins to log. A second call changes nothing.
pub(crate) fn begin(config: &LogConfig) {
    let mut filter: Targets = config.filter.parse().unwrap_or_default();
    if !config.filter.contains(HTTP2) {
        filter = filter.with_target(HTTP2, LevelFilter::ERROR);
    }
    let lines = tracing_subscriber::fmt::layer()
        .event_format(Lines { format: config.format })
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // Fails only if somebody logs already.
    drop(tracing_subscriber::registry().with(filter).with(lines).try_init());
}

/// Writes events in our format.
struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut said = Said::default();
        event.record(&mut said);
        if let Some(id) = TraceId::current() {
            said.fields.entry("trace_id").or_insert_with(|| id.to_string().into());
        }
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let (level, target) = (event.metadata().level(), event.metadata().target());
        match self.format {
            LogFormat::Pretty => {
                write!(writer, "{time} {level:>5} {target}: {}", on_one_line(&said.message))?;
                for (name, value) in &said.fields {
                    write!(writer, " {name}={}", as_word(value))?;
                }
                writeln!(writer)
            }
            LogFormat::Json => {
                let mut line = Map::new();
                line.insert("time".to_owned(), time.into());
                line.insert("level".to_owned(), level.as_str().to_lowercase().into());
                line.insert("target".to_owned(), target.into());
                line.insert("message".to_owned(), said.message.into());
                line.extend(said.fields);
                writeln!(writer, "{}", Value::Object(line))
            }
        }
    }
}

/// What an event says.
#[derive(Default)]
struct Said {
    message: String,
    fields: Map<String, Value>,
}

impl Said {
    fn note(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.fields.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.note(field, chain(value).into());
    }
}

/// An error with what caused it, said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(reason) = cause {
        let reason_text = reason.to_string();
        if !said.ends_with(&reason_text) {
            let _ = write!(said, ": {reason_text}");
        }
        cause = reason.source();
    }
    said
}

/// Control characters would forge lines or colour terminals.
pub(crate) fn on_one_line(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut line, character| {
        if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
        line
    })
}

/// A value without quotes where it is one plain word.
fn as_word(value: &Value) -> String {
    match value {
        Value::String(text)
            if !text.is_empty()
                && text.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '=') =>
        {
            text.clone()
        }
        Value::String(text) => format!("\"{}\"", on_one_line(&text.replace('"', "\\\""))),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_sends_stays_on_its_line() {
        let rows = [
            ("plain", "plain", "a word"),
            ("two words", "\"two words\"", "a space"),
            ("a\nINFO forged", "\"a\\nINFO forged\"", "a line break"),
            ("\u{1b}[31mred", "\"\\u{1b}[31mred\"", "a colour"),
            ("say \"hi\"", "\"say \\\"hi\\\"\"", "quotes"),
            ("", "\"\"", "nothing"),
            ("a=b", "\"a=b\"", "what looks like a field"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(as_word(&Value::from(text)), expected, "{reason}");
        }
        assert_eq!(on_one_line("a\r\nb"), "a\\r\\nb");
    }

    #[test]
    fn a_filter_is_a_level_or_a_list_of_targets() {
        let rows = [
            ("info", true, "a level"),
            ("off", true, "nothing"),
            ("info,sekisho=debug", true, "a target"),
            ("sekisho::access=debug", true, "the access log"),
            ("", true, "nothing at all"),
            ("sekisho=loud", false, "no such level"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(check_filter(text).is_ok(), expected, "{reason}: {text}");
        }
    }
}
