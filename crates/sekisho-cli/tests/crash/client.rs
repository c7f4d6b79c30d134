//! Does at random what clients do, writes down what was acknowledged, and holds the program to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use testkit::world::{VERIFIER, authorize_url, call, redeem, tokens};
use testkit::{Answer, App, Browser, Chance, FakeIdentityProvider, RegisteredClient};

use crate::family::{Family, Stage};
use crate::program::is_unknown;
use crate::report::{Report, count};

/// Logins that go on at once; the oldest beyond is ended by its replayed code.
const FAMILIES_MAX: usize = 10;
/// Ended logins that are still looked at; older ones are forgotten.
const ENDED_MAX: usize = 8;
const REDIRECT_URI: &str = "http://127.0.0.1:33418/callback";

/// No answer came: whatever was asked may have happened or not.
struct Cut;

pub(crate) struct MadClient {
    provider: Arc<FakeIdentityProvider>,
    chance: Chance,
    report: Arc<Report>,
    /// How long what was ended may go on elsewhere.
    bound: Duration,
    registered: Option<RegisteredClient>,
    families: Vec<Family>,
    ended: Vec<Family>,
}

impl MadClient {
    pub(crate) fn new(
        provider: Arc<FakeIdentityProvider>,
        chance: Chance,
        report: Arc<Report>,
    ) -> Self {
        let (bound, registered, families, ended) = Default::default();
        Self { provider, chance, report, bound, registered, families, ended }
    }

    /// One that works with several instances: what is ended may go on elsewhere for so long.
    pub(crate) fn patient(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// Works while others are killed. What got no answer is found out about at the others.
    pub(crate) async fn work_on(mut self, app: App, done: Arc<AtomicBool>) -> Self {
        while !done.load(Ordering::SeqCst) && self.report.is_clean() {
            if self.step(&app).await.is_ok() {
                continue;
            }
            for mut family in std::mem::take(&mut self.families) {
                let is_unsure = !matches!(family.stage, Stage::Coded | Stage::Alive | Stage::Ended);
                while is_unsure && self.settle_one(&app, &mut family).await.is_err() {}
                self.keep(family);
            }
        }
        self
    }

    /// Works until there is no answer.
    pub(crate) async fn work(mut self, app: App, dying: Arc<AtomicBool>) -> Self {
        while !dying.load(Ordering::SeqCst) {
            if self.step(&app).await.is_err() {
                if !dying.load(Ordering::SeqCst) {
                    self.report.violation("no answer, and nobody killed it yet".to_owned());
                }
                break;
            }
        }
        self
    }

    async fn step(&mut self, app: &App) -> Result<(), Cut> {
        let Some(index) = self.chance.index(self.families.len()).filter(|_| !self.chance.is(12))
        else {
            return self.sign_in(app).await;
        };
        let mut family = self.families.swap_remove(index);
        let done = self.step_of(app, &mut family).await;
        self.keep(family);
        done
    }

    /// The next step of a login, whatever that may be.
    async fn step_of(&mut self, app: &App, family: &mut Family) -> Result<(), Cut> {
        if family.stage == Stage::Coded {
            return self.redeem(app, family).await;
        }
        match self.chance.within(0..100) {
            0..70 => self.refresh(app, family).await,
            70..85 => self.look(app, family).await,
            85..93 => self.revoke(app, family).await,
            93..97 => self.revoke_one(app, family).await,
            _ => self.replay_code(app, family).await,
        }
    }

    /// Puts a login back where it belongs.
    fn keep(&mut self, family: Family) {
        let (kept, max) = match family.stage {
            Stage::Ended => (&mut self.ended, ENDED_MAX),
            Stage::Coded
            | Stage::Redeeming
            | Stage::Alive
            | Stage::Refreshing
            | Stage::Ending
            | Stage::EndingOne(_) => (&mut self.families, usize::MAX),
        };
        kept.push(family);
        if kept.len() > max {
            kept.remove(0);
        }
    }

    // --- what clients do ------------------------------------------------------------------------

    async fn sign_in(&mut self, app: &App) -> Result<(), Cut> {
        if self.families.len() >= FAMILIES_MAX {
            let mut oldest = self.families.remove(0);
            let done = if oldest.stage == Stage::Alive {
                self.replay_code(app, &mut oldest).await
            } else {
                self.step_of(app, &mut oldest).await
            };
            self.keep(oldest);
            return done;
        }
        let client = self.registered(app).await?;
        let code = self.log_in(app, &client).await?;
        let Some(code) = code else { return Ok(()) };
        count(&self.report.sign_ins);
        let mut family = Family::begun(client, code);
        // Now and then a code waits, and a kill may come before it is sent in.
        let done = if self.chance.is(80) { self.redeem(app, &mut family).await } else { Ok(()) };
        self.keep(family);
        done
    }

    /// A registration of ours, now and then a new one.
    async fn registered(&mut self, app: &App) -> Result<RegisteredClient, Cut> {
        if let Some(client) = &self.registered
            && !self.chance.is(10)
        {
            return Ok(client.clone());
        }
        let client = try_register(app).await?;
        self.registered = Some(client.clone());
        Ok(client)
    }

    /// The whole way through the pages to a code; none if something was wrong on it.
    async fn log_in(&self, app: &App, client: &RegisteredClient) -> Result<Option<String>, Cut> {
        let way = log_in(app, client, &self.provider).await?;
        let code = way.parameter("code");
        if code.is_none() {
            self.wrong("a login of an acknowledged client", &way);
        }
        Ok(code)
    }

    /// A client and a code for it, for whoever wants to use them; none if no answer came.
    pub(crate) async fn code(&mut self, app: &App) -> Option<(RegisteredClient, String)> {
        let client = self.registered(app).await.ok()?;
        let code = self.log_in(app, &client).await.ok()??;
        Some((client, code))
    }

    async fn redeem(&self, app: &App, family: &mut Family) -> Result<(), Cut> {
        family.stage = Stage::Redeeming;
        let answer = known(redeem(app, &family.client, &family.code, VERIFIER).await)?;
        if answer.status == 200 {
            family.renew(tokens(&answer));
        } else {
            self.wrong("an acknowledged code is lost", &answer);
            family.stage = Stage::Ended;
        }
        Ok(())
    }

    async fn refresh(&mut self, app: &App, family: &mut Family) -> Result<(), Cut> {
        family.stage = Stage::Refreshing;
        let answer = known(refresh(app, family).await)?;
        self.refreshed(app, family, &answer).await
    }

    async fn refreshed(
        &mut self,
        app: &App,
        family: &mut Family,
        answer: &Answer,
    ) -> Result<(), Cut> {
        match answer.status.as_u16() {
            200 => {
                count(&self.report.refreshes);
                let bought = tokens(answer);
                if self.chance.is(20) {
                    // The answer that was lost on the way to the client, asked for again.
                    let again = known(refresh(app, family).await)?;
                    let is_same = again.status == 200 && {
                        let again = tokens(&again);
                        (again.access, again.refresh)
                            == (bought.access.clone(), bought.refresh.clone())
                    };
                    if !is_same {
                        self.wrong("the same refresh token gave another successor", &again);
                    }
                }
                family.renew(bought);
            }
            // One login refreshes only so often.
            429 => family.stage = Stage::Alive,
            _ => {
                self.wrong("an acknowledged refresh token is lost", answer);
                family.stage = Stage::Ended;
            }
        }
        Ok(())
    }

    async fn revoke(&self, app: &App, family: &mut Family) -> Result<(), Cut> {
        family.stage = Stage::Ending;
        let answer = known(give_back(app, family, &family.refresh).await)?;
        if answer.status != 200 {
            self.wrong("a revocation", &answer);
        }
        count(&self.report.revocations);
        family.stage = Stage::Ended;
        self.must_be_void(app, family).await
    }

    async fn revoke_one(&mut self, app: &App, family: &mut Family) -> Result<(), Cut> {
        let Some(index) = self.chance.index(family.access.len()) else { return Ok(()) };
        family.stage = Stage::EndingOne(index);
        self.end_one(app, family, index).await
    }

    async fn end_one(&self, app: &App, family: &mut Family, index: usize) -> Result<(), Cut> {
        let Some(token) = family.access.get(index).cloned() else { return Ok(()) };
        let answer = known(give_back(app, family, &token).await)?;
        if answer.status != 200 {
            self.wrong("a revocation of one token", &answer);
        }
        count(&self.report.revocations);
        family.access.remove(index);
        family.stage = Stage::Alive;
        tokio::time::sleep(self.bound).await;
        if self.status(app, &token).await? != 401 {
            self.report.violation("a revoked access token goes on".to_owned());
        }
        Ok(())
    }

    /// The same code a second time: refused, and the end of what it bought.
    async fn replay_code(&self, app: &App, family: &mut Family) -> Result<(), Cut> {
        family.stage = Stage::Ending;
        let answer = known(redeem(app, &family.client, &family.code, VERIFIER).await)?;
        if answer.status != 400 {
            self.wrong("a code was redeemed twice", &answer);
        }
        family.stage = Stage::Ended;
        self.must_be_void(app, family).await
    }

    // --- what must hold -------------------------------------------------------------------------

    /// Finds out what became of everything that was on its way, and looks at all the rest.
    pub(crate) async fn settle(mut self, app: App) -> Self {
        for mut family in std::mem::take(&mut self.families) {
            let settled = self.settle_one(&app, &mut family).await;
            self.no_cut(&settled);
            self.keep(family);
        }
        let ended = std::mem::take(&mut self.ended);
        for family in &ended {
            let void = self.must_be_void(&app, family).await;
            self.no_cut(&void);
        }
        self.ended = ended;
        self
    }

    async fn settle_one(&mut self, app: &App, family: &mut Family) -> Result<(), Cut> {
        if !matches!(family.stage, Stage::Coded | Stage::Alive | Stage::Ended) {
            count(&self.report.unsure);
        }
        match family.stage {
            Stage::Coded | Stage::Ended => Ok(()),
            Stage::Alive => self.look(app, family).await,
            Stage::Redeeming => {
                let answer = known(redeem(app, &family.client, &family.code, VERIFIER).await)?;
                match answer.status.as_u16() {
                    200 => family.renew(tokens(&answer)),
                    // It counted, and this was its replay.
                    400 => family.stage = Stage::Ended,
                    _ => self.wrong("a code that was on its way", &answer),
                }
                Ok(())
            }
            Stage::Refreshing => {
                self.look(app, family).await?;
                let answer = known(refresh(app, family).await)?;
                self.refreshed(app, family, &answer).await
            }
            Stage::Ending => {
                let mut statuses = Vec::new();
                for token in &family.access {
                    statuses.push(self.status(app, token).await? == 401);
                }
                statuses.dedup();
                if statuses.len() > 1 {
                    self.report.violation("half of a login was revoked".to_owned());
                }
                self.revoke(app, family).await
            }
            Stage::EndingOne(index) => self.end_one(app, family, index).await,
        }
    }

    /// Every acknowledged access token opens the door.
    async fn look(&self, app: &App, family: &Family) -> Result<(), Cut> {
        for token in &family.access {
            let status = self.status(app, token).await?;
            if status == 401 || status >= 500 {
                let stage = &family.stage;
                self.report
                    .violation(format!("an acknowledged token is lost: {status}, {stage:?}"));
            }
        }
        Ok(())
    }

    /// Nothing of an ended login opens anything.
    async fn must_be_void(&self, app: &App, family: &Family) -> Result<(), Cut> {
        tokio::time::sleep(self.bound).await;
        for token in &family.access {
            let status = self.status(app, token).await?;
            if status != 401 {
                self.report.violation(format!("a revoked token came back to life: {status}"));
            }
        }
        if !family.refresh.is_empty() {
            let answer = known(refresh(app, family).await)?;
            if answer.status != 400 {
                self.wrong("a revoked refresh token came back to life", &answer);
            }
        }
        Ok(())
    }

    async fn status(&self, app: &App, token: &str) -> Result<u16, Cut> {
        Ok(known(call(app, "/mcp", token).await)?.status.as_u16())
    }

    fn wrong(&self, what: &str, answer: &Answer) {
        // Neither tokens nor codes: a body that has them is no error.
        let body = if answer.status == 200 { "(tokens)" } else { &answer.body };
        self.report.violation(format!("{what}: {} {body}", answer.status));
    }

    fn no_cut(&self, done: &Result<(), Cut>) {
        if done.is_err() {
            self.report.violation("no answer, though nobody kills it".to_owned());
        }
    }
}

/// The whole way through the pages; what comes back is the redirect to the client, or whatever page
/// stood in the way.
async fn log_in(
    app: &App,
    client: &RegisteredClient,
    provider: &FakeIdentityProvider,
) -> Result<Answer, Cut> {
    let mut browser = Browser::default();
    let page = known(browser.open(app, &authorize_url(client, &[])).await)?;
    if page.input("consent").is_none() {
        return Ok(page);
    }
    let approved = known(browser.decide(app, &page, "approve").await)?;
    let Some(there) = approved.location() else { return Ok(approved) };
    let callback = provider.log_in(there, "alice").await;
    known(browser.open(app, callback.url.as_str()).await)
}

async fn try_register(app: &App) -> Result<RegisteredClient, Cut> {
    let metadata = format!(
        r#"{{"client_name":"Mad","redirect_uris":["{REDIRECT_URI}"],"token_endpoint_auth_method":"none"}}"#
    );
    let request = Request::post("/register").header(CONTENT_TYPE, "application/json");
    let answer = known(Answer::to(app, request.body(Body::from(metadata)).unwrap()).await)?;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let answer = answer.json();
    let id = answer.get("client_id").and_then(|id| id.as_str()).expect("a client id").to_owned();
    Ok(RegisteredClient { id, secret: None, redirect_uri: REDIRECT_URI.to_owned() })
}

async fn refresh(app: &App, family: &Family) -> Answer {
    let form = [("grant_type", "refresh_token"), ("refresh_token", family.refresh.as_str())];
    post_as(app, &family.client, "/token", form).await
}

async fn give_back(app: &App, family: &Family, token: &str) -> Answer {
    post_as(app, &family.client, "/revoke", [("token", token), ("token_type_hint", "x")]).await
}

async fn post_as(
    app: &App,
    client: &RegisteredClient,
    path: &str,
    form: [(&str, &str); 2],
) -> Answer {
    let fields = form.into_iter().chain([("client_id", client.id.as_str())]);
    let pairs: Vec<_> = fields.map(|(name, value)| format!("{name}={value}")).collect();
    let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    Answer::to(app, request.body(Body::from(pairs.join("&"))).unwrap()).await
}

fn known(answer: Answer) -> Result<Answer, Cut> {
    if is_unknown(answer.status) { Err(Cut) } else { Ok(answer) }
}
