//! People, what they have grants for, and the requests that they make with them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Soak;
use crate::Result;
use crate::load::{Connection, Reply, request};
use crate::login::{Audience, SignedIn, sign_in};
use crate::target::{PASSWORD, Wire, host_of};

/// In so many parts of an access token's life it is replaced.
const REFRESHED_IN: u32 = 4;

/// What stands behind the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// `fortune`, in the program itself.
    BuiltIn,
    /// A server at a URL.
    Remote,
    /// A command.
    Command,
}

impl Site {
    pub(super) const ALL: [Self; 3] = [Self::BuiltIn, Self::Remote, Self::Command];

    pub(super) fn below(self) -> &'static str {
        match self {
            Self::BuiltIn => "",
            Self::Remote => "/remote",
            Self::Command => "/command",
        }
    }

    pub(super) fn audience(self) -> Audience {
        match self {
            Self::BuiltIn => Audience { path: "/mcp", scope: "fortune" },
            Self::Remote => Audience { path: "/remote/mcp", scope: "remote" },
            Self::Command => Audience { path: "/command/mcp", scope: "command" },
        }
    }
}

/// One person's grant at one site, as their client keeps it.
#[derive(Debug)]
pub(super) struct Holder {
    pub site: Site,
    address: SocketAddr,
    kept: Mutex<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    signed_in: SignedIn,
    since: Instant,
}

impl Holder {
    /// Logs the person in.
    pub(super) async fn sign_in(soak: &Soak, person: &str, site: Site) -> Result<Self> {
        let address = soak.address;
        let issuer = format!("http://{}", host_of(address));
        // From an address of its own: how often one may try passwords is no setting.
        let [_, a, b, c] = soak.sign_ins.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let from = Ipv4Addr::new(127, a, b.wrapping_add(1), c);
        let since = Instant::now();
        let signed_in = sign_in(&issuer, person, PASSWORD, site.audience(), from).await?;
        Ok(Self { site, address, kept: Mutex::new(Kept { signed_in, since }) })
    }

    /// What its requests are made of at this moment.
    pub(super) fn wire(&self) -> Wire {
        Wire::new(self.address, self.kept().signed_in.access_token).below(self.site.below())
    }

    /// The same for paths that say everything.
    pub(super) fn wire_of_all(&self) -> Wire {
        Wire::new(self.address, self.kept().signed_in.access_token)
    }

    /// Where the program is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The name of the person's client.
    pub(super) fn client_id(&self) -> String {
        self.kept().signed_in.client_id
    }

    /// When its access token was issued, or a moment before.
    pub(super) fn token_since(&self) -> Instant {
        self.kept().since
    }

    /// Trades the refresh token for the next pair.
    pub(super) async fn refresh(&self) -> Result<()> {
        let (old, since) = (self.kept().signed_in, Instant::now());
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &old.refresh_token),
            ("client_id", &old.client_id),
        ];
        let reply = post_form(self.address, "/token", &[], &form).await?;
        let body = expect(&reply, 200, "access_token")?;
        let body: serde_json::Value = serde_json::from_str(body)?;
        let text = |name: &str| -> Result<String> {
            let text = body.get(name).and_then(serde_json::Value::as_str);
            Ok(text.ok_or_else(|| format!("no {name}"))?.to_owned())
        };
        let signed_in = SignedIn {
            access_token: text("access_token")?,
            refresh_token: text("refresh_token")?,
            client_id: old.client_id,
        };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept { signed_in, since };
        Ok(())
    }

    /// RFC 7009: gives the whole grant back.
    pub(super) async fn revoke(&self) -> Result<()> {
        let SignedIn { client_id, refresh_token, .. } = self.kept().signed_in;
        let form = [("token", &*refresh_token), ("client_id", &*client_id)];
        let reply = post_form(self.address, "/revoke", &[], &form).await?;
        expect(&reply, 200, "").map(drop)
    }

    fn kept(&self) -> Kept {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Keeps the token of somebody fresh.
pub(super) async fn keep_fresh(soak: Arc<Soak>, holder: Arc<Holder>, first_after: Duration) {
    tokio::time::sleep(first_after).await;
    loop {
        soak.tally.add("refresh", holder.refresh().await);
        tokio::time::sleep(soak.access_token_ttl() / REFRESHED_IN).await;
    }
}

/// A form, on a connection of its own.
pub(super) async fn post_form(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Result<Reply> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut all = vec![("Content-Type", "application/x-www-form-urlencoded")];
    all.extend(headers);
    let asked = request("POST", path, &host_of(address), &all, &body);
    ask(&mut Connection::open(address).await?, &asked).await
}

/// One request, within the time that an answer may take.
pub(super) async fn ask(connection: &mut Connection, asked: &str) -> Result<Reply> {
    let answered = tokio::time::timeout(super::ANSWER_WAIT_MAX, connection.ask(asked)).await;
    answered.map_err(|_| format!("no answer in {:?}", super::ANSWER_WAIT_MAX))?
}

/// Whether an answer has that status, and that text in its body.
pub(super) fn expect<'reply>(reply: &'reply Reply, status: u16, has: &str) -> Result<&'reply str> {
    if reply.status == status && reply.body.contains(has) {
        return Ok(&reply.body);
    }
    // What has a token in it has the right status, or is shown without its body.
    let body = if reply.body.contains("_token") { "(not shown)" } else { &reply.body };
    Err(format!("{} instead of {status} with {has:?}: {body}", reply.status).into())
}
