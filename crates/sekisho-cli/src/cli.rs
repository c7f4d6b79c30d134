//! What can be typed. Names that are kept for later are known, and say so.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Flags;

/// Real OAuth 2.1 in front of any MCP server.
#[derive(Debug, Parser)]
#[command(name = "sekisho", version, about, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve over HTTP, behind OAuth
    Serve(ServeArgs),
    /// Serve over standard input and output, without OAuth
    Stdio(StdioArgs),
    /// Administer the accounts of the local provider
    #[command(subcommand)]
    User(UserCommand),
    /// List or end what people allowed applications to do
    #[command(subcommand)]
    Grant(GrantCommand),
    /// Make, list or end personal access tokens, for machines without a browser
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check or show the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Examine settings, store, provider, what clients see and what is guarded; say what to repair
    Doctor(DoctorArgs),
    /// Say what became of the latest logins, step by step
    Flows(FlowsArgs),
    /// Say what the rules say of somebody who wants something, and which rule decided
    Explain(ExplainArgs),
    /// Set a Keycloak realm up for what the settings say
    #[command(subcommand)]
    Keycloak(KeycloakCommand),
    /// Administer the clients that you registered, and see those that registered themselves
    #[command(subcommand)]
    Client(ClientCommand),
    /// Administer the keys in `key_file`
    #[command(subcommand)]
    Key(KeyCommand),
    /// Stay with a guarded command; run by sekisho itself
    #[command(hide = true)]
    Attend(AttendArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AttendArgs {
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Address and port to listen on [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The URL that people and clients use [default: localhost and the port]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    #[command(flatten)]
    guarded: GuardedArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StdioArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    guarded: GuardedArgs,
}

/// What to guard instead of what the settings say.
#[derive(Debug, Args)]
struct GuardedArgs {
    /// The URL of an MCP server to guard
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    upstream: Option<String>,
    /// A program that speaks MCP over its standard input and output, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SettingsArgs {
    /// The settings file [default: ./sekisho.toml if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is remembered where: memory:, sqlite:PATH or postgres://… [default: sqlite:sekisho.db]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add an account; asks for the password, or reads it as a line from standard input
    Add(OneUserArgs),
    /// List the accounts
    List(OutputArgs),
    /// Remove an account, and end everything granted under it
    Remove(OneUserArgs),
    /// Give an account a new password; asks for it, or reads it as a line from standard input
    Passwd(OneUserArgs),
}

#[derive(Debug, Args)]
pub(crate) struct OneUserArgs {
    /// The name typed at login
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Put a new key in front of the old ones; nobody is logged out, and no restart is needed
    Rotate(OutputArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Add a client; prints its id and, once, its secret
    Add(AddClientArgs),
    /// List all clients
    List(OutputArgs),
    /// Remove a client, and end everything granted to it
    Remove(OneClientArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddClientArgs {
    /// The name people see
    pub(crate) name: String,
    /// Its id [default: random]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Where answers may go; may be given several times
    #[arg(long = "redirect-uri", value_name = "URI")]
    pub(crate) redirect_uris: Vec<String>,
    /// The most it may have; may be given several times [default: what each server has]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// It acts for itself, without a person (`client_credentials`)
    #[arg(long)]
    pub(crate) machine: bool,
    /// It has no secret
    #[arg(long, conflicts_with_all = ["jwks", "jwks_uri", "machine"])]
    pub(crate) public: bool,
    /// It signs instead of having a secret; a file with its public keys
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    pub(crate) jwks: Option<PathBuf>,
    /// It signs instead of having a secret; the https URL of its public keys
    #[arg(long, value_name = "URL")]
    pub(crate) jwks_uri: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct OneClientArgs {
    /// Its id
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum GrantCommand {
    /// List grants: whose, which application, for what, since when, last used
    List(ListGrantsArgs),
    /// End grants and all their tokens, at once; says so and fails if there were none
    Revoke(RevokeGrantsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListGrantsArgs {
    #[command(flatten)]
    pub(crate) whose: WhoseArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeGrantsArgs {
    #[command(flatten)]
    pub(crate) whose: WhoseRequiredArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub(crate) struct WhoseArgs {
    /// Those of this person: a subject (the name of an account) or a verified e-mail address
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Those of this application
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// This one
    #[arg(long, value_name = "ID")]
    pub(crate) grant: Option<String>,
}

#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct WhoseRequiredArgs {
    /// Those of this person: a subject (the name of an account) or a verified e-mail address
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Those of this application
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// This one
    #[arg(long, value_name = "ID")]
    pub(crate) grant: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Hold an access token of another authorization server against the settings; from a file, or
    /// from standard input for -
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<String>,
    /// Also wait through a silence as long as streams can have, to see whether they are cut (20 s)
    #[arg(long)]
    pub(crate) patient: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FlowsArgs {
    /// Only the login that this belongs to; error pages and the log show it
    #[arg(value_name = "TRACE_ID")]
    pub(crate) trace_id: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("who").required(true), group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct ExplainArgs {
    /// Who wants it: a local account, or somebody who has logged in before
    #[arg(long, value_name = "NAME", group = "who")]
    pub(crate) user: Option<String>,
    /// Who wants it, as a token says it: a file with a JSON object of claims
    #[arg(long, value_name = "FILE", group = "who")]
    pub(crate) claims: Option<PathBuf>,
    /// The tool that is wanted
    #[arg(long, value_name = "NAME", group = "what")]
    pub(crate) tool: Option<String>,
    /// The resource that is wanted
    #[arg(long, value_name = "URI", group = "what")]
    pub(crate) resource: Option<String>,
    /// The prompt that is wanted
    #[arg(long, value_name = "NAME", group = "what")]
    pub(crate) prompt: Option<String>,
    /// Of which server [default: the only one]
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// With which client
    #[arg(long, value_name = "ID")]
    pub(crate) client: Option<String>,
    /// A scope that the token has beside the server's own; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(crate) scopes: Vec<String>,
    /// What is passed along, as JSON [default: nothing]
    #[arg(long, value_name = "JSON")]
    pub(crate) args: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a personal access token; it is shown once
    Add(AddTokenArgs),
    /// List personal access tokens
    List(ListTokensArgs),
    /// End a personal access token, at once
    Revoke(RevokeTokenArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AddTokenArgs {
    /// For whom it speaks: a local account, or somebody who has logged in before
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    /// Where it works [default: the only server]
    #[arg(long, value_name = "NAME")]
    pub(crate) server: Option<String>,
    /// What it may do, several with spaces [default: all the server has]
    #[arg(long, value_name = "SCOPES", default_value = "", hide_default_value = true)]
    pub(crate) scope: String,
    /// How long it works, at most 366d
    #[arg(long, value_name = "TIME", default_value = "90d")]
    pub(crate) expires: String,
    /// What it is for, to tell it from others
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) label: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListTokensArgs {
    /// Only those of this person
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeTokenArgs {
    /// Its id, as `token list` shows it; never the token itself
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeycloakCommand {
    /// Print or make what the realm of the settings needs: our client there, or in external mode
    /// scopes, audiences and rules for clients that register themselves
    Bootstrap(BootstrapArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BootstrapArgs {
    /// Say what is needed, and change nothing; the default
    #[arg(long, conflicts_with = "apply")]
    pub(crate) print: bool,
    /// Make it so. The administrator is `KC_BOOTSTRAP_ADMIN_USERNAME` and
    /// `KC_BOOTSTRAP_ADMIN_PASSWORD` of
    /// the environment; else both are asked for, or read as two lines from standard input
    #[arg(long)]
    pub(crate) apply: bool,
    /// The realm that the administrator is of
    #[arg(long, value_name = "REALM", default_value = "master")]
    pub(crate) admin_realm: String,
    /// In external mode, a host that clients' addresses may have beside loopback; may be given
    /// several times
    #[arg(long = "client-host", value_name = "HOST")]
    pub(crate) client_hosts: Vec<String>,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the settings can be used
    Check(SettingsArgs),
    /// Show every setting, where it comes from and what it is for; secrets are left out
    Show(SettingsArgs),
    /// Print the JSON Schema of the settings file, for editors
    Schema,
}

impl SettingsArgs {
    pub(crate) fn flags(&self) -> Flags {
        Flags { config: self.config.clone(), store: self.store.clone(), ..Flags::default() }
    }
}

impl ServeArgs {
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            listen: self.listen.clone(),
            public_url: self.public_url.clone(),
            command: self.guarded.command.clone(),
            upstream: self.guarded.upstream.clone(),
            ..self.settings.flags()
        }
    }
}

impl StdioArgs {
    pub(crate) fn flags(&self) -> Flags {
        Flags {
            command: self.guarded.command.clone(),
            upstream: self.guarded.upstream.clone(),
            ..self.settings.flags()
        }
    }
}
