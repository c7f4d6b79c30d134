//! `sekisho attend`: stays with one guarded command, so that nothing it started outlives us. Run by
//! sekisho itself, between it and the command.
//!
//! ```text
//! sekisho ─ input ──▶ command ─▶ what it starts ─▶ and what that starts
//!    └─────▶ attendant: sees the input end ┘            │
//!                └─ what loses its parent becomes its child
//! ```
//!
//! Standard input, output and error are the command's; the attendant reads and writes none of them. The
//! kernel tells it when the other end of the input is closed, which happens however sekisho ends.

#[cfg(target_os = "linux")]
pub(crate) use self::linux::run;

use std::ffi::OsString;

/// What runs a command with an attendant; nothing where there can be none. This very program, also when
/// another has taken its place on the disk.
pub(crate) fn words() -> Vec<OsString> {
    let words: &[&str] =
        if cfg!(target_os = "linux") { &["/proc/self/exe", "attend", "--"] } else { &[] };
    words.iter().map(OsString::from).collect()
}

/// There is nothing to run where [`words`] says nothing.
#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_: &[OsString]) -> Result<(), crate::outcome::Failure> {
    Err(crate::outcome::Failure::Run("attend: there is none on this system".to_owned()))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::fs;
    use std::io;
    use std::process::Command;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::io::Errno;
    use rustix::process::{
        Pid, Signal, WaitOptions, WaitStatus, getpgrp, getpid, kill_process, kill_process_group,
        set_child_subreaper, wait,
    };
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep, timeout};

    use crate::outcome::Failure;

    /// How long the command has after the end of its input: longer than the gateway itself gives it,
    /// which is still there in the usual case.
    const INPUT_GRACE: Duration = Duration::from_secs(2);
    /// How long all of it has after SIGTERM: shorter than the gateway waits for us.
    const TERM_GRACE: Duration = Duration::from_millis(700);
    /// How long we go on ending what is left.
    const END_WAIT: Duration = Duration::from_secs(2);
    const END_POLL: Duration = Duration::from_millis(2);

    /// Runs the command and ends as it ended.
    pub(crate) fn run(words: &[OsString]) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = runtime.and_then(|runtime| runtime.block_on(attend(words)));
        match ended.map(code_of) {
            Ok(0) => Ok(()),
            Ok(code) => Err(Failure::Told(code)),
            Err(error) => {
                let program = words.first().map(|word| word.to_string_lossy()).unwrap_or_default();
                Err(Failure::Run(format!("cannot run {program:?}: {error}")))
            }
        }
    }

    /// As shells say it: the command's own, or 128 and the signal that ended it.
    fn code_of(status: Option<WaitStatus>) -> u8 {
        let code = status.and_then(|status| {
            status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
        });
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
    }

    /// How the command ended; nothing if it had to be ended.
    async fn attend(words: &[OsString]) -> io::Result<Option<WaitStatus>> {
        if getpgrp() != getpid() {
            return Err(io::Error::other("only sekisho itself runs `sekisho attend`"));
        }
        let Some((program, arguments)) = words.split_first() else {
            return Err(io::Error::other("there is no command"));
        };
        let mut children = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let input_ended = end_of_input()?;
        set_child_subreaper(Some(getpid()))?;
        let command = Command::new(program).args(arguments).spawn()?;
        let command = i32::try_from(command.id()).ok().and_then(Pid::from_raw);

        let ended = async {
            loop {
                if let Some(status) = reap(command) {
                    break status;
                }
                children.recv().await;
            }
        };
        tokio::pin!(ended);
        let status = tokio::select! {
            status = &mut ended => Some(status),
            _ = terminate.recv() => None,
            _ = input_ended => timeout(INPUT_GRACE, async {
                tokio::select! {
                    status = &mut ended => Some(status),
                    _ = terminate.recv() => None,
                }
            })
            .await
            .unwrap_or_else(|_| {
                // Ours too, which we have taken note of.
                let _ = kill_process_group(getpgrp(), Signal::TERM);
                None
            }),
        };
        let status = match status {
            Some(status) => Some(status),
            None => timeout(TERM_GRACE, ended).await.ok(),
        };
        end_all().await;
        Ok(status)
    }

    /// Buries whoever has ended; how the command ended, if it is among them.
    fn reap(command: Option<Pid>) -> Option<WaitStatus> {
        let mut ended = None;
        while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
            if Some(process) == command {
                ended = Some(status);
            }
        }
        ended
    }

    /// Completes when nobody can write to our input any more. A thread of its own waits for that, since
    /// the command reads that pipe and must find it as it is, without `O_NONBLOCK`.
    fn end_of_input() -> io::Result<oneshot::Receiver<()>> {
        let (tell, told) = oneshot::channel();
        let wait = move || {
            let stdin = io::stdin();
            // Asked for nothing: its end is told of anyway.
            let mut input = [PollFd::new(&stdin, PollFlags::empty())];
            while let Ok(0) | Err(Errno::INTR) = poll(&mut input, None) {}
            let _ = tell.send(());
        };
        std::thread::Builder::new().name("input".to_owned()).spawn(wait)?;
        Ok(told)
    }

    /// Ends every child, also those that became ours since, until there is none.
    async fn end_all() {
        let give_up_at = Instant::now() + END_WAIT;
        loop {
            reap(None);
            let children = children();
            if children.is_empty() || Instant::now() >= give_up_at {
                return;
            }
            for child in children {
                // It may have ended by itself just now; its number is ours until it is buried.
                let _ = kill_process(child, Signal::KILL);
            }
            sleep(END_POLL).await;
        }
    }

    /// Who has us as their parent.
    fn children() -> Vec<Pid> {
        let us = getpid().as_raw_nonzero().get().to_string();
        let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
        let processes = processes.filter_map(|entry| {
            let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // `id (name) state parent …`: a name may have anything in it, brackets too.
            let (_, rest) = line.rsplit_once(')')?;
            (rest.split_ascii_whitespace().nth(1)? == us).then(|| Pid::from_raw(id)).flatten()
        });
        processes.collect()
    }
}
