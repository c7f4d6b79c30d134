//! What a `[[server]]` guards: something built in, a command of the operator's, a server at a URL, or
//! several other ones as one.

use std::ffi::OsString;

use sekisho::gateway::{
    GuardedServer, Merged, Per, RemoteServer, RemoteServerError, RemoteTransport, StdioCommand,
};
use sekisho::protocol::mcp::MemberName;

use super::error::{ConfigError, Origin};
use super::introduction::{self, Introduced, TokenKind};
use super::understood::{Server, choose};
use super::written::Settings;

/// What is guarded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Upstream {
    /// The built-in fortune teller.
    Fortune,
    /// What the official conformance suite asks for.
    #[cfg(feature = "conformance")]
    Conformance,
    /// What somebody else's server serves.
    Guarded { server: Box<GuardedServer>, per: Per, introduced: Box<Introduced> },
    /// What these `[[server]]` serve together.
    Merged { members: Vec<MemberName> },
}

impl Upstream {
    /// Whether we sign who calls.
    pub(crate) fn is_signed_for(&self) -> bool {
        match self {
            Self::Guarded { introduced, .. } => introduced
                .token
                .as_ref()
                .is_some_and(|wish| matches!(wish.kind, TokenKind::Signed { .. })),
            Self::Fortune | Self::Merged { .. } => false,
            #[cfg(feature = "conformance")]
            Self::Conformance => false,
        }
    }

    /// What is kept of people so that it can be told.
    pub(super) fn claims(&self) -> &[String] {
        match self {
            Self::Guarded { introduced, .. } => &introduced.claims,
            Self::Fortune | Self::Merged { .. } => &[],
            #[cfg(feature = "conformance")]
            Self::Conformance => &[],
        }
    }

    /// What it is made of; nothing if it stands by itself.
    pub(crate) fn members(&self) -> &[MemberName] {
        match self {
            Self::Merged { members } => members,
            Self::Guarded { .. } | Self::Fortune => &[],
            #[cfg(feature = "conformance")]
            Self::Conformance => &[],
        }
    }

    /// Whether it is made of others.
    pub(crate) fn is_merged(&self) -> bool {
        !self.members().is_empty()
    }
}

/// What one `[[server]]` guards; a command gets `environment`, and what is written for it.
pub(super) fn upstream(
    origin: &Origin,
    settings: &Settings,
    environment: &[(OsString, OsString)],
) -> Result<Upstream, ConfigError> {
    let kinds = ["upstream.builtin", "upstream.command", "upstream.url", "upstream.servers"];
    let written: Vec<_> = kinds.into_iter().filter(|key| settings.was_written(key)).collect();
    let kind = match written.as_slice() {
        [kind] => *kind,
        [first, second, ..] => {
            let problem = format!("{first} is set as well: keep one of them");
            return Err(settings.refuse(second, problem));
        }
        [] => {
            let problem = "a [[server]] needs it: write upstream = { builtin = \"fortune\" }, \
                           { command = [\"PROGRAM\", \"ARGUMENT\"] }, { url = \"https://…/mcp\" } or \
                           { servers = [\"NAME\", \"NAME\"] }";
            return Err(ConfigError::at(origin, "upstream", None, problem));
        }
    };
    for (key, owner, remedy) in [
        ("upstream.env", "upstream.command", "only a command has it: write upstream.command"),
        ("upstream.transport", "upstream.url", "only a server at a URL has it: write upstream.url"),
        ("upstream.headers", "upstream.url", "only a server at a URL has it: write upstream.url"),
        ("upstream.ca_file", "upstream.url", "only a server at a URL has it: write upstream.url"),
    ] {
        if kind != owner && settings.was_written(key) {
            return Err(settings.refuse(key, remedy));
        }
    }
    if matches!(kind, "upstream.builtin" | "upstream.servers") {
        let is_foreign =
            |key: &&str| *key == "upstream.per" || key.starts_with("upstream.identity");
        if let Some(foreign) = settings.written().find(is_foreign) {
            let problem = "only a command or a server at a URL has it: write one of them";
            return Err(settings.refuse(foreign, problem));
        }
        if kind == "upstream.servers" {
            return merged(settings);
        }
        return settings.parse("upstream.builtin", builtin);
    }
    let per = if settings.was_written("upstream.per") {
        let choices = [("user", Per::User), ("session", Per::Session), ("process", Per::Process)];
        choose(settings, "upstream.per", &choices)?
    } else {
        Per::default()
    };
    let (server, introduced) = if kind == "upstream.url" {
        let (server, introduced) = introduction::of_remote(settings, remote(settings)?, per)?;
        (GuardedServer::from(server), introduced)
    } else {
        let command = command(settings, environment)?;
        let (command, introduced) = introduction::of_command(settings, command, per)?;
        (GuardedServer::from(command), introduced)
    };
    Ok(Upstream::Guarded { server: server.into(), per, introduced: introduced.into() })
}

fn merged(settings: &Settings) -> Result<Upstream, ConfigError> {
    let refuse = |problem: &dyn std::fmt::Display| settings.refuse("upstream.servers", problem);
    let read = |text: &String| {
        MemberName::parse(text).map_err(|problem| refuse(&format_args!("{text:?}: {problem}")))
    };
    let names = settings.list("upstream.servers").iter();
    let members: Vec<_> = names.map(read).collect::<Result<_, _>>()?;
    Merged::check(&members).map_err(|problem| refuse(&problem))?;
    Ok(Upstream::Merged { members })
}

/// Whether what a merged server is made of is there, and can be reached; asked once all are read.
pub(super) fn check_members(
    written: &[(Origin, Settings)],
    servers: &[Server],
) -> Result<(), ConfigError> {
    for ((_, settings), server) in written.iter().zip(servers) {
        for name in server.upstream.members() {
            let problem = match servers.iter().find(|other| other.is_called(name)) {
                None => "there is no such [[server]]: write its name, or take it out",
                Some(other) if other.upstream.is_merged() => {
                    "it is made of others itself: name those instead"
                }
                Some(_) => continue,
            };
            let problem = format!("\"{name}\": {problem}");
            return Err(settings.refuse("upstream.servers", problem));
        }
    }
    let members = servers.iter().flat_map(|server| server.upstream.members());
    let unreached = written.iter().zip(servers).find(|(_, server)| {
        server.resource.path.is_empty() && !members.clone().any(|name| server.is_called(name))
    });
    if let Some(((_, settings), _)) = unreached {
        let problem = "nobody could reach it: write a path, or name it in the upstream.servers of \
                       another [[server]]";
        return Err(settings.refuse("path", problem));
    }
    Ok(())
}

fn remote(settings: &Settings) -> Result<RemoteServer, ConfigError> {
    let transport = if settings.was_written("upstream.transport") {
        let choices = [
            ("streamable-http", RemoteTransport::StreamableHttp),
            ("http-sse", RemoteTransport::HttpSse),
        ];
        Some(choose(settings, "upstream.transport", &choices)?)
    } else {
        None
    };
    let headers = settings.table("upstream.headers").map(|(name, value)| (name.as_str(), value));
    let refuse = |problem| match problem {
        RemoteServerError::NotAUrl
        | RemoteServerError::Credentials
        | RemoteServerError::Fragment => settings.refuse("upstream.url", problem),
        RemoteServerError::Header(_)
        | RemoteServerError::ReservedHeader(_)
        | RemoteServerError::DoubledHeader(_) => settings.refuse("upstream.headers", problem),
        RemoteServerError::Authorities => settings.refuse("upstream.ca_file", problem),
    };
    let url = settings.text("upstream.url");
    let server = RemoteServer::new(url, transport, headers).map_err(refuse)?;
    if !settings.was_written("upstream.ca_file") {
        return Ok(server);
    }
    if !url.starts_with("https:") {
        let problem = "there is no TLS at upstream.url: write https:// there, or leave it out";
        return Err(settings.refuse("upstream.ca_file", problem));
    }
    let pem = std::fs::read(settings.path("upstream.ca_file")).map_err(|error| {
        let problem = format!("cannot read it ({error}): name a readable file");
        settings.refuse("upstream.ca_file", problem)
    })?;
    server.trusting(&pem).map_err(refuse)
}

fn builtin(text: &str) -> Result<Upstream, &'static str> {
    match text {
        "fortune" => Ok(Upstream::Fortune),
        #[cfg(feature = "conformance")]
        "conformance" => Ok(Upstream::Conformance),
        #[cfg(not(feature = "conformance"))]
        "conformance" => Err("it is for testing and not in this build: write \"fortune\", or \
                              build with --features conformance"),
        _ => Err("it is not one of the choices: write \"fortune\""),
    }
}

fn command(
    settings: &Settings,
    environment: &[(OsString, OsString)],
) -> Result<StdioCommand, ConfigError> {
    let refuse = |problem: &str| settings.refuse("upstream.command", problem);
    let words = settings.list("upstream.command");
    let Some((program, arguments)) = words.split_first().filter(|(first, _)| !first.is_empty())
    else {
        return Err(refuse("it names no program: write [\"PROGRAM\", \"ARGUMENT\"]"));
    };
    if words.iter().any(|word| word.contains('\0')) {
        return Err(refuse("no program can be given a NUL character: take it out"));
    }
    // A name without a slash is looked for in PATH; a path is where the file that names it is.
    let program = if program.contains('/') {
        settings.resolve("upstream.command", program).into()
    } else {
        OsString::from(program)
    };
    let mut environment = environment.to_vec();
    for (name, value) in settings.table("upstream.env") {
        let is_name = !name.is_empty() && !name.contains(['=', '\0']);
        if !is_name || value.reveal().contains('\0') {
            let problem = format!("{name:?} cannot be a variable: no '=' and no NUL character");
            return Err(settings.refuse("upstream.env", problem));
        }
        environment.retain(|(known, _)| known != name.as_str());
        environment.push((name.into(), value.reveal().into()));
    }
    let arguments = arguments.iter().map(OsString::from).collect();
    let attendant = crate::attend::words();
    let told = Vec::new();
    Ok(StdioCommand { program, arguments, environment, told, folder: None, attendant })
}
