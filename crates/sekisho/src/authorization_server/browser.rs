//! What we know of a browser: its cookies, and where its request comes from.
//!
//! Cookies ignore ports, so their names carry the instance's id. Over https they are `__Host-`
//! (Secure, path `/`, no domain), so that no neighbouring host can plant one.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use sekisho_protocol::Secret;
use sekisho_protocol::oauth::Issuer;

use super::LOGIN_TTL;
use crate::mint;

/// Names and flags of our cookies.
#[derive(Debug, Clone)]
pub(super) struct Cookies {
    prefix: String,
    flags: &'static str,
}

impl Cookies {
    pub(super) fn new(issuer: &Issuer, instance_id: &str) -> Self {
        let instance: String = instance_id.chars().take(8).collect();
        if issuer.is_https() {
            Self {
                prefix: format!("__Host-sekisho-{instance}-"),
                flags: "Path=/; Secure; HttpOnly; SameSite=Lax",
            }
        } else {
            Self { prefix: format!("sekisho-{instance}-"), flags: "Path=/; HttpOnly; SameSite=Lax" }
        }
    }

    /// The browser's double-submit value, or a new one, with the header that keeps it for as long
    /// as the page is good. It precedes approval and binds only the consent form to the browser that
    /// was shown it.
    pub(super) fn csrf(&self, headers: &HeaderMap) -> (Secret, HeaderValue) {
        let value = self.read(headers, "csrf").unwrap_or_else(mint::nonce);
        let header = self.set("csrf", &value, LOGIN_TTL.as_secs());
        (value, header)
    }

    /// The double-submit value the browser sent back.
    pub(super) fn csrf_sent(&self, headers: &HeaderMap) -> Option<Secret> {
        self.read(headers, "csrf")
    }

    /// Sets the cookie that binds a login to this browser. One cookie a login, so that two tabs do
    /// not disturb each other.
    pub(super) fn bind(&self, login_state: &Secret, value: &Secret) -> HeaderValue {
        self.set(&binding_name(login_state), value, LOGIN_TTL.as_secs())
    }

    /// The value of the cookie that binds that login, if the browser has it.
    pub(super) fn binding(&self, headers: &HeaderMap, login_state: &Secret) -> Option<Secret> {
        self.read(headers, &binding_name(login_state))
    }

    /// Removes the cookie of a login that is over.
    pub(super) fn unbind(&self, login_state: &Secret) -> HeaderValue {
        self.set(&binding_name(login_state), &Secret::new(""), 0)
    }

    /// Who is at this browser, by an earlier login.
    pub(super) fn session(&self, headers: &HeaderMap) -> Option<Secret> {
        self.read(headers, "browser")
    }

    /// Remembers the browser for `seconds`.
    pub(super) fn begin_session(&self, value: &Secret, seconds: u64) -> HeaderValue {
        self.set("browser", value, seconds)
    }

    /// Removes what says who is at this browser, and the double-submit value with it.
    pub(super) fn forget(&self) -> [HeaderValue; 2] {
        ["browser", "csrf"].map(|name| self.set(name, &Secret::new(""), 0))
    }

    fn set(&self, name: &str, value: &Secret, seconds: u64) -> HeaderValue {
        let text =
            format!("{}{name}={}; {}; Max-Age={seconds}", self.prefix, value.reveal(), self.flags);
        // Hex digits and fixed text only, so this is always a valid header.
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }

    /// A cookie of ours that came exactly once and looks like one we set; all else is ignored.
    fn read(&self, headers: &HeaderMap, name: &str) -> Option<Secret> {
        let wanted = format!("{}{name}", self.prefix);
        let mut values = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|header| header.to_str().ok())
            .flat_map(|header| header.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == wanted)
            .map(|(_, value)| value);
        let value = values.next()?;
        let is_ours = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_ours && values.next().is_none()).then(|| Secret::new(value))
    }
}

/// Two logins in one browser have different cookies; the name tells nothing of the state.
fn binding_name(login_state: &Secret) -> String {
    let hash = login_state.hash();
    let [a, b, c, d, ..] = hash.as_bytes();
    format!("login-{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// Whether a person went here themselves (typed it, or an application opened it) or came from a
/// page of ours. Anything else, also an unknown origin, may be somebody else's doing.
pub(super) fn is_own_navigation(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .and_then(|site| site.to_str().ok())
        .is_some_and(|site| matches!(site, "none" | "same-origin"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn cookies(issuer: &str) -> Cookies {
        Cookies::new(&Issuer::parse(issuer).unwrap(), "0123456789abcdef")
    }

    fn request(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(cookie).unwrap());
        headers
    }

    #[test]
    fn cookies_are_flagged_as_the_scheme_allows() {
        let state = Secret::new("s");
        let secure = cookies("https://mcp.example").bind(&state, &mint::nonce());
        let secure = secure.to_str().unwrap();
        assert!(secure.starts_with("__Host-sekisho-01234567-login-"), "{secure}");
        for flag in ["; Path=/", "; Secure", "; HttpOnly", "; SameSite=Lax", "; Max-Age=600"] {
            assert!(secure.contains(flag), "{flag} in {secure}");
        }
        assert!(!secure.contains("Domain"));
        let plain = cookies("http://localhost:8000").bind(&state, &mint::nonce());
        let plain = plain.to_str().unwrap();
        assert!(plain.starts_with("sekisho-") && !plain.contains("Secure"), "{plain}");
        assert!(plain.contains("; HttpOnly; SameSite=Lax"), "{plain}");
    }

    #[test]
    fn only_a_cookie_that_looks_like_ours_is_read() {
        let cookies = cookies("http://localhost:8000");
        let value = "ab".repeat(32);
        let rows = [
            (format!("sekisho-01234567-csrf={value}"), true, "ours"),
            (format!("a=b; sekisho-01234567-csrf={value}; c=d"), true, "among others"),
            (format!("sekisho-76543210-csrf={value}"), false, "another instance"),
            (format!("sekisho-01234567-csrf={value}00"), false, "too long"),
            (format!("sekisho-01234567-csrf={}", "zz".repeat(32)), false, "not hex"),
            (
                format!("sekisho-01234567-csrf={value}; sekisho-01234567-csrf={value}"),
                false,
                "twice: one of them was planted",
            ),
        ];
        for (cookie, expected, reason) in rows {
            assert_eq!(cookies.csrf_sent(&request(&cookie)).is_some(), expected, "{reason}");
        }
    }
}
