//! HTTP/1.1 without TLS, to one server. Each connection carries one request at a time and is driven by
//! whoever made that, so that no other task has to be woken between a request and its answer; those that
//! are unused are kept for a while.
//!
//! Made again, on another connection, is only a request of which nothing was sent.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONNECTION;
use http::{Request, Uri, Version};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
#[cfg(not(feature = "simulation"))]
use tokio::net::TcpStream;
use tower::Service as _;

use super::CONNECTION_IDLE;
use super::trouble::Trouble;
use crate::gathered::Gathered;

/// Unused connections that are kept; one more is closed.
const IDLE_MAX: usize = 512;
/// How often somebody looks at them in [`CONNECTION_IDLE`]: a connection asks for no time of its own.
const ROUNDS: u32 = 4;
/// How long the other end may be silent before it is asked whether it is there, and how often.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBES_MAX: u32 = 3;

/// What a connection is made of. A simulation has no sockets.
#[cfg(not(feature = "simulation"))]
type Stream = TcpStream;
#[cfg(feature = "simulation")]
type Stream = Box<dyn crate::simulation::Stream>;

/// The connections to one server.
pub(in crate::gateway) struct Pool {
    origin: Uri,
    connector: HttpConnector,
    connect_wait: Duration,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// The one used last is the last, each with the round in which it was.
    kept: Vec<(Box<Line>, u32)>,
    /// How often somebody has looked whether they are kept for too long.
    round: u32,
    /// Somebody does.
    is_watched: bool,
}

/// One connection.
struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: http1::Connection<TokioIo<Gathered<Stream>>, Full<Bytes>>,
    is_over: bool,
}

/// What follows the head of a response.
pub(super) struct Body {
    incoming: Incoming,
    /// The connection it comes by; none when all of it was read.
    line: Option<Box<Line>>,
    /// As far as the response says.
    goes_on: bool,
    pool: Arc<Pool>,
}

/// The other end was gone before it said all.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed")]
struct Closed;

impl Pool {
    /// Connections to `origin`, each of which may take so long until it is there.
    pub(super) fn new(origin: Uri, connect_wait: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(PROBE_AFTER));
        connector.set_keepalive_interval(Some(PROBE_AFTER));
        connector.set_keepalive_retries(Some(PROBES_MAX));
        Self { origin, connector, connect_wait, idle: Mutex::default() }
    }

    /// Sends a request, whose URI is a path and whose `Host` is set, and waits for the head of the
    /// response.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Body>, Trouble> {
        loop {
            let kept = self.take();
            let is_new = kept.is_none();
            let mut line = match kept {
                Some(line) => line,
                None => Box::pin(self.connect()).await?,
            };
            let asked = line.sender.try_send_request(request);
            let response = match line.drive(asked).await {
                Some(Ok(response)) => response,
                Some(Err(mut error)) => match error.take_message() {
                    Some(unsent) if !is_new => {
                        request = unsent;
                        continue;
                    }
                    Some(_) | None => return Err(Trouble::broken(error.into_error())),
                },
                None => return Err(Trouble::broken(Closed)),
            };
            let goes_on = goes_on(&response);
            return Ok(response.map(|incoming| {
                let mut body = Body { incoming, line: Some(line), goes_on, pool: Arc::clone(self) };
                if body.incoming.is_end_stream() {
                    body.give_back();
                }
                body
            }));
        }
    }

    async fn connect(&self) -> Result<Box<Line>, Trouble> {
        let stream = tokio::time::timeout(self.connect_wait, self.stream()).await;
        let stream = stream.map_err(|_| Trouble::TooSlow)??;
        let begun = http1::handshake(TokioIo::new(Gathered(stream))).await;
        let (sender, connection) = begun.map_err(Trouble::broken)?;
        Ok(Box::new(Line { sender, connection, is_over: false }))
    }

    async fn stream(&self) -> Result<Stream, Trouble> {
        #[cfg(feature = "simulation")]
        if let Some(connecting) = crate::simulation::connect(&self.origin.to_string()) {
            return connecting.await.map_err(Trouble::unreachable);
        }
        let connecting = self.connector.clone().call(self.origin.clone());
        let stream = connecting.await.map_err(Trouble::unreachable)?.into_inner();
        #[cfg(feature = "simulation")]
        let stream = Box::new(stream) as Stream;
        Ok(stream)
    }

    /// A connection that was used before and can be used again.
    fn take(&self) -> Option<Box<Line>> {
        loop {
            let (mut line, _) = self.lock().kept.pop()?;
            if line.is_ready() {
                return Some(line);
            }
        }
    }

    /// Keeps a connection that goes on as far as anybody knows: whoever takes it asks.
    fn keep(self: &Arc<Self>, line: Box<Line>) {
        let mut idle = self.lock();
        if idle.kept.len() < IDLE_MAX {
            let round = idle.round;
            idle.kept.push((line, round));
            if !std::mem::replace(&mut idle.is_watched, true) {
                let pool = Arc::downgrade(self);
                tokio::spawn(async move {
                    loop {
                        tokio::time::sleep(CONNECTION_IDLE / ROUNDS).await;
                        let Some(pool) = pool.upgrade() else { return };
                        if pool.forget_unused() {
                            return;
                        }
                    }
                });
            }
        }
    }

    /// Closes what was unused for too long; `true` if there is nothing more to look after.
    fn forget_unused(&self) -> bool {
        let mut idle = self.lock();
        idle.round = idle.round.wrapping_add(1);
        let now = idle.round;
        let unused = idle.kept.partition_point(|(_, round)| now.wrapping_sub(*round) >= ROUNDS);
        let unused: Vec<_> = idle.kept.drain(..unused).collect();
        idle.is_watched = !idle.kept.is_empty();
        let is_watched = idle.is_watched;
        drop(idle);
        drop(unused);
        !is_watched
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Line {
    /// Waits for what comes by way of the connection; nothing if that has ended without it.
    async fn drive<T>(&mut self, wanted: impl Future<Output = T>) -> Option<T> {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            if let Poll::Ready(value) = wanted.as_mut().poll(context) {
                return Poll::Ready(Some(value));
            }
            self.poll(context);
            match wanted.as_mut().poll(context) {
                Poll::Ready(value) => Poll::Ready(Some(value)),
                Poll::Pending if self.is_over => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn poll(&mut self, context: &mut Context<'_>) {
        self.is_over = self.is_over || Pin::new(&mut self.connection).poll(context).is_ready();
    }

    /// Whether it is there and nothing is on its way.
    fn is_ready(&mut self) -> bool {
        self.poll(&mut Context::from_waker(Waker::noop()));
        !self.is_over && self.sender.is_ready()
    }
}

/// Whether its connection is there for more by all that the response says (RFC 9112 §9.3).
fn goes_on<T>(response: &http::Response<T>) -> bool {
    response.version() == Version::HTTP_11 && !response.headers().contains_key(CONNECTION)
}

impl Body {
    /// The next piece; nothing at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Trouble> {
        while let Some(line) = &mut self.line {
            match line.drive(self.incoming.frame()).await {
                Some(Some(Ok(frame))) => {
                    if self.incoming.is_end_stream() {
                        self.give_back();
                    }
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(None) => self.give_back(),
                Some(Some(Err(error))) => {
                    self.line = None;
                    return Err(Trouble::broken(error));
                }
                None => {
                    self.line = None;
                    return Err(Trouble::broken(Closed));
                }
            }
        }
        Ok(None)
    }

    fn give_back(&mut self) {
        if let Some(mut line) = self.line.take()
            && (self.goes_on && !line.is_over || line.is_ready())
        {
            self.pool.keep(line);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    /// A server that answers so much on each of its connections and then closes it.
    async fn server(answers: &[&'static [&'static str]]) -> (Arc<Pool>, Arc<Mutex<Vec<usize>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let answers = answers.to_vec();
        // The requests that came by each connection.
        let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
        let counted = Arc::clone(&seen);
        tokio::spawn(async move {
            for answers in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                counted.lock().unwrap().push(0);
                let mut buffer = [0; 1024];
                for answer in answers {
                    if stream.read(&mut buffer).await.unwrap() == 0 {
                        break;
                    }
                    *counted.lock().unwrap().last_mut().unwrap() += 1;
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        (Arc::new(Pool::new(origin, Duration::from_secs(5))), seen)
    }

    async fn ask(pool: &Arc<Pool>) -> Result<String, Trouble> {
        let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert("host", http::HeaderValue::from_static("x"));
        let mut body = pool.send(request).await?.into_body();
        let mut text = String::new();
        while let Some(chunk) = body.chunk().await? {
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        Ok(text)
    }

    #[tokio::test]
    async fn one_connection_carries_one_request_after_the_other() {
        const CHUNKED: &str =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        const LAST: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        let (pool, seen) = server(&[&[OK, CHUNKED, OK, LAST], &[OK]]).await;
        for _ in 0..4 {
            assert_eq!(ask(&pool).await.unwrap(), "ok");
        }
        assert!(pool.lock().kept.is_empty(), "there will be nothing more");
        assert_eq!(ask(&pool).await.unwrap(), "ok");
        assert_eq!(*seen.lock().unwrap(), [4, 1]);
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_meanwhile_costs_nobody_a_call() {
        let (pool, seen) = server(&[&[OK], &[OK], &[OK]]).await;
        for _ in 0..3 {
            assert_eq!(ask(&pool).await.unwrap(), "ok");
            // Until the end of the connection is there.
            while pool.lock().kept.last_mut().is_some_and(|(line, _)| line.is_ready()) {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(*seen.lock().unwrap(), [1, 1, 1]);
    }

    #[tokio::test]
    async fn a_request_that_was_sent_is_not_made_again() {
        let rows: [(&[&'static str], &str); 3] = [
            (&[OK, ""], "closed without a word"),
            (&[OK, "HTTP/1.1 200 OK\r\nContent-Le"], "closed within the head"),
            (&[OK, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"], "closed within the body"),
        ];
        for (answers, reason) in rows {
            let (pool, seen) = server(&[answers, &[OK]]).await;
            assert_eq!(ask(&pool).await.unwrap(), "ok");
            assert!(matches!(ask(&pool).await, Err(Trouble::Broken(_))), "{reason}");
            assert_eq!(*seen.lock().unwrap(), [2], "{reason}");
            assert_eq!(ask(&pool).await.unwrap(), "ok", "{reason}: the next one is on its own");
        }
    }

    #[tokio::test]
    async fn a_connection_whose_response_was_left_is_not_used_again() {
        let (pool, seen) = server(&[
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", OK],
            &[OK],
        ])
        .await;
        let mut request = Request::new(Full::new(Bytes::new()));
        request.headers_mut().insert("host", http::HeaderValue::from_static("x"));
        let mut response = pool.send(request).await.unwrap();
        assert_eq!(response.body_mut().chunk().await.unwrap().unwrap(), "ok");
        drop(response);
        assert_eq!(ask(&pool).await.unwrap(), "ok");
        assert_eq!(*seen.lock().unwrap(), [1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_is_not_kept() {
        let (pool, _) = server(&[&[OK, OK]]).await;
        assert_eq!(ask(&pool).await.unwrap(), "ok");
        tokio::time::sleep(CONNECTION_IDLE / 2).await;
        assert_eq!(pool.lock().kept.len(), 1);
        tokio::time::sleep(CONNECTION_IDLE).await;
        let idle = pool.lock();
        assert!(idle.kept.is_empty() && !idle.is_watched);
    }
}
