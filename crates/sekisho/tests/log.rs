//! No secret in the log, at any level, nor in metrics and traces, whatever goes right or wrong.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use sekisho::front::{Front, HostPolicy, OriginPolicy, Surfaces, TrustedProxies};
use sekisho::measure::Registry;
use sekisho::measure::spans::send_spans_to;
use sekisho_protocol::oauth::Issuer;
use testkit::scripted_provider::{Fault, Gives};
use testkit::world::{ISSUER, VERIFIER, authorize_url, tokens};
use testkit::{App, Browser, World};
use tower::Layer as _;
use tracing_subscriber::filter::LevelFilter;

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const HOST: (&str, &str) = ("host", "localhost:8000");

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The world as it is served: with the front, which writes the access log.
fn served(world: &World) -> App {
    let issuer = Issuer::parse(ISSUER).unwrap();
    let front = Front::new(
        HostPolicy::new(&issuer, &[]).unwrap(),
        OriginPolicy::new(&issuer, &[]).unwrap(),
        Surfaces::new(["/mcp".into(), "/sse".into()]),
        TrustedProxies::new(vec![]),
    );
    Router::new().fallback_service(front.layer(world.app.clone()))
}

/// The lines of the audit trail that tell of this event.
fn audit_lines<'a>(log: &'a str, event: &str) -> impl Iterator<Item = &'a str> {
    let told = format!("event=\"{event}\"");
    log.lines().filter(move |line| line.contains("sekisho::audit:") && line.contains(&told))
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story, told to its end")]
async fn no_secret_reaches_the_log_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // For the whole process, and so the only test in it: what one thread listens to is shared.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let measured = Registry::default();
    drop(metrics::set_global_recorder(measured.clone()));
    let traces = Log::default();
    let traced = traces.clone();
    let told = move |span| writeln!(traced.clone(), "{span:?}").unwrap();
    assert!(send_spans_to(100, told));

    let mut world = World::new().await;
    world.app = served(&world);
    let client = world.confidential_client().await;
    let mut browser = Browser::default();
    let page = browser.open(&world.app, &authorize_url(&client, &[])).await;
    let to_provider = browser.decide(&world.app, &page, "approve").await;
    let cookies: Vec<_> = browser.cookies().values().cloned().collect();
    let callback = world.provider.log_in("alice", to_provider.location().unwrap());
    let back = browser.open(&world.app, &callback).await;
    let code = back.parameter("code").unwrap();
    let first = tokens(&world.redeem(&client, &code, VERIFIER).await);
    assert_eq!(world.call("/mcp", &first.access).await.status, 200);
    let second = tokens(&world.refresh(&client, &first.refresh).await);

    let sessions = world.server.provider_sessions();
    world.clock.advance(Duration::from_mins(15));
    world.provider.set_fault(Some(Fault::Down));
    for _ in 0..3 {
        assert_eq!(sessions.check_due().await.unwrap().failed, 1);
        world.clock.advance(Duration::from_mins(1));
    }
    world.provider.set_fault(None);
    assert_eq!(sessions.check_due().await.unwrap().alive, 1);
    let forged = "logout_token=a-forged-logout-token";
    assert_eq!(world.post("/auth/logout", &[HOST, FORM], forged).await.status, 400);

    // Now everything that goes wrong with a secret in hand, since errors are what is logged most.
    let in_query = format!("/mcp?access_token={}", second.access);
    assert_eq!(world.post(&in_query, &[HOST], "").await.status, 401);
    let in_form = format!("access_token={}", second.access);
    assert_eq!(world.post("/mcp", &[HOST, FORM], &in_form).await.status, 401);
    world.redeem(&client, &code, VERIFIER).await;
    world.refresh(&client, &first.refresh).await;
    let third = world.tokens(&client, "alice").await;
    let fourth = tokens(&world.refresh(&client, &third.refresh).await);
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(world.refresh(&client, &third.refresh).await.error(), "invalid_grant");
    world.call("/other/mcp", &second.access).await;
    world.revoke(&client, &second.refresh).await;
    browser.open(&world.app, &callback).await;
    browser.decide(&world.app, &page, "neither").await;

    // Another client is told no, then yes, and gives back what it got.
    let other = world.public_client("https://app.example/cb").await;
    let page = browser.open(&world.app, &authorize_url(&other, &[])).await;
    browser.decide(&world.app, &page, "deny").await;
    let given_back = world.tokens(&other, "bob").await;
    world.revoke(&other, &given_back.refresh).await;
    let thief = testkit::RegisteredClient { secret: Some("guess".into()), ..client.clone() };
    world.revoke(&thief, &second.refresh).await;

    // The provider is told of what bob gave back, in vain, and gives nothing to follow from then on.
    world.provider.set_fault(Some(Fault::Wrong));
    sessions.check_due().await.unwrap();
    world.provider.set_fault(None);
    world.provider.set_gives(Gives::NoRefreshToken);
    let last = world.public_client("https://app.example/cb").await;
    for person in ["carol", "dave"] {
        world.tokens(&last, person).await;
    }

    let metrics = measured.render();
    let traces = traces.text();
    assert!(traces.contains("POST token") && traces.contains("sekisho.flow"), "{traces}");
    for expected in
        ["event=\"replay\"} 2", "outcome=\"logged_in\"", "route=\"token\"", "reason=\"client\"} 1"]
    {
        assert!(metrics.contains(expected), "it was measured: {expected:?}\n{metrics}");
    }
    for name in ["alice", "bob", "carol", &client.id, &other.id, "app.example"] {
        assert!(!traces.contains(name), "{name} is in the traces:\n{traces}");
        assert!(!metrics.contains(name), "{name} is in the metrics:\n{metrics}");
    }
    let log = log.text();
    // A token in the query or in a form is no token at all, and no line; the replay of a code or of a
    // refresh token is one line of its own; what is given back afterwards is gone already.
    for (event, times, reason) in [
        ("login", 2, "a person logged in twice"),
        ("consent", 2, "and said yes each time"),
        ("code", 2, "for a code"),
        ("token", 2, "which was redeemed"),
        ("refresh", 2, "and refreshed"),
        ("replay", 2, "a code came again, and a refresh token after its window"),
        ("revoke", 0, "what is gone is not ended again"),
    ] {
        let lines: Vec<_> = audit_lines(&log, event).filter(|l| l.contains(&client.id)).collect();
        assert_eq!(lines.len(), times, "{event}: {reason}: {lines:#?}");
        assert!(lines.iter().all(|line| line.contains("trace_id=")), "{lines:#?}");
    }
    for (event, times) in [("consent", 2), ("login", 1), ("revoke", 1)] {
        let lines = audit_lines(&log, event).filter(|line| line.contains(&other.id)).count();
        assert_eq!(lines, times, "{event}");
    }
    let refused: Vec<_> = audit_lines(&log, "refused").collect();
    for reason in
        ["no such refresh token", "the access token is not valid here", "the secret is wrong"]
    {
        let lines = refused.iter().filter(|line| line.contains(reason)).count();
        assert_eq!(lines, 1, "{reason}: {refused:#?}");
    }
    assert_eq!(refused.len(), 3, "{refused:#?}");
    for expected in ["registered", "approved, login begins", "tokens issued", "POST", "/mcp"] {
        assert!(log.contains(expected), "the log was listened to: {expected:?}\n{log}");
    }
    for change in ["does not say whether sessions live on", "says again whether sessions live on"] {
        assert_eq!(log.matches(change).count(), 1, "once for each change: {change}\n{log}");
    }
    assert!(log.contains("the provider could not be told"), "{log}");
    let unfollowed: Vec<_> = log.lines().filter(|line| line.contains("gives no refresh")).collect();
    let is_once = matches!(unfollowed.as_slice(), [line] if line.contains("WARN"));
    assert!(is_once, "once: {unfollowed:#?}");
    let replay = log.lines().find(|line| line.contains("refresh token was used before")).unwrap();
    assert!(replay.contains("WARN") && replay.contains(&client.id), "{replay}");
    let state = to_provider.parameter("state").unwrap();
    let provider_code = callback.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let secrets = [
        (client.secret.as_deref().unwrap(), "the client's secret"),
        (&code, "our code"),
        (VERIFIER, "the PKCE verifier"),
        (&first.access, "an access token"),
        (&first.refresh, "a refresh token"),
        (&second.access, "an access token that was in a query"),
        (&second.refresh, "a refresh token that was given back"),
        (&third.refresh, "a refresh token that was replayed"),
        (&fourth.access, "an access token that a replay ended"),
        (&state, "our state"),
        (provider_code, "the provider's code"),
        ("idp-refresh-token", "a refresh token of the provider's"),
        ("idp-id-token", "an ID token of the provider's"),
        ("a-forged-logout-token", "a logout token"),
        (&page.input("consent").unwrap(), "the sealed request"),
    ];
    for (secret, what) in
        secrets.into_iter().chain(cookies.iter().map(|value| (value.as_str(), "a cookie")))
    {
        assert!(secret.len() > 5, "{what} is long enough to be found: {secret:?}");
        assert!(!log.contains(secret), "{what} is in the log:\n{log}");
        assert!(!traces.contains(secret), "{what} is in the traces:\n{traces}");
        assert!(!metrics.contains(secret), "{what} is in the metrics:\n{metrics}");
    }
}
