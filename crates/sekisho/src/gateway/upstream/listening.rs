//! `subscriptions/listen` at a server of 2026-07-28: a call that stands for as long as somebody wants
//! to hear of changes, begun again when it breaks.

use std::sync::Arc;
use std::time::Duration;

use sekisho_protocol::mcp::McpError;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connection, Ear, Event, Kind, ended};
use super::stateless::{For, Stateless, Supplied};

/// How long it takes until a broken one is begun again; twice as long each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// Begins to listen for what `params` want; what is told goes where all changes go. Completes when
/// the server has said what it will tell.
///
/// # Errors
/// When the server refuses, or will not tell of `resource`.
pub(super) async fn listen(
    connection: &Arc<Connection>,
    words: &Arc<Stateless>,
    params: Box<RawValue>,
    resource: Option<&str>,
) -> Result<AbortOnDropHandle<()>, McpError> {
    let (acknowledged, told) = oneshot::channel();
    let (listening, words) = (Arc::clone(connection), Arc::clone(words));
    let work = tokio::spawn(async move {
        let mut acknowledged = Some(acknowledged);
        let mut pause = PAUSE_MIN;
        loop {
            match once(&listening, &words, &params, &mut acknowledged).await {
                Ok(()) => pause = PAUSE_MIN,
                Err(error) => {
                    if let Some(waits) = acknowledged.take() {
                        // Whoever asked may have given up just now.
                        let _ = waits.send(Err(error));
                        return;
                    }
                    tracing::debug!(%error, "what the server behind us tells has ended");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
                () = listening.closed().cancelled() => return,
            }
        }
    });
    let work = AbortOnDropHandle::new(work);
    let told = tokio::time::timeout(connection.answer_wait(), told).await;
    let granted = told.map_err(|_| ended())?.map_err(|_| ended())??;
    match resource {
        Some(uri) if !granted.contains(uri) => {
            Err(McpError::invalid_params("the server behind this one does not tell of it"))
        }
        Some(_) | None => Ok(work),
    }
}

/// The text of what the server will tell.
type Granted = Result<String, McpError>;

/// Listens until the server ends it.
async fn once(
    connection: &Arc<Connection>,
    words: &Stateless,
    params: &RawValue,
    acknowledged: &mut Option<oneshot::Sender<Granted>>,
) -> Result<(), McpError> {
    let mut ear: Ear = connection.listen(Kind::Standing)?;
    let none = RawValue::from_string("{}".to_owned()).unwrap_or_default();
    let whom = For::All { capabilities: &none };
    let (message, headers) =
        words.request(ear.id, "subscriptions/listen", Some(params), whom, Supplied::default())?;
    if !ear.call(message, headers).await {
        return Err(ended());
    }
    while let Some(event) = ear.events.recv().await {
        let Event::Notice(notice) = event else { continue };
        if let Some(granted) = notice.acknowledges()
            && let Some(waits) = acknowledged.take()
        {
            // Whoever asked may have given up just now.
            let _ = waits.send(Ok(granted.to_owned()));
        }
    }
    match (&mut ear.answer).await {
        Ok(ending) => ending.into_result().map(drop),
        Err(_) => Err(ended()),
    }
}
