//! The heads of requests: nobody gets through the front and the guard but with our host, an origin that may, and
//! the one good token, each said once. A line is a header, the first one the target.
#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::routing::any;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;
use sekisho::clock::Timestamp;
use sekisho::front::{
    Front, FrontService, HostPolicy, OriginPolicy, Surfaces, TraceId, TrustedProxies,
};
use sekisho::grant::GrantId;
use sekisho::principal::{Identity, Principal};
use sekisho::resource_server::{GuardLayer, TokenVerifier, VerifyError};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::{ClientId, Issuer, ScopeSet};
use tower::{Layer as _, Service as _};

const HOST: &str = "mcp.example";
const ORIGIN: &str = "https://app.example";
const TOKEN: &str = "mcp_good";

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|&byte| byte == b'\n');
    let target = lines.next().unwrap_or_default();
    let Ok(uri) = Uri::try_from(target) else { return };
    let mut headers = HeaderMap::new();
    for line in lines.take(32) {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let _ = TraceId::of(&headers);
    let mut request = Request::post(uri.clone()).body(Body::empty()).expect("a request");
    *request.headers_mut() = headers.clone();
    let mut service = service().clone().for_peer(([10, 0, 0, 1], 4567).into());
    let answer = service.call(request).now_or_never().expect("nothing to wait for");
    let answer = answer.unwrap_or_else(|never: Infallible| match never {});
    if answer.status() != StatusCode::OK {
        return;
    }
    let only = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or_default());
        assert!(values.next().is_none(), "{name} came twice");
        first
    };
    let host = uri.authority().map(|authority| authority.as_str().to_owned());
    let host = host.or_else(|| only("host").map(str::to_owned)).expect("a host");
    let host = host.strip_suffix(":443").unwrap_or(&host);
    assert!(host.eq_ignore_ascii_case(HOST), "{host}");
    if let Some(origin) = only("origin") {
        assert!([ORIGIN, "https://mcp.example"].contains(&origin), "{origin}");
    }
    let (scheme, token) =
        only("authorization").and_then(|said| said.split_once(' ')).expect("a token");
    assert!(scheme.eq_ignore_ascii_case("bearer") && token.trim_matches(' ') == TOKEN, "{token}");
});

/// Whoever gets to it has passed.
fn service() -> &'static FrontService<Router> {
    static SERVICE: OnceLock<FrontService<Router>> = OnceLock::new();
    SERVICE.get_or_init(|| {
        let issuer = Issuer::parse("https://mcp.example").expect("an issuer");
        let guard =
            GuardLayer::new(Arc::new(OneToken), ScopeSet::default(), "https://mcp.example/m")
                .expect("a guard");
        let endpoint = any(|| async { StatusCode::OK }).layer(guard);
        let front = Front::new(
            HostPolicy::new(&issuer, &[]).expect("hosts"),
            OriginPolicy::new(&issuer, &[ORIGIN.to_owned()]).expect("origins"),
            Surfaces::new(["/mcp".to_owned()]),
            TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")]),
        );
        front.layer(Router::new().route("/mcp", endpoint))
    })
}

#[derive(Debug)]
struct OneToken;

#[async_trait]
impl TokenVerifier for OneToken {
    async fn verify(&self, token: &Secret) -> Result<Arc<Principal>, VerifyError> {
        self.verify_from_memory(token).ok_or(VerifyError::Invalid)
    }

    fn verify_from_memory(&self, token: &Secret) -> Option<Arc<Principal>> {
        if token.reveal() != TOKEN {
            return None;
        }
        let client_id = ClientId::new("client");
        Some(Arc::new(Principal {
            identity: Identity::of_machine(&client_id, None),
            client_id,
            grant_id: GrantId::new("grant"),
            scopes: ScopeSet::default(),
            token: token.hash(),
            expires_at: Timestamp::from_unix_seconds(i64::MAX),
        }))
    }

    async fn is_live(&self, _principal: &Principal) -> bool {
        true
    }
}
