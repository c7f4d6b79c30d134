//! A text that was read as JSON before, looked at once more: what its members are is found by quotes and
//! brackets alone, many times faster than by reading it again.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A JSON value as it came, without space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<'a>(&'a str);

impl<'a> From<&'a RawValue> for Json<'a> {
    fn from(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// What it is called.
    pub(super) name: Cow<'a, str>,
    /// How that is written, quotes included.
    pub(super) written: &'a str,
    pub(super) value: Json<'a>,
}

impl<'a> Json<'a> {
    /// The text of it.
    pub fn get(self) -> &'a str {
        self.0
    }

    /// A copy of it.
    pub fn to_raw(self) -> Box<RawValue> {
        RawValue::from_string(self.0.to_owned()).unwrap_or_default()
    }

    /// Whether it is an object.
    pub fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    /// Itself, unless it is `null`.
    pub(super) fn unless_null(self) -> Option<Self> {
        (self.0 != "null").then_some(self)
    }

    /// What a string says; borrowed unless something in it is escaped. Nothing if it is another value, or what
    /// it escapes is no text.
    pub fn as_text(self) -> Option<Cow<'a, str>> {
        let inside = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if has_escapes(inside) {
            return serde_json::from_str(self.0).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inside))
    }

    /// Whether this word may stand in it, in whatever letters: most texts that have nothing of the kind are found out
    /// by a glance.
    pub fn may_say(self, word: &str) -> bool {
        self.0.contains(word) || has_escapes(self.0)
    }

    /// The members of an object in their order. One whose name is no text stands there as nothing.
    pub(super) fn members(self) -> Option<impl Iterator<Item = Option<Member<'a>>>> {
        let (text, bytes) = (self.0, self.0.as_bytes());
        let mut at = text.starts_with('{').then_some(1)?;
        Some(std::iter::from_fn(move || {
            at = behind_space(bytes, at);
            if bytes.get(at) == Some(&b',') {
                at = behind_space(bytes, at + 1);
            }
            let name = at;
            let is_escaped;
            (at, is_escaped) =
                (bytes.get(at) == Some(&b'"')).then(|| behind_string(bytes, at))??;
            let written = text.get(name..at)?;
            at = behind_space(bytes, behind_space(bytes, at) + 1);
            let value = at;
            at = behind_value(bytes, at)?;
            let value = Self(text.get(value..at)?);
            let name = if is_escaped {
                serde_json::from_str(written).ok().map(Cow::Owned)
            } else {
                text.get(name + 1..name + written.len() - 1).map(Cow::Borrowed)
            };
            Some(name.map(|name| Member { name, written, value }))
        }))
    }

    /// The members of an object that have these names; `null` is as good as none. Nothing if it is no object, or
    /// names one of them twice.
    pub fn named<const N: usize>(self, names: [&str; N]) -> Option<[Option<Self>; N]> {
        let mut found = [None; N];
        for member in self.members()? {
            let Member { name, value, .. } = member?;
            let mut places = names.iter().zip(&mut found);
            if let Some((_, place)) = places.find(|(known, _)| **known == name)
                && place.replace(value).is_some()
            {
                return None;
            }
        }
        Some(found.map(|value| value.and_then(Self::unless_null)))
    }
}

/// Whether something in a text of JSON is escaped.
fn has_escapes(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks::<WORD>();
    words.iter().any(|word| first_place(*word, b'\\') != 0) || rest.contains(&b'\\')
}

fn behind_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

fn behind_value(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    loop {
        match text.get(at)? {
            b'"' => (at, _) = behind_string(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            _ if depth > 0 => at += 1,
            _ => {
                let is_in = |byte: &u8| !matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
                while text.get(at).is_some_and(is_in) {
                    at += 1;
                }
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// Behind the string that begins here, and whether something in it is escaped.
fn behind_string(text: &[u8], begin: usize) -> Option<(usize, bool)> {
    let mut at = begin + 1;
    let mut is_escaped = false;
    loop {
        if let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
            let found = first_place(*word, b'"') | first_place(*word, b'\\');
            if found == 0 {
                at += WORD;
                continue;
            }
            at += found.trailing_zeros() as usize / 8;
        }
        match text.get(at)? {
            b'"' => return Some((at + 1, is_escaped)),
            // What is escaped, may be a quote.
            b'\\' => {
                is_escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// How many bytes are looked at in one go.
const WORD: usize = size_of::<u64>();

/// The highest bit of the first byte that is `wanted`; nothing if none is. Above it stands anything.
fn first_place(word: [u8; WORD], wanted: u8) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; WORD]);
    let differs = u64::from_le_bytes(word) ^ (ONES * u64::from(wanted));
    differs.wrapping_sub(ONES) & !differs & (ONES << 7)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn members_are_found_as_they_are_written() {
        let rows = [
            ("{}", vec![], "none"),
            ("{ \n}", vec![], "nothing but space"),
            (r#"{"a":1}"#, vec![("a", r#""a""#, "1")], "a number up to the end"),
            (
                "{ \"a\" :\t-1.0e2 ,\r\n\"b\":null\n}",
                vec![("a", r#""a""#, "-1.0e2"), ("b", r#""b""#, "null")],
                "space wherever it may be",
            ),
            (
                r#"{"\u0061\"\\":"\\\"}","b":[{"c":"]"}, {}]}"#,
                vec![
                    (r#"a"\"#, r#""\u0061\"\\""#, r#""\\\"}""#),
                    ("b", r#""b""#, r#"[{"c":"]"}, {}]"#),
                ],
                "quotes and brackets in strings",
            ),
            (
                r#"{"a":1,"a":2}"#,
                vec![("a", r#""a""#, "1"), ("a", r#""a""#, "2")],
                "whether one may come twice is for others to say",
            ),
        ];
        for (text, expected, reason) in rows {
            let members = Json::from(raw(text)).members().unwrap();
            let members: Vec<Member<'_>> = members.map(Option::unwrap).collect();
            let members: Vec<(&str, &str, &str)> = members
                .iter()
                .map(|Member { name, written, value }| (&**name, *written, value.get()))
                .collect();
            assert_eq!(members, expected, "{text}: {reason}");
        }
        for other in ["[]", "1", r#""{}""#, "null"] {
            assert!(Json::from(raw(other)).members().is_none(), "{other} is no object");
        }
        let no_text = raw(r#"{"\ud800":1}"#);
        assert!(Json::from(no_text).members().unwrap().any(|member| member.is_none()));
    }

    #[test]
    fn members_are_asked_for_by_name_and_stand_there_once() {
        let rows = [
            (r#"{"b":2,"x":[],"a":1}"#, Some([Some("1"), Some("2")]), "in the order asked for"),
            (r#"{"a":null}"#, Some([None, None]), "nothing, said or not"),
            (r#"{"x":1,"x":2}"#, Some([None, None]), "others may come twice"),
            (r#"{"a":1,"\u0061":2}"#, None, "twice, once in disguise"),
            (r#"{"a":null,"a":2}"#, None, "twice, once as nothing"),
            (r#"{"a":1,"\udc00":2}"#, None, "a name that is no text could be any"),
            (r#"["a"]"#, None, "no object"),
        ];
        for (text, expected, reason) in rows {
            let found = Json::from(raw(text)).named(["a", "b"]);
            let found = found.map(|found| found.map(|value| value.map(Json::get)));
            assert_eq!(found, expected, "{text}: {reason}");
        }
    }

    #[test]
    fn a_word_may_be_there_in_other_letters() {
        let rows = [
            (r#"{"_meta":{}}"#, true, "as it is"),
            (r#"{"\u005fmeta":{}}"#, true, "in disguise"),
            (r#"{"a":"0123456789\n"}"#, true, "nobody has looked what is escaped"),
            (r#"{"meta":"0123456789"}"#, false, "nothing of the kind"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(Json::from(raw(text)).may_say("_meta"), expected, "{text}: {reason}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            r#"[\[\]{}",:\\ ]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let name = prop_oneof![any::<String>(), r#"["\\{}]{0,3}"#.prop_map(String::from)];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(name, inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_is_read(value in any_json(), is_wide in any::<bool>()) {
            let write = if is_wide { serde_json::to_string_pretty } else { serde_json::to_string };
            let text = write(&value).unwrap();
            let found = Json::from(raw(&text)).members();
            let read: Option<BTreeMap<String, Value>> = serde_json::from_str(&text).ok();
            prop_assert_eq!(found.is_some(), read.is_some());
            let found: BTreeMap<String, Value> = found
                .into_iter()
                .flatten()
                .flatten()
                .map(|member| {
                    let value = serde_json::from_str(member.value.get()).unwrap();
                    (member.name.into_owned(), value)
                })
                .collect();
            prop_assert_eq!(found, read.unwrap_or_default());
        }
    }
}
