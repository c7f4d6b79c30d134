//! Forms and queries: a parameter that came once has its value, one that came twice has none, and what is
//! read out of them panics at nothing.
#![no_main]

use std::collections::HashMap;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sekisho_protocol::oauth::{
    AuthorizationRequest, ClientMetadata, CodeVerifier, Issuer, Parameters, ProtectedResource,
    ProtectedResources, ReturnAddress, ScopeSet, TokenRequest, named_client, parse_registration,
};

/// As many as are read of one form.
const PARAMETERS_MAX: usize = 64;

fuzz_target!(|form: &[u8]| {
    let parameters = Parameters::parse(form);
    let mut came: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in form_urlencoded::parse(form).take(PARAMETERS_MAX) {
        if !value.is_empty() && name != "resource" {
            came.entry(name.into_owned()).or_default().push(value.into_owned());
        }
    }
    for (name, values) in &came {
        let only = values.first().filter(|_| values.len() == 1);
        let expected = only.filter(|value| !value.contains('\0')).map(String::as_str);
        assert_eq!(parameters.value(name), expected, "{name}");
        assert!(parameters.has(name));
    }

    let _ = TokenRequest::parse(&parameters);
    let _ = parameters.value("code_verifier").and_then(CodeVerifier::parse);
    let (client, servers) = known();
    let (Ok(id), Ok(address)) =
        (named_client(&parameters), ReturnAddress::find(&parameters, client))
    else {
        return;
    };
    assert!(client.find_redirect_uri(Some(address.redirect_uri.as_str())).is_some());
    if AuthorizationRequest::prove(&parameters, id, &address, servers).is_ok() {
        assert!(!parameters.has_doubled());
        assert_eq!(parameters.value("response_type"), Some("code"));
        assert_eq!(parameters.value("code_challenge_method"), Some("S256"));
    }
});

/// A client, and what it may ask for.
fn known() -> &'static (ClientMetadata, ProtectedResources) {
    static KNOWN: OnceLock<(ClientMetadata, ProtectedResources)> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let scopes = ScopeSet::of(["fortune"]);
        let body = br#"{"redirect_uris":["http://localhost/cb","https://a.example/cb?x=1"]}"#;
        let client = parse_registration(body, &scopes, &scopes).expect("a registration");
        let issuer = Issuer::parse("https://mcp.example").expect("an issuer");
        let server = ProtectedResource::new(&issuer, "fortune", "", scopes);
        (client, ProtectedResources::new(vec![server]))
    })
}
