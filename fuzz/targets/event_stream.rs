//! `text/event-stream` of a server behind us: its events are the same however the network cuts it. The first
//! byte says into pieces of how many bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho::fuzzing::events_in;

fuzz_target!(|input: &[u8]| {
    let Some((&piece, stream)) = input.split_first() else { return };
    let whole = events_in(stream, stream.len().max(1));
    let cut = events_in(stream, usize::from(piece).max(1));
    assert_eq!(whole, cut);
});
