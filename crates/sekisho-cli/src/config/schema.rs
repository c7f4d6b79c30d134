//! `sekisho config schema`: the settings file as a JSON Schema, so that an editor knows every name in it. Made
//! of the table of settings (`keys.rs`): it knows names and kinds, not which values go together, which
//! `config check` says.

use serde_json::{Map, Value, json};

use super::keys::{CLIENT_KEYS, KEYS, Key, Kind, RULE_KEYS, SERVER_KEYS};

/// The schema, as it is published.
pub(crate) fn schema() -> String {
    let mut file = table(KEYS);
    let tables = [
        ("server", SERVER_KEYS, "name", "a guarded MCP server"),
        ("rule", RULE_KEYS, "name", "who may do what"),
        ("client", CLIENT_KEYS, "id", "a client that you register"),
    ];
    for (name, keys, required, purpose) in tables {
        let mut one = table(keys);
        one["required"] = json!([required]);
        file["properties"][name] =
            json!({ "type": "array", "items": one, "description": format!("each is {purpose}") });
    }
    file["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    file["title"] = json!("sekisho.toml");
    format!("{file:#}\n")
}

/// A table of these settings, and of no others.
fn table(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Reserved(_))) {
        put(&mut properties, key.path, setting(key));
    }
    object(properties)
}

/// What has a dot in its name stands in a table below.
fn put(properties: &mut Map<String, Value>, path: &str, setting: Value) {
    let Some((table, name)) = path.split_once('.') else {
        properties.insert(path.to_owned(), setting);
        return;
    };
    let below = properties.entry(table).or_insert_with(|| object(Map::new()));
    if let Some(inside) = below.get_mut("properties").and_then(Value::as_object_mut) {
        put(inside, name, setting);
    }
}

fn object(properties: Map<String, Value>) -> Value {
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

fn setting(key: &Key) -> Value {
    let texts = json!({ "type": "string" });
    let mut setting = match key.kind {
        Kind::Text | Kind::Secret | Kind::Reserved(_) => texts,
        Kind::List => json!({ "type": "array", "items": texts }),
        Kind::Table | Kind::Names => json!({ "type": "object", "additionalProperties": texts }),
        Kind::Number => json!({ "type": "integer", "minimum": 0 }),
    };
    setting["description"] = json!(key.purpose);
    if let Some(default) = key.default {
        setting["default"] = match key.kind {
            Kind::Number => json!(default.parse::<u64>().unwrap_or_default()),
            Kind::List => {
                json!(default.split(',').filter(|item| !item.is_empty()).collect::<Vec<_>>())
            }
            Kind::Text | Kind::Secret | Kind::Table | Kind::Names | Kind::Reserved(_) => {
                json!(default)
            }
        };
    }
    setting
}
