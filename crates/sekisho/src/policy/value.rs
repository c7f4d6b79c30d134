//! From JSON to the values of CEL, strictly: an object that names a member twice is no value, since
//! whoever reads it next may take the other one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value read out of text.
pub(super) struct Strict(pub(super) Value);

/// A value of ours.
pub(super) fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Bool(*bool),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => of_text(text),
        serde_json::Value::Array(items) => {
            Value::List(Arc::new(items.iter().map(of_json).collect()))
        }
        serde_json::Value::Object(members) => {
            of_members(members.iter().map(|(name, value)| (name.clone(), of_json(value))))
        }
    }
}

pub(super) fn of_text(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

pub(super) fn of_members(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    let members = members.into_iter().map(|(name, value)| (Key::String(Arc::new(name)), value));
    Value::Map(Map { map: Arc::new(members.collect()) })
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Strict;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Strict, E> {
                Ok(Strict(Value::Null))
            }

            fn visit_bool<E>(self, bool: bool) -> Result<Strict, E> {
                Ok(Strict(Value::Bool(bool)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Strict, E> {
                Ok(Strict(Value::Int(number)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Strict, E> {
                // One kind of number wherever it fits, so that `==` and `<` say what they seem to.
                Ok(Strict(i64::try_from(number).map_or(Value::UInt(number), Value::Int)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Strict, E> {
                Ok(Strict(Value::Float(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Strict, E> {
                Ok(Strict(of_text(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Strict(Value::List(Arc::new(list))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
                let mut map = HashMap::new();
                while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
                    if map.insert(Key::String(Arc::new(name)), value).is_some() {
                        return Err(de::Error::custom("a member is named twice"));
                    }
                }
                Ok(Strict(Value::Map(Map { map: Arc::new(map) })))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written_or_not_at_all() {
        let rows = [
            (r#"{"a":[1,-2,0.5,"x",null,true]}"#, true, "every kind"),
            (r#"{"a":18446744073709551615}"#, true, "a number beyond the signed ones"),
            (r#"{"a":1,"a":2}"#, false, "a member twice"),
            (r#"{"a":1,"\u0061":2}"#, false, "twice, once in disguise"),
            (r#"{"x":[{"y":{"a":1,"a":1}}]}"#, false, "twice, deep inside"),
            (r#"{"a":1e999}"#, false, "no number that anybody has"),
            (r#"{"a":"\ud800"}"#, false, "half a letter"),
        ];
        for (text, expected, reason) in rows {
            let read: Result<Strict, _> = serde_json::from_str(text);
            assert_eq!(read.is_ok(), expected, "{text}: {reason}");
            if let Ok(Strict(value)) = read {
                assert_eq!(value, of_json(&serde_json::from_str(text).unwrap()), "{text}");
            }
        }
    }
}
