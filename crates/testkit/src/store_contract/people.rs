//! What becomes of people's own things when the provider says something of them: sessions at the
//! account page, personal tokens, and what the provider is told in its turn.

use std::time::Duration;

use sekisho::grant::GrantId;
use sekisho::principal::Identity;
use sekisho::store::{
    AccountSessionBegun, DueSessions, FAREWELLS_KEPT, LoggedOut, PersonalToken, ProviderSession,
    Revocation, SessionEnd,
};

use super::{
    AnyStore, DAY, LEASE, NOW, all_of, claim, claim_of, hash, is_alive, key, local, log_in, logout,
    person, personal_token, redeem, session_of, subjects, user,
};

/// The session of a login for the account page, in the browser of that name.
fn account_session(name: &str, identity: &Identity) -> ProviderSession {
    let code = super::code(name, "client", identity);
    let grant_id = GrantId::new(format!("account {name}"));
    ProviderSession { grant_id, browser: Some(hash(name)), ..session_of(&code, None, Some(NOW)) }
}

async fn open_account(store: &AnyStore, name: &str, identity: &Identity) -> ProviderSession {
    let session = account_session(name, identity);
    let (end, browser) = (NOW.plus(DAY), hash(name));
    let begun = store.begin_account_session(&browser, identity, Some(&session), end, end).await;
    assert_eq!(begun.unwrap(), AccountSessionBegun::Begun);
    session
}

async fn is_open(store: &AnyStore, name: &str) -> bool {
    store.use_account_session(&hash(name), NOW, NOW.plus(DAY)).await.unwrap().is_some()
}

async fn add_token(store: &AnyStore, name: &str, session: &ProviderSession) -> PersonalToken {
    let identity = person(&session.subject);
    let session = Some(session.grant_id.clone());
    let token = PersonalToken { session, ..personal_token(name, &identity) };
    store.add_personal_token(&token).await.unwrap();
    token
}

async fn opens(store: &AnyStore, token: &PersonalToken) -> bool {
    store.find_access_token(&key(token.token)).await.unwrap().is_some()
}

pub async fn an_account_session_is_begun_only_while_its_account_is_there(store: AnyStore) {
    let (end, demo) = (NOW.plus(DAY), local("demo"));
    let begin = async |name: &str| {
        store.begin_account_session(&hash(name), &demo, None, end, end).await.unwrap()
    };
    assert_eq!(begin("too late").await, AccountSessionBegun::NoSuchUser);
    assert!(!is_open(&store, "too late").await);
    assert!(store.add_user(&user(&demo.subject, "hash")).await.unwrap());
    assert_eq!(begin("in time").await, AccountSessionBegun::Begun);
    assert!(is_open(&store, "in time").await);
}

pub async fn the_account_page_closes_with_the_providers_session(store: AnyStore) {
    open_account(&store, "alice", &person("alice")).await;
    open_account(&store, "bob", &person("bob")).await;
    let claimed = claim(&store, NOW, 9).await;
    assert_eq!(subjects(&claimed), ["alice", "bob"], "somebody asks about it");
    store.end_provider_session(&claimed[0], NOW).await.unwrap();
    assert!(!is_open(&store, "alice").await && is_open(&store, "bob").await);

    // A logout that names nobody but the session.
    let mut session = account_session("carol", &person("carol"));
    session.sid = Some("s1".into());
    let (end, browser, carol) = (NOW.plus(DAY), hash("carol"), person("carol"));
    store.begin_account_session(&browser, &carol, Some(&session), end, end).await.unwrap();
    let mut message = logout("m");
    (message.subject, message.sid) = (None, Some("s1".into()));
    store.log_out_at_provider(&message, NOW).await.unwrap();
    assert!(!is_open(&store, "carol").await && is_open(&store, "bob").await);
}

pub async fn personal_tokens_rest_from_a_no_about_their_person_to_the_next_login(store: AnyStore) {
    let session = open_account(&store, "alice", &person("alice")).await;
    let bobs = open_account(&store, "bob", &person("bob")).await;
    let token = add_token(&store, "a", &session).await;
    // One that was made on the command line has no session of its own.
    let other = personal_token("b", &person("alice"));
    store.add_personal_token(&other).await.unwrap();
    let bobs = add_token(&store, "c", &bobs).await;
    assert!(opens(&store, &token).await && opens(&store, &other).await, "seen, for the cache");
    let (cursor, _) = store.revocations_since(None).await.unwrap();

    let claimed = claim(&store, NOW, 9).await;
    assert_eq!(claimed[0].subject, "alice");
    let end = store.end_provider_session(&claimed[0], NOW).await.unwrap();
    assert_eq!(end, SessionEnd::PersonGone { personal_tokens: 2 });
    assert!(!opens(&store, &token).await && !opens(&store, &other).await);
    assert!(opens(&store, &bobs).await, "nobody said anything of bob");
    let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
    let expected = [token.id.clone(), other.id.clone()].map(Revocation::Grant);
    assert_eq!(told, expected, "other processes hear of it");
    store.sweep(NOW, NOW).await.unwrap();
    assert!(!opens(&store, &token).await, "a sweep forgives nobody");
    let late = personal_token("d", &person("alice"));
    store.add_personal_token(&late).await.unwrap();
    assert!(!opens(&store, &late).await, "nor does a new token help");

    log_in(&store, "alice", None, None).await;
    assert!(opens(&store, &token).await && opens(&store, &other).await, "she is there");
    let [claimed] = claim(&store, NOW.plus(LEASE), 9).await.try_into().unwrap();
    assert_eq!(claimed.subject, "bob");
    store.end_provider_session(&claimed, NOW).await.unwrap();
    assert!(!opens(&store, &bobs).await);
    open_account(&store, "bob again", &person("bob")).await;
    assert!(opens(&store, &bobs).await, "the account page is a login as well");
}

pub async fn a_no_about_a_browsers_session_says_nothing_of_the_person(store: AnyStore) {
    let (end, alice) = (NOW.plus(DAY), person("alice"));
    let session = ProviderSession { is_offline: false, ..account_session("alice", &alice) };
    let begun = store.begin_account_session(&hash("alice"), &alice, Some(&session), end, end).await;
    assert_eq!(begun.unwrap(), AccountSessionBegun::Begun);
    let token = add_token(&store, "a", &session).await;
    let [claimed] = claim(&store, NOW, 9).await.try_into().unwrap();
    let end = store.end_provider_session(&claimed, NOW).await.unwrap();
    assert_eq!(end, SessionEnd::Ended);
    assert!(!is_open(&store, "alice").await, "that session is over");
    assert!(opens(&store, &token).await, "and a job at night goes on");
}

pub async fn a_person_is_there_as_long_as_one_session_says_so(store: AnyStore) {
    let session = open_account(&store, "alice", &person("alice")).await;
    let token = add_token(&store, "a", &session).await;
    let code = super::code("elsewhere", "client", &person("alice"));
    store.issue_code_of_session(&code, &session_of(&code, None, Some(NOW))).await.unwrap();
    redeem(&store, &code, "elsewhere").await;
    let [first, second] = claim(&store, NOW, 9).await.try_into().unwrap();
    assert_eq!(store.end_provider_session(&first, NOW).await.unwrap(), SessionEnd::Ended);
    assert!(opens(&store, &token).await, "another session of hers lives");
    let end = store.end_provider_session(&second, NOW).await.unwrap();
    assert_eq!(end, SessionEnd::PersonGone { personal_tokens: 1 });
    assert!(!opens(&store, &token).await);
}

pub async fn personal_tokens_outlive_a_logout_and_are_still_asked_about(store: AnyStore) {
    let session = open_account(&store, "alice", &person("alice")).await;
    let token = add_token(&store, "a", &session).await;
    log_in(&store, "alice", None, None).await;
    let LoggedOut::Ended(ended) = store.log_out_at_provider(&logout("m"), NOW).await.unwrap()
    else {
        panic!("taken for a replay")
    };
    assert_eq!(ended.len(), 1, "what an application was granted");
    assert!(!is_alive(&store, "alice").await && !is_open(&store, "alice").await);
    assert!(opens(&store, &token).await);
    store.sweep(NOW, NOW).await.unwrap();
    let [claimed] = claim(&store, NOW, 9).await.try_into().unwrap();
    store.end_provider_session(&claimed, NOW).await.unwrap();
    assert!(!opens(&store, &token).await, "disabled after the logout");
}

pub async fn what_nothing_hangs_on_any_more_is_a_farewell(store: AnyStore) {
    let session = log_in(&store, "alice", None, Some(NOW.plus(DAY))).await;
    log_in(&store, "nothing to tell with", None, None).await;
    let farewells = async |now| claim_of(&store, now, 9, DueSessions::Farewells).await;
    assert_eq!(farewells(NOW.plus(DAY)).await, [], "both live");
    for name in ["alice", "nothing to tell with"] {
        store.end_grants(&all_of(super::IDP, name), NOW).await.unwrap();
    }
    let [claimed] = farewells(NOW).await.try_into().unwrap();
    assert_eq!(
        (&claimed.grant_id, claimed.due),
        (&session.grant_id, sekisho::store::Due::Farewell)
    );
    assert_eq!(claimed.tokens, session.tokens);
    assert_eq!(store.end_provider_session(&claimed, NOW).await.unwrap(), SessionEnd::Lost);
    let [again] = farewells(NOW.plus(LEASE)).await.try_into().unwrap();
    store.forget_provider_session(&claimed).await.unwrap();
    assert_eq!(farewells(NOW.plus(LEASE * 2)).await.len(), 1, "a lost claim forgets nothing");
    store.forget_provider_session(&again).await.unwrap();
    let [last] = farewells(NOW.plus(LEASE * 3)).await.try_into().unwrap();
    store.forget_provider_session(&last).await.unwrap();
    assert_eq!(farewells(NOW.plus(DAY)).await, []);
}

pub async fn a_farewell_is_silent_while_another_session_of_the_person_lives(store: AnyStore) {
    let first = log_in(&store, "alice", None, Some(NOW)).await;
    let other = open_account(&store, "account", &person("alice")).await;
    store.revoke_grant(&first.grant_id, NOW).await.unwrap();
    let [claimed] = claim_of(&store, NOW, 9, DueSessions::Farewells).await.try_into().unwrap();
    assert_eq!(claimed.due, sekisho::store::Due::SilentFarewell);
    store.forget_provider_session(&claimed).await.unwrap();

    // The page is closed, and nobody made a token there.
    store.end_browser_session(&hash("account")).await.unwrap();
    store.sweep(NOW, NOW).await.unwrap();
    let [claimed] = claim_of(&store, NOW, 9, DueSessions::Farewells).await.try_into().unwrap();
    assert_eq!((claimed.grant_id, claimed.due), (other.grant_id, sekisho::store::Due::Farewell));
}

pub async fn a_farewell_is_forgotten_after_a_while(store: AnyStore) {
    let session = log_in(&store, "alice", None, Some(NOW)).await;
    store.revoke_grant(&session.grant_id, NOW).await.unwrap();
    let end = NOW.plus(FAREWELLS_KEPT);
    store.sweep(end.minus(Duration::from_secs(1)), NOW).await.unwrap();
    assert_eq!(claim(&store, end.minus(Duration::from_secs(1)), 9).await.len(), 1);
    store.sweep(end, NOW).await.unwrap();
    assert_eq!(claim(&store, end.plus(DAY), 9).await, []);
}

pub async fn new_tokens_that_come_after_the_end_are_given_back_too(store: AnyStore) {
    let session = log_in(&store, "alice", None, Some(NOW)).await;
    let [asked] = claim(&store, NOW, 9).await.try_into().unwrap();
    store.revoke_grant(&session.grant_id, NOW).await.unwrap();
    let new = sekisho::seal::Sealed::from_bytes(vec![2]);
    assert!(store.renew_provider_session(&asked, &new, Some(NOW.plus(DAY))).await.unwrap());
    let [claimed] = claim(&store, NOW, 9).await.try_into().unwrap();
    assert_eq!((claimed.due, claimed.tokens), (sekisho::store::Due::Farewell, new));
}

/// Because it is due, or because somebody wants its token now.
pub async fn a_session_is_asked_about_by_one_at_a_time_however_they_come(store: AnyStore) {
    let later = |seconds| NOW.plus(Duration::from_secs(seconds));
    let alices = log_in(&store, "alice", None, Some(later(600))).await;
    let alone = async |now| {
        store.claim_provider_session(&alices.grant_id, now, now.plus(LEASE)).await.unwrap()
    };
    let wanted = alone(NOW).await.expect("not due, and still to be had");
    assert_eq!((wanted.subject.as_str(), &wanted.tokens), ("alice", &alices.tokens));
    assert!(alone(later(1)).await.is_none(), "somebody has it");
    let behind = NOW.minus(sekisho::store::CLOCKS_APART_MAX);
    assert!(alone(behind).await.is_none(), "and has it by a clock that is a little behind");
    assert_eq!(claim(&store, later(600), 9).await.len(), 1, "not for ever");
    assert!(alone(later(601)).await.is_none(), "neither out of turn");
    assert!(claim(&store, later(601), 9).await.is_empty(), "neither here");
    let again = alone(later(660)).await.expect("a lease has its end");
    assert!(!store.postpone_provider_session(&wanted, later(700)).await.unwrap(), "long over");
    assert!(store.postpone_provider_session(&again, later(700)).await.unwrap());
    let again = alone(later(661)).await.expect("who has given it up does not have it");
    let new = sekisho::seal::Sealed::from_bytes(vec![1, 7, 7]);
    assert!(store.renew_provider_session(&again, &new, Some(later(900))).await.unwrap());
    let renewed = alone(later(662)).await.expect("nor who has done with it");
    assert_eq!(renewed.tokens, new);
    assert!(alone(NOW).await.is_some(), "the clock was set back: that lease is nobody's");

    let unknown = GrantId::new("no such grant");
    assert!(store.claim_provider_session(&unknown, NOW, later(60)).await.unwrap().is_none());
    store.revoke_grant(&alices.grant_id, NOW).await.unwrap();
    assert!(alone(later(3_000)).await.is_none(), "what is left of it is a farewell");
    assert_eq!(claim(&store, later(663), 9).await.len(), 1, "and that waits for nobody");
}

/// Fifty want one session's token at once, over as many connections as there are.
pub async fn a_session_raced_for_is_had_once(store: AnyStore) {
    let alices = log_in(&store, "alice", None, Some(NOW.plus(DAY))).await;
    let grant = alices.grant_id;
    let had = super::fifty(&store, |store, _| {
        let grant = grant.clone();
        async move { store.claim_provider_session(&grant, NOW, NOW.plus(LEASE)).await.unwrap() }
    });
    assert_eq!(had.await.into_iter().flatten().count(), 1);
}
