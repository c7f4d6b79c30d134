//! Who stands between: the program, nginx, a bare proxy, or nobody. All are asked for the same, by the
//! same requests; only the program looks at the token and the session in them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::load::{Connection, Template, header};
use crate::server::{self, Server};
use crate::target::{self, Scenario, Wire, host_of};
use crate::{Arguments, Result};

pub(super) const DIRECT: &str = "nobody";
pub(super) const NGINX: &str = "nginx";
pub(super) const BARE: &str = "bare proxy";
pub(super) const SEKISHO: &str = "sekisho";
/// What stands for the program's token and session where nobody looks at them.
const NO_TOKEN: &str = "mcp_5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f";
const NO_SESSION: &str = "5e1f5e1f5e1f5e1f5e1f5e1f5e1f5e1f";

/// How a call is made, and answered by whoever is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    /// In a session, as up to 2025-11-25.
    Session,
    /// By itself, as in 2026-07-28.
    Stateless,
}

impl Form {
    pub(super) const ALL: [Self; 2] = [Self::Session, Self::Stateless];
}

/// A way to the server behind.
#[derive(Debug)]
pub(super) struct Way {
    /// Its name in the tables.
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    server: Option<Server>,
    /// The one form it knows; nothing for all.
    form: Option<Form>,
    token: String,
    sessions: Vec<String>,
}

impl Way {
    pub(super) fn takes_part_in(&self, form: Form) -> bool {
        self.form.is_none_or(|known| known == form)
    }

    /// Whoever is measured: this driver, where nobody stands between.
    pub(super) fn pid(&self) -> u32 {
        self.server.as_ref().map_or_else(std::process::id, Server::pid)
    }

    /// The request of the connection numbered `at`.
    pub(super) fn request(&self, form: Form, at: usize) -> Template {
        let session = at.checked_rem(self.sessions.len()).and_then(|at| self.sessions.get(at));
        let session = session.map_or(NO_SESSION, String::as_str);
        let (scenario, session) = match form {
            Form::Session => (Scenario::Call, Some(session)),
            Form::Stateless => (Scenario::StatelessCall, None),
        };
        let authorization = format!("Bearer {}", self.token);
        target::request(scenario, &host_of(self.address), Some(&authorization), session)
    }

    fn unguarded(name: &'static str, address: SocketAddr, server: Option<Server>) -> Self {
        let (form, token, sessions) = (None, NO_TOKEN.to_owned(), Vec::new());
        Self { name, address, server, form, token, sessions }
    }
}

/// Everybody, in front of `behind`. The program runs twice: a server at a URL speaks one way.
pub(super) async fn start_all(
    arguments: &Arguments,
    folder: &Path,
    behind: SocketAddr,
) -> Result<Vec<Way>> {
    let mut ways = vec![
        Way::unguarded(DIRECT, behind, None),
        start_nginx(&folder.join("nginx"), behind)?,
        start_bare(arguments, &folder.join("bare"), behind)?,
    ];
    if let Some(program) = &arguments.sekisho {
        let program = program.canonicalize()?;
        for (form, path) in [(Form::Session, "old"), (Form::Stateless, "new")] {
            let upstream = format!("{{ url = \"http://{behind}/{path}/mcp\" }}");
            let started = target::start_gateway(&program, &folder.join(path), &upstream, 1).await?;
            let (server, mut tokens) = started;
            let token = tokens.pop().ok_or("nobody is logged in")?;
            let count = if form == Form::Session { arguments.sessions } else { 0 };
            let sessions = begin_sessions(server.address, &token, count).await?;
            let (name, address, form) = (SEKISHO, server.address, Some(form));
            ways.push(Way { name, address, server: Some(server), form, token, sessions });
        }
    }
    Ok(ways)
}

/// Sessions of one person.
pub(super) async fn begin_sessions(
    address: SocketAddr,
    token: &str,
    count: usize,
) -> Result<Vec<String>> {
    let wire = Wire::new(address, token.to_owned());
    let mut connection = Connection::open(address).await?;
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = connection.ask(&wire.initialize()).await?;
        let session = header(&begun.head, "mcp-session-id");
        let session = session.ok_or_else(|| format!("no session: {}", begun.body))?;
        connection.ask(&wire.initialized(session)).await?;
        sessions.push(session.to_owned());
    }
    Ok(sessions)
}

/// nginx as one would set it up for this: one worker, as there is one core; connections to the server
/// behind are kept; nothing is buffered, since answers may be streams; nothing is written.
pub(super) fn start_nginx(folder: &Path, behind: SocketAddr) -> Result<Way> {
    fs::create_dir_all(folder)?;
    let folder = folder.canonicalize()?;
    let address = server::free_address()?;
    let here = folder.display();
    let settings = format!(
        "daemon off;
master_process off;
pid {here}/nginx.pid;
error_log stderr warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 30000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    upstream behind {{
        server {behind};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} backlog=1024;
        location = /healthz {{ return 204; }}
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, settings)?;
    let file = file.to_str().ok_or("the folder for measurements has an odd name")?;
    let words = ["-p", folder.to_str().unwrap_or_default(), "-e", "stderr", "-c", file];
    let server = Server::start(Path::new("nginx"), &words, address, &folder)?;
    Ok(Way::unguarded(NGINX, address, Some(server)))
}

/// axum and a client with a pool, and nothing else.
pub(super) fn start_bare(arguments: &Arguments, folder: &Path, behind: SocketAddr) -> Result<Way> {
    fs::create_dir_all(folder)?;
    let program = arguments.peers.canonicalize()?.join("pass_through");
    let address = server::free_address()?;
    let words = ["--listen", &address.to_string(), "--to", &behind.to_string()];
    let server = Server::start(&program, &words, address, folder)?;
    Ok(Way::unguarded(BARE, address, Some(server)))
}
