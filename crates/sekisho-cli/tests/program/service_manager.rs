//! As a service manager sees us: what it is told (`sd_notify`), the socket that it keeps for us (socket
//! activation), and that nobody is turned away while we are replaced.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testkit::McpClient;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::harness::{Folder, PROGRAM, free_port, http};
use crate::person::log_in;

const PATIENCE: Duration = Duration::from_secs(30);

/// What is told at a socket, message by message.
struct Told(UnixDatagram);

impl Told {
    fn at(path: &Path) -> Self {
        Self(UnixDatagram::bind(path).unwrap())
    }

    async fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = timeout(PATIENCE, self.0.recv(&mut message)).await.expect("a word").unwrap();
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Waits for one that has this line, over signs of life.
    async fn until(&self, line: &str) -> String {
        loop {
            let message = self.next().await;
            if message.lines().any(|told| told == line) {
                return message;
            }
            assert_eq!(message.trim_end(), "WATCHDOG=1", "told before {line}");
        }
    }
}

#[tokio::test]
async fn a_service_manager_hears_that_we_are_ready_reload_live_and_stop() {
    let folder = Folder::new();
    let told = Told::at(&folder.path().join("notify"));
    let socket = folder.path().join("notify");
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "200000")];
    let mut server = folder.serve_in("", &variables).await;
    told.until("READY=1").await;
    told.until("WATCHDOG=1").await;

    folder.change(&server, "allowed_hosts = [\"a.example\"]\n");
    server.signal("HUP").await;
    let reloading = told.until("RELOADING=1").await;
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
    let ready = told.until("READY=1").await;
    assert!(ready.contains("STATUS=the settings were read again"), "{ready}");

    folder.change(&server, "alowed_hosts = []\n");
    server.signal("HUP").await;
    told.until("RELOADING=1").await;
    let ready = told.until("READY=1").await;
    assert!(ready.contains("STATUS=the settings at hand go on: sekisho.toml, line 2"), "{ready}");

    server.signal("TERM").await;
    told.until("STOPPING=1").await;
    assert_eq!(server.ends_within(Duration::from_secs(10)).await.code(), Some(0));
}

/// Starts the program with a socket that stays when it goes.
fn start_at(folder: &Folder, socket: impl Into<OwnedFd>) -> Child {
    let mut log = std::fs::File::options();
    log.create(true).append(true);
    let log = log.open(folder.path().join("handed-over.log")).unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve";
    Command::new("sh")
        .args(["-c", script, PROGRAM])
        .current_dir(folder.path())
        .stdin(Stdio::from(socket.into()))
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Asks it to end once it answers: before that it is not ready to be asked in order.
async fn end(mut child: Child, port: u16) {
    let alive = http().get(format!("http://localhost:{port}/healthz")).send();
    assert_eq!(timeout(PATIENCE, alive).await.unwrap().unwrap().status(), 200);
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let ended = timeout(PATIENCE, child.wait()).await.expect("an end").unwrap();
    assert_eq!(ended.code(), Some(0));
}

/// Whoever calls again and again, as a load balancer passes calls on: to the first of `ports` that lets
/// it in and does not say that it stops.
struct Caller {
    ports: Vec<u16>,
    token: String,
    /// Whether each call comes on a connection of its own.
    comes_anew: bool,
}

impl Caller {
    /// Calls until `is_over`, and counts.
    fn call_until(self, is_over: &Arc<AtomicBool>) -> JoinHandle<usize> {
        let is_over = Arc::clone(is_over);
        tokio::spawn(async move {
            let client = |port| {
                McpClient::new(format!("http://localhost:{port}/mcp")).with_token(&self.token)
            };
            let mut clients: Vec<_> = self.ports.iter().map(|port| client(*port)).collect();
            let mut calls = 0;
            while !is_over.load(Ordering::Relaxed) {
                let mut told = None;
                for (known, port) in clients.iter_mut().zip(&self.ports) {
                    if self.comes_anew {
                        *known = client(*port);
                    }
                    told = call(known).await;
                    if told.is_some() {
                        break;
                    }
                }
                let told = told.expect("somebody takes the call");
                assert!(told.contains("今日の運勢は: "), "{told}");
                calls += 1;
            }
            calls
        })
    }
}

/// What a call is told; nothing if it was not let in, and so can be made elsewhere.
async fn call(client: &mut McpClient) -> Option<String> {
    let params = json!({ "name": "fortune", "arguments": {} });
    let (sender, body) = client.next_stateless(&json!({}), "tools/call", params);
    let request = sender.raw(Method::POST).header("accept", "application/json, text/event-stream");
    let request = request.header("content-type", "application/json").body(body.to_string());
    match request.send().await {
        Ok(answer) => Some(answer.text().await.expect("a whole answer")),
        Err(error) if error.is_connect() => None,
        Err(error) => panic!("a call is lost: {error:?}"),
    }
}

/// What all of them were answered together.
async fn all(callers: Vec<JoinHandle<usize>>) -> usize {
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.expect("no call is lost");
    }
    calls
}

#[tokio::test]
async fn no_call_is_lost_while_the_program_behind_a_kept_socket_is_replaced() {
    const RESTARTS: usize = 4;
    let folder = Folder::new();
    let mut first = folder.serve("").await;
    let tokens = log_in(&first, "demo", &first.password().unwrap()).await;
    first.kill().await;
    let port = first.port;
    let socket = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut child = start_at(&folder, socket.try_clone().unwrap());
    let is_over = Arc::default();
    let callers = [true, true, false, false].map(|comes_anew| {
        let token = tokens.access.clone();
        Caller { ports: vec![port], token, comes_anew }.call_until(&is_over)
    });
    for _ in 0..RESTARTS {
        end(child, port).await;
        // Whoever calls meanwhile waits in the socket.
        child = start_at(&folder, socket.try_clone().unwrap());
    }
    is_over.store(true, Ordering::Relaxed);
    let calls = all(callers.into()).await;
    println!("{calls} calls over {RESTARTS} restarts, none lost");
    assert!(calls > RESTARTS * 10, "{calls}");
    end(child, port).await;
}

#[tokio::test]
async fn no_call_is_lost_while_one_of_two_instances_is_replaced() {
    const RESTARTS: usize = 4;
    let folder = Folder::new();
    let ports = [free_port(), free_port()];
    let settings = format!(
        "public_url = \"http://localhost:{}\"\nallowed_hosts = [\"localhost:{}\"]\n",
        ports[0], ports[1]
    );
    let mut running =
        [folder.serve_at(ports[0], &settings).await, folder.serve_at(ports[1], &settings).await];
    let tokens = log_in(&running[0], "demo", &running[0].password().unwrap()).await;
    let is_over = Arc::default();
    let callers = [true, true, false, false].map(|is_first| {
        let ports = if is_first { ports.to_vec() } else { vec![ports[1], ports[0]] };
        let token = tokens.access.clone();
        Caller { ports, token, comes_anew: true }.call_until(&is_over)
    });
    for turn in 0..RESTARTS {
        let one = turn % 2;
        running[one].signal("TERM").await;
        assert_eq!(running[one].ends_within(PATIENCE).await.code(), Some(0));
        running[one] = folder.serve_at(ports[one], &settings).await;
    }
    is_over.store(true, Ordering::Relaxed);
    let calls = all(callers.into()).await;
    println!("{calls} calls over {RESTARTS} restarts of one of two instances, none lost");
    assert!(calls > RESTARTS * 10, "{calls}");
}

#[tokio::test]
async fn a_socket_of_another_kind_is_one_sentence_and_no_start() {
    let folder = Folder::new();
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let ended = timeout(PATIENCE, start_at(&folder, socket).wait()).await.expect("an end");
    assert_eq!(ended.unwrap().code(), Some(1));
    let said = std::fs::read_to_string(folder.path().join("handed-over.log")).unwrap();
    assert!(said.contains("write a ListenStream of TCP"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
