//! A server with pages, as a browser sees it: one connection, and the cookies it has set.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;

use crate::Result;
use crate::load::{self, Connection, Reply};

pub(super) const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

pub(super) struct Site {
    connection: Connection,
    cookies: BTreeMap<String, String>,
    /// What it is called, as the start of its addresses.
    pub(super) issuer: String,
}

impl Site {
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let connection = Connection::open(address).await?;
        let issuer = format!("http://localhost:{}", address.port());
        Ok(Self { connection, cookies: BTreeMap::new(), issuer })
    }

    pub(super) fn forget_cookies(&mut self) {
        self.cookies.clear();
    }

    /// Goes where an answer leads.
    pub(super) async fn follow(&mut self, reply: &Reply, status: u16) -> Result<Reply> {
        let path = self.path(location(reply)?);
        self.ask("GET", &path, &[], "", status).await
    }

    /// An address here without the server's name.
    pub(super) fn path(&self, uri: &str) -> String {
        uri.strip_prefix(&self.issuer).unwrap_or(uri).to_owned()
    }

    pub(super) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        status: u16,
    ) -> Result<Reply> {
        let host = self.issuer.trim_start_matches("http://");
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = headers.to_vec();
        if !cookies.is_empty() {
            headers.push(("Cookie", &cookies));
        }
        let request = load::request(method, path, host, &headers, body);
        let reply = self.connection.ask(&request).await?;
        if reply.status != status {
            let path = path.split('?').next().unwrap_or_default();
            let Reply { status: came, body, .. } = reply;
            return Err(format!("{method} {path}: {came} instead of {status}: {body}").into());
        }
        self.keep_cookies(&reply.head);
        Ok(reply)
    }

    fn keep_cookies(&mut self, head: &str) {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        for (_, cookie) in lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")) {
            let pair = cookie.split(';').next().and_then(|pair| pair.split_once('='));
            match pair {
                // This is how they are taken back.
                Some((name, "")) => drop(self.cookies.remove(name)),
                Some((name, value)) => drop(self.cookies.insert(name.into(), value.into())),
                None => {}
            }
        }
    }
}

pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(super) fn member(object: &Value, name: &str) -> Result<String> {
    let member = object.get(name).and_then(Value::as_str);
    Ok(member.ok_or_else(|| format!("an answer has no {name}"))?.to_owned())
}

pub(super) fn location(reply: &Reply) -> Result<&str> {
    load::header(&reply.head, "location").ok_or_else(|| "no redirect".into())
}
