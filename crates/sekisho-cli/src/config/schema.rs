//! `sekisho config schema`: the settings file as a JSON Schema, so that an editor knows every name in it. Made
//! of the table of settings (`keys.rs`): it knows names and kinds, not which values go together, which
//! `config check` says.

use serde_json::{Map, Value, json};

use super::keys::{CLIENT_KEYS, KEYS, Key, Kind, RULE_KEYS, SERVER_KEYS};

type Object = Map<String, Value>;

/// The schema, as it is published.
pub(crate) fn schema() -> String {
    let mut settings = properties(KEYS);
    let tables = [
        ("server", SERVER_KEYS, "name", "a guarded MCP server"),
        ("rule", RULE_KEYS, "name", "who may do what"),
        ("client", CLIENT_KEYS, "id", "a client that you register"),
    ];
    for (name, keys, required, purpose) in tables {
        let mut one = table(properties(keys));
        one.insert("required".to_owned(), json!([required]));
        let description = format!("each is {purpose}");
        let tables = json!({ "type": "array", "items": one, "description": description });
        settings.insert(name.to_owned(), tables);
    }
    if let Some(one) = settings.remove("identity") {
        let described = "where people choose between several";
        let several = json!({ "type": "array", "items": one, "description": described });
        settings.insert("identity".to_owned(), json!({ "anyOf": [one, several] }));
    }
    let mut file = table(settings);
    file.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    file.insert("title".to_owned(), json!("sekisho.toml"));
    format!("{:#}\n", Value::Object(file))
}

/// A table of these settings, and of no others.
fn table(properties: Object) -> Object {
    let mut table = Object::new();
    table.insert("type".to_owned(), json!("object"));
    table.insert("properties".to_owned(), Value::Object(properties));
    table.insert("additionalProperties".to_owned(), json!(false));
    table
}

fn properties(keys: &[Key]) -> Object {
    let mut properties = Object::new();
    for key in keys {
        put(&mut properties, key.path, setting(key));
    }
    properties
}

/// What has a dot in its name stands in a table below.
fn put(properties: &mut Object, path: &str, setting: Value) {
    let Some((outer, name)) = path.split_once('.') else {
        properties.insert(path.to_owned(), setting);
        return;
    };
    let below = properties.entry(outer).or_insert_with(|| Value::Object(table(Object::new())));
    if let Some(inside) = below.get_mut("properties").and_then(Value::as_object_mut) {
        put(inside, name, setting);
    }
}

fn setting(key: &Key) -> Value {
    let texts = json!({ "type": "string" });
    let (mut setting, default) = match key.kind {
        Kind::Text | Kind::Secret => (texts, key.default.map(Value::from)),
        Kind::List => {
            let items = |text: &str| text.split(',').filter(|item| !item.is_empty()).collect();
            (json!({ "type": "array", "items": texts }), key.default.map(items))
        }
        Kind::Table | Kind::Names => {
            (json!({ "type": "object", "additionalProperties": texts }), None)
        }
        Kind::Number => {
            let number = |text: &str| text.parse::<u64>().ok().map(Value::from);
            (json!({ "type": "integer", "minimum": 0 }), key.default.and_then(number))
        }
    };
    if let Some(setting) = setting.as_object_mut() {
        setting.insert("description".to_owned(), json!(key.purpose));
        setting.extend(default.map(|default| ("default".to_owned(), default)));
    }
    setting
}
