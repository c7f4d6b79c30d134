//! What a `[[server]]` guards: something built in, a command of the operator's, or a server at a URL.

use std::ffi::OsString;

use sekisho::gateway::{
    GuardedServer, Per, RemoteServer, RemoteServerError, RemoteTransport, StdioCommand,
};

use super::error::{ConfigError, Origin};
use super::understood::choose;
use super::written::Settings;

/// What is guarded.
#[derive(Debug, Clone)]
pub(crate) enum Upstream {
    /// The built-in fortune teller.
    Fortune,
    /// What the official conformance suite asks for.
    #[cfg(feature = "conformance")]
    Conformance,
    /// What somebody else's server serves.
    Guarded { server: Box<GuardedServer>, per: Per },
}

/// What one `[[server]]` guards; a command gets `environment`, and what is written for it.
pub(super) fn upstream(
    origin: &Origin,
    settings: &Settings,
    environment: &[(OsString, OsString)],
) -> Result<Upstream, ConfigError> {
    let kinds = ["upstream.builtin", "upstream.command", "upstream.url"];
    let written: Vec<_> = kinds.into_iter().filter(|key| settings.was_written(key)).collect();
    let kind = match written.as_slice() {
        [kind] => *kind,
        [first, second, ..] => {
            let problem = format!("{first} is set as well: keep one of them");
            return Err(settings.refuse(second, problem));
        }
        [] => {
            let problem = "a [[server]] needs it: write upstream = { builtin = \"fortune\" }, \
                           { command = [\"PROGRAM\", \"ARGUMENT\"] } or { url = \"https://…/mcp\" }";
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
    if kind == "upstream.builtin" {
        if settings.was_written("upstream.per") {
            let problem = "only a command or a server at a URL has it: write one of them";
            return Err(settings.refuse("upstream.per", problem));
        }
        return settings.parse("upstream.builtin", builtin);
    }
    let per = if settings.was_written("upstream.per") {
        let choices = [("user", Per::User), ("session", Per::Session), ("process", Per::Process)];
        choose(settings, "upstream.per", &choices)?
    } else {
        Per::default()
    };
    let server: GuardedServer = if kind == "upstream.url" {
        remote(settings)?.into()
    } else {
        command(settings, environment)?.into()
    };
    Ok(Upstream::Guarded { server: Box::new(server), per })
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
        RemoteServerError::Header(_) | RemoteServerError::ReservedHeader(_) => {
            settings.refuse("upstream.headers", problem)
        }
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
    Ok(StdioCommand { program, arguments, environment, folder: None, attendant })
}
