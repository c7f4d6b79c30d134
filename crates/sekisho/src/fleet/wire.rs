//! What travels between two instances, sealed: nobody on the way reads, alters, repeats or redirects it.
//!
//! ```text
//! request: a header, before all else:      sealed (who, which number)
//!          sealed for one instance, once:  length of the head │ head (JSON) │ body
//! answer:  parts in their order, each      length │ sealed (kind │ …)      head, data …, end
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{ClientId, ScopeSet};
use serde::{Deserialize, Serialize};

use super::InstanceId;
use crate::clock::Timestamp;
use crate::grant::GrantId;
use crate::principal::{Identity, Principal};
use crate::seal::{Purpose, Sealed, Sealer};

/// The most bytes of one part of an answer, before it is sealed.
pub(super) const PART_BYTES_MAX: usize = 64 * 1024;
/// What sealing adds at most, with room to spare.
const SEALED_MORE_MAX: usize = 256;

/// Which of all requests one is: shown in a header, so that nothing is read for whoever has not our key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    pub(super) from: String,
    /// Counts what that instance passed on.
    pub(super) number: u64,
}

/// Where a [`Proof`] stands.
pub(super) const PROOF: HeaderName = HeaderName::from_static("sekisho-relay");
/// Longest value of that header.
const PROOF_BYTES_MAX: usize = 512;

/// The head of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    #[serde(flatten)]
    pub(super) proof: Proof,
    pub(super) service: String,
    pub(super) method: String,
    pub(super) uri: String,
    pub(super) headers: Headers,
    pub(super) caller: Option<Caller>,
}

/// The head of an answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AnswerHead {
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// What the guard in front is to ask for.
    pub(super) missing_scopes: Option<ScopeSet>,
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Part {
    Head(AnswerHead),
    Data(Vec<u8>),
    /// It was all.
    End,
}

/// What came is not what was sealed for this.
#[derive(Debug, thiserror::Error)]
#[error("not sealed by our key for this place")]
pub(super) struct Foreign;

/// Names and values; values are bytes, each as the letter of that number.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Headers(Vec<(String, String)>);

impl From<&HeaderMap> for Headers {
    fn from(headers: &HeaderMap) -> Self {
        let passed = headers.iter().filter(|(name, _)| !STAY.contains(name));
        let pairs = passed.map(|(name, value)| {
            let value = value.as_bytes().iter().copied().map(char::from).collect();
            (name.as_str().to_owned(), value)
        });
        Self(pairs.collect())
    }
}

impl Headers {
    /// As they were.
    pub(super) fn to_map(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let bytes: Option<Vec<u8>> =
                value.chars().map(|letter| u8::try_from(letter).ok()).collect();
            let value = bytes.and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
            if let (Ok(name), Some(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
                headers.append(name, value);
            }
        }
        headers
    }
}

/// What concerns a connection, or whoever let the caller in.
const STAY: [HeaderName; 9] = [
    http::header::AUTHORIZATION,
    http::header::CONNECTION,
    http::header::CONTENT_LENGTH,
    http::header::COOKIE,
    http::header::EXPECT,
    http::header::HOST,
    http::header::TE,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
];

/// Whom the guard let in.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Caller {
    identity: Identity,
    client_id: ClientId,
    grant_id: GrantId,
    scopes: ScopeSet,
    token: [u8; 32],
    expires_at: Timestamp,
}

impl From<&Principal> for Caller {
    fn from(principal: &Principal) -> Self {
        let Principal { identity, client_id, grant_id, scopes, token, expires_at } =
            principal.clone();
        Self { identity, client_id, grant_id, scopes, token: *token.as_bytes(), expires_at }
    }
}

impl From<Caller> for Principal {
    fn from(caller: Caller) -> Self {
        let Caller { identity, client_id, grant_id, scopes, token, expires_at } = caller;
        let token = SecretHash::from_bytes(token);
        Self { identity, client_id, grant_id, scopes, token, expires_at }
    }
}

/// For that instance alone, as the value of a header.
pub(super) fn seal_proof(sealer: &Sealer, to: &InstanceId, proof: &Proof) -> HeaderValue {
    let shown = sealer.seal(Purpose::RelayProof, to.as_str().as_bytes(), &json(proof));
    let text = URL_SAFE_NO_PAD.encode(shown.as_bytes());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What this header shows to us.
pub(super) fn open_proof(
    sealer: &Sealer,
    me: &InstanceId,
    come: Option<&HeaderValue>,
) -> Result<Proof, Foreign> {
    let come = come.filter(|value| value.len() <= PROOF_BYTES_MAX).ok_or(Foreign)?;
    let shown = URL_SAFE_NO_PAD.decode(come.as_bytes()).map_err(|_| Foreign)?;
    let shown = Sealed::from_bytes(shown);
    let plain = sealer.open(Purpose::RelayProof, me.as_str().as_bytes(), &shown);
    serde_json::from_slice(&plain.map_err(|_| Foreign)?).map_err(|_| Foreign)
}

/// A request, for that instance alone.
pub(super) fn seal_request(sealer: &Sealer, to: &InstanceId, head: &Head, body: &[u8]) -> Vec<u8> {
    let head = json(head);
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
    let plain = [&length.to_be_bytes()[..], &head, body].concat();
    sealer.seal(Purpose::RelayedRequest, to.as_str().as_bytes(), &plain).as_bytes().to_vec()
}

/// A request that is for us.
pub(super) fn open_request(
    sealer: &Sealer,
    me: &InstanceId,
    come: Vec<u8>,
) -> Result<(Head, Vec<u8>), Foreign> {
    let come = Sealed::from_bytes(come);
    let plain = sealer.open(Purpose::RelayedRequest, me.as_str().as_bytes(), &come);
    let plain = plain.map_err(|_| Foreign)?;
    let (length, rest) = plain.split_first_chunk::<4>().ok_or(Foreign)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Foreign)?;
    let (head, body) = rest.split_at_checked(length).ok_or(Foreign)?;
    let head = serde_json::from_slice(head).map_err(|_| Foreign)?;
    Ok((head, body.to_vec()))
}

/// One end of the answer to one request: each part has its place in it.
#[derive(Debug)]
pub(super) struct Parts {
    sealer: Sealer,
    exchange: String,
    next: u64,
}

impl Parts {
    /// Of the answer to the request with that number of that instance.
    pub(super) fn new(sealer: &Sealer, from: &str, number: u64) -> Self {
        Self { sealer: sealer.clone(), exchange: format!("{from}/{number}"), next: 0 }
    }

    fn place(&mut self) -> Vec<u8> {
        let place = format!("{}/{}", self.exchange, self.next);
        self.next += 1;
        place.into_bytes()
    }

    /// The next part, with its length in front.
    pub(super) fn write(&mut self, kind: Kind<'_>, out: &mut Vec<u8>) {
        let plain = match kind {
            Kind::Head(head) => [&[HEAD][..], &json(head)].concat(),
            Kind::Data(data) => [&[DATA][..], data].concat(),
            Kind::End => vec![END],
        };
        let place = self.place();
        let sealed = self.sealer.seal(Purpose::RelayedAnswer, &place, &plain);
        let length = u32::try_from(sealed.as_bytes().len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(sealed.as_bytes());
    }

    /// The next part of what has come, which is taken out; nothing while it is not all there.
    pub(super) fn read(&mut self, come: &mut Vec<u8>) -> Result<Option<Part>, Foreign> {
        let Some((length, rest)) = come.split_first_chunk::<4>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Foreign)?;
        if length > PART_BYTES_MAX + SEALED_MORE_MAX {
            return Err(Foreign);
        }
        let Some(sealed) = rest.get(..length) else { return Ok(None) };
        let sealed = Sealed::from_bytes(sealed.to_vec());
        come.drain(..length + 4);
        let place = self.place();
        let plain = self.sealer.open(Purpose::RelayedAnswer, &place, &sealed);
        let plain = plain.map_err(|_| Foreign)?;
        match plain.split_first() {
            Some((&HEAD, head)) => {
                serde_json::from_slice(head).map(|head| Some(Part::Head(head))).map_err(|_| Foreign)
            }
            Some((&DATA, data)) => Ok(Some(Part::Data(data.to_vec()))),
            Some((&END, [])) => Ok(Some(Part::End)),
            Some(_) | None => Err(Foreign),
        }
    }
}

/// A part to be written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    Head(&'a AnswerHead),
    /// Of [`PART_BYTES_MAX`] at most.
    Data(&'a [u8]),
    End,
}

const HEAD: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;

#[expect(clippy::expect_used, reason = "our own types have string keys and no failing parts")]
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("our own types serialise")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn id(name: &str) -> InstanceId {
        InstanceId(name.to_owned())
    }

    fn head() -> Head {
        let headers = HeaderMap::from_iter([
            (http::header::ACCEPT, HeaderValue::from_static("*/*")),
            (http::header::AUTHORIZATION, HeaderValue::from_static("Bearer mcp_0123")),
            (http::header::PRAGMA, HeaderValue::from_bytes(b"\xe9\xff").unwrap()),
        ]);
        Head {
            proof: Proof { from: "b".to_owned(), number: 7 },
            service: "/messages".to_owned(),
            method: "POST".to_owned(),
            uri: "/mcp".to_owned(),
            headers: (&headers).into(),
            caller: None,
        }
    }

    #[test]
    fn a_request_opens_for_the_instance_it_is_for_and_by_our_key_alone() {
        let sealer = Sealer::ephemeral();
        let request = seal_request(&sealer, &id("a"), &head(), b"body");
        let (opened, body) = open_request(&sealer, &id("a"), request.clone()).unwrap();
        assert_eq!((opened.proof, body.as_slice()), (head().proof, b"body".as_slice()));
        let headers = opened.headers.to_map();
        assert_eq!(headers.get(http::header::PRAGMA).unwrap().as_bytes(), b"\xe9\xff");
        assert_eq!(headers.get(http::header::AUTHORIZATION), None, "no token travels");

        let mut altered = request.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(open_request(&sealer, &id("a"), altered).is_err(), "altered");
        assert!(open_request(&sealer, &id("c"), request.clone()).is_err(), "for somebody else");
        assert!(open_request(&Sealer::ephemeral(), &id("a"), request).is_err(), "another key");
    }

    #[test]
    fn a_proof_is_for_one_instance_and_by_our_key_alone() {
        let (sealer, proof) = (Sealer::ephemeral(), head().proof);
        let shown = seal_proof(&sealer, &id("a"), &proof);
        assert_eq!(open_proof(&sealer, &id("a"), Some(&shown)).unwrap(), proof);
        let request = seal_request(&sealer, &id("a"), &head(), b"");
        let other = HeaderValue::from_str(&URL_SAFE_NO_PAD.encode(request)).unwrap();
        let long = HeaderValue::from_str(&"a".repeat(PROOF_BYTES_MAX + 1)).unwrap();
        let nothing = HeaderValue::from_static("");
        let rows = [
            (&sealer, "a", None, "nothing"),
            (&sealer, "a", Some(&nothing), "next to nothing"),
            (&sealer, "a", Some(&long), "too much"),
            (&sealer, "a", Some(&other), "something else of ours"),
            (&sealer, "c", Some(&shown), "for somebody else"),
            (&Sealer::ephemeral(), "a", Some(&shown), "another key"),
        ];
        for (sealer, me, shown, reason) in rows {
            assert!(open_proof(sealer, &id(me), shown).is_err(), "{reason}");
        }
    }

    #[test]
    fn parts_of_an_answer_come_in_their_order_and_to_their_request() {
        let sealer = Sealer::ephemeral();
        let mut writing = Parts::new(&sealer, "b", 7);
        let [mut first, mut second] = [Vec::new(), Vec::new()];
        writing.write(Kind::Data(b"one"), &mut first);
        writing.write(Kind::Data(b"two"), &mut second);

        let mut reading = Parts::new(&sealer, "b", 7);
        let (begin, rest) = first.split_at(5);
        let mut come = begin.to_vec();
        assert!(matches!(reading.read(&mut come), Ok(None)), "not all there");
        come.extend_from_slice(rest);
        assert!(matches!(reading.read(&mut come), Ok(Some(Part::Data(data))) if data == b"one"));
        assert!(matches!(reading.read(&mut first.clone()), Err(Foreign)), "the first once more");

        let mut other = Parts::new(&sealer, "b", 8);
        assert!(matches!(other.read(&mut first), Err(Foreign)), "of another request");
        assert!(matches!(Parts::new(&sealer, "b", 7).read(&mut second), Err(Foreign)), "too soon");
        let mut endless = vec![0xff; 64];
        assert!(matches!(Parts::new(&sealer, "b", 7).read(&mut endless), Err(Foreign)), "too long");
    }
}
