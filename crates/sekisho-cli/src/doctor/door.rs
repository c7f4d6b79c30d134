//! `public_url` leads here: its name has an address, somebody listens, the certificate is good, and
//! the reverse proxy passes requests on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::finding::Finding;
use super::outside::{Outside, Unanswered, exchange};
use crate::config::Config;

pub(super) const ABOUT: &str = "public_url";

/// How long our own port may take to answer.
const LISTEN_WAIT: Duration = Duration::from_secs(2);

/// Also gives the way in, if it is open.
pub(super) async fn examine(config: &Config) -> (Vec<Finding>, Option<Outside<'_>>) {
    let outside = match Outside::new(&config.public_url) {
        Ok(outside) => outside,
        Err(said) => {
            let what = format!("TLS cannot be used ({said})");
            let fix = "install the system's CA certificates";
            return (vec![Finding::problem(ABOUT, what, fix)], None);
        }
    };
    let name = config.public_url.as_str();
    match exchange(outside.get("/healthz")).await {
        Err(unanswered) => {
            let found = if is_served(config.listen).await {
                let fix = behind_proxy(&unanswered, config);
                Finding::problem(ABOUT, format!("{name} {}", unanswered.what()), fix)
            } else {
                Finding::warning(
                    ABOUT,
                    format!(
                        "{name} {}, and no server listens at {}",
                        unanswered.what(),
                        config.listen
                    ),
                    "start `sekisho serve` and ask again: what clients see was not examined",
                )
            };
            (vec![found], None)
        }
        Ok(answer) if matches!(answer.status.as_u16(), 502..=504) => {
            let found = Finding::problem(
                ABOUT,
                format!(
                    "{name} answers {}: its reverse proxy does not reach sekisho",
                    answer.status
                ),
                format!(
                    "start `sekisho serve`, and have the proxy pass on to http://{}",
                    config.listen
                ),
            );
            (vec![found], None)
        }
        Ok(answer) => {
            let what = if answer.body == b"ok\n" {
                format!("{name} leads here")
            } else {
                // Not every proxy passes health checks on; what matters is asked next.
                format!("{name} is answered")
            };
            (vec![Finding::ok(ABOUT, what)], Some(outside))
        }
    }
}

fn behind_proxy(unanswered: &Unanswered, config: &Config) -> String {
    match unanswered {
        Unanswered::Unreachable(_) => format!(
            "have a reverse proxy listen there and pass on to http://{}, or set public_url to where \
             clients reach it",
            config.listen
        ),
        Unanswered::TooSlow
        | Unanswered::Nameless
        | Unanswered::Certificate(_)
        | Unanswered::NotTls => unanswered.fix().to_owned(),
    }
}

/// Whether somebody listens at our own address.
async fn is_served(listen: SocketAddr) -> bool {
    let ip =
        if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let connected = timeout(LISTEN_WAIT, TcpStream::connect((ip, listen.port()))).await;
    connected.is_ok_and(|connected| connected.is_ok())
}
