//! Where the commands of a page run: a folder, `sekisho` on the path, no settings but those of the page.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

/// Far longer than any command of a page takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// Ports that pages name: ours, Keycloak's, a guarded server's.
const PORTS: [u16; 3] = [8000, 8080, 9000];

pub(crate) struct Shell {
    folder: TempDir,
    /// Where `sekisho` is.
    programs: String,
    ports: BTreeMap<u16, u16>,
    /// The one that runs on.
    server: Option<Child>,
}

impl Shell {
    pub(crate) fn new(program: &str) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            programs: Path::new(program).parent().unwrap().display().to_string(),
            ports: free_ports(),
            server: None,
        }
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        std::fs::write(self.folder.path().join(name), self.moved(text))
            .map_err(|error| format!("cannot write {name}: {error}"))
    }

    /// Runs commands to their end, which must be a good one.
    pub(crate) fn run(&self, script: &str) -> Result<(), String> {
        let mut command = self.bash(&format!("timeout {} bash", PATIENCE.as_secs()), script);
        let done = command.stdin(Stdio::null()).output().unwrap();
        if done.status.success() {
            return Ok(());
        }
        let said = [done.stdout, done.stderr].concat();
        Err(format!("{}\n{script}\n{}", done.status, String::from_utf8_lossy(&said)))
    }

    /// Starts a server in the place of the one before, and waits until it listens.
    pub(crate) fn start(&mut self, script: &str) -> Result<(), String> {
        self.stop();
        let mut command = self.bash("bash", script);
        let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let listens =
            lines.by_ref().map_while(Result::ok).any(|line| line.contains("listening on "));
        if !listens {
            let mut said = String::new();
            drop(server.stderr.take().unwrap().read_to_string(&mut said));
            drop(server.wait());
            return Err(format!("it does not listen\n{script}\n{said}"));
        }
        // What it says from now on is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let log = server.stderr.take().unwrap();
        std::thread::spawn(move || BufReader::new(log).lines().for_each(drop));
        self.server = Some(server);
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let group = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
            kill_process_group(group, Signal::TERM).ok();
            drop(server.wait());
        }
    }

    fn bash(&self, bash: &str, script: &str) -> Command {
        let mut words = bash.split(' ');
        let mut command = Command::new(words.next().unwrap());
        let script = format!("PATH=\"{}:$PATH\"\n{}", self.programs, self.moved(script));
        command.args(words).args(["-euo", "pipefail", "-c", &script]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SEKISHO_") {
                command.env_remove(name);
            }
        }
        command.env("SEKISHO_LISTEN", format!("127.0.0.1:{}", self.ports[&PORTS[0]]));
        command.env("HOME", self.folder.path());
        command.current_dir(self.folder.path()).stderr(Stdio::piped()).process_group(0);
        command
    }

    /// The text with the ports of this page.
    fn moved(&self, text: &str) -> String {
        let moved = |text: String, (usual, free): (&u16, &u16)| {
            text.replace(&format!(":{usual}"), &format!(":{free}"))
        };
        self.ports.iter().fold(text.to_owned(), moved)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Held together while they are drawn, so that they differ.
fn free_ports() -> BTreeMap<u16, u16> {
    let held = PORTS.map(|usual| (usual, TcpListener::bind("127.0.0.1:0").unwrap()));
    held.iter().map(|(usual, free)| (*usual, free.local_addr().unwrap().port())).collect()
}
