//! Sessions whose answers all travel on one stream, whatever brings the requests: HTTP+SSE and
//! stdio.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use sekisho_protocol::mcp::{Incoming, Message, RequestId};

use super::dispatch::{Call, Caller, batch, require_scopes, take_answer, take_notice};
use super::event_stream::{EventStream, Offered};
use super::session::Session;
use crate::mcp::era::{self, Era};
use crate::mcp::modern::Stateless;
use crate::mcp::refusal::{Refusal, Refused};
use crate::mcp::service::McpService;

/// One session and the stream its client reads.
#[derive(Debug, Clone)]
pub(in crate::mcp) struct Duplex {
    pub(in crate::mcp) session: Arc<Session>,
    /// Who sends what is taken.
    pub(in crate::mcp) sender: Caller,
    pub(in crate::mcp) out: Arc<EventStream>,
    /// How long an answer waits for room.
    pub(in crate::mcp) reader_wait: Duration,
    /// Answers requests that speak 2026-07-28, which HTTP+SSE never does.
    pub(in crate::mcp) stateless: Option<Arc<Stateless>>,
}

impl Duplex {
    /// Takes what came in; answers come out on the stream. What is refused here gets none there.
    pub(in crate::mcp) fn accept(
        &self,
        service: &Arc<dyn McpService>,
        body: &[u8],
    ) -> Result<(), Refused> {
        match Incoming::parse(body)? {
            Incoming::Single(Message::Request(request)) => {
                if let Some(stateless) = &self.stateless
                    && let Ok(Era::Stateless(outline)) = era::of_request(None, &request)
                {
                    let out = Arc::clone(&self.out);
                    let work =
                        Arc::clone(stateless).work(out, self.sender.clone(), &request, outline);
                    let id = request.id;
                    return self
                        .answer(Some(id.clone()), work)
                        .map_err(|refusal| Refused { refusal, id: Some(id) });
                }
                require_scopes(&**service, &self.sender, [&request])
                    .map_err(|refusal| Refused { refusal, id: Some(request.id.clone()) })?;
                let telling = Some(Arc::clone(&self.out));
                let call = Call::new(service, &self.session, &self.sender, &request, telling);
                let id = request.id.clone();
                self.answer(Some(request.id), call.run())
                    .map_err(|refusal| Refused { refusal, id: Some(id) })
            }
            Incoming::Single(Message::Notification(notification)) => {
                Ok(take_notice(service, &self.session, &self.sender, &notification)?)
            }
            Incoming::Single(Message::Response(response)) => {
                take_answer(&self.session, &response);
                Ok(())
            }
            Incoming::Batch(messages) => {
                match batch(service, &self.session, &self.sender, &messages)? {
                    Some(answers) => Ok(self.answer(None, answers)?),
                    None => Ok(()),
                }
            }
        }
    }

    fn answer(
        &self,
        id: Option<RequestId>,
        work: impl Future<Output = Bytes> + Send + 'static,
    ) -> Result<(), Refusal> {
        let mut work = Box::pin(work);
        let mut answered = None;
        if let Some(answer) = work.as_mut().now_or_never() {
            match self.out.offer(answer) {
                Offered::Taken => return Ok(()),
                Offered::NoRoom(answer) => answered = Some(answer),
                Offered::Over => return Err(Refusal::SessionUnknown),
            }
        }
        let duplex = self.clone();
        self.session.continue_in_background(id, async move {
            let answer = match answered {
                Some(answer) => answer,
                None => work.await,
            };
            // Whoever cannot be answered any more has no session either.
            if !duplex.out.push_patiently(answer, duplex.reader_wait).await {
                duplex.session.end();
            }
        })
    }
}
