//! `sekisho keycloak bootstrap`: what a Keycloak realm needs for the settings at hand, said or made.
//!
//! ```text
//! settings ─▶ Wish (wishes.rs) ─┬─▶ --print: the requests that grant it
//!                               └─▶ --apply: realm.rs grants it, and says what it changed
//! ```
//!
//! Whatever is there and right is left alone, so that a second run changes nothing. The administrator's
//! password comes from the environment or standard input, never from an argument.

mod realm;
mod wishes;

use std::io::{self, IsTerminal as _};

use sekisho::protocol::Secret;

use self::realm::{Administrator, Realm};
use self::wishes::{RealmUrl, wishes};
use crate::cli::BootstrapArgs;
use crate::config::{Config, Flags};
use crate::outcome::{Failure, say};
use crate::{serve, user};

/// Keycloak's own names for its first administrator.
const USERNAME: &str = "KC_BOOTSTRAP_ADMIN_USERNAME";
const PASSWORD: &str = "KC_BOOTSTRAP_ADMIN_PASSWORD";

/// Says what is needed, or makes it so and says what was changed. `variable` reads the environment.
///
/// # Errors
/// When the settings name no realm, or Keycloak does not do what is asked.
pub(crate) fn bootstrap(
    args: &BootstrapArgs,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<(), Failure> {
    let config = load(&args.settings.flags())?;
    let (url, wishes) = wishes(&config, &args.client_hosts)?;
    if !args.apply {
        let steps: Vec<_> = wishes.iter().map(|wish| wish.steps(&url)).collect();
        return say(&steps.join("\n"));
    }
    let administrator = administrator(&url, &args.admin_realm, variable)?;
    serve::runtime()?.block_on(async {
        let realm = Realm::enter(url, &administrator).await?;
        let mut changes = 0;
        for wish in &wishes {
            for change in realm.grant(wish).await? {
                changes += 1;
                say(&change)?;
            }
        }
        if changes == 0 { say("nothing to change") } else { Ok(()) }
    })
}

fn administrator(
    url: &RealmUrl,
    realm: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Administrator, Failure> {
    let realm = realm.to_owned();
    if let (Some(username), Some(password)) = (variable(USERNAME), variable(PASSWORD)) {
        return Ok(Administrator { realm, username, password: Secret::new(password) });
    }
    let unreadable =
        |error: io::Error| Failure::Run(format!("cannot read the administrator: {error}"));
    let (username, password) = if io::stdin().is_terminal() {
        eprint_prompt(&format!("User name of an administrator of {}: ", url.base))?;
        let username = user::read_line(io::stdin().lock()).map_err(unreadable)?;
        let password = rpassword::prompt_password("Password: ").map_err(unreadable)?;
        (username, Secret::new(password))
    } else {
        let mut input = io::stdin().lock();
        let username = user::read_line(&mut input).map_err(unreadable)?;
        (username, user::read_line(&mut input).map_err(unreadable)?)
    };
    if username.reveal().is_empty() || password.reveal().is_empty() {
        return Err(Failure::Run(format!(
            "there is no administrator: set {USERNAME} and {PASSWORD}, or give both as two lines at \
             standard input"
        )));
    }
    Ok(Administrator { realm, username: username.reveal().to_owned(), password })
}

fn eprint_prompt(text: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    let mut err = io::stderr().lock();
    write!(err, "{text}")
        .and_then(|()| err.flush())
        .map_err(|error| Failure::Run(format!("cannot write to standard error: {error}")))
}
