//! HTTP+SSE, as its client (2024-11-05): one stream for all that the server says, whose first event
//! names the endpoint that messages are posted to. The stream is the session and ends it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::mpsc;
use url::Url;

use super::event_reader::Place;
use super::{Address, Call, Client, EventReader, Link, RemoteServer, Trouble, is_event_stream};
use crate::gateway::upstream::connection::{Connection, Outgoing};

/// Opens the stream, and begins to carry a conversation.
///
/// # Errors
/// When there is no such stream, or its endpoint is not at the server's own origin.
pub(in crate::gateway::upstream) async fn carry(
    server: &RemoteServer,
    client: &Client,
    connection: &Arc<Connection>,
    queued: mpsc::Receiver<Outgoing>,
) -> Result<Arc<Link>, Trouble> {
    // Judged before there is an endpoint, so with the URL that was written.
    let link = Link::new(server, client, server.address.clone(), connection);
    let caller = connection.caller();
    let mut head = link.head(caller.as_ref(), HeaderMap::new()).await?;
    head.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let response = link.ask(Method::GET, head, Bytes::new(), caller.as_ref()).await?;
    let response = link.judge(response).await?;
    if !is_event_stream(&response) {
        return Err(Trouble::OtherContent);
    }
    let mut events = EventReader::new(response, Place::default(), connection.message_bytes_max());
    let endpoint = loop {
        match events.next().await? {
            None => return Err(Trouble::NoAnswer),
            Some(event) if event.name == "endpoint" => {
                break endpoint(server.address.url(), &event.data).ok_or(Trouble::OtherEndpoint)?;
            }
            Some(_) => {}
        }
    };
    let link = Link::new(server, client, Arc::new(endpoint), connection);
    let reading = Arc::clone(connection);
    tokio::spawn(async move {
        let read = async {
            while let Some(event) = events.next().await? {
                if event.name == "message" && !event.data.is_empty() {
                    reading.hear(&event.data, None);
                }
            }
            Ok::<_, Trouble>(())
        };
        tokio::select! {
            read = read => match read {
                Ok(()) => tracing::info!("the server behind us has ended its stream"),
                Err(trouble) => tracing::warn!(%trouble, "the stream of the server behind us"),
            },
            () = reading.closed().cancelled() => {}
        }
        reading.end();
    });
    let pumping = Arc::clone(&link);
    tokio::spawn(pumping.pump(queued, |link, Call { message, headers, id, caller }| async move {
        let posted = match link.post(message, headers, caller.as_ref()).await {
            // What it says here is no message of the protocol.
            Ok(response) => link.judge(response).await.map(drop),
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = posted {
            link.fail(id, trouble);
        }
    }));
    Ok(link)
}

/// The endpoint that an event names, if it is of the origin that the operator wrote down: else a
/// server could send us, and its credentials, anywhere.
fn endpoint(base: &Url, data: &[u8]) -> Option<Address> {
    let endpoint = base.join(std::str::from_utf8(data).ok()?.trim()).ok()?;
    let is_plain = endpoint.username().is_empty() && endpoint.password().is_none();
    let is_fitting = endpoint.origin() == base.origin() && is_plain;
    Address::new(endpoint).ok().filter(|_| is_fitting)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn an_endpoint_is_of_the_servers_own_origin() {
        let base = Url::parse("http://127.0.0.1:9000/a/sse").unwrap();
        let rows = [
            ("/messages?s=1", Some("http://127.0.0.1:9000/messages?s=1"), "a path"),
            ("messages", Some("http://127.0.0.1:9000/a/messages"), "beside the stream"),
            ("http://127.0.0.1:9000/m", Some("http://127.0.0.1:9000/m"), "in full"),
            ("?s=1", Some("http://127.0.0.1:9000/a/sse?s=1"), "a query alone"),
            ("http://127.0.0.1:9001/m", None, "another port"),
            ("https://127.0.0.1:9000/m", None, "another scheme"),
            ("//169.254.169.254/latest", None, "another host"),
            ("http://x@127.0.0.1:9000/m", None, "a name in it"),
            ("file:///etc/passwd", None, "no http"),
            ("http://[", None, "no URL"),
        ];
        for (data, expected, reason) in rows {
            let found = endpoint(&base, data.as_bytes());
            assert_eq!(
                found.as_ref().map(|found| found.url().as_str()),
                expected,
                "{data}: {reason}"
            );
        }
        assert!(endpoint(&base, b"\xff").is_none(), "no text");
    }
}
