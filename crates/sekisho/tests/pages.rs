//! Our pages as a browser gets them: what may be in them, what may not, and under which headers.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use sekisho::pages::{
    AccountApplication, AccountLoginPage, AccountPage, AccountProblem, AccountServer, AccountToken,
    ChooserForm, ChooserPage, ConsentPage, ErrorPage, Language, LoginPage, LoginProblem,
    LogoutPage, NoticePage, Problem, Referrer, WelcomePage, secure_headers,
};
use sekisho::protocol::SecretHash;

/// Where the button of that page leads.
const LOG_IN_AT: &str = "http://localhost:8000/account/login";

const LANGUAGES: [(Language, &str); 2] = [(Language::English, "en"), (Language::Japanese, "ja")];

fn consent<'a>() -> ConsentPage<'a> {
    ConsentPage {
        client_name: Some("Example Notebook"),
        client_id: "b7c1d0a2-55a1-4a39-9c1f-0c8a9d6e2f11",
        client_host: None,
        redirect_host: "app.example",
        redirect_uri: "https://app.example/oauth/callback?tenant=blue",
        is_loopback_only: false,
        scopes: vec!["fortune"],
        held: vec![],
        resource: "https://mcp.example/mcp",
        consent: "c2VhbGVk",
    }
}

fn loopback<'a>() -> ConsentPage<'a> {
    ConsentPage {
        client_name: Some("MCP Inspector"),
        redirect_host: "127.0.0.1:6274",
        redirect_uri: "http://127.0.0.1:6274/oauth/callback",
        is_loopback_only: true,
        resource: "http://localhost:8000/mcp",
        ..consent()
    }
}

fn chooser(form: ChooserForm<'_>) -> ChooserPage<'_> {
    ChooserPage { form, providers: vec![("google", "Google"), ("local", "")] }
}

fn crowded<'a>() -> ConsentPage<'a> {
    ConsentPage {
        client_name: Some(
            "An application with a rather long name that still has to fit into the \
                           card, and then some more",
        ),
        redirect_host: "a-really-long-subdomain-without-end.of-some-department.app.example",
        redirect_uri: "https://a-really-long-subdomain-without-end.of-some-department.app.example/callback/4d6f6e646179206d6f726e696e67?x=1",
        scopes: vec!["fortune", "files:read", "files:write", "calendar.events.readonly", "admin"],
        ..consent()
    }
}

const fn login<'a>(problem: Option<LoginProblem>) -> LoginPage<'a> {
    LoginPage { state: "f00d", username: "demo", problem }
}

/// Somebody with one application, whose name is markup, and one token.
fn account<'a>(problem: Option<AccountProblem>) -> AccountPage<'a> {
    let application = AccountApplication {
        grant_id: "5f0c".into(),
        name: Some("<b>Example</b> Notebook".into()),
        client_id: "b7c1d0a2".into(),
        hosts: vec!["app.example".into()],
        scopes: vec!["fortune".into()],
        resource: "https://mcp.example/mcp".into(),
        since: "2026-11-22".into(),
        last_used: None,
    };
    let token = AccountToken {
        grant_id: "6a1d".into(),
        label: Some("nightly <build>".into()),
        scopes: vec!["fortune".into()],
        resource: "https://mcp.example/mcp".into(),
        since: "2026-11-22".into(),
        until: "2027-02-20".into(),
        last_used: Some("2026-11-23".into()),
    };
    AccountPage {
        person: "alice",
        form: "c2VhbGVk",
        applications: vec![application],
        tokens: vec![token],
        servers: vec![AccountServer { name: "fortune", scopes: vec!["fortune", "more"] }],
        made: Some("mcpp_0000000000000000000000000000000000000000000000000000000000000000"),
        problem,
    }
}

fn nobodys_account<'a>() -> AccountPage<'a> {
    AccountPage { applications: vec![], tokens: vec![], made: None, ..account(None) }
}

fn error(status: StatusCode, problem: Problem<'_>) -> ErrorPage<'_> {
    ErrorPage { status, problem, trace_id: "4bf92f3577b34da6a3ce929d0e0e4736" }
}

/// Every page there is, by a name, with the status and the referrer policy it must have.
fn every_page(language: Language) -> Vec<(&'static str, u16, &'static str, Response)> {
    let with_form = [
        ("consent", 200, consent().respond(language)),
        ("consent-loopback", 200, loopback().respond(language)),
        ("consent-crowded", 200, crowded().respond(language)),
        (
            "consent-scheme",
            200,
            ConsentPage {
                client_name: None,
                redirect_host: "cursor:",
                redirect_uri: "cursor://anysphere/callback",
                ..consent()
            }
            .respond(language),
        ),
        ("chooser", 200, chooser(ChooserForm::Consent("c2VhbGVk")).respond(language)),
        ("chooser-account", 200, chooser(ChooserForm::Account).respond(language)),
        ("logout", 200, LogoutPage { csrf: "beef" }.respond(language)),
        (
            "consent-more",
            200,
            ConsentPage { scopes: vec!["fortune", "admin"], held: vec!["fortune"], ..consent() }
                .respond(language),
        ),
        ("login", 200, LoginPage { username: "", ..login(None) }.respond(language, StatusCode::OK)),
        (
            "login-wrong",
            401,
            login(Some(LoginProblem::WrongNameOrPassword))
                .respond(language, StatusCode::UNAUTHORIZED),
        ),
        (
            "login-too-many",
            429,
            login(Some(LoginProblem::TooManyTries))
                .respond(language, StatusCode::TOO_MANY_REQUESTS),
        ),
    ];
    let accounts = [
        ("account", 200, account(None).respond(language, StatusCode::OK)),
        ("account-empty", 200, nobodys_account().respond(language, StatusCode::OK)),
        (
            "account-problem",
            400,
            account(Some(AccountProblem::TokenNotMade)).respond(language, StatusCode::BAD_REQUEST),
        ),
        (
            "account-full",
            409,
            account(Some(AccountProblem::TooManyTokens)).respond(language, StatusCode::CONFLICT),
        ),
        ("account-login", 200, AccountLoginPage::Asked.respond(language, LOG_IN_AT)),
        ("account-login-failed", 403, AccountLoginPage::Failed.respond(language, LOG_IN_AT)),
    ];
    let without = [
        ("unknown-client", 400, Problem::UnknownClient { client_id: "b7c1d0a2-55a1-4a39-9c1f" }),
        (
            "unknown-redirect-uri",
            400,
            Problem::UnknownRedirectUri { redirect_uri: "https://evil.example/cb?next=/a/b/c" },
        ),
        (
            "client-document",
            400,
            Problem::ClientDocument { what: "the document has no client_name" },
        ),
        ("bad-request", 400, Problem::BadRequest { what: "client_id is missing" }),
        ("login-not-found", 400, Problem::LoginNotFound),
        ("other-browser", 403, Problem::OtherBrowser),
        ("forged-answer", 403, Problem::ForgedAnswer),
        ("wrong-provider", 400, Problem::WrongProvider),
        ("too-many-requests", 429, Problem::TooManyRequests { retry_after_seconds: 30 }),
        ("unavailable", 503, Problem::Unavailable),
        ("not-found", 404, Problem::NotFound),
        ("internal", 500, Problem::Internal),
    ]
    .map(|(name, status, problem)| {
        (name, status, error(StatusCode::from_u16(status).unwrap(), problem).respond(language))
    });
    let welcome =
        WelcomePage { mcp_url: "http://localhost:8000/mcp", sse_url: "http://localhost:8000/sse" };
    let rest = [
        ("closable", 200, NoticePage::Closable.respond(language)),
        ("welcome", 200, welcome.respond(language)),
    ];
    let without = without.into_iter().chain(rest).map(|(n, s, page)| (n, s, "no-referrer", page));
    let with_form = with_form.into_iter().chain(accounts);
    with_form.map(|(n, s, page)| (n, s, "same-origin", page)).chain(without).collect()
}

async fn text(page: Response) -> String {
    String::from_utf8(page.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header<'a>(page: &'a Response, name: &str) -> &'a str {
    page.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after} in {rest}")).0
}

#[tokio::test]
async fn every_page_is_sealed_and_loads_nothing() {
    for (language, tag) in LANGUAGES {
        for (name, status, referrer, page) in every_page(language) {
            assert_eq!(page.status(), status, "{name}");
            for (header_name, value) in [
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("referrer-policy", referrer),
                ("content-type", "text/html; charset=utf-8"),
                ("content-language", tag),
                ("vary", "Accept-Language"),
                ("access-control-allow-origin", ""),
            ] {
                assert_eq!(header(&page, header_name), value, "{name}: {header_name}");
            }
            let policy = header(&page, "content-security-policy").to_owned();
            let html = text(page).await;
            let style = SecretHash::of(between(&html, "<style>", "</style>").as_bytes());
            let hash = STANDARD.encode(style.as_bytes());
            assert_eq!(
                policy,
                format!(
                    "default-src 'none'; style-src 'sha256-{hash}'; frame-ancestors 'none'; \
                     base-uri 'none'"
                ),
                "{name}: no form-action, or the way back to the client ends here"
            );
            assert_eq!(html.contains("<form"), referrer == "same-origin", "{name}");
            for (never, reason) in [
                ("<script", "no script"),
                ("javascript:", "no script"),
                (" on", "no event handler, nor anything that looks like one"),
                ("src=", "nothing is loaded"),
                ("href=", "nothing is loaded or followed"),
                ("url(", "nothing is loaded"),
                ("@import", "nothing is loaded"),
                ("style=", "the policy would drop it"),
                ("<img", "no picture"),
            ] {
                // English has words that begin with "on"; a handler has a sign of equality after.
                let is_there = if never == " on" {
                    html.split(never).skip(1).any(|rest| {
                        rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).starts_with('=')
                    })
                } else {
                    html.contains(never)
                };
                assert!(!is_there, "{name} has {never}: {reason}");
            }
            for wanted in [
                &format!("<html lang=\"{tag}\">") as &str,
                "<meta name=\"color-scheme\" content=\"light dark\">",
                "width=device-width",
                "<title>",
                "<main>",
            ] {
                assert!(html.contains(wanted), "{name} lacks {wanted}");
            }
            assert_eq!(html.matches("<h1>").count(), 1, "{name} has one heading above all");
        }
    }
}

#[test]
fn a_redirect_gets_the_same_seal() {
    let mut headers = HeaderMap::new();
    headers.insert("cache-control", HeaderValue::from_static("public"));
    secure_headers(&mut headers, Referrer::None);
    assert_eq!(headers.get("cache-control").unwrap(), "no-store");
    assert_eq!(headers.get_all("cache-control").iter().count(), 1);
    assert_eq!(headers.get("referrer-policy").unwrap(), "no-referrer");
    assert_eq!(headers.get("x-frame-options").unwrap(), "DENY");
}

#[tokio::test]
async fn a_name_is_one_clean_line_of_text() {
    let long = "ab".repeat(5_000);
    let cut = format!("{}a…", "ab".repeat(39));
    let gap = format!("{} tail", "x".repeat(79));
    let gap_cut = format!("{}…", "x".repeat(79));
    let rows = [
        ("Plain", Some("Plain"), "an honest name"),
        ("関所くん 2", Some("関所くん 2"), "an honest Japanese name"),
        ("مرحبا", Some("مرحبا"), "an honest Arabic name"),
        (
            "<img src=x onerror=alert(1)>",
            Some("&#60;img src=x onerror=alert(1)&#62;"),
            "markup is text",
        ),
        ("</bdi></style><b>", Some("&#60;/bdi&#62;&#60;/style&#62;&#60;b&#62;"), "no way out"),
        ("\"quoted\" 'n' &amp;", Some("&#34;quoted&#34; &#39;n&#39; &#38;amp;"), "quotes"),
        ("a\u{202e}nimda", Some("animda"), "U+202E reverses what follows"),
        ("a\u{202a}\u{202b}\u{202c}\u{202d}b", Some("ab"), "embeddings and overrides"),
        ("a\u{2066}\u{2067}\u{2068}\u{2069}b", Some("ab"), "isolates"),
        ("a\u{200e}\u{200f}\u{61c}b", Some("ab"), "marks"),
        ("a\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}b", Some("ab"), "no width"),
        ("a\u{ad}\u{34f}\u{3164}\u{2800}\u{e0041}b", Some("ab"), "no ink"),
        ("one\r\n\n two\tthree\u{2028}four", Some("one two three four"), "line breaks"),
        ("  \u{a0}\u{3000}x  ", Some("x"), "space around"),
        ("nul\u{0} bell\u{7} csi\u{9b}", Some("nul bell csi"), "control characters"),
        (&long, Some(&cut), "ten thousand bytes: eighty characters with the mark of the cut"),
        (&gap, Some(&gap_cut), "cut before a gap"),
        ("", None, "empty"),
        ("\u{202e}\u{200b}\n ", None, "nothing to see"),
    ];
    for (name, shown, reason) in rows {
        let page = ConsentPage { client_name: Some(name), ..consent() };
        let html = text(page.respond(Language::English)).await;
        match shown {
            Some(shown) => {
                assert_eq!(between(&html, "<bdi class=\"name\">", "</bdi>"), shown, "{reason}");
                assert!(html.contains("A name the application gave itself"), "{reason}");
            }
            None => assert!(html.contains("The application gave no name."), "{reason}"),
        }
        assert!(!html.contains("<img"), "{reason}");
    }
}

#[tokio::test]
async fn what_an_error_repeats_is_clean_too() {
    let hostile = "https://x.example/\"><script>alert(1)</script>\u{202e}\n";
    let long = format!("https://x.example/{}", "y".repeat(10_000));
    for problem in [
        Problem::UnknownClient { client_id: hostile },
        Problem::UnknownRedirectUri { redirect_uri: hostile },
        Problem::UnknownRedirectUri { redirect_uri: &long },
    ] {
        let html = text(error(StatusCode::BAD_REQUEST, problem).respond(Language::Japanese)).await;
        assert!(html.contains("https://x.example/"), "it is shown");
        assert!(!html.contains("<script") && !html.contains('\u{202e}'), "{html}");
        assert!(html.len() < 16 * 1024, "it is cut: {} bytes", html.len());
    }
}

#[tokio::test]
async fn hidden_fields_and_typed_names_are_escaped() {
    let page = LoginPage { state: "a\"b", username: "\"><b>", problem: None };
    let html = text(page.respond(Language::English, StatusCode::OK)).await;
    assert!(html.contains("<input type=\"hidden\" name=\"state\" value=\"a&#34;b\">"), "{html}");
    assert!(html.contains("value=\"&#34;&#62;&#60;b&#62;\""), "{html}");
}

#[tokio::test]
async fn the_consent_page_keeps_its_contract() {
    for (language, allow, deny) in
        [(Language::English, "Allow", "Deny"), (Language::Japanese, "許可", "拒否")]
    {
        let html = text(consent().respond(language)).await;
        for wanted in [
            "<form action=\"consent\" method=\"post\">",
            "<input type=\"hidden\" name=\"consent\" value=\"c2VhbGVk\">",
            &format!("name=\"decision\" value=\"approve\">{allow}</button>"),
            &format!("name=\"decision\" value=\"deny\">{deny}</button>"),
            "<bdi>app.example</bdi>",
            "<li>fortune</li>",
            "https://mcp.example/mcp",
            "Example Notebook",
            "b7c1d0a2-55a1-4a39-9c1f-0c8a9d6e2f11",
            "https://app.example/oauth/callback?tenant=blue",
        ] {
            assert!(html.contains(wanted), "lacks {wanted}");
        }
    }
}

#[tokio::test]
async fn a_host_is_whole_or_broken_after_a_dot() {
    for (host, shown, reason) in [
        ("127.0.0.1:65535", "127.0.0.1:65535", "it fits"),
        ("twenty.bytes.example", "twenty.bytes.example", "it just fits"),
        ("bank.example.evil.example", "bank.<wbr>example.<wbr>evil.<wbr>example", "too long"),
        ("\"><script>", "&#34;&#62;&#60;script&#62;", "never markup"),
    ] {
        let page = ConsentPage { redirect_host: host, ..consent() };
        let html = text(page.respond(Language::English)).await;
        assert_eq!(between(&html, "<p class=\"host\"><bdi>", "</bdi>"), shown, "{reason}");
    }
}

#[tokio::test]
async fn only_a_client_that_lives_on_loopback_is_warned_of() {
    for (language, warning) in [
        (Language::English, "Any program on your computer"),
        (Language::Japanese, "お使いのコンピューター上のどのプログラムでも"),
    ] {
        assert!(text(loopback().respond(language)).await.contains(warning));
        assert!(!text(consent().respond(language)).await.contains(warning));
    }
}

#[tokio::test]
async fn the_login_page_keeps_its_contract() {
    for (language, _) in LANGUAGES {
        let first = LoginPage { username: "", ..login(None) };
        let first = text(first.respond(language, StatusCode::OK)).await;
        let again = login(Some(LoginProblem::WrongNameOrPassword));
        let again = text(again.respond(language, StatusCode::OK)).await;
        for html in [&first, &again] {
            for wanted in [
                "<form action=\"login\" method=\"post\">",
                "<input type=\"hidden\" name=\"state\" value=\"f00d\">",
                "<label for=\"username\">",
                "<label for=\"password\">",
                "name=\"password\" type=\"password\" autocomplete=\"current-password\"",
                "autocomplete=\"username\"",
            ] {
                assert!(html.contains(wanted), "lacks {wanted}");
            }
        }
        assert!(between(&first, "id=\"username\"", ">").contains("autofocus"));
        assert!(!between(&first, "id=\"password\"", ">").contains("autofocus"));
        assert!(between(&again, "id=\"password\"", ">").contains("autofocus"));
        assert!(!first.contains("role=\"alert\"") && again.contains("role=\"alert\""));
    }
}

#[tokio::test]
async fn an_error_says_what_to_do_and_what_to_tell() {
    let rows = [
        (Problem::UnknownClient { client_id: "c" }, "add it again", "もう一度追加"),
        (Problem::LoginNotFound, "close this window", "閉じて"),
        (Problem::OtherBrowser, "someone sent you", "送ってきた"),
        (Problem::ForgedAnswer, "reload", "再読み込み"),
        (Problem::WrongProvider, "identity provider", "ID プロバイダー"),
        (Problem::BadRequest { what: "state came twice" }, "state came twice", "state came twice"),
        (Problem::TooManyRequests { retry_after_seconds: 1 }, "1 second.", "1 秒後"),
        (Problem::TooManyRequests { retry_after_seconds: 90 }, "90 seconds.", "90 秒後"),
        (Problem::TooManyRequests { retry_after_seconds: 121 }, "3 minutes.", "3 分後"),
    ];
    for (problem, english, japanese) in rows {
        for (language, wanted) in [(Language::English, english), (Language::Japanese, japanese)] {
            let html = text(error(StatusCode::BAD_REQUEST, problem).respond(language)).await;
            assert!(html.contains(wanted), "{problem:?} lacks {wanted}");
            assert!(html.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "the trace id");
        }
    }
    let nameless = ErrorPage { trace_id: "", ..error(StatusCode::NOT_FOUND, Problem::NotFound) };
    assert!(!text(nameless.respond(Language::English)).await.contains("Tell this"));
}

#[test]
fn the_language_is_the_one_liked_best() {
    let rows = [
        (None, Language::English, "not said"),
        (Some(""), Language::English, "nothing said"),
        (Some("ja"), Language::Japanese, "plain"),
        (Some("JA-jp"), Language::Japanese, "case and region do not count"),
        (Some("ja,en-US;q=0.9,en;q=0.8"), Language::Japanese, "a Japanese browser"),
        (Some("en-US,en;q=0.9,ja;q=0.8"), Language::English, "an English browser"),
        (Some("en;q=0.3, ja ; q=0.7"), Language::Japanese, "weight beats order"),
        (Some("ja;q=0.301,en;q=0.3"), Language::Japanese, "three decimals"),
        (Some("de,fr;q=0.9"), Language::English, "neither of ours"),
        (Some("de,ja;q=0.1"), Language::Japanese, "the only one of ours"),
        (Some("ja;q=0"), Language::English, "nought is a refusal"),
        (Some("ja;q=2"), Language::English, "no such weight"),
        (Some("ja;q=nan"), Language::English, "no number"),
        (Some("ja;q=0.1234"), Language::English, "too many decimals"),
        (Some("jav"), Language::English, "Javanese is another language"),
        (Some("*"), Language::English, "anything"),
        (Some(";;,,;q=,-"), Language::English, "junk"),
    ];
    for (line, language, reason) in rows {
        let mut headers = HeaderMap::new();
        if let Some(line) = line {
            headers.insert("accept-language", HeaderValue::from_static(line));
        }
        assert_eq!(Language::of(&headers), language, "{reason}");
    }
}

#[test]
fn what_a_page_carries_for_the_server_stays_out_of_the_log() {
    assert!(!format!("{:?}", consent()).contains("c2VhbGVk"));
    assert!(!format!("{:?}", login(None)).contains("f00d"));
    assert!(!format!("{:?}", LogoutPage { csrf: "beef" }).contains("beef"));
}

/// WCAG 2.2: 1.4.3 for text, 1.4.11 for the edges of what can be operated.
#[tokio::test]
async fn every_pair_of_colours_has_enough_contrast() {
    let html = text(NoticePage::Closable.respond(Language::English)).await;
    let (light, rest) = between(&html, "<style>", "</style>")
        .split_once("@media (prefers-color-scheme: dark)")
        .expect("a dark palette");
    let rows = [
        ("ink", "card", 4.5, "text"),
        ("ink", "well", 4.5, "text in a well, a quiet button under the pointer"),
        ("muted", "card", 4.5, "small print"),
        ("muted", "well", 4.5, "advice in a well"),
        ("on-accent", "accent", 4.5, "a button"),
        ("on-accent", "accent-strong", 4.5, "a button under the pointer"),
        ("warning", "on-warning", 4.5, "a warning"),
        ("edge", "card", 3.0, "the edge of a field"),
        ("accent", "card", 3.0, "the ring around the focus"),
        ("beam", "ground", 3.0, "the gate"),
    ];
    for (scheme, css) in [("light", light), ("dark", rest)] {
        let palette = palette(css);
        for (front, back, least, what) in rows {
            let colour = |name: &str| *palette.get(name).unwrap();
            let found = contrast(colour(front), colour(back));
            assert!(found >= least, "{scheme}: {what}: {front} on {back} is {found:.2}");
        }
    }
    assert!((contrast([0x77; 3], [0xff; 3]) - 4.48).abs() < 0.01, "the meter is right");
}

/// The custom properties of the first `:root` rule.
fn palette(css: &str) -> HashMap<&str, [u8; 3]> {
    let colour = |text: &str| {
        let value = u32::from_str_radix(text.trim().trim_start_matches('#'), 16).unwrap();
        let [_, red, green, blue] = value.to_be_bytes();
        [red, green, blue]
    };
    between(css, ":root {", "}")
        .split(';')
        .filter_map(|line| line.trim().strip_prefix("--")?.split_once(':'))
        .map(|(name, value)| (name, colour(value)))
        .collect()
}

fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let luminance = |colour: [u8; 3]| -> f64 {
        let [red, green, blue] = colour.map(|value| {
            let share = f64::from(value) / 255.0;
            if share <= 0.040_45 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Lays every page out as a file, for whoever wants to look at them in a browser.
#[tokio::test]
async fn every_page_can_be_looked_at() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pages");
    fs::create_dir_all(&folder).unwrap();
    for (language, tag) in LANGUAGES {
        for (name, _, _, page) in every_page(language) {
            fs::write(folder.join(format!("{name}.{tag}.html")), text(page).await).unwrap();
        }
    }
    assert!(folder.join("consent.ja.html").exists());
}
