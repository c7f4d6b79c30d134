//! The program `sekisho`: reads what was typed, and says in one sentence what went wrong.

mod application;
mod attend;
mod behind;
mod cli;
mod client;
mod config;
#[cfg(feature = "conformance")]
mod conformance;
mod connections;
mod current;
mod doctor;
mod door;
mod entrance;
mod explain;
mod fleet;
mod flows;
mod fortune;
mod generate;
mod grant;
mod introducing;
mod issuing;
mod key;
mod key_rotate;
mod keycloak;
mod memory;
mod metrics;
mod outcome;
mod providers;
mod proxy_header;
mod reload;
mod serve;
mod service_manager;
mod shortcut;
mod signpost;
mod standing;
mod stdio;
mod stopping;
mod store;
mod telemetry;
mod tls;
mod token;
mod traces;
mod untaken;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command, ConfigCommand, KeyCommand, KeycloakCommand};
use config::{Flags, IdentityConfig};
use outcome::{Failure, say};
use sekisho::protocol::SecretHash;

fn main() -> ExitCode {
    match run(&Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}

fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => {
            let flags = args.flags();
            serve::run(load(&flags)?, reload::Settings { flags, load, fingerprint })
        }
        Command::Stdio(args) => stdio::run(&load(&args.flags())?),
        Command::User(command) => user::run(command, load_administered),
        Command::Client(command) => client::run(command, load_administered),
        Command::Grant(command) => grant::run(command, load_administered),
        Command::Token(command) => token::run(command, load_administered),
        Command::Config(ConfigCommand::Check(args)) => {
            load(&args.flags())?;
            say("the settings can be used")
        }
        Command::Config(ConfigCommand::Show(args)) => {
            let flags = args.flags();
            let config = load(&flags)?;
            say(config::show(&config::read(&flags, std::env::vars_os())?, &config).trim_end())
        }
        Command::Config(ConfigCommand::Schema) => say(config::schema().trim_end()),
        Command::Doctor(args) => doctor::run(args, load),
        Command::Flows(args) => flows::run(args, load_administered),
        Command::Explain(args) => explain::run(args, load),
        Command::Keycloak(KeycloakCommand::Bootstrap(args)) => {
            keycloak::bootstrap(args, load, std::env::vars_os())
        }
        Command::Key(KeyCommand::Rotate(args)) => key_rotate::run(args, load),
        Command::Generate(command) => generate::run(command),
        Command::Attend(args) => attend::run(&args.command),
    }
}

fn load(flags: &Flags) -> Result<config::Config, Failure> {
    Ok(config::load(flags, std::env::vars_os())?)
}

fn fingerprint(flags: &Flags) -> SecretHash {
    config::fingerprint(flags, std::env::vars_os())
}

/// For what is done to people, clients, grants and tokens, which must be ours.
fn load_administered(flags: &Flags) -> Result<config::Config, Failure> {
    let config = load(flags)?;
    match &config.identity {
        IdentityConfig::Providers(_) => Ok(config),
        IdentityConfig::External(other) => Err(Failure::Run(format!(
            "there is nothing to administer: with authorization.mode = \"external\" people, clients \
             and tokens are those of {}",
            other.issuer
        ))),
    }
}
