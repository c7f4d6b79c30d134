//! Reads `text/event-stream` (HTML "Server-sent events"), one event after the other, none longer than
//! it may be. What the crates for it lack is that limit.

use std::time::Duration;

use super::client::Response;
use super::trouble::Trouble;

/// Longest name of an event's place that is remembered.
const EVENT_ID_BYTES_MAX: usize = 1024;
/// Bytes of names and lines beside the data of an event.
const FRAMING_BYTES_MAX: usize = 4 * 1024;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// What it is called; `message` if it has no name.
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// A stream being read, with what is known of the place in it.
pub(super) struct EventReader {
    response: Response,
    lines: Lines,
    pub(super) place: Place,
}

/// Where to go on if a stream breaks.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The id of the last event that had one.
    pub(super) last_id: Option<String>,
    /// How long the server wants to be left alone before.
    pub(super) retry: Option<Duration>,
}

impl EventReader {
    /// Reads what `response` brings, from `place` on.
    pub(super) fn new(response: Response, place: Place, bytes_max: usize) -> Self {
        Self { response, lines: Lines::new(bytes_max), place }
    }

    /// The next event; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Trouble> {
        loop {
            if let Some(event) = self.lines.next(&mut self.place)? {
                return Ok(Some(event));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.lines.add(&chunk),
                None => return Ok(None),
            }
        }
    }
}

/// Bytes becoming lines, and lines becoming events.
#[derive(Debug)]
struct Lines {
    bytes: Vec<u8>,
    /// How far lines were taken out of it.
    start: usize,
    /// How far no end of a line was found.
    looked: usize,
    is_first: bool,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    bytes_max: usize,
}

impl Lines {
    fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            looked: 0,
            is_first: true,
            name: String::new(),
            data: Vec::new(),
            has_data: false,
            bytes_max,
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        self.bytes.drain(..self.start);
        self.looked -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(chunk);
    }

    fn next(&mut self, place: &mut Place) -> Result<Option<Event>, Trouble> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                let name = std::mem::take(&mut self.name);
                let data = std::mem::take(&mut self.data);
                if std::mem::take(&mut self.has_data) {
                    let name = if name.is_empty() { "message".to_owned() } else { name };
                    return Ok(Some(Event { name, data }));
                }
            } else {
                self.field(&line, place);
            }
            self.require_room()?;
        }
        self.require_room()?;
        Ok(None)
    }

    fn require_room(&self) -> Result<(), Trouble> {
        let waiting = self.data.len() + self.bytes.len().saturating_sub(self.start);
        if waiting > self.bytes_max.saturating_add(FRAMING_BYTES_MAX) {
            return Err(Trouble::TooLong { bytes_max: self.bytes_max });
        }
        Ok(())
    }

    /// The next line, without its end: LF, CR LF, or CR.
    fn line(&mut self) -> Option<Vec<u8>> {
        let ends = self.bytes.get(self.looked..)?.iter();
        let Some(end) = ends.clone().position(|&byte| matches!(byte, b'\n' | b'\r')) else {
            self.looked = self.bytes.len();
            return None;
        };
        let end = self.looked + end;
        let next = match (self.bytes.get(end), self.bytes.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => end + 2,
            // What comes next may be the other half of this end.
            (Some(b'\r'), None) => {
                self.looked = end;
                return None;
            }
            _ => end + 1,
        };
        let mut line = self.bytes.get(self.start..end).unwrap_or_default().to_vec();
        if std::mem::take(&mut self.is_first) && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(..3);
        }
        (self.start, self.looked) = (next, next);
        Some(line)
    }

    fn field(&mut self, line: &[u8], place: &mut Place) {
        let (name, value) = match line.iter().position(|&byte| byte == b':') {
            Some(at) => line.split_at(at),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || std::str::from_utf8(value).ok();
        match name {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => text().unwrap_or_default().clone_into(&mut self.name),
            b"id" => {
                let is_id = value.len() <= EVENT_ID_BYTES_MAX && !value.contains(&0);
                if let Some(id) = text().filter(|_| is_id) {
                    place.last_id = (!id.is_empty()).then(|| id.to_owned());
                }
            }
            b"retry" => {
                let millis = text().and_then(|text| text.parse().ok());
                place.retry = millis.map(Duration::from_millis).or(place.retry);
            }
            // Comments, and what nobody has thought of yet.
            _ => {}
        }
    }
}

/// All events of a stream that comes in pieces of so many bytes: their names and data, until one is too
/// long.
#[cfg(feature = "fuzzing")]
pub fn events_in(stream: &[u8], piece: usize) -> Vec<(String, Vec<u8>)> {
    let (mut lines, mut place) = (Lines::new(stream.len()), Place::default());
    let mut events = Vec::new();
    for chunk in stream.chunks(piece) {
        lines.add(chunk);
        while let Ok(Some(event)) = lines.next(&mut place) {
            events.push((event.name, event.data));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// Reads `text` as it comes in pieces of so many bytes.
    fn read(text: &str, piece: usize) -> (Vec<(String, String)>, Place) {
        let (mut lines, mut place, mut events) = (Lines::new(1000), Place::default(), Vec::new());
        for chunk in text.as_bytes().chunks(piece) {
            lines.add(chunk);
            while let Some(event) = lines.next(&mut place).unwrap() {
                events.push((event.name, String::from_utf8(event.data).unwrap()));
            }
        }
        (events, place)
    }

    #[test]
    fn events_are_read_however_they_are_cut() {
        let rows: [(&str, &[(&str, &str)], &str); 11] = [
            ("data: a\n\n", &[("message", "a")], "the shortest"),
            ("data:a\n\ndata:b\n\n", &[("message", "a"), ("message", "b")], "two"),
            ("event: endpoint\ndata: /m?s=1\n\n", &[("endpoint", "/m?s=1")], "with a name"),
            ("data: a\r\n\r\ndata: b\r\n\r\n", &[("message", "a"), ("message", "b")], "CR LF"),
            ("data: a\r\rdata: b\r\r.", &[("message", "a"), ("message", "b")], "CR alone"),
            ("data: a\ndata: b\n\n", &[("message", "a\nb")], "two lines of data"),
            ("id: 1\ndata:\n\n", &[("message", "")], "a place and nothing to say"),
            (": still here\n\n", &[], "a comment"),
            ("\u{feff}data: a\n\n", &[("message", "a")], "a byte order mark"),
            ("event: x\n\ndata: a\n\n", &[("message", "a")], "a name without data is nothing"),
            ("data: never ended\n", &[], "cut off"),
        ];
        for (text, expected, reason) in rows {
            for piece in [1, 2, 3, 1000] {
                let (events, _) = read(text, piece);
                let events: Vec<_> =
                    events.iter().map(|(name, data)| (name.as_str(), data.as_str())).collect();
                assert_eq!(events, expected, "{reason}, in pieces of {piece}");
            }
        }
    }

    #[test]
    fn the_place_in_a_stream_is_remembered() {
        let (_, place) = read("id: 1-0\nretry: 250\ndata:\n\nid: 1-7\ndata: x\n\n", 5);
        assert_eq!(place.last_id.as_deref(), Some("1-7"));
        assert_eq!(place.retry, Some(Duration::from_millis(250)));
        let (_, place) = read("id: 1\n\nid: a\0b\nretry: soon\ndata: x\n\n", 5);
        assert_eq!(place.last_id.as_deref(), Some("1"), "no id with NUL in it");
        assert_eq!(place.retry, None, "no number");
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let piece = "x".repeat(100);
        let rows = [
            ("data: ", piece.clone(), "a line of data"),
            (": ", piece.clone(), "a comment"),
            ("", format!("data: {piece}\n"), "lines of data, and never an empty one"),
        ];
        for (begin, more, reason) in rows {
            let (mut lines, mut place) = (Lines::new(1000), Place::default());
            lines.add(begin.as_bytes());
            let refused_at = (0..1_000).position(|_| {
                lines.add(more.as_bytes());
                lines.next(&mut place).is_err()
            });
            assert!(refused_at.is_some_and(|at| at < 100), "{reason}: {refused_at:?}");
        }
    }
}
