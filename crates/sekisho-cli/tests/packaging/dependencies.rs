//! What the workspace is made of, as cargo says it by `Cargo.lock`: nothing is built for it.

use std::process::Command;

use serde_json::Value;

use crate::root;

/// A package that is not ours.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The expression in its manifest; empty if there is none.
    pub(crate) licence: String,
    pub(crate) source: String,
}

/// All of them, on every platform, in builds and tests.
pub(crate) fn packages() -> Vec<Package> {
    let asked = ["metadata", "--locked", "--format-version", "1"];
    let done = Command::new(env!("CARGO")).args(asked).current_dir(root()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let metadata: Value = serde_json::from_slice(&done.stdout).unwrap();
    let text = |package: &Value, name: &str| package[name].as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .map(|package| Package {
            name: text(package, "name"),
            version: text(package, "version"),
            licence: text(package, "license"),
            source: text(package, "source"),
        })
        .collect()
}
