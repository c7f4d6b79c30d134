//! `sekisho config schema`: what it prints is what is published, and every settings file in the documents
//! is one by it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::Folder;

const PUBLISHED: &str = "docs/sekisho.schema.json";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder, by their paths in the repository.
fn files_below(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// The examples of TOML in a document, which may stand in a list.
fn examples(markdown: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = markdown.lines();
    while let Some(fence) = lines.next() {
        // It may stand in a list, behind the number of its item.
        let indent = fence.find("```").unwrap_or_default();
        if fence.ends_with("```toml") {
            let example = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let example = example.map(|line| line.get(indent..).unwrap_or_default());
            examples.push(example.collect::<Vec<_>>().join("\n"));
        }
    }
    examples
}

fn as_json(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    serde_json::to_value(table).unwrap()
}

#[tokio::test]
async fn the_published_schema_is_what_the_program_prints() {
    let printed = Folder::new().run(&["config", "schema"], "").await;
    assert_eq!(printed.code, Some(0), "{}", printed.err);
    assert!(
        printed.out == read(PUBLISHED),
        "{PUBLISHED} is another one: cargo run -- config schema > {PUBLISHED}"
    );
}

/// What of `value` is not as `schema` has it, by the words of JSON Schema that ours is made of.
fn flaws(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    const WORDS: [&str; 11] = [
        "$schema",
        "additionalProperties",
        "default",
        "description",
        "items",
        "minimum",
        "properties",
        "required",
        "title",
        "type",
        "$comment",
    ];
    let words = schema.as_object().unwrap();
    let unknown = words.keys().find(|word| !WORDS.contains(&word.as_str()));
    assert_eq!(unknown, None, "nobody here knows what it means, at {place}");
    let is_of_kind = match words["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{other} at {place}"),
    };
    if !is_of_kind {
        return vec![format!("{place} is no {}", words["type"])];
    }
    let mut found = Vec::new();
    if words.get("minimum").is_some_and(|least| value.as_i64() < least.as_i64()) {
        found.push(format!("{place} is too small"));
    }
    for name in words.get("required").and_then(Value::as_array).into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{place} has no {name}"));
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let place = format!("{place}.{name}");
        let known = words.get("properties").and_then(|properties| properties.get(name));
        match known.or_else(|| words.get("additionalProperties")) {
            Some(Value::Bool(false)) => found.push(format!("{place} is unknown")),
            Some(schema) => found.extend(flaws(schema, value, &place)),
            None => {}
        }
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(flaws(&words["items"], item, place));
    }
    found
}

fn published() -> Value {
    serde_json::from_str(&read(PUBLISHED)).unwrap()
}

#[test]
fn every_settings_file_in_the_documents_is_one_by_the_schema() {
    let schema = published();
    let mut texts = Vec::new();
    let documents = files_below("docs", ".md").into_iter().chain(files_below("examples", ".md"));
    for document in documents.chain(["README.md".to_owned()]) {
        for example in examples(&read(&document)) {
            texts.push((document.clone(), example));
        }
    }
    for file in files_below("examples", ".toml") {
        texts.push((file.clone(), read(&file)));
    }
    assert!(texts.len() >= 15, "only {} examples were found", texts.len());
    for (place, text) in texts {
        let flaws = flaws(&schema, &as_json(&text), "");
        assert!(flaws.is_empty(), "{place}: {flaws:?}: {text}");
    }
}

#[test]
fn a_misspelt_name_and_a_wrong_kind_are_none_by_the_schema() {
    let rows = [
        ("lisen = \"127.0.0.1:1\"", "a misspelt name"),
        ("[identity]\nisuer = \"x\"", "a misspelt name in a table"),
        ("[[server]]\nname = \"a\"\nupstrem = { builtin = \"fortune\" }", "in one of many tables"),
        ("[[server]]\nname = \"a\"\nupstream = { bultin = \"fortune\" }", "two levels below"),
        ("[[rule]]\nallow = \"true\"", "no name"),
        ("listen = 8000", "a number for a text"),
        ("allowed_hosts = \"a.example\"", "a text for a list"),
        ("allowed_hosts = [7]", "numbers for texts"),
        ("[limits]\nclients_max = \"7\"", "a text for a number"),
        ("[limits]\nclients_max = -1", "less than nothing"),
    ];
    for (text, reason) in rows {
        let flaws = flaws(&published(), &as_json(text), "");
        assert_eq!(flaws.len(), 1, "{reason}: {text}: {flaws:?}");
    }
    assert!(flaws(&published(), &json!({}), "").is_empty(), "nothing at all is enough");
}

/// The table of settings in the README says the same names and defaults.
#[test]
fn the_readme_has_every_setting_of_the_schema_with_its_default() {
    let readme = read("README.md");
    let rows: Vec<Vec<&str>> =
        readme.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let mut settings = Vec::new();
    leaves(&published(), "", &mut settings);
    assert!(settings.len() > 50, "{}", settings.len());
    for (name, default) in settings {
        // There is nothing to choose yet.
        if name == "metrics_listen" {
            continue;
        }
        let named = format!("`{name}`");
        let row = rows.iter().find(|row| row.get(1).is_some_and(|cell| cell.contains(&named)));
        assert!(row.is_some(), "README has no row for {name}");
        // One row for a setting and the file that holds it has the default of neither.
        if let (Some(default), Some(row)) = (default, row)
            && row[1] == named
        {
            let default = match default {
                Value::Array(items) => {
                    items.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(",")
                }
                Value::String(text) => text,
                other => other.to_string(),
            };
            let told = row[2].replace(['`', ' '], "");
            let is_same = told == default || told.replace(',', "") == default;
            assert!(is_same || default.is_empty(), "{name}: {told} is not {default}");
        }
    }
}

/// Settings that are no tables, by their whole names, of the program alone.
fn leaves(schema: &Value, prefix: &str, into: &mut Vec<(String, Option<Value>)>) {
    for (name, setting) in schema["properties"].as_object().unwrap() {
        let name = format!("{prefix}{name}");
        if setting.get("properties").is_some() {
            leaves(setting, &format!("{name}."), into);
        } else if setting["items"].get("properties").is_none() {
            into.push((name, setting.get("default").cloned()));
        }
    }
}
