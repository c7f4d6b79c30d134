//! What a `[[server]]` guards: something built in, or a command of the operator's.

use std::ffi::OsString;

use sekisho::gateway::{Per, StdioCommand};

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
    /// What a command serves over its standard input and output.
    Command { command: StdioCommand, per: Per },
}

/// What one `[[server]]` guards; a command gets `environment`, and what is written for it.
pub(super) fn upstream(
    origin: &Origin,
    settings: &Settings,
    environment: &[(OsString, OsString)],
) -> Result<Upstream, ConfigError> {
    let (is_builtin, is_command) =
        (settings.was_written("upstream.builtin"), settings.was_written("upstream.command"));
    if !is_command {
        for key in ["upstream.env", "upstream.per"] {
            if settings.was_written(key) {
                return Err(settings.refuse(key, "only a command has it: write upstream.command"));
            }
        }
    }
    match (is_builtin, is_command) {
        (true, false) => settings.parse("upstream.builtin", builtin),
        (false, true) => {
            let per = if settings.was_written("upstream.per") {
                let choices =
                    [("user", Per::User), ("session", Per::Session), ("process", Per::Process)];
                choose(settings, "upstream.per", &choices)?
            } else {
                Per::default()
            };
            Ok(Upstream::Command { command: command(settings, environment)?, per })
        }
        (true, true) => {
            let problem = "upstream.builtin is set as well: keep one of them";
            Err(settings.refuse("upstream.command", problem))
        }
        (false, false) => {
            let problem = "a [[server]] needs it: write upstream = { builtin = \"fortune\" } or \
                           { command = [\"PROGRAM\", \"ARGUMENT\"] }";
            Err(ConfigError::at(origin, "upstream", None, problem))
        }
    }
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
