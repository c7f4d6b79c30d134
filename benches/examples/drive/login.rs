//! A login by hand, as a client and a person with a browser would do it: register (RFC 7591),
//! `/authorize` with PKCE (RFC 7636), consent form, login form, callback, `/token` (RFC 6749 §4.1.3).
//! Sends cookies back wherever they came from, which a browser would not.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::Result;

const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";
const CODE_VERIFIER: &str = "a-verifier-that-guards-nothing-but-a-benchmark";
const STEPS_MAX: usize = 12;

/// Whom one logs in for: a server, by the path of its endpoint, and the scope that it wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Audience {
    /// Where it is.
    pub path: &'static str,
    /// What its tokens need.
    pub scope: &'static str,
}

/// What a client has after a login.
#[derive(Debug, Clone)]
pub(crate) struct SignedIn {
    /// Its own name.
    pub client_id: String,
    /// What opens the door.
    pub access_token: String,
    /// What is traded for the next pair.
    pub refresh_token: String,
}

/// Logs `username` in at the authorization server `issuer`; gives an access token.
pub(crate) async fn log_in(issuer: &str, username: &str, password: &str) -> Result<String> {
    let audience = Audience { path: "/mcp", scope: "fortune" };
    let from = Ipv4Addr::LOCALHOST;
    Ok(sign_in(issuer, username, password, audience, from).await?.access_token)
}

/// The same for any server of it, from any loopback address; gives all that is got.
pub(crate) async fn sign_in(
    issuer: &str,
    username: &str,
    password: &str,
    audience: Audience,
    from: Ipv4Addr,
) -> Result<SignedIn> {
    let mut browser = Browser::new(issuer, from)?;
    let client_id = browser.register().await?;
    let code = browser.authorize(&client_id, username, password, audience).await?;
    let answer = browser.redeem(&client_id, &code).await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    Ok(SignedIn {
        access_token: member(&body, "access_token", status)?,
        refresh_token: member(&body, "refresh_token", status)?,
        client_id,
    })
}

struct Browser {
    http: Client,
    issuer: Url,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(issuer: &str, from: Ipv4Addr) -> Result<Self> {
        let http = Client::builder().redirect(redirect::Policy::none()).no_proxy();
        let http = http.local_address(IpAddr::from(from)).build()?;
        Ok(Self { http, issuer: issuer.parse()?, cookies: BTreeMap::new() })
    }

    async fn register(&self) -> Result<String> {
        let metadata = json!({
            "client_name": "benchmark",
            "redirect_uris": [REDIRECT_URI],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        });
        let answer = self.http.post(self.issuer.join("/register")?).json(&metadata).send().await?;
        let status = answer.status();
        member(&answer.json().await?, "client_id", status)
    }

    /// Walks from `/authorize` over whatever redirects and forms come, back to the client.
    async fn authorize(
        &mut self,
        client_id: &str,
        username: &str,
        password: &str,
        audience: Audience,
    ) -> Result<String> {
        let mut at = self.issuer.join("/authorize")?;
        at.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", client_id)
            .append_pair("redirect_uri", REDIRECT_URI)
            .append_pair("scope", audience.scope)
            .append_pair("state", "benchmark")
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(CODE_VERIFIER)))
            .append_pair("code_challenge_method", "S256")
            .append_pair("resource", self.issuer.join(audience.path)?.as_str());
        let mut answer = self.get(&at).await?;
        for _ in 0..STEPS_MAX {
            self.keep_cookies(&answer);
            if let Some(location) = answer.headers().get(LOCATION) {
                at = at.join(location.to_str()?)?;
                if at.as_str().starts_with(REDIRECT_URI) {
                    let code = at.query_pairs().find(|(name, _)| name == "code");
                    let (_, code) = code.ok_or_else(|| format!("the login ended at {at}"))?;
                    return Ok(code.into_owned());
                }
                answer = self.get(&at).await?;
            } else {
                let status = answer.status();
                let form = Form::read(&answer.text().await?)
                    .ok_or_else(|| format!("no form at {}: {status}", at.path()))?;
                at = at.join(&form.action)?;
                answer = self.submit(&at, form, username, password).await?;
            }
        }
        Err("the login does not come to an end".into())
    }

    async fn redeem(&self, client_id: &str, code: &str) -> Result<Response> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("client_id", client_id),
            ("code_verifier", CODE_VERIFIER),
        ];
        Ok(self.http.post(self.issuer.join("/token")?).form(&form).send().await?)
    }

    async fn get(&self, at: &Url) -> Result<Response> {
        Ok(self.http.get(at.clone()).header(COOKIE, self.cookie_header()).send().await?)
    }

    async fn submit(
        &self,
        at: &Url,
        mut form: Form,
        username: &str,
        password: &str,
    ) -> Result<Response> {
        if form.fields.contains_key("password") {
            form.fields.insert("username".to_owned(), username.to_owned());
            form.fields.insert("password".to_owned(), password.to_owned());
        } else {
            form.fields.insert("decision".to_owned(), "approve".to_owned());
        }
        let origin = self.issuer.origin().ascii_serialization();
        let request = self.http.post(at.clone()).header(COOKIE, self.cookie_header());
        let request = request.header(ORIGIN, origin).header("Sec-Fetch-Site", "same-origin");
        Ok(request.form(&form.fields).send().await?)
    }

    fn cookie_header(&self) -> String {
        let pairs: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn keep_cookies(&mut self, answer: &Response) {
        let lines = answer.headers().get_all(SET_COOKIE).iter();
        for line in lines.filter_map(|line| line.to_str().ok()) {
            let pair = line.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
    }
}

fn member(body: &Value, name: &str, status: StatusCode) -> Result<String> {
    let member = body.get(name).and_then(Value::as_str);
    // The body is not shown: had it a token under another name, it would be in a log.
    Ok(member.ok_or_else(|| format!("no {name} in an answer with status {status}"))?.to_owned())
}

/// A form of a page: where it goes and what its fields hold.
struct Form {
    action: String,
    fields: BTreeMap<String, String>,
}

impl Form {
    /// The first form that is posted.
    fn read(page: &str) -> Option<Self> {
        let page = page.replace(['\n', '\r', '\t'], " ");
        page.split("<form").skip(1).find_map(Self::read_posted)
    }

    fn read_posted(form: &str) -> Option<Self> {
        let (form, _) = form.split_once("</form>")?;
        let (tag, inner) = form.split_once('>')?;
        if !attribute(tag, "method")?.eq_ignore_ascii_case("post") {
            return None;
        }
        let fields = inner.split("<input").skip(1).filter_map(|input| {
            let (tag, _) = input.split_once('>')?;
            let value = attribute(tag, "value").unwrap_or_default();
            Some((attribute(tag, "name")?, value))
        });
        Some(Self {
            action: attribute(tag, "action").unwrap_or_default(),
            fields: fields.collect(),
        })
    }
}

/// The value of a quoted attribute.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}
