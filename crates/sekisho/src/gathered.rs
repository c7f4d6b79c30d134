//! A short message in one piece. To copy a head and its body next to each other costs less than to have the
//! kernel fetch both.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest message that is copied, in bytes.
const COPIED_BYTES_MAX: usize = 2048;

/// A connection to which short pieces are written together.
#[derive(Debug)]
pub struct Gathered<S>(pub S);

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut copy = [0; COPIED_BYTES_MAX];
        match gather(slices, &mut copy) {
            Some(message) => Pin::new(&mut self.0).poll_write(context, message),
            None => Pin::new(&mut self.0).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

/// All pieces, one behind the other; nothing if they do not fit.
fn gather<'a>(slices: &[IoSlice<'_>], copy: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut length = 0;
    for slice in slices {
        copy.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    copy.get(..length)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Keeps each piece that is written.
    #[derive(Default)]
    struct Pieces(Vec<Vec<u8>>);

    impl AsyncWrite for Pieces {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let pieces = slices.iter().map(|slice| slice.to_vec());
            self.0.extend(pieces);
            Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn what_is_short_is_written_in_one_piece_and_what_is_long_as_it_is() {
        let rows = [
            (&[3, 4][..], &[7][..], "a head and its body"),
            (&[COPIED_BYTES_MAX - 1, 1], &[COPIED_BYTES_MAX], "as long as may be"),
            (&[COPIED_BYTES_MAX, 1], &[COPIED_BYTES_MAX, 1], "longer"),
        ];
        for (lengths, expected, reason) in rows {
            let pieces: Vec<Vec<u8>> =
                (1..).zip(lengths).map(|(byte, length)| vec![byte; *length]).collect();
            let slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
            let mut to = Gathered(Pieces::default());
            let written = to.write_vectored(&slices).await.unwrap();
            assert_eq!(written, lengths.iter().sum::<usize>(), "{reason}");
            let lengths: Vec<usize> = to.0.0.iter().map(Vec::len).collect();
            assert_eq!(lengths, expected, "{reason}");
            assert_eq!(to.0.0.concat(), pieces.concat(), "{reason}");
        }
    }

    #[tokio::test]
    async fn all_else_passes() {
        let (one, mut other) = tokio::io::duplex(64);
        let mut one = Gathered(one);
        one.write_all(b"there").await.unwrap();
        one.flush().await.unwrap();
        other.write_all(b"back").await.unwrap();
        let mut read = [0; 4];
        one.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"back");
        one.shutdown().await.unwrap();
        let mut rest = String::new();
        other.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "there");
    }
}
