//! A text of JSON with other words in some places; every other byte of it stays as it came.

use std::ops::Range;

use serde_json::value::RawValue;

use super::json::Json;

/// What is to change in a text.
#[derive(Debug)]
pub struct Edits<'a> {
    text: &'a str,
    changes: Vec<(Range<usize>, String)>,
}

impl<'a> Edits<'a> {
    /// No change of `text` yet.
    pub fn of(text: &'a RawValue) -> Self {
        Self { text: text.get(), changes: Vec::new() }
    }

    /// Other words where `part` stands, which was read out of this very text.
    pub fn replace<'b>(&mut self, part: impl Into<Json<'b>>, words: impl Into<String>) {
        let part = part.into();
        let start = (part.get().as_ptr() as usize).wrapping_sub(self.text.as_ptr() as usize);
        let end = start.saturating_add(part.get().len());
        self.changes.push((start..end, words.into()));
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The text with its changes; nothing if a part was none of it, two overlap, or what comes of it
    /// is no JSON.
    pub fn finish(mut self) -> Option<Box<RawValue>> {
        self.changes.sort_by_key(|(place, _)| place.start);
        let mut out = String::with_capacity(self.text.len() + 32 * self.changes.len());
        let mut done = 0;
        for (place, words) in &self.changes {
            out.push_str(self.text.get(done..place.start)?);
            out.push_str(words);
            done = place.end;
        }
        out.push_str(self.text.get(done..)?);
        RawValue::from_string(out).ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[derive(serde::Deserialize)]
    struct Two<'a> {
        #[serde(borrow)]
        a: &'a RawValue,
        #[serde(borrow)]
        b: &'a RawValue,
    }

    #[test]
    fn what_is_not_replaced_stays_byte_for_byte() {
        let text = r#"{ "b" : 1.0e2 ,"x":"\u00e9", "a":[ 1 ] }"#;
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        let Two { a, b } = serde_json::from_str(raw.get()).unwrap();
        let mut edits = Edits::of(raw);
        assert!(edits.is_empty());
        edits.replace(a, "2");
        edits.replace(b, "{}");
        let expected = r#"{ "b" : {} ,"x":"\u00e9", "a":2 }"#;
        assert_eq!(edits.finish().unwrap().get(), expected);
    }

    #[test]
    fn nothing_comes_of_a_part_of_another_text() {
        let [one, other] =
            [r#"{"a":1,"b":2}"#, "[1]"].map(|text| RawValue::from_string(text.to_owned()).unwrap());
        let Two { a, .. } = serde_json::from_str(one.get()).unwrap();
        for (words, part) in [("3", &*other), ("not JSON", a)] {
            let mut edits = Edits::of(&one);
            edits.replace(part, words);
            assert!(edits.finish().is_none(), "{words}");
        }
        let mut twice = Edits::of(&one);
        twice.replace(a, "3");
        twice.replace(a, "4");
        assert!(twice.finish().is_none(), "two words in one place");
    }
}
