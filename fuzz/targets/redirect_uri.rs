//! Redirect URIs: the first line is registered, the second asked for. What passes is the registered text, or
//! differs from it in a loopback port and nowhere else; and one `code` arrives there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sekisho_protocol::oauth::RegisteredRedirectUri;
use url::Url;

fuzz_target!(|input: &str| {
    let (registered, asked) = input.split_once('\n').unwrap_or((input, input));
    let Ok(uri) = RegisteredRedirectUri::parse(registered) else { return };
    let url = Url::parse(registered).expect("a URL");
    assert!(!matches!(url.scheme(), "javascript" | "data" | "file"), "{registered}");
    assert!(url.scheme() != "http" || is_loopback(&url), "{registered}");
    assert!(uri.find(registered).is_some(), "{registered} is itself");

    let Some(found) = uri.find(asked) else { return };
    if asked != registered {
        let mut other = Url::parse(asked).expect("a URL");
        assert!(other.scheme() == "http" && is_loopback(&other), "{asked} for {registered}");
        other.set_port(url.port()).expect("http has ports");
        assert_eq!(other, url, "{asked} for {registered}");
    }
    let answer = found.with_query(&[("code", "a&b"), ("iss", "https://mcp.example")]);
    let answer = Url::parse(&answer).expect("a URL");
    assert!(answer.fragment().is_none());
    let codes: Vec<_> = answer.query_pairs().filter(|(name, _)| name == "code").collect();
    assert_eq!(codes, [("code".into(), "a&b".into())], "{asked}");
});

fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}
