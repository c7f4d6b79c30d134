//! `sekisho doctor`: examines everything that a login and a call need, beside a running server or
//! without one, and says for each thing how it is and what to do. Changes nothing, and shows no secret.
//!
//! ```text
//! settings ─▶ key ─▶ store                        what is on this machine
//! door ─▶ metadata, endpoints, stream             what clients see at public_url
//! provider | other_server, token                  who logs people in, or gives the tokens
//! upstreams                                       what is guarded
//! ```
//!
//! The four rows are examined at once; one file each for what is examined.

mod clock;
mod door;
mod endpoints;
mod finding;
mod key;
mod metadata;
mod other_server;
mod outside;
mod provider;
mod settings;
mod store;
mod stream;
mod token;
mod trade;
mod upstreams;

use std::io::Read as _;

use sekisho::protocol::Secret;
use zeroize::Zeroizing;

use self::finding::{Finding, State, as_json, as_lines, worst};
use self::stream::Patience;
use crate::cli::DoctorArgs;
use crate::config::{Config, Flags, IdentityConfig};
use crate::outcome::{Failure, say};
use crate::{serve, telemetry};

/// Exit code where something does not work.
const PROBLEM: u8 = 1;
/// Exit code where the settings cannot be used, so that nothing else was examined.
const SETTINGS: u8 = 2;

/// Largest file with a token that is read, in bytes.
const TOKEN_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Examines everything, and says what was found.
///
/// # Errors
/// With the exit code, once the findings were said.
pub(crate) fn run(
    args: &DoctorArgs,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let show = |findings: &[Finding]| {
        if args.output.json { as_json(findings) } else { as_lines(findings) }
    };
    let config = match load(&args.output.settings.flags()) {
        Ok(config) => config,
        Err(Failure::Config(wrong)) => {
            say(&show(&[Finding::told("settings", wrong.to_string())]))?;
            return Err(Failure::Told(SETTINGS));
        }
        Err(other) => return Err(other),
    };
    let token = args.token.as_deref().map(read_token).transpose()?;
    telemetry::begin(&config.log);
    let patience = if args.patient { Patience::Long } else { Patience::Short };
    let runtime = serve::runtime()?;
    let findings = runtime.block_on(examine(&config, patience, token.as_ref()));
    runtime.shutdown_background();
    say(&show(&findings))?;
    match worst(&findings) {
        State::Ok | State::Warning => Ok(()),
        State::Problem => Err(Failure::Told(PROBLEM)),
    }
}

async fn examine(config: &Config, patience: Patience, token: Option<&Secret>) -> Vec<Finding> {
    let here = async {
        let mut found = settings::examine(config);
        let (key, keys) = key::examine(config);
        found.extend(key);
        found.extend(store::examine(config, keys.as_ref()).await);
        found
    };
    let seen = async {
        let (mut found, outside) = door::examine(config).await;
        if let Some(outside) = &outside {
            let (metadata, endpoints, stream) = tokio::join!(
                metadata::examine(config, outside),
                endpoints::examine(config, outside),
                stream::examine(config, outside, patience),
            );
            found.extend(metadata.into_iter().chain(endpoints).chain(stream));
        }
        found
    };
    let identity = async {
        match &config.identity {
            IdentityConfig::Providers(all) => {
                let mut found = Vec::new();
                for one in all {
                    let of_this = provider::examine(config, one).await.into_iter();
                    found.extend(of_this.map(|finding| finding.of(&one.name)));
                }
                found.extend(token::of_our_own(token));
                found
            }
            IdentityConfig::External(other) => other_server::examine(config, other, token).await,
        }
    };
    let (here, seen, identity, behind) =
        tokio::join!(here, seen, identity, upstreams::examine(config));
    here.into_iter().chain(seen).chain(identity).chain(behind).collect()
}

/// A token from a file, or from standard input for `-`; never from an argument, which others see.
fn read_token(place: &str) -> Result<Secret, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::Run(format!("--token {place:?}: cannot read it ({error}): name a readable file"))
    };
    let mut text = Zeroizing::new(String::new());
    if place == "-" {
        std::io::stdin().lock().take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(place)
            .and_then(|file| file.take(TOKEN_FILE_BYTES_MAX).read_to_string(&mut text))
    }
    .map_err(unreadable)?;
    Ok(Secret::new(text.trim()))
}
