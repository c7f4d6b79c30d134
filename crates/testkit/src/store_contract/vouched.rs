//! What is used once and kept by shares, and grants that stand on somebody's word.

use std::time::Duration;

use sekisho::clock::Timestamp;
use sekisho::grant::{Grant, IssuedTokens};
use sekisho::principal::Identity;
use sekisho::store::{
    AssertionShare, AssertionUse, LoggedOut, ProviderLogout, SessionEnd, UsedAssertion,
};
use sekisho_protocol::oauth::{ClientId, ResourceUri};

use super::{
    AnyStore, DAY, NOW, claim, grant, hash, is_alive, log_in, log_in_as, logout, person, scope,
    tokens,
};

pub(super) fn used(name: &str, share: &str, expires_at: Timestamp) -> UsedAssertion {
    let share = AssertionShare::of_issuer(share);
    UsedAssertion { id: hash(name), share, expires_at }
}

pub async fn a_full_share_of_assertions_leaves_the_others_theirs(store: AnyStore) {
    let end = NOW.plus(DAY);
    for name in ["1", "2", "3"] {
        let outcome = store.use_assertion(&used(name, "a", end)).await.unwrap();
        assert_eq!(outcome, AssertionUse::Fresh);
    }
    let soon = NOW.plus(Duration::from_mins(1));
    let rows = [
        ("4", "a", AssertionUse::Full, "its share is full"),
        ("3", "a", AssertionUse::Replayed, "what is known is known"),
        ("3", "b", AssertionUse::Replayed, "in whatever share"),
        ("4", "b", AssertionUse::Fresh, "another share; and what was refused was not used"),
        ("5", "b", AssertionUse::Fresh, "with all its room"),
        ("6", "b", AssertionUse::Fresh, "of three"),
        ("7", "b", AssertionUse::Full, "and no more"),
    ];
    for (name, share, expected, reason) in rows {
        let outcome = store.use_assertion(&used(name, share, soon)).await.unwrap();
        assert_eq!(outcome, expected, "{name} of {share}: {reason}");
    }
    store.sweep(soon, NOW).await.unwrap();
    let outcome = store.use_assertion(&used("8", "b", end)).await.unwrap();
    assert_eq!(outcome, AssertionUse::Fresh, "what is over takes no room");
}

async fn vouch(store: &AnyStore, name: &str, identity: &Identity) {
    let grant = Grant {
        id: grant(name),
        client_id: ClientId::new("client"),
        identity: identity.clone(),
        scope: scope("fortune"),
        resource: ResourceUri::new("http://localhost:8000/mcp"),
        created_at: NOW,
    };
    let tokens = IssuedTokens { refresh: None, ..tokens(name) };
    store.issue_vouched(&grant, &tokens).await.unwrap();
    assert!(is_alive(store, name).await, "seen, so that a cache has it");
}

pub async fn a_companys_word_ends_with_its_persons_logout(store: AnyStore) {
    let elsewhere = Identity { issuer: "https://other.example".into(), ..person("alice") };
    for (row, message) in [
        ProviderLogout { sid: None, ..logout("all of hers") },
        ProviderLogout { sid: Some("s1".into()), ..logout("one session of hers") },
        ProviderLogout { subject: None, sid: Some("s1".into()), ..logout("a session alone") },
    ]
    .into_iter()
    .enumerate()
    {
        let [word, bobs, others] = ["word", "bobs", "others"].map(|name| format!("{name} {row}"));
        log_in_as(&store, &format!("login {row}"), "alice", Some("s1"), None).await;
        vouch(&store, &word, &person("alice")).await;
        vouch(&store, &bobs, &person("bob")).await;
        vouch(&store, &others, &elsewhere).await;
        let (cursor, _) = store.revocations_since(None).await.unwrap();
        let LoggedOut::Ended(ended) = store.log_out_at_provider(&message, NOW).await.unwrap()
        else {
            panic!("taken for a replay")
        };
        assert_eq!(ended.len(), 2, "the session's and hers");
        assert!(!is_alive(&store, &word).await);
        assert!(is_alive(&store, &bobs).await, "another person");
        assert!(is_alive(&store, &others).await, "the same name at another provider");
        let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
        assert_eq!(told.len(), 2, "other processes hear of it");
    }
}

pub async fn a_companys_word_ends_when_its_person_is_gone(store: AnyStore) {
    log_in(&store, "alice", None, Some(NOW)).await;
    vouch(&store, "word", &person("alice")).await;
    vouch(&store, "bobs", &person("bob")).await;
    let [claimed] = claim(&store, NOW, 9).await.try_into().unwrap();
    let end = store.end_provider_session(&claimed, NOW).await.unwrap();
    assert_eq!(end, SessionEnd::PersonGone { personal_tokens: 0 });
    assert!(!is_alive(&store, "word").await);
    assert!(is_alive(&store, "bobs").await, "nobody said anything of bob");
}
