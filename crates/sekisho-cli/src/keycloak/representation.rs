//! An object as Keycloak's administration API tells it and is told it: whatever we do not know of in it
//! stays as it came.

use serde_json::{Map, Value, json};

/// One object. What is not there is null, and can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Representation(Map<String, Value>);

impl Representation {
    /// An object of ours.
    pub(super) fn new(value: Value) -> Self {
        match value {
            Value::Object(members) => Self(members),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Self(Map::new()),
        }
    }

    /// The objects of a list; of anything else none.
    pub(super) fn list(value: &Value) -> Vec<Self> {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        items.iter().cloned().map(Self::new).collect()
    }

    /// The whole of it, for the wire.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// A member.
    pub(super) fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::Null)
    }

    /// A member that is a text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.get(name).as_str().unwrap_or_default()
    }

    /// A text within a member that is an object.
    pub(super) fn text_within(&self, table: &str, name: &str) -> &str {
        self.get(table).get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets a member; says whether it was another before.
    pub(super) fn set(&mut self, name: &str, value: impl Into<Value>) -> bool {
        let value = value.into();
        let is_new = *self.get(name) != value;
        self.0.insert(name.to_owned(), value);
        is_new
    }

    /// The same within a member that is an object.
    pub(super) fn set_within(&mut self, table: &str, name: &str, value: impl Into<Value>) -> bool {
        let mut inside = Self::new(self.get(table).clone());
        let is_new = inside.set(name, value);
        self.set(table, inside.into_value());
        is_new
    }

    /// Puts a text into a list; says whether it was not there.
    pub(super) fn add(&mut self, name: &str, text: &str) -> bool {
        let mut list = self.get(name).as_array().cloned().unwrap_or_default();
        if list.iter().any(|one| one == text) {
            return false;
        }
        list.push(json!(text));
        self.set(name, list)
    }

    /// The same within a member that is an object.
    pub(super) fn add_within(&mut self, table: &str, name: &str, text: &str) -> bool {
        let mut inside = Self::new(self.get(table).clone());
        let is_new = inside.add(name, text);
        if is_new {
            self.set(table, inside.into_value());
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_told_apart_from_what_was_so_and_the_rest_stays() {
        let mut it = Representation::new(json!({
            "id": "1", "unknown": [1, { "deep": true }], "list": ["a"], "table": { "x": "1" },
        }));
        let before = it.clone();
        assert!(!it.set("id", "1") && !it.add("list", "a") && !it.set_within("table", "x", "1"));
        assert_eq!(it, before);
        assert!(it.set("id", "2") && it.add("list", "b") && it.set_within("table", "x", "2"));
        assert!(it.add("new", "c") && it.add_within("other", "list", "d"));
        assert_eq!(
            it.into_value(),
            json!({
                "id": "2", "unknown": [1, { "deep": true }], "list": ["a", "b"],
                "table": { "x": "2" }, "new": ["c"], "other": { "list": ["d"] },
            })
        );
    }

    #[test]
    fn an_answer_that_is_none_of_keycloaks_is_empty() {
        for answer in [json!(null), json!("x"), json!({ "a": 1 }), json!(1)] {
            assert!(Representation::list(&answer).is_empty(), "{answer}");
        }
        assert_eq!(Representation::new(json!([1])).text("id"), "");
    }
}
