//! The process of a command: started in a group of its own, so that what it starts itself ends
//! with it; asked to end by the end of its input, then by SIGTERM, then ended.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::connection::Connection;
use super::lines;
use crate::gateway::credential::Attribute;
use crate::gateway::limits::GatewayLimits;
use crate::gateway::owners::{Per, Variables};
use crate::mcp::Changes;

/// How long a process has after the end of its input, and again after SIGTERM.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of a line for the log; the rest is cut off.
const LOG_LINE_BYTES_MAX: u64 = 2_000;

/// A command that speaks MCP over its standard input and output. It comes from the operator.
#[derive(Clone, PartialEq)]
pub struct StdioCommand {
    /// The program, looked for in `PATH` if it is no path.
    pub program: OsString,
    /// What it is told.
    pub arguments: Vec<OsString>,
    /// All of its environment: nothing of ours is added.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables beside those that say who calls. Whoever is told something else has another process.
    pub told: Vec<(OsString, Attribute)>,
    /// Where it works; where we do, if nothing is said.
    pub folder: Option<PathBuf>,
    /// A program and its arguments, after which `program` and `arguments` come: it runs them, stays
    /// with them, and ends all they started, also when we were ended by force. Nobody, if it is empty.
    pub attendant: Vec<OsString>,
}

/// Without the environment and the arguments, which may hold secrets.
impl fmt::Debug for StdioCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioCommand").field("program", &self.program).finish_non_exhaustive()
    }
}

/// A process that was just started.
#[derive(Debug)]
pub(in crate::gateway) struct Process {
    child: Child,
    group: Group,
    connection: Arc<Connection>,
}

impl StdioCommand {
    /// Starts it.
    pub(super) fn start(
        &self,
        told: &Variables,
        limits: &GatewayLimits,
        changes: &Changes,
        per: Per,
    ) -> io::Result<Process> {
        let words = self.attendant.iter().chain([&self.program]).chain(&self.arguments);
        let mut words = words.skip(1);
        let mut command = Command::new(self.attendant.first().unwrap_or(&self.program));
        command
            .args(&mut words)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(told.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let group = Group::of(&child);
        let missing = || io::Error::other("a pipe to it is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let (connection, queued) = Connection::open(limits, changes.clone(), per, None);
        lines::carry(&connection, queued, stdout, stdin);
        if let Some(stderr) = child.stderr.take() {
            let name = PathBuf::from(&self.program);
            let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let closed = connection.closed().clone();
            let lines = log_lines(stderr, name, limits.log_lines_per_second);
            // What outlives its process has nothing more to say to us.
            tokio::spawn(async move {
                tokio::select! {
                    () = lines => {}
                    () = closed.cancelled() => {}
                }
            });
        }
        Ok(Process { child, group, connection })
    }
}

impl Process {
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Waits until it ends by itself.
    pub(super) async fn ended(&mut self) {
        let status = self.child.wait().await;
        let status = status.map_or_else(|_| "unknown".to_owned(), |status| status.to_string());
        tracing::warn!(status, "the server behind us ended by itself");
    }

    /// Asks it to end, and then does not ask any more. What it started goes with it.
    pub(super) async fn stop(mut self) {
        self.connection.close();
        if tokio::time::timeout(GRACE, self.child.wait()).await.is_err() {
            self.group.terminate();
            // Whether it ended in time makes no difference to what comes next.
            let _ = tokio::time::timeout(GRACE, self.child.wait()).await;
        }
        self.group.kill();
        if let Err(error) = self.child.wait().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "it was gone already");
        }
        self.connection.end();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.group.kill();
        self.connection.end();
    }
}

/// A process and all it started.
#[derive(Debug)]
struct Group {
    #[cfg(unix)]
    leader: Option<rustix::process::Pid>,
}

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Self { leader: leader.and_then(rustix::process::Pid::from_raw) }
    }

    fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Once: the number may be another's after it.
    fn kill(&mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.leader = None;
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(leader) = self.leader {
            // None of them may be left.
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }
}

#[cfg(not(unix))]
impl Group {
    fn of(_child: &Child) -> Self {
        Self {}
    }

    fn terminate(&self) {}

    fn kill(&mut self) {}
}

/// Puts what a process says on its standard error into our log, as far as it is worth reading.
async fn log_lines(stderr: impl AsyncRead + Unpin, program: String, lines_per_second: u32) {
    let quota = Quota::per_second(NonZeroU32::new(lines_per_second).unwrap_or(NonZeroU32::MIN));
    let limiter: DefaultDirectRateLimiter = RateLimiter::direct(quota);
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    let mut left_out = 0_u64;
    loop {
        line.clear();
        let read = (&mut input).take(LOG_LINE_BYTES_MAX).read_until(b'\n', &mut line).await;
        if !read.is_ok_and(|read| read > 0) {
            break;
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        if text.is_empty() {
            continue;
        }
        if limiter.check().is_err() {
            left_out += 1;
            continue;
        }
        if left_out > 0 {
            tracing::info!(program, lines = left_out, "lines of the server behind us left out");
            left_out = 0;
        }
        tracing::info!(program, line = %text, "the server behind us says");
    }
}
