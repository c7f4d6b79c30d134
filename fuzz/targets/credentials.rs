//! `Authorization: Basic` (RFC 6749 §2.3.1): what was read is written and read again as the same. The first
//! line is the header, the rest the form.
#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use sekisho_protocol::oauth::{ClientCredentials, ClientProof, Parameters};

fuzz_target!(|input: &str| {
    let (header, form) = input.split_once('\n').unwrap_or((input, ""));
    let parameters = Parameters::parse(form.as_bytes());
    let _ = ClientCredentials::parse(None, &parameters);
    let Ok(read) = ClientCredentials::parse(Some(header), &parameters) else { return };
    let secret = match &read.proof {
        ClientProof::None => "",
        ClientProof::Secret(secret) => secret.reveal(),
        ClientProof::Assertion(_) => panic!("an assertion beside a header is two methods"),
    };
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let joined = format!("{}:{}", encoded(read.client_id.as_str()), encoded(secret));
    let header = format!("Basic {}", STANDARD.encode(joined));
    let again = ClientCredentials::parse(Some(&header), &Parameters::parse(b""));
    let again = again.expect("what was written can be read");
    assert_eq!(again.client_id.as_str(), read.client_id.as_str());
    match (&again.proof, &read.proof) {
        (ClientProof::None, ClientProof::None) => {}
        (ClientProof::Secret(again), ClientProof::Secret(read)) => {
            assert_eq!(again.reveal(), read.reveal());
        }
        (_, _) => panic!("another kind of proof"),
    }
});
