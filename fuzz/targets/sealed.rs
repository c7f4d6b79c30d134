//! What we sealed, gave away and get back: changed in any way, it does not open. The first bytes say where and how;
//! the rest is a text of somebody else's.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sekisho::seal::{Purpose, Sealed, Sealer};

const PLAIN: &[u8] = b"what nobody may change";

fuzz_target!(|input: (u16, u8, &str)| {
    let (place, change, other) = input;
    let (sealer, ours) = sealed();
    let mut bytes = ours.as_bytes().to_vec();
    let at = usize::from(place) % bytes.len();
    bytes[at] ^= change;
    let opened = sealer.open(Purpose::RequestState, b"", &Sealed::from_bytes(bytes));
    assert_eq!(opened.is_ok(), change == 0, "byte {at} with {change}");

    let Some(strangers) = Sealed::from_text(other) else { return };
    for purpose in [Purpose::Consent, Purpose::Login, Purpose::RequestState] {
        assert!(sealer.open(purpose, b"", &strangers).is_err());
    }
});

fn sealed() -> &'static (Sealer, Sealed) {
    static SEALED: OnceLock<(Sealer, Sealed)> = OnceLock::new();
    SEALED.get_or_init(|| {
        let sealer = Sealer::ephemeral();
        let ours = sealer.seal(Purpose::RequestState, b"", PLAIN);
        (sealer, ours)
    })
}
