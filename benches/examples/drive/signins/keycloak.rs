//! A Keycloak that is ready to be measured, in production mode with its own file as its database. Making
//! it takes a minute, so it is made once and kept beside the tables; each measurement begins with a copy
//! of its database as it was then.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use super::person::{KEYCLOAK_CLIENT, KEYCLOAK_REALM, PASSWORD};
use crate::peers::{Installed, KEYCLOAK, Peer};
use crate::server::{self, Server};
use crate::{Arguments, Result};

/// People it knows.
pub(super) const PEOPLE: u64 = 50;

/// Starts it; `Err` in the answer says why it is left out.
pub(super) async fn start(
    arguments: &Arguments,
    folder: &Path,
) -> Result<std::result::Result<(Installed, Server), String>> {
    let brought = match Peer::Keycloak.find(&arguments.checkout) {
        Ok(brought) => brought,
        Err(absent) => return Ok(Err(absent)),
    };
    let version = Path::new(KEYCLOAK).file_name().ok_or("Keycloak has no folder")?;
    let home = arguments.out.canonicalize()?.join(version);
    let (made, data) = (home.join("data-as-made"), home.join("data"));
    if !made.exists() {
        let from = arguments.checkout.canonicalize()?.join(KEYCLOAK);
        make(&brought.keycloak_at(&home), &from, &home, folder).await?;
        fs::rename(&data, &made)?;
    }
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    run(Command::new("cp").arg("-a").args([&made, &data])).await?;
    let address = server::free_address()?;
    let installed = brought.keycloak_at(&home);
    let server = serve(&installed, address, folder, &[])?;
    Ok(Ok((installed, server)))
}

async fn make(installed: &Installed, from: &Path, home: &Path, folder: &Path) -> Result<()> {
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    run(Command::new("cp").arg("-a").args([from, home])).await?;
    let data = home.join("data");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    let import = data.join("import");
    fs::create_dir_all(&import)?;
    fs::write(import.join(format!("{KEYCLOAK_REALM}.json")), realm().to_string())?;
    let script = home.join("bin/kc.sh");
    run(Command::new("bash").arg(&script).args(["build", "--db=dev-file"])).await?;
    serve(installed, server::free_address()?, folder, &["--import-realm"])?.end().await
}

fn serve(
    installed: &Installed,
    address: SocketAddr,
    folder: &Path,
    more: &[&str],
) -> Result<Server> {
    let port = format!("--http-port={}", address.port());
    let management = format!("--http-management-port={}", server::free_address()?.port());
    let words = [
        "start",
        "--optimized",
        "--cache=local",
        "--http-enabled=true",
        "--http-host=127.0.0.1",
        "--hostname-strict=false",
        &port,
        &management,
    ];
    let mut server = installed.start(&[&words, more].concat(), address, folder)?;
    server.look_behind_the_script()?;
    Ok(server)
}

/// Passwords are hashed but once, since nobody else checks one; refresh tokens are changed at each use.
fn realm() -> Value {
    let people: Vec<Value> = (0..PEOPLE).map(person).collect();
    json!({
        "realm": KEYCLOAK_REALM,
        "enabled": true,
        "sslRequired": "none",
        "passwordPolicy": "hashAlgorithm(pbkdf2-sha256) and hashIterations(1)",
        "revokeRefreshToken": true,
        "refreshTokenMaxReuse": 0,
        "clients": [{
            "clientId": KEYCLOAK_CLIENT,
            "publicClient": true,
            "standardFlowEnabled": true,
            "directAccessGrantsEnabled": false,
            "redirectUris": ["http://127.0.0.1:9/callback"],
            "attributes": { "pkce.code.challenge.method": "S256" },
        }],
        "users": people,
    })
}

/// Complete, so that no "update your account" page stands between the login form and the way back.
fn person(number: u64) -> Value {
    json!({
        "username": format!("person-{number}"),
        "enabled": true,
        "email": format!("person-{number}@example.com"),
        "emailVerified": true,
        "firstName": "Alice",
        "lastName": "Example",
        "credentials": [{ "type": "password", "value": PASSWORD, "temporary": false }],
    })
}

async fn run(command: &mut Command) -> Result<()> {
    let done = command.output().await?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stdout);
    let complained = String::from_utf8_lossy(&done.stderr);
    Err(format!("{command:?}: {}: {said}{complained}", done.status).into())
}
