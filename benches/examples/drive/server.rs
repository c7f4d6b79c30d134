//! The servers that are measured: each a process of its own, pinned to the server's core, ended when
//! it goes out of scope.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Result, SERVER_CORE, procfs};

/// Patience with whoever is slow to start.
const START_WAIT_MAX: Duration = Duration::from_secs(180);
const END_WAIT_MAX: Duration = Duration::from_secs(60);
/// The same with whoever is only asked before it is made to end.
const ASKED_WAIT_MAX: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// What is looked at: the child, or what it has started.
    measured: u32,
    stdout: PathBuf,
    /// Where it listens.
    pub address: SocketAddr,
    /// From just before it was started to the end of its first answer.
    pub first_answer_after: Duration,
}

impl Server {
    /// Starts `program` in `folder`, where its output goes to files, and waits for its first answer.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self> {
        let mut command = pinned(program);
        command.args(arguments);
        Self::spawn(command, address, folder)
    }

    /// The same for a server of others, named by its whole command; it ends when this driver ends.
    pub(crate) fn start_of_others(
        words: &[OsString],
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self> {
        let mut command = pinned(Path::new("setpriv"));
        command.args(["--pdeathsig", "TERM"]).args(words);
        Self::spawn(command, address, folder)
    }

    /// The same, with a command that says on which cores it runs.
    pub(crate) fn spawn(mut command: Command, address: SocketAddr, folder: &Path) -> Result<Self> {
        command.current_dir(folder).stdin(Stdio::null());
        let stdout = folder.join("stdout");
        command.stdout(File::create(&stdout)?);
        command.stderr(File::create(folder.join("stderr"))?);
        let began_at = Instant::now();
        let child = command.spawn()?;
        let (measured, first_answer_after) = (child.id(), Duration::ZERO);
        let mut server = Self { child, measured, stdout, address, first_answer_after };
        server.wait_for_answer(began_at)?;
        server.first_answer_after = began_at.elapsed();
        Ok(server)
    }

    /// Starts the program in `folder`, and waits until it says that it listens.
    pub(crate) async fn start_and_listen(
        program: &Path,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self> {
        let server = Self::start(program, &["serve"], address, folder)?;
        server.wait_for_line("listening on").await?;
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.measured
    }

    /// Looks at what its process has started from now on, where that is only a script.
    pub(crate) fn look_behind_the_script(&mut self) -> Result<()> {
        self.measured = procfs::only_child(self.child.id())?;
        Ok(())
    }

    pub(crate) fn first_answer_ms(&self) -> f64 {
        self.first_answer_after.as_secs_f64() * 1000.0
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) -> Result<()> {
        signal(self.pid(), "-TERM")
    }

    /// SIGTERM, and waits until it is gone.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.terminate()?;
        let began_at = Instant::now();
        while began_at.elapsed() < END_WAIT_MAX {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("{} did not end in {END_WAIT_MAX:?}", self.address).into())
    }

    /// Waits until it has said something on its standard output.
    pub(crate) async fn wait_for_line(&self, part: &str) -> Result<()> {
        let began_at = Instant::now();
        while began_at.elapsed() < START_WAIT_MAX {
            if std::fs::read_to_string(&self.stdout)?.contains(part) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(format!("{} did not say {part:?} in {START_WAIT_MAX:?}", self.address).into())
    }

    // Asks without a pause: this runs on the load's core and must not round the time up.
    fn wait_for_answer(&mut self, began_at: Instant) -> Result<()> {
        while began_at.elapsed() < START_WAIT_MAX {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                stream.set_read_timeout(Some(START_WAIT_MAX))?;
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
                let mut status = String::new();
                BufReader::new(stream).read_line(&mut status)?;
                if status.starts_with("HTTP/1.1 ") {
                    return Ok(());
                }
            }
            if let Some(ended) = self.child.try_wait()? {
                return Err(format!("{} ended at once: {ended}", self.address).into());
            }
        }
        Err(format!("{} did not answer in {START_WAIT_MAX:?}", self.address).into())
    }
}

impl Drop for Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "a drop cannot wait otherwise, and nothing is measured then"
    )]
    fn drop(&mut self) {
        // Nothing is left to be done where this fails: the process is gone already. One that is asked to end
        // writes down what it was seen doing, if it was built for that.
        let mut is_gone = !matches!(self.child.try_wait(), Ok(None));
        let asked_at = Instant::now();
        if !is_gone {
            let _ = self.terminate();
        }
        while !is_gone && asked_at.elapsed() < ASKED_WAIT_MAX {
            std::thread::sleep(Duration::from_millis(20));
            is_gone = !matches!(self.child.try_wait(), Ok(None));
        }
        if self.measured != self.child.id() && !is_gone {
            let _ = Command::new("kill").arg("-KILL").arg(self.measured.to_string()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All that the server of that folder has said.
pub(crate) fn log(folder: &Path) -> Result<String> {
    let said = std::fs::read_to_string(folder.join("stdout"))?;
    Ok(said + &std::fs::read_to_string(folder.join("stderr"))?)
}

/// Sends a signal, such as `-TERM`.
pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").arg(name).arg(pid.to_string()).status()?;
    if sent.success() { Ok(()) } else { Err(format!("kill: {sent}").into()) }
}

/// A command that runs on the server's core only.
pub(crate) fn pinned(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(SERVER_CORE.to_string()).arg(program);
    command
}

/// A loopback address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
