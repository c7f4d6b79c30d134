//! Where the other instances come in: takes what was sealed for us by our key, each once.
//!
//! It belongs on a listener of its own, which no client has to reach. Strangers hear 410 there and
//! nothing else, before anything is read of what they send, and lose their connection.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, StatusCode, Uri};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

use super::Fleet;
use super::wire::{self, AnswerHead, Head, Kind, PART_BYTES_MAX, PROOF, Parts, Proof};
use crate::principal::Principal;
use crate::resource_server::MissingScopes;

/// The only path.
pub(super) const PATH: &str = "/relay";
/// How long a request may take to arrive, from one instance to another.
const BODY_WAIT: Duration = Duration::from_secs(5);
/// Requests of other instances that arrive at once; the others wait for a place as long as for a body.
pub(super) const ARRIVING_MAX: usize = 64;
/// What may come in front of a body: head, and what sealing adds.
const HEAD_BYTES_MAX: usize = 1024 * 1024;
/// Instances of which is remembered what they sent; over it, the first among them is forgotten.
const SENDERS_MAX: usize = 4_096;
/// How far behind the newest of its sender a request may come.
const BEHIND_MAX: usize = 4_096;

impl Fleet {
    /// What is served to other instances; bodies of clients have this many bytes at most.
    pub fn door(self: &Arc<Self>, body_bytes_max: usize) -> Router {
        let bytes_max = body_bytes_max.saturating_add(HEAD_BYTES_MAX);
        Router::new()
            .route(PATH, post(take))
            .fallback(|| async { Refused::Foreign })
            .with_state((Arc::clone(self), bytes_max))
    }
}

async fn take(
    State((fleet, bytes_max)): State<(Arc<Fleet>, usize)>,
    request: Request,
) -> Result<Response, Refused> {
    // First of all: whoever has not the key takes no place of those who have.
    let shown = request.headers().get(PROOF);
    let proof = wire::open_proof(&fleet.sealer, &fleet.me, shown).map_err(|_| Refused::Foreign)?;
    // Counted before it is read, so that one proof has one place.
    if !fleet.senders.lock().unwrap_or_else(PoisonError::into_inner).is_new(&proof) {
        tracing::warn!(instance = proof.from, "what was passed on came twice");
        return Err(Refused::Repeated);
    }
    let arriving = async {
        let _place = fleet.arriving.acquire().await;
        Limited::new(request.into_body(), bytes_max).collect().await
    };
    let sealed = timeout(BODY_WAIT, arriving).await.map_err(|_| Refused::Late)?;
    let sealed = sealed.map_err(|_| Refused::Large)?.to_bytes().to_vec();
    let opened = wire::open_request(&fleet.sealer, &fleet.me, sealed);
    let (head, body) = opened.map_err(|_| Refused::Foreign)?;
    if head.proof != proof {
        return Err(Refused::Foreign);
    }
    let taking = fleet.service(&head.service).ok_or(Refused::Foreign)?;
    let parts = Parts::new(&fleet.sealer, &proof.from, proof.number);
    let request = as_it_was(head, body).ok_or(Refused::Foreign)?;
    Ok(sealed_answer(taking(request).await, parts).await)
}

/// Why nothing is taken in. Nobody is told more than a status, and whoever cannot be one of us has no
/// connection any more.
#[derive(Debug, Clone, Copy)]
enum Refused {
    /// It is not sealed by our key for us, or for nothing that we serve.
    Foreign,
    /// It came before.
    Repeated,
    /// It did not arrive in time.
    Late,
    /// It is more than anybody sends.
    Large,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Foreign => StatusCode::GONE,
            Self::Repeated => StatusCode::CONFLICT,
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Large => StatusCode::PAYLOAD_TOO_LARGE,
        };
        (status, [(CONNECTION, HeaderValue::from_static("close"))]).into_response()
    }
}

/// The request as it came to the other instance, with its caller.
fn as_it_was(head: Head, body: Vec<u8>) -> Option<Request> {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = head.method.parse::<Method>().ok()?;
    *request.uri_mut() = head.uri.parse::<Uri>().ok()?;
    *request.headers_mut() = head.headers.to_map();
    if let Some(caller) = head.caller {
        request.extensions_mut().insert(Arc::new(Principal::from(caller)));
    }
    Some(request)
}

/// All of it in one piece where it is there already, else part by part as it comes.
async fn sealed_answer(response: Response, mut parts: Parts) -> Response {
    let (head, body) = response.into_parts();
    let missing = head.extensions.get::<MissingScopes>();
    let head = AnswerHead {
        status: head.status.as_u16(),
        headers: (&head.headers).into(),
        missing_scopes: missing.map(|MissingScopes(missing)| missing.clone()),
    };
    let mut out = Vec::new();
    parts.write(Kind::Head(&head), &mut out);
    if body.size_hint().exact().is_some() {
        let Ok(whole) = body.collect().await else {
            return StatusCode::BAD_GATEWAY.into_response();
        };
        write_data(&mut parts, &whole.to_bytes(), &mut out);
        parts.write(Kind::End, &mut out);
        return Response::new(Body::from(out));
    }
    let chunks =
        futures::stream::unfold((Some(body), parts, out), |(body, mut parts, out)| async {
            if !out.is_empty() {
                return Some((Ok(Bytes::from(out)), (body, parts, Vec::new())));
            }
            let mut body = body?;
            let mut out = out;
            loop {
                match body.frame().await {
                    Some(Ok(frame)) => {
                        let Ok(data) = frame.into_data() else { continue };
                        write_data(&mut parts, &data, &mut out);
                        if !out.is_empty() {
                            return Some((Ok(Bytes::from(out)), (Some(body), parts, Vec::new())));
                        }
                    }
                    Some(Err(error)) => return Some((Err(error), (None, parts, out))),
                    None => {
                        parts.write(Kind::End, &mut out);
                        return Some((Ok(Bytes::from(out)), (None, parts, Vec::new())));
                    }
                }
            }
        });
    Response::new(Body::from_stream(chunks))
}

fn write_data(parts: &mut Parts, data: &[u8], out: &mut Vec<u8>) {
    for piece in data.chunks(PART_BYTES_MAX - 1) {
        parts.write(Kind::Data(piece), out);
    }
}

/// What each instance sent us lately, by its numbers.
#[derive(Debug, Default)]
pub(super) struct Senders {
    known: HashMap<String, Window>,
    /// In the order they were first heard of.
    order: VecDeque<String>,
}

/// The newest number, and which of those behind it came.
#[derive(Debug)]
struct Window {
    newest: u64,
    came: Box<[bool; BEHIND_MAX]>,
}

impl Senders {
    /// Whether this is the first time that it comes. What comes so late that nobody knows is not.
    fn is_new(&mut self, proof: &Proof) -> bool {
        if !self.known.contains_key(&proof.from) {
            if self.order.len() >= SENDERS_MAX
                && let Some(first) = self.order.pop_front()
            {
                self.known.remove(&first);
            }
            self.order.push_back(proof.from.clone());
        }
        let window = self
            .known
            .entry(proof.from.clone())
            .or_insert_with(|| Window { newest: 0, came: Box::new([false; BEHIND_MAX]) });
        window.note(proof.number)
    }
}

impl Window {
    fn note(&mut self, number: u64) -> bool {
        let size = u64::try_from(BEHIND_MAX).unwrap_or(u64::MAX);
        if number.saturating_add(size) <= self.newest {
            return false;
        }
        for skipped in (self.newest + 1..=number).rev().take(BEHIND_MAX) {
            *self.place(skipped) = false;
        }
        self.newest = self.newest.max(number);
        !std::mem::replace(self.place(number), true)
    }

    #[expect(clippy::indexing_slicing, reason = "a rest of the length is below the length")]
    fn place(&mut self, number: u64) -> &mut bool {
        let index = usize::try_from(number % u64::try_from(BEHIND_MAX).unwrap_or(1)).unwrap_or(0);
        &mut self.came[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_counts_once_in_whatever_order_they_come() {
        let mut window = Window { newest: 0, came: Box::new([false; BEHIND_MAX]) };
        let rows = [
            (1, true, "the first"),
            (1, false, "again"),
            (3, true, "one overtook"),
            (2, true, "and here it is"),
            (2, false, "again"),
            (4_098, true, "far ahead"),
            (4_097, true, "just behind"),
            (3, false, "it came, long ago"),
            (2, false, "too far behind to know"),
            (1_000_000, true, "farther than is remembered"),
            (1_000_000, false, "again"),
            (4_099, false, "too far behind to know, though it never came"),
            (999_999, true, "never came"),
        ];
        for (number, is_new, reason) in rows {
            assert_eq!(window.note(number), is_new, "{number}: {reason}");
        }
    }
}
