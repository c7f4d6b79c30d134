//! What clients say of themselves: the first line is a client's id, the rest its document (CIMD) and its
//! registration (RFC 7591).
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_protocol::oauth::{
    ClientIdUrl, ClientKeys, ClientMetadata, RegisteredRedirectUri, ScopeSet,
    parse_client_metadata_document, parse_registration,
};
use url::Url;

fuzz_target!(|input: &str| {
    let (id, body) = input.split_once('\n').unwrap_or((input, ""));
    let known = ScopeSet::of(["fortune", "admin"]);
    let defaults = ScopeSet::of(["fortune"]);
    let _ = ClientKeys::parse(body);
    if let Ok(client) = parse_registration(body.as_bytes(), &known, &defaults) {
        is_sound(&client);
    }
    let Ok(id) = ClientIdUrl::parse(id) else { return };
    let url = Url::parse(id.as_str()).expect("a URL");
    assert_eq!(url.as_str(), id.as_str(), "spelled in one way");
    assert_eq!((url.scheme(), url.username(), url.password()), ("https", "", None));
    assert_eq!(url.host_str(), Some(id.host()));
    let document = parse_client_metadata_document(&id, body.as_bytes(), &known, &defaults);
    if let Ok(client) = document {
        is_sound(&client);
        let said: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(said["client_id"], id.as_str());
    }
});

/// Each redirect URI is one that may be registered.
fn is_sound(client: &ClientMetadata) {
    assert!(!client.redirect_uris.is_empty());
    for uri in &client.redirect_uris {
        assert!(RegisteredRedirectUri::parse(uri.as_str()).is_ok());
    }
}
