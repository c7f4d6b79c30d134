//! One call to a server behind us, with what it tells and asks before its answer.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use http::{HeaderMap, StatusCode};
use sekisho_protocol::mcp::{
    LogLevel, McpError, Request, RequestId, progress_under, write_error, write_result,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::connection::{Ear, Ending, Event, Work, ended, silent};
use crate::mcp::{Context, InputRequest};

/// A call that has no answer yet.
pub(in crate::gateway) struct Exchange {
    /// What is to be done for it by whoever waits; given up before the server is told so.
    work: Option<Work>,
    ear: Ear,
    questions: u32,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("ear", &self.ear).finish_non_exhaustive()
    }
}

/// What happens next in a call.
#[derive(Debug)]
pub(in crate::gateway) enum Step {
    /// Its end: a result as it came.
    Answer(Box<RawValue>),
    /// Its end: it was not done, as the server says by an error or a status.
    Refused { error: McpError, status: Option<StatusCode> },
    /// The server asks its client.
    Question(Question),
    /// The server tells its client.
    Notice(Notice),
    /// There will be no answer.
    Failed(McpError),
}

impl Exchange {
    /// Makes the call that `ear` hears of.
    pub(super) async fn begin(
        ear: Ear,
        message: Vec<u8>,
        headers: HeaderMap,
    ) -> Result<Self, McpError> {
        let work = ear.begin(message, headers).await?;
        Ok(Self { work, ear, questions: 0 })
    }

    /// Waits for what happens next.
    pub(in crate::gateway) async fn next(&mut self) -> Step {
        let wait = self.ear.connection.answer_wait();
        let Ear { events, answer, .. } = &mut self.ear;
        let (questions, work) = (&mut self.questions, &mut self.work);
        let next = async {
            let event = match work {
                None => events.recv().await,
                Some(carried) => tokio::select! {
                    biased;
                    event = events.recv() => event,
                    () = carried => {
                        // What it brought is heard, and nothing more comes.
                        *work = None;
                        events.recv().await
                    }
                },
            };
            match event {
                Some(Event::Question(question)) => {
                    *questions += 1;
                    Step::Question(Question { key: format!("question-{questions}"), ..question })
                }
                Some(Event::Notice(notice)) => Step::Notice(notice),
                // What was told is heard: now the answer is there, or never comes.
                None => match answer.await {
                    Ok(Ending::Result(result)) => Step::Answer(result),
                    Ok(Ending::Refused { error, status }) => Step::Refused { error, status },
                    Ok(Ending::Unreached(error) | Ending::Failed(error)) => Step::Failed(error),
                    Err(_) => Step::Failed(ended()),
                },
            }
        };
        let mut next = pin!(next);
        // Made for who has to wait, and boxed as every timer on the way of a call: one inside its future
        // would make all futures around it over-aligned, which allocators are slow at.
        let mut timer = None;
        poll_fn(|context| {
            if let Poll::Ready(step) = next.as_mut().poll(context) {
                return Poll::Ready(step);
            }
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            timer.as_mut().poll(context).map(|()| Step::Failed(silent()))
        })
        .await
    }

    /// Answers a question of the server.
    pub(in crate::gateway) async fn answer(
        &mut self,
        question: &Question,
        outcome: Result<&RawValue, &McpError>,
    ) {
        let message = match outcome {
            Ok(result) => write_result(&question.id, result.get()),
            Err(error) => write_error(Some(&question.id), error),
        };
        self.ear.say(message).await;
    }
}

/// Something a server asks its client: a person's answer, a model's, the client's roots.
#[derive(Debug)]
pub(in crate::gateway) struct Question {
    id: RequestId,
    /// Names the answer within the call.
    key: String,
    method: Box<str>,
    params: Box<RawValue>,
}

impl Question {
    /// The question in a request, if a client can be asked such a thing by way of us.
    pub(super) fn of(request: Request<'_>) -> Option<Self> {
        let is_known = matches!(
            request.method.as_ref(),
            "sampling/createMessage" | "elicitation/create" | "roots/list"
        );
        let none = || RawValue::from_string("{}".to_owned()).unwrap_or_default();
        is_known.then(|| Self {
            id: request.id,
            key: String::new(),
            method: request.method.into(),
            params: request.params.map_or_else(none, ToOwned::to_owned),
        })
    }
}

impl From<&Question> for InputRequest {
    fn from(question: &Question) -> Self {
        Self {
            key: Cow::Owned(question.key.clone()),
            method: Cow::Owned(question.method.clone().into()),
            params: question.params.clone(),
        }
    }
}

/// Something a server tells in the middle of a call.
#[derive(Debug)]
pub(in crate::gateway) struct Notice {
    method: Box<str>,
    params: Option<Box<RawValue>>,
}

impl Notice {
    pub(super) fn new(method: &str, params: Option<&RawValue>) -> Self {
        Self { method: method.into(), params: params.map(ToOwned::to_owned) }
    }

    /// What a server of 2026-07-28 will tell, if this is where it says so.
    pub(super) fn acknowledges(&self) -> Option<&str> {
        let is_it = &*self.method == "notifications/subscriptions/acknowledged";
        self.params.as_deref().filter(|_| is_it).map(RawValue::get)
    }

    /// Tells the client, if it wants to hear it.
    pub(in crate::gateway) fn tell(&self, context: &Context) {
        match (&*self.method, &self.params) {
            ("notifications/progress", Some(params)) => {
                let token = context.progress_token();
                if let Some(params) = token.and_then(|token| progress_under(params, token)) {
                    context.notify(&self.method, Some(&params));
                }
            }
            ("notifications/message", Some(params)) => {
                if level_in(params).is_none_or(|level| context.wants_log(level)) {
                    context.notify(&self.method, Some(params));
                }
            }
            // The server takes a question back: whoever was asked answers in vain.
            ("notifications/cancelled", _) => {}
            (method, params) => context.notify(method, params.as_deref()),
        }
    }
}

/// How grave a log message is; nothing if it does not say so in words of ours.
fn level_in(params: &RawValue) -> Option<LogLevel> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        level: Cow<'a, str>,
    }
    let message: Message<'_> = serde_json::from_str(params.get()).ok()?;
    LogLevel::from_text(&message.level)
}
