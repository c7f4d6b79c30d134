//! A `public_url` with a path: whoever goes by what documents, redirects and pages say never leaves it, and
//! beside it there is nothing.

use serde_json::{Value, json};
use testkit::{Answer, App, Browser, McpClient, SseClient};
use url::Url;

use crate::harness::{Folder, Server, free_port, http};
use crate::person::{REDIRECT_URI, app};

/// A program below `/tools`.
struct Site {
    _folder: Folder,
    server: Server,
    base: String,
}

/// A browser that goes where it is told.
struct Walk<'a> {
    site: &'a Site,
    app: App,
    browser: Browser,
    at: Url,
    page: Answer,
}

impl Site {
    async fn open() -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let base = format!("http://localhost:{port}/tools");
        let settings = format!(
            "public_url = {base:?}\n[[server]]\nname = \"fortune\"\npath = \"/\"\nupstream.builtin = \"fortune\"\n\
             [[server]]\nname = \"other\"\nupstream.builtin = \"fortune\"\n"
        );
        let server = folder.serve_at(port, &settings).await;
        Self { _folder: folder, server, base }
    }

    fn origin(&self) -> &str {
        self.base.strip_suffix("/tools").unwrap()
    }

    async fn document(&self, url: &str) -> Value {
        let answer = http().get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
        answer.json().await.unwrap()
    }

    async fn open_page(&self, url: &str) -> Walk<'_> {
        let app = app(&self.server);
        let mut browser = Browser::default();
        let page = browser.open(&app, url).await;
        Walk { site: self, app, browser, at: url.parse().unwrap(), page }
    }
}

impl Walk<'_> {
    /// Sends the page's form whose action ends like this, and follows redirects that stay with us.
    async fn send(&mut self, action: &str, fields: &[(&str, &str)]) {
        let is_meant = |written: &&str| written.ends_with(action);
        let written = self.page.body.split(" action=\"").skip(1);
        let mut written = written.map(|rest| rest.split_once('"').unwrap().0);
        let target =
            written.find(is_meant).unwrap_or_else(|| panic!("no {action}: {:?}", self.page));
        self.at = self.at.join(target).unwrap();
        self.is_inside(self.at.as_str());
        self.page = self.browser.post(&self.app, self.at.as_str(), fields).await;
        while let Some(location) = self.page.location().map(str::to_owned) {
            if location.starts_with(REDIRECT_URI) {
                return;
            }
            self.is_inside(&location);
            self.at = location.parse().unwrap();
            self.page = self.browser.open(&self.app, &location).await;
        }
    }

    fn is_inside(&self, url: &str) {
        assert!(url.starts_with(&format!("{}/", self.site.base)), "{url} is elsewhere");
    }

    fn input(&self, name: &str) -> String {
        self.page.input(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.page))
    }

    async fn log_in(&mut self) {
        let (state, password) = (self.input("state"), self.site.server.password().unwrap());
        let fields = [("state", state.as_str()), ("username", "demo"), ("password", &password)];
        self.send("login", &fields).await;
    }
}

#[tokio::test]
async fn who_follows_what_is_said_stays_below_the_base_path() {
    let site = Site::open().await;
    let base = site.base.as_str();
    for (path, server) in [("", "fortune"), ("/other", "other")] {
        let mcp = format!("{base}{path}/mcp");
        let refused = http().post(&mcp).send().await.unwrap();
        assert_eq!(refused.status(), 401, "{mcp}");
        let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
        let metadata = challenge.split('"').find(|part| part.contains(".well-known")).unwrap();
        let inserted =
            format!("{}/.well-known/oauth-protected-resource/tools{path}/mcp", site.origin());
        assert_eq!(metadata, inserted, "RFC 9728 §3.1");
        let resource = site.document(metadata).await;
        assert_eq!(resource["resource"], mcp.as_str());
        assert_eq!(resource["authorization_servers"], json!([base]));

        let inserted = format!("{}/.well-known/oauth-authorization-server/tools", site.origin());
        let issuer = site.document(&inserted).await;
        assert_eq!(issuer["issuer"], base, "RFC 8414 §3.3");
        let at = |name: &str| {
            let url = issuer[name].as_str().unwrap_or_else(|| panic!("no {name} in {issuer}"));
            assert!(url.starts_with(&format!("{base}/")), "{name} is {url}");
            url.to_owned()
        };
        for name in ["revocation_endpoint", "introspection_endpoint"] {
            let asked = http().post(at(name)).form(&[("token", "x")]).send().await.unwrap();
            assert!([200, 401].contains(&asked.status().as_u16()), "{name}: {}", asked.status());
        }
        let client =
            json!({ "redirect_uris": [REDIRECT_URI], "token_endpoint_auth_method": "none" });
        let registered =
            http().post(at("registration_endpoint")).json(&client).send().await.unwrap();
        let client: Value = registered.json().await.unwrap();
        let client = client["client_id"].as_str().unwrap();

        let mut authorize = Url::parse(&at("authorization_endpoint")).unwrap();
        authorize.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
            ("resource", &mcp),
            ("state", "s"),
        ]);
        let mut walk = site.open_page(authorize.as_str()).await;
        let consent = walk.input("consent");
        walk.send("consent", &[("consent", &consent), ("decision", "approve")]).await;
        walk.log_in().await;
        assert_eq!(walk.page.parameter("iss").as_deref(), Some(base));
        let code = walk.page.parameter("code").unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &code),
            ("client_id", client),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        ];
        let bought = http().post(at("token_endpoint")).form(&form).send().await.unwrap();
        let bought: Value = bought.json().await.unwrap();
        assert_eq!(bought["scope"], server, "{bought}");
        let token = bought["access_token"].as_str().unwrap();
        let mut client = McpClient::new(mcp).with_token(token);
        assert_eq!(client.begin("2025-11-25").await.status, 200);
        let fortune = client.call_tool("fortune", json!({})).await;
        assert!(fortune.tool_text().starts_with("今日の運勢は: "));
        let mut client = SseClient::open(&format!("{base}{path}/sse"), Some(token)).await;
        client.initialize("2024-11-05").await;
    }
}

#[tokio::test]
async fn the_pages_of_a_person_stay_below_the_base_path() {
    let site = Site::open().await;
    let account = format!("{}/account", site.base);
    let mut walk = site.open_page(&account).await;
    walk.send("account/login", &[]).await;
    walk.log_in().await;
    assert_eq!(walk.at.as_str(), account, "back where it began: {:?}", walk.page);
    let form = walk.input("form");
    let fields = [("form", form.as_str()), ("action", "make")];
    walk.send("account", &fields).await;
    assert!(walk.page.body.contains("action=\"logout\""), "{:?}", walk.page);
    let logout = walk.at.join("logout").unwrap();
    walk.page = walk.browser.open(&walk.app, logout.as_str()).await;
    walk.at = logout;
    let csrf = walk.input("csrf");
    walk.send("logout", &[("csrf", &csrf)]).await;
    assert!(walk.page.is_page(200), "{:?}", walk.page);
}

#[tokio::test]
async fn beside_the_base_path_there_is_nothing_but_health() {
    let site = Site::open().await;
    let ask = async |url: String| http().get(url).send().await.unwrap().status().as_u16();
    for path in ["/healthz", "/readyz", "/.well-known/oauth-authorization-server"] {
        assert_eq!(ask(format!("{}{path}", site.origin())).await, 200, "{path}");
    }
    for path in ["", "/", "/healthz", "/account", "/.well-known/oauth-authorization-server"] {
        assert_eq!(ask(format!("{}{path}", site.base)).await, 200, "below it: {path}");
    }
    for path in [
        "/",
        "/mcp",
        "/authorize",
        "/account",
        "/login",
        "/toolshed/mcp",
        "/tools/tools/mcp",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server/elsewhere",
    ] {
        assert_eq!(ask(format!("{}{path}", site.origin())).await, 404, "{path}");
    }
}
