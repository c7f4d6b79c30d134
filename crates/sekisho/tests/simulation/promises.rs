//! What is promised, and to whom it was acknowledged: held against every answer, and once more at the end.
//!
//! It knows what clients know. A step whose answer was lost leaves a doubt; only what is surely so can be
//! broken. Times are kept as what the clocks of the instances concerned can have shown: whatever the
//! clocks do, the rules hold by what they show.
//!
//! | promise | broken by |
//! |---|---|
//! | a code is redeemed once | a second answer with tokens |
//! | what was acknowledged is not lost | a refusal, before its end by the clock, of what nobody can have ended |
//! | what was ended is refused: at once where that was acknowledged, after [`ELSEWHERE`] everywhere | an answer |
//! | a refresh token has one successor | another pair for the same token |
//! | a replay after the window ends the family | a pair after it; any answer to the family from then on |
//! | nothing outlives its end by the clock | an answer after it |
//! | who calls is who is answered, and in whose name the server behind is asked | another person's name |
//! | a session belongs to who began it | an answer in it to anybody else |
//! | a call is made once at most | the server behind us seeing it twice |
//! | a session at the provider is asked about by one instance at a time | a renewal that another one spoiled |
//! | every request ends | no answer within [`REQUEST_MAX`] |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use testkit::Tokens;
use tokio::time::Instant;

use crate::clock::{SteppedClock, seconds};
use crate::history::History;

/// How long what was ended at one instance may go on at another that reaches the store.
pub(crate) const ELSEWHERE: Duration = Duration::from_secs(1);
/// The longest that any request takes, with everything slow at once.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(120);
/// The settings that times follow from.
pub(crate) const CODE_TTL: Duration = Duration::from_secs(60);
pub(crate) const ACCESS_TTL: Duration = Duration::from_secs(90);
pub(crate) const GRACE: Duration = Duration::from_secs(20);

/// An instance, by its place.
pub(crate) type Place = usize;

/// One try of something, from when on and until when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    pub(crate) place: Place,
    pub(crate) from: Instant,
    to: Option<Instant>,
}

/// What a client heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard<T> {
    Yes(T),
    No,
    /// Nothing, or that it may try again: whether it was done is not known.
    Nothing,
}

impl<T> Display for Heard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes(_) => "yes",
            Self::No => "no",
            Self::Nothing => "nothing",
        })
    }
}

/// A login of somebody at a client, with all tokens that come of it.
pub(crate) type FamilyId = usize;

/// What is known of the end of something.
#[derive(Debug, Default)]
struct End {
    /// Tries that are on their way and may end it.
    doubts: usize,
    /// One of them was never answered.
    is_open: bool,
    /// Since when it is acknowledged, and where it holds at once.
    surely: Option<(Instant, Option<Place>)>,
}

impl End {
    /// Whether anybody may have ended it.
    fn is_possible(&self) -> bool {
        self.doubts > 0 || self.is_open || self.surely.is_some()
    }

    fn is_known_before(&self, moment: Instant) -> bool {
        self.surely.is_some_and(|(at, _)| at < moment)
    }

    /// It was acknowledged. Where somebody else may have been first, it was known elsewhere before.
    fn surely(&mut self, place: Place) {
        let is_first = self.doubts == 0 && !self.is_open;
        self.surely.get_or_insert((Instant::now(), is_first.then_some(place)));
    }
}

#[derive(Debug)]
struct Family {
    person: String,
    /// When the code was made.
    issued: Attempt,
    redeeming: Vec<Attempt>,
    is_redeemed: bool,
    newest: Option<Tokens>,
    end: End,
}

#[derive(Debug)]
struct Refresh {
    family: FamilyId,
    /// Which one of all.
    number: usize,
    tried: Vec<Attempt>,
    /// The first try that was answered.
    traded: Option<Attempt>,
    successors: Option<Tokens>,
}

#[derive(Debug)]
struct Access {
    family: FamilyId,
    issued_at: Instant,
    /// The earliest and the latest end, by any clock.
    ends: (i64, i64),
    end: End,
}

impl Access {
    fn of(family: FamilyId, issued_at: Instant, ends: (i64, i64)) -> Self {
        Self { family, issued_at, ends, end: End::default() }
    }
}

/// A logout at the provider, and who it is of.
#[derive(Debug)]
struct Logout {
    person: String,
    attempt: Attempt,
}

/// Since when an instance hears of everything that was ended.
pub(crate) trait Listening: std::fmt::Debug + Send + Sync {
    fn since(&self, place: Place) -> Instant;
}

#[derive(Debug, Default)]
struct Ledger {
    families: Vec<Family>,
    refresh: BTreeMap<String, Refresh>,
    access: BTreeMap<String, Access>,
    logouts: Vec<Logout>,
    calls: BTreeMap<u64, String>,
    made: BTreeSet<u64>,
    broken: Vec<String>,
    kept: BTreeMap<&'static str, u64>,
    /// When all clocks were set by much.
    jumped_at: Option<Instant>,
}

/// All that was promised in one simulation.
#[derive(Debug)]
pub(crate) struct Promises {
    history: Arc<History>,
    clocks: Vec<Arc<SteppedClock>>,
    listening: Arc<dyn Listening>,
    ledger: Mutex<Ledger>,
}

impl Attempt {
    /// Something is tried from now on.
    pub(crate) fn begin(place: Place) -> Self {
        Self { place, from: Instant::now(), to: None }
    }
}

impl Promises {
    pub(crate) fn new(
        history: Arc<History>,
        clocks: Vec<Arc<SteppedClock>>,
        listening: Arc<dyn Listening>,
    ) -> Self {
        Self { history, clocks, listening, ledger: Mutex::default() }
    }

    /// A promise was broken: what happened instead.
    pub(crate) fn broken(&self, what: String) {
        self.history.note(format_args!("BROKEN: {what}"));
        self.ledger().broken.push(what);
    }

    /// What was broken.
    pub(crate) fn all_broken(&self) -> Vec<String> {
        self.ledger().broken.clone()
    }

    /// How often what was seen, so that a simulation in which nothing happens is known for one.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.ledger().kept.clone()
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.ledger().kept.entry(what).or_default() += 1;
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// The least and the most that the clock of the instance showed meanwhile.
    fn shown(&self, attempt: &Attempt) -> (i64, i64) {
        self.clocks[attempt.place].between(attempt.from, attempt.to.unwrap_or_else(Instant::now))
    }

    /// The most that any clock has shown since: what was over by it may be swept, and does not come back
    /// when the clock is set back.
    fn highest_since(&self, moment: Instant) -> i64 {
        let now = Instant::now();
        self.clocks.iter().map(|clock| clock.between(moment, now).1).max().unwrap()
    }

    fn lowest(&self, attempts: &[Attempt]) -> i64 {
        attempts.iter().map(|one| self.shown(one).0).min().unwrap()
    }

    fn highest(&self, attempts: &[Attempt]) -> i64 {
        attempts.iter().map(|one| self.shown(one).1).max().unwrap()
    }

    /// All clocks were set by so much that nothing is as late as was agreed.
    pub(crate) fn clocks_jump(&self) {
        self.ledger().jumped_at = Some(Instant::now());
    }

    /// Whether they were since then.
    pub(crate) fn clocks_jumped_since(&self, moment: Instant) -> bool {
        self.ledger().jumped_at.is_some_and(|at| at >= moment)
    }

    // --- codes ----------------------------------------------------------------------------------

    /// A code came back from a login of `person`.
    pub(crate) fn code_issued(&self, person: &str, attempt: Attempt) -> FamilyId {
        let issued = done(attempt);
        let mut ledger = self.ledger();
        let is_logged_out = ledger.logouts.iter().any(|logout| {
            logout.person == person && logout.attempt.to.is_none_or(|to| to >= issued.from)
        });
        let end = End { is_open: is_logged_out, ..End::default() };
        let person = person.to_owned();
        let (redeeming, is_redeemed, newest) = Default::default();
        ledger.families.push(Family { person, issued, redeeming, is_redeemed, newest, end });
        *ledger.kept.entry("logins").or_default() += 1;
        let id = ledger.families.len() - 1;
        self.history.note(format_args!("  login {id}: {}", ledger.families[id].person));
        id
    }

    /// A code is about to be redeemed; to be told to [`Promises::redeemed`].
    pub(crate) fn redeeming(&self, id: FamilyId, attempt: Attempt) {
        self.ledger().families[id].redeeming.push(attempt);
    }

    pub(crate) fn redeemed(&self, id: FamilyId, attempt: Attempt, heard: &Heard<Tokens>) {
        self.history.note(format_args!("  login {id}: its code at {}: {heard}", attempt.place));
        let mut ledger = self.ledger();
        let Ledger { families, refresh, access, kept, .. } = &mut *ledger;
        let family = &mut families[id];
        let tries = family.redeeming.len();
        let this = close(&mut family.redeeming, attempt);
        let is_again = tries > 1;
        let (lowest, highest) = self.shown(&family.redeeming[this]);
        let highest_since = self.highest_since(family.issued.from);
        let (issued_lowest, issued_highest) = self.shown(&family.issued);
        let mut broken = None;
        match heard {
            Heard::Yes(tokens) => {
                if family.is_redeemed {
                    broken = Some("a code was redeemed twice");
                } else if family.end.is_known_before(attempt.from) {
                    broken = Some("a code of a login that was ended was redeemed");
                } else if issued_highest + seconds(CODE_TTL) <= lowest {
                    broken = Some("a code was redeemed after its end");
                }
                family.is_redeemed = true;
                family.newest = Some(tokens.clone());
                *kept.entry("codes redeemed").or_default() += 1;
                keep(refresh, id, &tokens.refresh);
                let ends = [lowest, highest].map(|at| at + seconds(ACCESS_TTL));
                let new = Access::of(id, attempt.from, (ends[0], ends[1]));
                access.insert(tokens.access.clone(), new);
            }
            Heard::No => {
                let may_be_over = issued_lowest + seconds(CODE_TTL) <= highest_since;
                if family.is_redeemed && !may_be_over {
                    // OAuth 2.1 §4.1.3: whoever showed it again may have stolen it.
                    *kept.entry("codes replayed").or_default() += 1;
                    family.end.surely(attempt.place);
                } else if is_again {
                    family.end.is_open = true;
                } else if !may_be_over && !family.end.is_possible() {
                    broken = Some("an acknowledged code was lost");
                }
            }
            Heard::Nothing => family.end.is_open |= is_again,
        }
        drop(ledger);
        self.tell(broken, id);
    }

    // --- refresh tokens -------------------------------------------------------------------------

    /// A refresh token is about to be traded; to be told to [`Promises::refreshed`].
    pub(crate) fn refreshing(&self, token: &str, attempt: Attempt) {
        self.ledger().refresh.get_mut(token).unwrap().tried.push(attempt);
    }

    pub(crate) fn refreshed(&self, token: &str, attempt: Attempt, heard: &Heard<Tokens>) {
        let mut ledger = self.ledger();
        let Ledger { families, refresh, access, kept, .. } = &mut *ledger;
        let id = refresh[token].family;
        let number = refresh[token].number;
        self.history
            .note(format_args!("  login {id}: trade {number} at {}: {heard}", attempt.place));
        let may_have_ended = may_have_ended(&families[id], id, refresh);
        let family = &mut families[id];
        let known = refresh.get_mut(token).unwrap();
        let this = close(&mut known.tried, attempt);
        let (lowest, highest) = self.shown(&known.tried[this]);
        let others: Vec<_> = (known.tried.iter().enumerate())
            .filter(|(place, _)| *place != this)
            .map(|(_, one)| *one)
            .collect();
        // Somebody may have traded it so long ago.
        let may_be_replay = !others.is_empty() && self.lowest(&others) + seconds(GRACE) <= highest;
        let is_replay = known.traded.is_some_and(|traded| {
            // One on its way at the same time may be the trade itself.
            let is_later = traded.to.is_some_and(|to| to < attempt.from);
            let before: Vec<_> =
                others.iter().filter(|one| Some(one.from) <= traded.to).copied().collect();
            is_later && self.highest(&before) + seconds(GRACE) <= lowest
        });
        let mut broken = None;
        match heard {
            Heard::Yes(tokens) => {
                if family.end.is_known_before(attempt.from) {
                    broken = Some("a refresh token of a family that was ended was traded");
                } else if is_replay {
                    broken = Some("a replay after the window was answered");
                } else if known.successors.as_ref().is_some_and(|before| before != tokens) {
                    broken = Some("a refresh token has two successors");
                }
                let what = if known.traded.is_some() { "refreshes repeated" } else { "refreshes" };
                *kept.entry(what).or_default() += 1;
                if known.traded.is_none() {
                    known.traded = Some(known.tried[this]);
                    family.newest = Some(tokens.clone());
                }
                known.successors.get_or_insert_with(|| tokens.clone());
                let ends = (self.lowest(&known.tried), self.highest(&known.tried));
                let ends = (ends.0 + seconds(ACCESS_TTL), ends.1 + seconds(ACCESS_TTL));
                keep(refresh, id, &tokens.refresh);
                let new = Access::of(id, attempt.from, ends);
                access.entry(tokens.access.clone()).or_insert(new);
            }
            Heard::No if is_replay => {
                *kept.entry("replays").or_default() += 1;
                family.end.surely(attempt.place);
            }
            Heard::No if may_be_replay => family.end.is_open = true,
            Heard::No if may_have_ended => {}
            Heard::No => broken = Some("an acknowledged refresh token was lost"),
            Heard::Nothing => family.end.is_open |= may_be_replay,
        }
        drop(ledger);
        self.tell(broken, id);
    }

    // --- endings --------------------------------------------------------------------------------

    /// A token is about to be given back; to be told to [`Promises::revoked`].
    pub(crate) fn revoking(&self, token: &str) {
        with_end(&mut self.ledger(), token, |end| end.doubts += 1);
    }

    pub(crate) fn revoked(&self, token: &str, attempt: Attempt, heard: &Heard<()>) {
        let mut ledger = self.ledger();
        let of = ledger.refresh.get(token).map(|one| one.family);
        let one = ledger.access.get(token).map(|one| one.family);
        self.history.note(format_args!("  login {of:?}, or one token of {one:?}: back: {heard}"));
        with_end(&mut ledger, token, |end| end.conclude(attempt.place, heard));
        *ledger.kept.entry("revocations").or_default() += 1;
    }

    /// The provider is about to tell of a logout of `person`; to be told to [`Promises::logged_out`].
    /// Gives its number.
    pub(crate) fn logging_out(&self, person: &str, attempt: Attempt) -> usize {
        let mut ledger = self.ledger();
        ledger.logouts.push(Logout { person: person.to_owned(), attempt });
        for family in ledger.families.iter_mut().filter(|one| one.person == person) {
            family.end.doubts += 1;
        }
        ledger.logouts.len() - 1
    }

    pub(crate) fn logged_out(&self, logout: usize, place: Place, heard: &Heard<()>) {
        let mut ledger = self.ledger();
        let Ledger { families, logouts, kept, .. } = &mut *ledger;
        let Logout { person, attempt } = &mut logouts[logout];
        attempt.to = Some(Instant::now());
        let began = attempt.from;
        for family in families.iter_mut().filter(|one| one.person == *person) {
            if family.issued.to.is_some_and(|to| to <= began) {
                family.end.conclude(place, heard);
            }
        }
        *kept.entry("logouts").or_default() += 1;
    }

    /// The provider ended or will end sessions of this person by itself, or does not know them any more.
    pub(crate) fn provider_forgets(&self, person: &str) {
        self.history.note(format_args!("  the provider forgets {person}"));
        for family in self.ledger().families.iter_mut().filter(|one| one.person == person) {
            family.end.is_open = true;
        }
    }

    // --- calls ----------------------------------------------------------------------------------

    /// The number of a call that `person` is about to make.
    pub(crate) fn calling(&self, token: &str) -> u64 {
        let mut ledger = self.ledger();
        let person = ledger.families[ledger.access[token].family].person.clone();
        let number = u64::try_from(ledger.calls.len()).unwrap();
        ledger.calls.insert(number, person);
        number
    }

    /// The server behind us is asked for `subject`.
    pub(crate) fn call_arrived(&self, number: u64, subject: &str) {
        let mut ledger = self.ledger();
        let is_first = ledger.made.insert(number);
        let person = ledger.calls.get(&number).cloned().unwrap_or_default();
        drop(ledger);
        if !is_first {
            self.broken(format!("call {number} was made twice"));
        }
        if subject != subject_of(&person) {
            self.broken(format!("call {number} of {person} was made in the name of {subject}"));
        }
    }

    /// What a call with an access token heard: the text of the answer.
    pub(crate) fn called(&self, token: &str, number: u64, attempt: Attempt, heard: &Heard<String>) {
        let mut ledger = self.ledger();
        let Ledger { families, access, refresh, kept, .. } = &mut *ledger;
        let known = &access[token];
        let family = &families[known.family];
        let (lowest, _) = self.shown(&done(attempt));
        let mut broken = None;
        match heard {
            Heard::Yes(text) => {
                *kept.entry("calls").or_default() += 1;
                let refused_from = |end: &End| {
                    let (at, by) = end.surely?;
                    let elsewhere = || at.max(self.listening.since(attempt.place)) + ELSEWHERE;
                    Some(if by == Some(attempt.place) { at } else { elsewhere() })
                };
                let is_over = |end| refused_from(end).is_some_and(|from| attempt.from > from);
                if is_over(&family.end) || is_over(&known.end) {
                    broken = Some("a token that was ended was let in");
                } else if known.ends.1 <= lowest {
                    broken = Some("a token was let in after its end");
                } else if *text != format!("{} {number}", subject_of(&family.person)) {
                    broken = Some("an answer was another person's");
                }
            }
            Heard::No => {
                *kept.entry("calls refused").or_default() += 1;
                let may_be_over = known.ends.0 <= self.highest_since(known.issued_at)
                    || may_have_ended(family, known.family, refresh)
                    || known.end.is_possible();
                if !may_be_over {
                    broken = Some("an acknowledged access token was lost");
                }
            }
            Heard::Nothing => {}
        }
        let id = known.family;
        drop(ledger);
        self.tell(broken, id);
    }

    fn tell(&self, broken: Option<&str>, id: FamilyId) {
        if let Some(what) = broken {
            let person = self.ledger().families[id].person.clone();
            self.broken(format!("{what} (login {id}, of {person})"));
        }
    }

    // --- what there is --------------------------------------------------------------------------

    /// The pair that a login has at this moment, if it has one.
    pub(crate) fn newest(&self, id: FamilyId) -> Option<Tokens> {
        self.ledger().families[id].newest.clone()
    }

    /// All refresh tokens of a login that were traded.
    pub(crate) fn traded(&self, id: FamilyId) -> Vec<String> {
        let ledger = self.ledger();
        let theirs = ledger.refresh.iter().filter(|(_, one)| one.family == id);
        theirs.filter(|(_, one)| one.traded.is_some()).map(|(token, _)| token.clone()).collect()
    }

    /// The access tokens of a login.
    pub(crate) fn access(&self, id: FamilyId) -> Vec<String> {
        let ledger = self.ledger();
        let theirs = ledger.access.iter().filter(|(_, one)| one.family == id);
        theirs.map(|(token, _)| token.clone()).collect()
    }

    pub(crate) fn families(&self) -> usize {
        self.ledger().families.len()
    }

    /// Whether nobody can have ended it, nor have traded its newest token without being answered.
    pub(crate) fn must_live(&self, id: FamilyId) -> bool {
        let ledger = self.ledger();
        let family = &ledger.families[id];
        let newest = family.newest.as_ref().and_then(|newest| ledger.refresh.get(&newest.refresh));
        !family.end.is_possible() && newest.is_some_and(|newest| newest.tried.is_empty())
    }
}

impl End {
    /// What tried to end it was answered, or not.
    fn conclude(&mut self, place: Place, heard: &Heard<()>) {
        self.doubts = self.doubts.saturating_sub(1);
        match heard {
            Heard::Yes(()) => self.surely(place),
            Heard::No => {}
            Heard::Nothing => self.is_open = true,
        }
    }
}

/// Whether anybody may have ended it: also by a code or token that is shown once more at this moment.
fn may_have_ended(family: &Family, id: FamilyId, refresh: &BTreeMap<String, Refresh>) -> bool {
    let is_shown_again =
        |tries: &[Attempt]| tries.len() > 1 && tries.iter().any(|one| one.to.is_none());
    let mut theirs = refresh.values().filter(|one| one.family == id);
    family.end.is_possible()
        || is_shown_again(&family.redeeming)
        || theirs.any(|one| is_shown_again(&one.tried))
}

/// How the provider calls a person.
pub(crate) fn subject_of(person: &str) -> String {
    format!("sub-{person}")
}

fn done(attempt: Attempt) -> Attempt {
    Attempt { to: Some(Instant::now()), ..attempt }
}

/// This try is over; gives its place among all.
fn close(attempts: &mut [Attempt], attempt: Attempt) -> usize {
    let is_it =
        |one: &Attempt| one.to.is_none() && one.from == attempt.from && one.place == attempt.place;
    let at = attempts.iter().position(is_it).unwrap();
    attempts[at] = done(attempt);
    at
}

fn keep(refresh: &mut BTreeMap<String, Refresh>, family: FamilyId, token: &str) {
    let (tried, traded, successors) = Default::default();
    let number = refresh.len();
    let new = Refresh { family, number, tried, traded, successors };
    refresh.entry(token.to_owned()).or_insert(new);
}

/// An access token ends alone, a refresh token with its family.
fn with_end(ledger: &mut Ledger, token: &str, then: impl FnOnce(&mut End)) {
    match ledger.refresh.get(token) {
        Some(known) => then(&mut ledger.families[known.family].end),
        None => then(&mut ledger.access.get_mut(token).unwrap().end),
    }
}
