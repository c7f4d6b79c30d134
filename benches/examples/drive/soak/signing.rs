//! Sign-ins from the first request to the last: what was bought works, is refreshed, and does not work
//! any more when it was given back; and a machine that asks about its own tokens.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::calls::pace;
use super::crowd::{Holder, Site, ask, expect, post_form};
use super::{MACHINE, MACHINE_SECRET, Soak, person};
use crate::Result;
use crate::load::{Connection, request};
use crate::target::{Wire, host_of};

/// Of so many grants one is left behind, for the server to forget it.
const LEFT_ONE_IN: usize = 3;

/// Registers so many clients that never come again.
pub(super) async fn register(soak: &Soak, count: usize) -> Result<()> {
    let body = r#"{"client_name":"soak","redirect_uris":["http://127.0.0.1:9/callback"],"token_endpoint_auth_method":"none"}"#;
    let headers = [("Content-Type", "application/json")];
    let asked = request("POST", "/register", &host_of(soak.address), &headers, body);
    let mut connection = Connection::open(soak.address).await?;
    for _ in 0..count {
        expect(&ask(&mut connection, &asked).await?, 201, "client_id")?;
    }
    Ok(())
}

/// Signs one after the other in.
pub(super) async fn people(soak: Arc<Soak>, every: Duration) {
    let mut ticks = pace(every);
    for number in 0.. {
        ticks.tick().await;
        soak.tally.add("sign-in, and what follows", one(&soak, number).await);
    }
}

async fn one(soak: &Soak, number: usize) -> Result<()> {
    // The command's errors have a cause at times; what is tried here must have none.
    let site = if number.is_multiple_of(2) { Site::BuiltIn } else { Site::Remote };
    let holder = Holder::sign_in(soak, &person(number), site).await?;
    let mut connection = Connection::open(soak.address).await?;
    expect(&ask(&mut connection, &holder.wire().call()).await?, 200, "\"result\"")?;
    holder.refresh().await?;
    expect(&ask(&mut connection, &holder.wire().call()).await?, 200, "\"result\"")?;
    if number.is_multiple_of(LEFT_ONE_IN) {
        return Ok(());
    }
    holder.revoke().await?;
    // On a busy machine the other was at rest for too long to be kept.
    let mut connection = Connection::open(soak.address).await?;
    expect(&ask(&mut connection, &holder.wire().call()).await?, 401, "").map(drop)
}

/// Has a machine ask for a token, use it, ask about it, and give it back.
pub(super) async fn machine(soak: Arc<Soak>, every: Duration) {
    let mut ticks = pace(every);
    loop {
        ticks.tick().await;
        soak.tally.add("token of a machine, introspected", token_of_machine(soak.address).await);
    }
}

async fn token_of_machine(address: SocketAddr) -> Result<()> {
    let basic = format!("Basic {}", STANDARD.encode(format!("{MACHINE}:{MACHINE_SECRET}")));
    let headers = [("Authorization", &*basic)];
    let resource = format!("http://{}/mcp", host_of(address));
    let form =
        [("grant_type", "client_credentials"), ("scope", "fortune"), ("resource", &*resource)];
    let reply = post_form(address, "/token", &headers, &form).await?;
    let body: Value = serde_json::from_str(expect(&reply, 200, "access_token")?)?;
    let token = body.get("access_token").and_then(Value::as_str).ok_or("no access_token")?;
    let wire = Wire::new(address, token.to_owned());
    let mut connection = Connection::open(address).await?;
    expect(&ask(&mut connection, &wire.call()).await?, 200, "\"result\"")?;
    let form = [("token", token)];
    let active = post_form(address, "/introspect", &headers, &form).await?;
    expect(&active, 200, "\"active\":true")?;
    expect(&post_form(address, "/revoke", &headers, &form).await?, 200, "")?;
    let over = post_form(address, "/introspect", &headers, &form).await?;
    expect(&over, 200, "\"active\":false")?;
    let mut connection = Connection::open(address).await?;
    expect(&ask(&mut connection, &wire.call()).await?, 401, "").map(drop)
}
