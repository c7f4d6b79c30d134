//! The PROXY protocol, versions 1 and 2: whose connection a proxy passes on that looks at no HTTP. What a
//! header says is believed from a trusted proxy alone; nobody else's is looked for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use ppp::{v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// How long the header may take; a proxy writes it before anything else.
const HEADER_WAIT: Duration = Duration::from_secs(5);
/// Largest header of version 2, in bytes: addresses, and whatever else the proxy tells.
const HEADER_BYTES_MAX: usize = 2048;
/// Largest line of version 1, by its specification.
const LINE_BYTES_MAX: usize = 107;

/// Why there is no header to go by.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyHeaderError {
    #[error("no header of the PROXY protocol came in time")]
    Late,
    #[error("there is no header of the PROXY protocol where one must be")]
    Missing,
    #[error("the header of the PROXY protocol is larger than {HEADER_BYTES_MAX} bytes")]
    Large,
    #[error("the header of the PROXY protocol is malformed: {0}")]
    Malformed(String),
    #[error("it was cut off in the header of the PROXY protocol")]
    Cut(#[from] io::Error),
}

/// Reads the header and nothing behind it. None where the proxy speaks for itself, as in its own health
/// checks, or cannot say for whom.
///
/// # Errors
/// When there is none in time, or none that can be understood.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    timeout(HEADER_WAIT, header(stream)).await.map_err(|_| ProxyHeaderError::Late)?
}

async fn header(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // No header of either version is shorter than the mark of the second.
    let mut header = vec![0; v2::PROTOCOL_PREFIX.len()];
    stream.read_exact(&mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        binary(stream, header).await
    } else if header.starts_with(b"PROXY ") {
        line(stream, header).await
    } else {
        Err(ProxyHeaderError::Missing)
    }
}

async fn binary(
    stream: &mut (impl AsyncRead + Unpin),
    mut header: Vec<u8>,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    // Version and command, family and protocol, and how much follows.
    let mut rest = [0; 4];
    stream.read_exact(&mut rest).await?;
    header.extend(rest);
    let [_, _, high, low] = rest;
    let start = header.len();
    let whole = start + usize::from(u16::from_be_bytes([high, low]));
    if whole > HEADER_BYTES_MAX {
        return Err(ProxyHeaderError::Large);
    }
    header.resize(whole, 0);
    stream.read_exact(header.get_mut(start..).unwrap_or_default()).await?;
    let understood = v2::Header::try_from(header.as_slice())
        .map_err(|error| ProxyHeaderError::Malformed(error.to_string()))?;
    Ok(match (understood.command, understood.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(of)) => {
            Some((of.source_address, of.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(of)) => {
            Some((of.source_address, of.source_port).into())
        }
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

/// Byte by byte, since nothing says where it ends but its end.
async fn line(
    stream: &mut (impl AsyncRead + Unpin),
    mut line: Vec<u8>,
) -> Result<Option<SocketAddr>, ProxyHeaderError> {
    while !line.ends_with(b"\r\n") {
        if line.len() == LINE_BYTES_MAX {
            return Err(ProxyHeaderError::Malformed("its line has no end".to_owned()));
        }
        line.push(stream.read_u8().await?);
    }
    let understood = v1::Header::try_from(line.as_slice())
        .map_err(|error| ProxyHeaderError::Malformed(error.to_string()))?;
    Ok(match understood.addresses {
        v1::Addresses::Tcp4(of) => Some((of.source_address, of.source_port).into()),
        v1::Addresses::Tcp6(of) => Some((of.source_address, of.source_port).into()),
        v1::Addresses::Unknown => None,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// A header of version 2 by its bytes: version and command, family, addresses and whatever follows.
    fn second(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [v2::PROTOCOL_PREFIX, &[command, family], &length, payload].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 1, 0x11, 0x67, 0, 80];

    #[tokio::test]
    async fn a_header_says_for_whom_or_is_refused() {
        let six = [[0x20, 1, 0xd, 0xb8].as_slice(), &[0; 11], &[7], &[0; 16], &[0x11, 0x67, 0, 80]];
        let more = [FOUR.as_slice(), &[4, 0, 3, 1, 2, 3]].concat();
        let four = Some("192.0.2.1:4455");
        let rows: [(Vec<u8>, Result<Option<&str>, &str>, &str); 22] = [
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 4455 80\r\n".to_vec(), Ok(four), "version 1"),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4455 80\r\n".to_vec(),
                Ok(Some("[2001:db8::7]:4455")),
                "IPv6",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Ok(None), "it does not know"),
            (b"PROXY UNKNOWN a b c d\r\n".to_vec(), Ok(None), "and says more"),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 4455\r\n".to_vec(),
                Err("malformed"),
                "a port missing",
            ),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 4455 80 1\r\n".to_vec(), Err("malformed"), "too many"),
            (b"PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n".to_vec(), Err("malformed"), "no address"),
            (b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n".to_vec(), Err("malformed"), "the other family"),
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 70000 1\r\n".to_vec(), Err("malformed"), "no port"),
            (b"PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(), Err("malformed"), "no such word"),
            (b"PROXY TCP4 192.0.2.1\n10.0.0.1 1 2\n".to_vec(), Err("cut off"), "half an end"),
            ([b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200]].concat(), Err("no end"), "no end"),
            (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Err("no header"), "a request"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00".to_vec(), Err("no header"), "TLS"),
            (second(0x21, 0x11, &FOUR), Ok(four), "version 2"),
            (second(0x21, 0x21, &six.concat()), Ok(Some("[2001:db8::7]:4455")), "IPv6"),
            (second(0x21, 0x11, &more), Ok(four), "what else a proxy knows"),
            (second(0x20, 0x00, b""), Ok(None), "its own health check"),
            (second(0x21, 0x31, &[0; 216]), Ok(None), "a socket that has no address"),
            (second(0x21, 0x11, &FOUR[..8]), Err("malformed"), "half an address"),
            (second(0x31, 0x11, &FOUR), Err("malformed"), "a version to come"),
            (second(0x21, 0x11, &[0; 4000]), Err("larger than"), "too much"),
        ];
        for (bytes, expected, reason) in rows {
            let behind = [bytes.as_slice(), b"GET"].concat();
            let mut stream = behind.as_slice();
            match (read(&mut stream).await, expected) {
                (Ok(address), Ok(expected)) => {
                    let address = address.map(|address| address.to_string());
                    assert_eq!(address.as_deref(), expected, "{reason}");
                    assert_eq!(stream, b"GET", "{reason}: what follows is left alone");
                }
                (Err(error), Err(expected)) => {
                    assert!(error.to_string().contains(expected), "{reason}: {error}");
                }
                (read, _) => unreachable!("{reason}: {read:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        for begun in [b"".as_slice(), b"PROXY TCP4 192.0.2.1 10", v2::PROTOCOL_PREFIX] {
            let (mut proxy, mut ours) = tokio::io::duplex(64);
            tokio::io::AsyncWriteExt::write_all(&mut proxy, begun).await.unwrap();
            let error = read(&mut ours).await.unwrap_err();
            assert!(matches!(error, ProxyHeaderError::Late), "{error}");
        }
    }
}
