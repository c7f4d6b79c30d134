//! `sekisho user …`: the accounts of the local provider, in the store of a running server.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::sync::Arc;

use sekisho::clock::SystemClock;
use sekisho::identity_provider::local::accounts::{
    self, AccountError, PASSWORD_BYTES_MAX, UserName,
};
use sekisho::protocol::Secret;
use sekisho::store::{LocalUser, Store};
use serde_json::json;
use zeroize::Zeroizing;

use crate::cli::{OneUserArgs, UserCommand};
use crate::config::{Config, Flags};
use crate::outcome::{Failure, say};
use crate::store::{Missing, OpenStore};
use crate::{serve, telemetry};

/// Does what was asked and says so.
pub(crate) fn run(
    command: &UserCommand,
    load: impl Fn(&Flags) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    match command {
        UserCommand::Add(args) => {
            let (config, name) = begin(&load, args)?;
            let store = Accounts::open(&config, Missing::Make)?;
            let password = ask_password()?;
            store.run(|store| async move {
                accounts::add(&*store, &SystemClock, &name, &password).await?;
                Ok::<_, AccountError>(done(args, "added", format!("added {}", name.as_str())))
            })
        }
        UserCommand::Passwd(args) => {
            let (config, name) = begin(&load, args)?;
            let store = Accounts::open(&config, Missing::Refuse)?;
            let password = ask_password()?;
            store.run(|store| async move {
                accounts::set_password(&*store, &name, &password).await?;
                Ok::<_, AccountError>(done(
                    args,
                    "changed",
                    format!("{} has a new password", name.as_str()),
                ))
            })
        }
        UserCommand::Remove(args) => {
            let (config, name) = begin(&load, args)?;
            Accounts::open(&config, Missing::Refuse)?.run(|store| async move {
                accounts::remove(&*store, &SystemClock, &name).await?;
                let sentence = format!("removed {} and everything granted under it", name.as_str());
                Ok::<_, AccountError>(done(args, "removed", sentence))
            })
        }
        UserCommand::List(args) => {
            let config = load(&args.settings.flags())?;
            let show = if args.json { as_json } else { as_lines };
            Accounts::open(&config, Missing::Refuse)?
                .run(|store| async move { Ok::<_, AccountError>(show(&store.list_users().await?)) })
        }
    }
}

/// What was done, as asked: a sentence or JSON.
fn done(args: &OneUserArgs, what: &str, sentence: String) -> String {
    if args.output.json { json!({ what: args.name.trim() }).to_string() } else { sentence }
}

fn begin(
    load: &impl Fn(&Flags) -> Result<Config, Failure>,
    args: &OneUserArgs,
) -> Result<(Config, UserName), Failure> {
    let config = load(&args.output.settings.flags())?;
    let name = UserName::parse(&args.name).map_err(|error| Failure::because(&error))?;
    Ok((config, name))
}

/// The store, opened for one command.
pub(crate) struct Accounts {
    store: OpenStore,
    runtime: tokio::runtime::Runtime,
}

impl Accounts {
    pub(crate) fn open(config: &Config, missing: Missing) -> Result<Self, Failure> {
        telemetry::begin(&config.log);
        let runtime = serve::runtime()?;
        let store = runtime.block_on(OpenStore::for_command(config, missing))?;
        Ok(Self { store, runtime })
    }

    /// Does one thing, closes the store, and says what came of it.
    pub(crate) fn run<F, E>(self, verb: impl FnOnce(Arc<dyn Store>) -> F) -> Result<(), Failure>
    where
        F: Future<Output = Result<String, E>>,
        E: std::error::Error + 'static,
    {
        let done = self.runtime.block_on(verb(Arc::clone(&self.store.shared)));
        self.runtime.block_on(self.store.close());
        match done.map_err(|error| Failure::because(&error))? {
            nothing if nothing.is_empty() => Ok(()),
            line => say(&line),
        }
    }
}

/// From the terminal, twice and unseen; else one line from standard input.
fn ask_password() -> Result<Secret, Failure> {
    let unreadable = |error: io::Error| Failure::Run(format!("cannot read the password: {error}"));
    if !io::stdin().is_terminal() {
        return read_line(io::stdin().lock()).map_err(unreadable);
    }
    let password = Secret::new(rpassword::prompt_password("Password: ").map_err(unreadable)?);
    let again = Secret::new(rpassword::prompt_password("Once more: ").map_err(unreadable)?);
    if again.matches(&password.hash()) {
        Ok(password)
    } else {
        Err(Failure::Run("the two passwords differ: try again".to_owned()))
    }
}

/// One byte more than a password may have, so that a longer one is seen to be too long.
pub(crate) fn read_line(input: impl io::BufRead) -> io::Result<Secret> {
    let most = u64::try_from(PASSWORD_BYTES_MAX + 3).unwrap_or(u64::MAX);
    let mut line = Zeroizing::new(String::new());
    input.take(most).read_line(&mut line)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}

fn as_lines(users: &[LocalUser]) -> String {
    let lines: Vec<_> =
        users.iter().map(|user| format!("{}\tadded {}", user.name, user.created_at)).collect();
    lines.join("\n")
}

fn as_json(users: &[LocalUser]) -> String {
    let users: Vec<_> = users
        .iter()
        .map(|user| json!({ "name": user.name, "created_at": user.created_at.to_string() }))
        .collect();
    serde_json::Value::from(users).to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_password_is_one_line_without_its_end() {
        let rows = [
            ("secret\n", "secret", "a line"),
            ("secret\r\n", "secret", "a line of Windows"),
            ("secret", "secret", "no line end"),
            ("two words \nmore\n", "two words ", "space counts, a second line does not"),
            ("", "", "nothing"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(read_line(text.as_bytes()).unwrap().reveal(), expected, "{reason}");
        }
    }
}
