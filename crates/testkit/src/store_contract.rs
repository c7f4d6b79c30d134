//! What every [`Store`] must do, one test per rule. The rules see verbs, never tables.
//!
//! ```text
//! async fn open(limits: TableLimits) -> (Arc<dyn Store>, impl Drop) { … }
//! testkit::store_contract!(my_store, open);
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test may panic"
)]
#![expect(missing_docs, reason = "the name of a rule is its sentence")]

mod flows;
mod people;
mod vouched;

use self::vouched::used;

pub use self::flows::*;
pub use self::people::*;
pub use self::vouched::*;

use std::sync::Arc;
use std::time::Duration;

use sekisho::clock::Timestamp;
use sekisho::grant::{
    AuthorizationRequest, CodeGrant, Grant, GrantId, IssuedTokens, TokenKey, Turn,
};
use sekisho::principal::{Claims, Identity, Principal};
use sekisho::seal::{KeyId, Sealed, Sealer};
use sekisho::store::{
    AccessToken, Admitted, AssertionUse, CLIENTS_LISTED_MAX, CONSENTS_KEPT, ClaimedSession, Client,
    ClientOrigin, CodeIssue, CodeRecord, CodeRedemption, Due, DueSessions, FoundBy, GrantsOf,
    KeyClaim, LOCAL_ISSUER, LastNoted, LocalUser, LoggedOut, LoginBegun, LoginRecord,
    PERSONAL_CLIENT, PERSONAL_TOKENS_PER_PERSON_MAX, Personal, PersonalToken, PersonalTokenAdded,
    ProviderLogout, ProviderSession, REFRESH_GRACE_MAX, REVOCATIONS_KEPT, REVOCATIONS_READ_MAX,
    RefreshExtension, RefreshRotation, RefreshToken, RememberedConsent, Revocation, RotationTime,
    SessionEnd, Store, StoreError, Successors, Swept, TableLimits, TryCounted, TryCounter,
};
use sekisho_protocol::SecretHash;
use sekisho_protocol::oauth::{
    ClientId, ClientMetadata, CodeChallenge, RegisteredRedirectUri, ResourceUri, ScopeSet,
    TokenEndpointAuthMethod,
};

/// The limits that the rules expect the store to be opened with.
pub const LIMITS: TableLimits =
    TableLimits { clients_max: 3, logins_max: 3, assertions_per_share_max: 3 };

/// Makes a module `$name` with one test per rule. `$open` is an async function from
/// [`TableLimits`] to the store and whatever must live as long as it (a temporary folder).
#[macro_export]
macro_rules! store_contract {
    ($name:ident, $open:path) => {
        mod $name {
            use super::*;

            $crate::store_contract! { @rules $open;
                the_instance_id_is_stable
                the_store_can_be_written_to
                a_store_knows_the_keys_it_was_sealed_with
                a_client_is_found_as_it_registered
                a_full_client_table_drops_the_oldest_that_never_finished_a_login
                a_client_that_finished_a_login_is_never_dropped_for_room
                a_row_is_never_overwritten_by_another_of_its_key
                text_survives_as_it_came
                what_no_key_can_be_is_not_found
                a_login_is_found_until_it_is_taken
                a_login_is_taken_by_one_of_fifty
                a_full_login_table_refuses_the_next
                a_code_is_found_before_and_after_it_is_redeemed
                a_code_is_redeemed_by_one_of_fifty
                a_code_is_issued_only_while_its_local_account_is_there
                no_code_outlives_the_removal_of_its_account
                a_replayed_redemption_stores_nothing
                an_unknown_code_buys_nothing
                tokens_carry_what_was_granted
                a_client_that_does_not_refresh_gets_no_refresh_token
                a_refresh_token_is_traded_by_one_of_fifty
                a_replayed_rotation_stores_nothing
                a_repeated_rotation_says_what_was_made_and_stores_nothing
                a_window_is_told_alike_to_fifty
                a_spent_successor_prolongs_no_window
                an_extended_refresh_token_stays_the_same
                a_spent_refresh_token_is_not_extended
                an_unknown_refresh_token_buys_nothing
                what_has_expired_is_still_found
                a_revoked_grant_takes_all_its_tokens_with_it
                a_replayed_code_is_seen_after_its_grant_was_revoked
                a_grant_revoked_before_its_code_was_redeemed_never_lives
                no_token_outlives_a_revocation_that_meets_a_redemption
                no_token_outlives_a_revocation_that_meets_a_rotation
                a_revoked_token_is_not_found_by_those_who_just_looked
                ending_what_is_not_there_is_fine_and_leaves_no_trace
                a_person_loses_every_grant_and_nobody_else_does
                one_access_token_can_end_alone
                revocations_are_told_in_order_and_once
                revocations_are_told_in_pages
                grants_are_listed_oldest_first_by_whose_they_are
                people_are_found_by_what_they_are_called
                what_is_said_of_a_person_holds_for_all_their_grants
                grants_end_by_whose_they_are_and_their_codes_too
                a_last_use_is_written_down_and_never_goes_back
                a_personal_token_is_a_grant_that_opens_and_ends
                a_personal_token_is_for_people_who_are_there_and_not_without_number
                a_local_account_is_added_listed_and_changed
                a_removed_account_leaves_nothing_behind
                a_consent_is_remembered_for_one_person_and_one_tuple
                a_consent_ends_a_year_after_the_last_yes
                a_browser_session_ends_in_time_and_belongs_to_the_last_login
                a_browser_session_can_end_alone
                a_providers_session_is_found_with_its_grant_and_ends_with_it
                the_living_session_of_a_browser_is_found
                a_due_session_is_claimed_by_one_of_fifty
                sessions_are_claimed_when_they_are_due_and_a_few_at_a_time
                a_claim_that_nobody_followed_up_is_due_again
                what_a_lost_claim_found_out_does_not_count
                new_tokens_are_kept_if_they_follow_those_that_are_there
                a_session_that_is_over_ends_its_grant_and_no_other
                a_logout_ends_the_sessions_it_names
                a_logout_ends_a_code_that_was_not_redeemed_yet
                a_logout_counts_once
                an_account_session_is_begun_only_while_its_account_is_there
                the_account_page_closes_with_the_providers_session
                personal_tokens_rest_from_a_no_about_their_person_to_the_next_login
                a_no_about_a_browsers_session_says_nothing_of_the_person
                a_person_is_there_as_long_as_one_session_says_so
                personal_tokens_outlive_a_logout_and_are_still_asked_about
                what_nothing_hangs_on_any_more_is_a_farewell
                a_farewell_is_silent_while_another_session_of_the_person_lives
                a_farewell_is_forgotten_after_a_while
                a_session_is_asked_about_by_one_at_a_time_however_they_come
                a_session_raced_for_is_had_once
                new_tokens_that_come_after_the_end_are_given_back_too
                a_sweep_removes_sessions_whose_grant_or_code_is_gone
                an_account_session_ends_when_idle_and_at_its_end
                a_new_password_or_no_grant_left_ends_browser_sessions
                whose_grant_is_ended_is_asked_anew
                a_sweep_of_a_living_store_removes_nothing
                a_sweep_removes_logins_sessions_and_codes_at_their_end
                a_sweep_removes_tokens_at_their_end_and_then_their_grant
                a_sweep_keeps_what_a_replay_could_still_hit
                a_sweep_removes_spent_refresh_tokens_at_their_own_end
                a_sweep_removes_what_is_spent_once_nothing_of_its_family_lives
                a_token_is_found_in_its_turn_and_in_its_family
                a_sweep_goes_in_steps
                a_sweep_forgets_revocations_after_a_day
                a_sweep_removes_old_clients_that_never_finished_a_login
                a_preregistered_client_stays_until_it_is_removed
                an_idle_client_goes_unless_it_has_a_grant_or_the_operator_made_it
                a_removed_client_takes_its_grants_and_nobody_elses
                a_client_is_in_use_while_it_has_a_grant
                clients_are_listed_by_id_in_pages
                the_copy_of_a_document_is_replaced_and_nothing_else_is
                a_machine_has_one_grant_at_a_server_for_all_its_tokens
                an_assertion_is_used_by_one_of_fifty
                a_full_share_of_assertions_leaves_the_others_theirs
                a_companys_word_ends_with_its_persons_logout
                a_companys_word_ends_when_its_person_is_gone
                tries_count_together_whoever_counts_them
                a_flow_is_kept_step_by_step_and_found_by_any_trace_id
                a_flood_of_beginnings_pushes_out_no_flow_that_was_approved
                a_flow_does_not_grow_without_end
                a_sweep_removes_flows_after_a_week
            }
        }
    };
    (@rules $open:path; $($rule:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let (store, _kept) = $open($crate::store_contract::LIMITS).await;
                $crate::store_contract::$rule(store).await;
            }
        )*
    };
}

type AnyStore = Arc<dyn Store>;

// --- the store as a whole ---------------------------------------------------------------------

pub async fn the_instance_id_is_stable(store: AnyStore) {
    let id = store.instance_id().await.unwrap();
    assert_eq!(id.len(), 32, "{id}");
    assert_eq!(store.instance_id().await.unwrap(), id);
}

pub async fn the_store_can_be_written_to(store: AnyStore) {
    store.check().await.unwrap();
}

pub async fn text_survives_as_it_came(store: AnyStore) {
    for text in ["o'brien", "a\"b", "'; DROP TABLE users; --", "関所 🏯", "", "a\nb", "%_\\"] {
        let user = LocalUser { name: text.into(), password_hash: text.into(), created_at: NOW };
        assert!(store.add_user(&user).await.unwrap(), "{text}");
        assert!(store.find_user(text).await.unwrap() == Some(user), "{text}");
    }
}

pub async fn a_store_knows_the_keys_it_was_sealed_with(store: AnyStore) {
    let keys: Vec<KeyId> = (0..3).flat_map(|_| Sealer::ephemeral().key_ids()).collect();
    let [first, second, third] = keys.as_slice() else { panic!("three keys") };
    let rows: [(&[&KeyId], KeyClaim, &str); 7] = [
        (&[first], KeyClaim::Ours, "a new store takes any"),
        (&[first], KeyClaim::Ours, "the same"),
        (&[second], KeyClaim::Foreign, "another"),
        (&[second, first], KeyClaim::Ours, "a newer one before it"),
        (&[first], KeyClaim::Foreign, "from before the newer one"),
        (&[first, second], KeyClaim::Ours, "turned round"),
        (&[third], KeyClaim::Foreign, "what was refused left no trace"),
    ];
    for (ring, expected, reason) in rows {
        let ring: Vec<KeyId> = ring.iter().copied().cloned().collect();
        assert_eq!(store.claim_keys(&ring).await.unwrap(), expected, "{reason}");
    }
}

// --- clients ----------------------------------------------------------------------------------

/// Case 80's kind of trick: a text that ends for some readers where it does not for others.
pub async fn what_no_key_can_be_is_not_found(store: AnyStore) {
    store.register_client(&client("client", NOW)).await.unwrap();
    assert!(store.add_user(&user("demo", "hash")).await.unwrap());
    sign_in(&store, "a", &person("alice")).await;
    for text in ["client\0", "demo\0x", "alice\0", "\0", ""] {
        let id = ClientId::new(text);
        assert_eq!(store.find_client(&id).await.unwrap(), None, "{text:?}");
        assert!(!store.is_client_in_use(&id).await.unwrap(), "{text:?}");
        assert!(!store.remove_client(&id, NOW).await.unwrap(), "{text:?}");
        store.note_client_use(&id, NOW).await.unwrap();
        store.list_clients(Some(&id)).await.unwrap();
        assert_eq!(store.find_user(text).await.unwrap(), None, "{text:?}");
        assert!(!store.set_password(text, "hash").await.unwrap(), "{text:?}");
        assert!(!store.remove_user(text, NOW).await.unwrap(), "{text:?}");
        assert_eq!(store.find_people(text).await.unwrap(), [], "{text:?}");
        let grant = GrantId::new(text);
        assert_eq!(store.find_provider_session(&grant).await.unwrap(), None, "{text:?}");
        store.revoke_grant(&grant, NOW).await.unwrap();
        for of in [GrantsOf::Client(id), GrantsOf::One(grant), all_of(IDP, text), all_of(text, "")]
        {
            assert_eq!(store.list_grants(&of, None).await.unwrap(), [], "{of:?}");
            assert_eq!(store.end_grants(&of, NOW).await.unwrap(), 0, "{of:?}");
        }
    }
    assert!(is_alive(&store, "a").await);
}

pub async fn a_client_is_found_as_it_registered(store: AnyStore) {
    let public = client("public", NOW);
    let confidential = Client {
        secret: Some(hash("client secret")),
        secret_expires_at: Some(NOW.minus(DAY)),
        ..client("confidential", NOW)
    };
    for client in [&public, &confidential] {
        store.register_client(client).await.unwrap();
    }
    for client in [public, confidential] {
        assert_eq!(store.find_client(&client.id).await.unwrap().as_ref(), Some(&client));
    }
    assert_eq!(store.find_client(&ClientId::new("nobody")).await.unwrap(), None);
}

pub async fn a_full_client_table_drops_the_oldest_that_never_finished_a_login(store: AnyStore) {
    let later = |seconds| NOW.plus(Duration::from_secs(seconds));
    // Registered in another order than by age: age decides.
    for (name, at) in [("second", 2), ("first", 1), ("third", 3)] {
        store.register_client(&client(name, later(at))).await.unwrap();
    }
    let finished = code("first's", "first", &person("alice"));
    store.issue_code(&finished).await.unwrap();
    store.register_client(&client("fourth", later(4))).await.unwrap();
    assert_eq!(clients_left(&store).await, ["first", "third", "fourth"]);
    store.register_client(&client("fifth", later(5))).await.unwrap();
    assert_eq!(clients_left(&store).await, ["first", "fourth", "fifth"]);
}

pub async fn a_client_that_finished_a_login_is_never_dropped_for_room(store: AnyStore) {
    for name in ["first", "second", "third"] {
        store.register_client(&client(name, NOW)).await.unwrap();
        store.issue_code(&code(name, name, &person("alice"))).await.unwrap();
    }
    store.register_client(&client("fourth", NOW)).await.unwrap();
    assert_eq!(clients_left(&store).await, ["first", "second", "third", "fourth"]);
    store.register_client(&client("fifth", NOW)).await.unwrap();
    assert_eq!(clients_left(&store).await, ["first", "second", "third", "fifth"]);
}

pub async fn a_row_is_never_overwritten_by_another_of_its_key(store: AnyStore) {
    let first = client("same", NOW);
    store.register_client(&first).await.unwrap();
    store.register_client(&client("same", NOW.plus(DAY))).await.unwrap_err();
    assert_eq!(store.find_client(&first.id).await.unwrap(), Some(first));

    let first = login("same", NOW);
    store.begin_login(&first).await.unwrap();
    store.begin_login(&login("same", NOW.plus(DAY))).await.unwrap_err();
    assert_eq!(store.find_login(&first.login_state).await.unwrap(), Some(first));

    let first = code("same", "client", &person("alice"));
    store.issue_code(&first).await.unwrap();
    store.issue_code(&code("same", "client", &person("mallory"))).await.unwrap_err();
    assert_eq!(store.find_code(&first.code).await.unwrap(), Some(first));
}

// --- logins -----------------------------------------------------------------------------------

pub async fn a_login_is_found_until_it_is_taken(store: AnyStore) {
    let login = login("one", NOW);
    assert_eq!(store.begin_login(&login).await.unwrap(), LoginBegun::Begun);
    for _ in 0..2 {
        assert_eq!(store.find_login(&login.login_state).await.unwrap().as_ref(), Some(&login));
    }
    assert_eq!(store.take_login(&login.login_state).await.unwrap().as_ref(), Some(&login));
    assert_eq!(store.find_login(&login.login_state).await.unwrap(), None);
    assert_eq!(store.take_login(&login.login_state).await.unwrap(), None);
}

pub async fn a_login_is_taken_by_one_of_fifty(store: AnyStore) {
    let login = login("one", NOW);
    store.begin_login(&login).await.unwrap();
    let state = login.login_state;
    let taken = fifty(&store, move |store, _| async move { store.take_login(&state).await }).await;
    assert_eq!(taken.iter().filter(|taken| taken.as_ref().unwrap().is_some()).count(), 1);
}

pub async fn a_full_login_table_refuses_the_next(store: AnyStore) {
    for name in ["one", "two", "three"] {
        assert_eq!(store.begin_login(&login(name, NOW)).await.unwrap(), LoginBegun::Begun);
    }
    let fourth = login("four", NOW);
    assert_eq!(store.begin_login(&fourth).await.unwrap(), LoginBegun::Full);
    assert_eq!(store.find_login(&fourth.login_state).await.unwrap(), None);
    assert!(store.take_login(&hash("one")).await.unwrap().is_some(), "the others are unharmed");
    assert_eq!(store.begin_login(&fourth).await.unwrap(), LoginBegun::Begun, "there is room");
}

// --- codes ------------------------------------------------------------------------------------

pub async fn a_code_is_found_before_and_after_it_is_redeemed(store: AnyStore) {
    let mut code = code("code", "client", &person("alice"));
    store.issue_code(&code).await.unwrap();
    assert_eq!(store.find_code(&code.code).await.unwrap().as_ref(), Some(&code));
    redeem(&store, &code, "a").await;
    code.is_redeemed = true;
    assert_eq!(store.find_code(&code.code).await.unwrap(), Some(code));
    assert_eq!(store.find_code(&hash("another")).await.unwrap(), None);
}

pub async fn a_code_is_redeemed_by_one_of_fifty(store: AnyStore) {
    let code = code("code", "client", &person("alice"));
    store.issue_code(&code).await.unwrap();
    let redemptions = fifty(&store, move |store, number| {
        let grant = code.grant.redeemed(NOW);
        let tokens = tokens(&number.to_string());
        async move { store.redeem_code(&code.code, &grant, &tokens).await.unwrap() }
    })
    .await;
    let fresh = redemptions.iter().filter(|outcome| **outcome == CodeRedemption::Fresh).count();
    let replayed =
        redemptions.iter().filter(|outcome| **outcome == CodeRedemption::Replayed).count();
    assert_eq!((fresh, replayed), (1, 49));
    assert_eq!(pairs_alive(&store).await, 1);
}

pub async fn a_replayed_redemption_stores_nothing(store: AnyStore) {
    let code = code("code", "client", &person("alice"));
    store.issue_code(&code).await.unwrap();
    redeem(&store, &code, "first").await;
    let other_grant = Grant { id: grant("other's"), ..code.grant.redeemed(NOW) };
    let replayed = store.redeem_code(&code.code, &other_grant, &tokens("second")).await.unwrap();
    assert_eq!(replayed, CodeRedemption::Replayed);
    assert!(is_alive(&store, "first").await);
    assert!(!is_alive(&store, "second").await);
    assert_eq!(store.find_refresh_token(&key(refresh_of("second"))).await.unwrap(), None);
}

pub async fn an_unknown_code_buys_nothing(store: AnyStore) {
    let never_issued = code("code", "client", &person("alice"));
    let grant = never_issued.grant.redeemed(NOW);
    let outcome = store.redeem_code(&never_issued.code, &grant, &tokens("a")).await.unwrap();
    assert_eq!(outcome, CodeRedemption::Unknown);
    assert!(!is_alive(&store, "a").await);
    assert_eq!(store.find_refresh_token(&key(refresh_of("a"))).await.unwrap(), None);
}

pub async fn a_code_is_issued_only_while_its_local_account_is_there(store: AnyStore) {
    store.add_user(&user("alice", "hash")).await.unwrap();
    let rows = [
        (local("alice"), CodeIssue::Issued, "an account"),
        (local("bob"), CodeIssue::NoSuchUser, "no account"),
        (person("bob"), CodeIssue::Issued, "somebody whom a provider knows"),
    ];
    for (number, (identity, expected, reason)) in rows.into_iter().enumerate() {
        let code = code(&number.to_string(), "client", &identity);
        assert_eq!(store.issue_code(&code).await.unwrap(), expected, "{reason}");
        let is_kept = store.find_code(&code.code).await.unwrap().is_some();
        assert_eq!(is_kept, expected == CodeIssue::Issued, "{reason}");
    }
}

pub async fn no_code_outlives_the_removal_of_its_account(store: AnyStore) {
    for round in 0..20 {
        let name = round.to_string();
        store.add_user(&user("alice", "hash")).await.unwrap();
        let code = code(&name, "client", &local("alice"));
        let issue = store.issue_code(&code);
        let remove = async { store.remove_user("alice", NOW).await.map(drop) };
        let outcome = meet(round, issue, remove).await;
        assert_eq!(store.find_code(&code.code).await.unwrap(), None, "{outcome:?}");
    }
}

// --- tokens -----------------------------------------------------------------------------------

pub async fn tokens_carry_what_was_granted(store: AnyStore) {
    let nameless = Identity { name: None, email: None, email_verified: false, ..person("bob") };
    for (name, identity) in [("alice", person("alice")), ("bob", nameless)] {
        let code = code(name, "client", &identity);
        store.issue_code(&code).await.unwrap();
        let grant = code.grant.redeemed(NOW);
        let narrowed = IssuedTokens { scope: scope("fortune"), ..tokens(name) };
        let redeemed = store.redeem_code(&code.code, &grant, &narrowed).await.unwrap();
        assert_eq!(redeemed, CodeRedemption::Fresh);
        let principal = Principal {
            identity,
            client_id: grant.client_id.clone(),
            grant_id: grant.id.clone(),
            scopes: scope("fortune"),
            token: access_of(name),
            expires_at: narrowed.access_expires_at,
        };
        let resource = grant.resource.clone();
        let last_noted = LastNoted::new(None);
        let (principal, admitted) = (Arc::new(principal), Admitted::default());
        let turn = Turn::default();
        let expected = AccessToken { principal, resource, last_noted, admitted, turn };
        let found = store.find_access_token(&key(access_of(name))).await.unwrap().unwrap();
        assert_eq!(*found, expected);
        let (token, expires_at) = narrowed.refresh.unwrap();
        let expected = RefreshToken {
            token,
            grant,
            expires_at,
            is_spent: false,
            successors: None,
            turn: Turn::default(),
        };
        assert_eq!(store.find_refresh_token(&key(token)).await.unwrap(), Some(expected));
    }
    assert!(!is_alive(&store, "nobody").await);
    assert!(
        store.find_access_token(&key(refresh_of("alice"))).await.unwrap().is_none(),
        "mixed up"
    );
    assert_eq!(store.find_refresh_token(&key(access_of("alice"))).await.unwrap(), None, "mixed up");
}

pub async fn a_client_that_does_not_refresh_gets_no_refresh_token(store: AnyStore) {
    let code = code("code", "client", &person("alice"));
    store.issue_code(&code).await.unwrap();
    let access_only = IssuedTokens { refresh: None, ..tokens("a") };
    store.redeem_code(&code.code, &code.grant.redeemed(NOW), &access_only).await.unwrap();
    assert!(is_alive(&store, "a").await);
    assert_eq!(store.find_refresh_token(&key(refresh_of("a"))).await.unwrap(), None);
}

pub async fn a_refresh_token_is_traded_by_one_of_fifty(store: AnyStore) {
    sign_in(&store, "old", &person("alice")).await;
    let rotations = fifty(&store, |store, number| async move {
        let successors = tokens(&number.to_string());
        store.rotate_refresh_token(&key(refresh_of("old")), &successors, STRICT).await.unwrap()
    })
    .await;
    let fresh = rotations.iter().filter(|outcome| **outcome == RefreshRotation::Fresh).count();
    let replayed =
        rotations.iter().filter(|outcome| **outcome == RefreshRotation::Replayed).count();
    assert_eq!((fresh, replayed), (1, 49));
    assert_eq!(pairs_alive(&store).await, 1);
    assert!(is_alive(&store, "old").await, "the access token of before lasts until its end");
}

pub async fn a_replayed_rotation_stores_nothing(store: AnyStore) {
    let grant = sign_in(&store, "a", &person("alice")).await;
    let fresh =
        store.rotate_refresh_token(&key(refresh_of("a")), &tokens("b"), STRICT).await.unwrap();
    assert_eq!(fresh, RefreshRotation::Fresh);
    let spent = store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().unwrap();
    let successor = store.find_refresh_token(&key(refresh_of("b"))).await.unwrap().unwrap();
    assert!(spent.is_spent && !successor.is_spent);
    assert_eq!((spent.grant, &successor.grant), (grant.clone(), &grant), "one family");

    let replayed =
        store.rotate_refresh_token(&key(refresh_of("a")), &tokens("c"), STRICT).await.unwrap();
    assert_eq!(replayed, RefreshRotation::Replayed);
    assert!(is_alive(&store, "b").await);
    assert!(!is_alive(&store, "c").await);
    assert_eq!(store.find_refresh_token(&key(refresh_of("c"))).await.unwrap(), None);
}

pub async fn a_repeated_rotation_says_what_was_made_and_stores_nothing(store: AnyStore) {
    sign_in(&store, "a", &person("alice")).await;
    let narrowed = IssuedTokens { scope: scope("fortune"), ..tokens("b") };
    let at = |seconds| RotationTime {
        now: NOW.plus(Duration::from_secs(seconds)),
        grace: Duration::from_secs(60),
    };
    let traded = store.rotate_refresh_token(&key(refresh_of("a")), &narrowed, at(5)).await.unwrap();
    assert_eq!(traded, RefreshRotation::Fresh);
    let successors = Successors {
        spent_at: NOW.plus(Duration::from_secs(5)),
        access: access_of("b"),
        access_expires_at: ACCESS_END,
        scope: scope("fortune"),
    };
    let found = store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().unwrap();
    assert_eq!(found.successors.as_ref(), Some(&successors));
    let rows = [
        (at(5), true, "at once"),
        (at(64), true, "the last second"),
        (at(3), true, "a clock that went back"),
        (at(65), false, "the window is over"),
        (RotationTime { grace: Duration::ZERO, ..at(5) }, false, "there is no window"),
    ];
    for (time, is_repeated, reason) in rows {
        let expected = if is_repeated {
            RefreshRotation::InGrace(successors.clone())
        } else {
            RefreshRotation::Replayed
        };
        let again =
            store.rotate_refresh_token(&key(refresh_of("a")), &tokens("c"), time).await.unwrap();
        assert_eq!(again, expected, "{reason}");
    }
    assert!(!is_alive(&store, "c").await);
    assert_eq!(store.find_refresh_token(&key(refresh_of("c"))).await.unwrap(), None);
}

pub async fn a_window_is_told_alike_to_fifty(store: AnyStore) {
    sign_in(&store, "old", &person("alice")).await;
    let time = RotationTime { now: NOW, grace: Duration::from_secs(60) };
    // Each comes with a pair of its own, so that the one that counts can be told.
    let rotations = fifty(&store, move |store, number| async move {
        let made = tokens(&number.to_string());
        let outcome =
            store.rotate_refresh_token(&key(refresh_of("old")), &made, time).await.unwrap();
        (made.access, outcome)
    })
    .await;
    let fresh: Vec<_> = rotations
        .iter()
        .filter(|(_, outcome)| *outcome == RefreshRotation::Fresh)
        .map(|(access, _)| *access)
        .collect();
    let [winner] = fresh.as_slice() else { panic!("one trade: {fresh:?}") };
    let told = rotations.iter().filter(|(_, outcome)| match outcome {
        RefreshRotation::InGrace(successors) => successors.access == *winner,
        RefreshRotation::Fresh | RefreshRotation::Replayed | RefreshRotation::Unknown => false,
    });
    assert_eq!(told.count(), 49, "everybody else hears of the winner's");
    assert_eq!(pairs_alive(&store).await, 1);
}

pub async fn a_spent_successor_prolongs_no_window(store: AnyStore) {
    sign_in(&store, "a", &person("alice")).await;
    let at = |seconds| RotationTime {
        now: NOW.plus(Duration::from_secs(seconds)),
        grace: Duration::from_secs(60),
    };
    store.rotate_refresh_token(&key(refresh_of("a")), &tokens("b"), at(0)).await.unwrap();
    store.rotate_refresh_token(&key(refresh_of("b")), &tokens("c"), at(50)).await.unwrap();
    let again = |name: &'static str, seconds| {
        let store = &store;
        async move {
            let made = tokens("d");
            store.rotate_refresh_token(&key(refresh_of(name)), &made, at(seconds)).await.unwrap()
        }
    };
    assert!(
        matches!(again("a", 59).await, RefreshRotation::InGrace(made) if made.access == access_of("b"))
    );
    assert_eq!(again("a", 60).await, RefreshRotation::Replayed, "by its own trade, not the next");
    assert!(matches!(again("b", 60).await, RefreshRotation::InGrace(_)), "which has its own");
}

pub async fn an_extended_refresh_token_stays_the_same(store: AnyStore) {
    let grant = sign_in(&store, "a", &person("alice")).await;
    let end = REFRESH_END.plus(DAY);
    let next = IssuedTokens {
        refresh: Some((refresh_of("a"), end)),
        scope: scope("fortune"),
        ..tokens("b")
    };
    let extended = store.extend_refresh_token(&key(refresh_of("a")), &next).await.unwrap();
    assert_eq!(extended, RefreshExtension::Extended);
    let access = store.find_access_token(&key(access_of("b"))).await.unwrap().unwrap();
    assert_eq!(access.principal.scopes, scope("fortune"));
    assert_eq!(access.principal.grant_id, grant.id);
    let kept = store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().unwrap();
    assert_eq!((kept.expires_at, kept.is_spent), (end, false));

    store.revoke_grant(&grant.id, NOW).await.unwrap();
    let gone = store.extend_refresh_token(&key(refresh_of("a")), &tokens("c")).await.unwrap();
    assert_eq!(gone, RefreshExtension::Unknown);
    assert!(!is_alive(&store, "b").await && !is_alive(&store, "c").await);
}

pub async fn a_spent_refresh_token_is_not_extended(store: AnyStore) {
    sign_in(&store, "a", &person("alice")).await;
    store.rotate_refresh_token(&key(refresh_of("a")), &tokens("b"), STRICT).await.unwrap();
    let next = IssuedTokens { refresh: Some((refresh_of("a"), REFRESH_END)), ..tokens("c") };
    let spent = store.extend_refresh_token(&key(refresh_of("a")), &next).await.unwrap();
    assert_eq!(spent, RefreshExtension::Spent);
    assert!(!is_alive(&store, "c").await);
}

pub async fn an_unknown_refresh_token_buys_nothing(store: AnyStore) {
    let outcome =
        store.rotate_refresh_token(&key(refresh_of("none")), &tokens("a"), STRICT).await.unwrap();
    assert_eq!(outcome, RefreshRotation::Unknown);
    assert!(!is_alive(&store, "a").await);
}

/// Whether something is too old is the caller's to say, in the caller's words.
pub async fn what_has_expired_is_still_found(store: AnyStore) {
    let long_ago = NOW.minus(DAY * 365);
    let login = login("old", long_ago);
    store.begin_login(&login).await.unwrap();
    assert_eq!(store.find_login(&login.login_state).await.unwrap().as_ref(), Some(&login));
    let code = CodeRecord { expires_at: long_ago, ..code("code", "client", &person("alice")) };
    store.issue_code(&code).await.unwrap();
    assert_eq!(store.find_code(&code.code).await.unwrap().as_ref(), Some(&code));
    let expired = IssuedTokens {
        access_expires_at: long_ago,
        refresh: Some((refresh_of("a"), long_ago)),
        ..tokens("a")
    };
    store.redeem_code(&code.code, &code.grant.redeemed(long_ago), &expired).await.unwrap();
    let access = store.find_access_token(&key(access_of("a"))).await.unwrap().unwrap();
    assert_eq!(access.principal.expires_at, long_ago);
    let refresh = store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().unwrap();
    assert_eq!(refresh.expires_at, long_ago);
}

// --- revocation -------------------------------------------------------------------------------

pub async fn a_revoked_grant_takes_all_its_tokens_with_it(store: AnyStore) {
    let grant = sign_in(&store, "a", &person("alice")).await;
    store.rotate_refresh_token(&key(refresh_of("a")), &tokens("b"), STRICT).await.unwrap();
    sign_in(&store, "other", &person("alice")).await;
    assert!(is_alive(&store, "a").await && is_alive(&store, "b").await);

    store.revoke_grant(&grant.id, NOW).await.unwrap();

    for name in ["a", "b"] {
        assert!(!is_alive(&store, name).await, "{name}");
        assert_eq!(store.find_refresh_token(&key(refresh_of(name))).await.unwrap(), None, "{name}");
        let outcome =
            store.rotate_refresh_token(&key(refresh_of(name)), &tokens("c"), STRICT).await.unwrap();
        assert_eq!(outcome, RefreshRotation::Unknown, "{name}");
    }
    assert!(is_alive(&store, "other").await, "another grant of the same person");
    assert!(store.find_refresh_token(&key(refresh_of("other"))).await.unwrap().is_some());
}

pub async fn a_replayed_code_is_seen_after_its_grant_was_revoked(store: AnyStore) {
    let code = code("code", "client", &person("alice"));
    store.issue_code(&code).await.unwrap();
    let grant = redeem(&store, &code, "a").await;
    store.revoke_grant(&grant.id, NOW).await.unwrap();
    let outcome = store.redeem_code(&code.code, &grant, &tokens("b")).await.unwrap();
    assert_eq!(outcome, CodeRedemption::Replayed);
    assert!(!is_alive(&store, "b").await);
}

pub async fn a_grant_revoked_before_its_code_was_redeemed_never_lives(store: AnyStore) {
    let code = code("code", "client", &person("alice"));
    store.issue_code(&code).await.unwrap();
    let grant = code.grant.redeemed(NOW);
    store.revoke_grant(&grant.id, NOW).await.unwrap();
    let outcome = store.redeem_code(&code.code, &grant, &tokens("a")).await.unwrap();
    assert_eq!(outcome, CodeRedemption::Unknown);
    assert!(!is_alive(&store, "a").await);
}

pub async fn no_token_outlives_a_revocation_that_meets_a_redemption(store: AnyStore) {
    for round in 0..20 {
        let name = round.to_string();
        let code = code(&name, "client", &person("alice"));
        store.issue_code(&code).await.unwrap();
        let grant = code.grant.redeemed(NOW);
        let tokens = tokens(&name);
        let redeem = store.redeem_code(&code.code, &grant, &tokens);
        let revoke = store.revoke_grant(&grant.id, NOW);
        let outcome = meet(round, redeem, revoke).await;
        // Either there was a grant to revoke, or no code left to make one from.
        assert!(!is_alive(&store, &name).await, "{outcome:?}");
    }
}

pub async fn no_token_outlives_a_revocation_that_meets_a_rotation(store: AnyStore) {
    for round in 0..20 {
        let (name, next) = (format!("{round}"), format!("{round} next"));
        let grant = sign_in(&store, &name, &person("alice")).await;
        let (refresh, successors) = (key(refresh_of(&name)), tokens(&next));
        let rotate = store.rotate_refresh_token(&refresh, &successors, STRICT);
        let revoke = store.revoke_grant(&grant.id, NOW);
        let outcome = meet(round, rotate, revoke).await;
        assert!(!is_alive(&store, &next).await, "{outcome:?}");
        assert_eq!(store.find_refresh_token(&key(refresh_of(&next))).await.unwrap(), None);
    }
}

/// A look-up that read the token before the revocation must not bring it back afterwards.
pub async fn a_revoked_token_is_not_found_by_those_who_just_looked(store: AnyStore) {
    for round in 0..20 {
        let name = round.to_string();
        let grant = sign_in(&store, &name, &person("alice")).await;
        let lookers: Vec<_> = (0..8)
            .map(|_| {
                let (store, token) = (Arc::clone(&store), access_of(&name));
                tokio::spawn(async move {
                    for _ in 0..8 {
                        store.find_access_token(&key(token)).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        store.revoke_grant(&grant.id, NOW).await.unwrap();
        assert!(!is_alive(&store, &name).await, "at once");
        for looker in lookers {
            looker.await.unwrap();
            assert!(!is_alive(&store, &name).await, "for good");
        }
    }
}

fn all_of(issuer: &str, subject: &str) -> GrantsOf {
    GrantsOf::Person { issuer: issuer.into(), subject: subject.into() }
}

pub async fn ending_what_is_not_there_is_fine_and_leaves_no_trace(store: AnyStore) {
    let (before, _) = store.revocations_since(None).await.unwrap();
    store.revoke_grant(&GrantId::new("none"), NOW).await.unwrap();
    store.revoke_access_token(&key(access_of("none")), NOW).await.unwrap();
    assert_eq!(store.end_grants(&all_of("https://idp.example", "nobody"), NOW).await.unwrap(), 0);
    assert!(!store.remove_user("nobody", NOW).await.unwrap());
    assert_eq!(store.revocations_since(Some(before)).await.unwrap(), (before, vec![]));
}

pub async fn a_person_loses_every_grant_and_nobody_else_does(store: AnyStore) {
    let alice = person("alice");
    let namesake = Identity { issuer: "https://other.example".into(), ..alice.clone() };
    let renamed = Identity { name: Some("Alice B.".into()), email: None, ..alice.clone() };
    let (cursor, _) = store.revocations_since(None).await.unwrap();
    let first = sign_in(&store, "first", &alice).await;
    let second = sign_in(&store, "second", &renamed).await;
    sign_in(&store, "bob's", &person("bob")).await;
    sign_in(&store, "namesake's", &namesake).await;
    let pending = code("pending", "client", &alice);
    store.issue_code(&pending).await.unwrap();

    assert_eq!(store.end_grants(&GrantsOf::person(&alice), NOW).await.unwrap(), 2);

    assert!(!is_alive(&store, "first").await && !is_alive(&store, "second").await);
    assert!(is_alive(&store, "bob's").await && is_alive(&store, "namesake's").await);
    let grant = pending.grant.redeemed(NOW);
    let late = store.redeem_code(&pending.code, &grant, &tokens("late")).await.unwrap();
    assert_eq!(late, CodeRedemption::Unknown, "a code in flight ends too");
    let (_, mut told) = store.revocations_since(Some(cursor)).await.unwrap();
    told.sort_by_key(|revocation| format!("{revocation:?}"));
    assert_eq!(told, [Revocation::Grant(first.id), Revocation::Grant(second.id)]);
    assert_eq!(store.end_grants(&GrantsOf::person(&alice), NOW).await.unwrap(), 0);
}

pub async fn one_access_token_can_end_alone(store: AnyStore) {
    let (cursor, _) = store.revocations_since(None).await.unwrap();
    sign_in(&store, "a", &person("alice")).await;
    store.rotate_refresh_token(&key(refresh_of("a")), &tokens("b"), STRICT).await.unwrap();
    assert!(is_alive(&store, "a").await);
    for _ in 0..2 {
        store.revoke_access_token(&key(access_of("a")), NOW).await.unwrap();
        assert!(!is_alive(&store, "a").await);
    }
    assert!(is_alive(&store, "b").await);
    assert!(store.find_refresh_token(&key(refresh_of("b"))).await.unwrap().is_some());
    let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
    assert_eq!(told, [Revocation::AccessToken(access_of("a"))], "told once");
}

pub async fn revocations_are_told_in_order_and_once(store: AnyStore) {
    let mut grants = Vec::new();
    for name in ["a", "b", "c"] {
        grants.push(sign_in(&store, name, &person("alice")).await.id);
    }
    let [a, b, c] = grants.as_slice() else { panic!("three grants") };
    store.revoke_grant(a, NOW).await.unwrap();
    let (start, nothing) = store.revocations_since(None).await.unwrap();
    assert_eq!(nothing, [], "what was before is of no interest");

    store.revoke_grant(c, NOW).await.unwrap();
    store.revoke_access_token(&key(access_of("b")), NOW).await.unwrap();
    let (middle, told) = store.revocations_since(Some(start)).await.unwrap();
    assert_eq!(told, [Revocation::Grant(c.clone()), Revocation::AccessToken(access_of("b"))]);

    store.revoke_grant(b, NOW).await.unwrap();
    let (end, told) = store.revocations_since(Some(middle)).await.unwrap();
    assert_eq!(told, [Revocation::Grant(b.clone())]);
    assert_eq!(store.revocations_since(Some(end)).await.unwrap(), (end, vec![]));
    let (_, all) = store.revocations_since(Some(start)).await.unwrap();
    assert_eq!(all.len(), 3, "another reader, another cursor");
}

pub async fn revocations_are_told_in_pages(store: AnyStore) {
    let (mut cursor, _) = store.revocations_since(None).await.unwrap();
    sign_in(&store, "0", &person("alice")).await;
    let page = usize::from(REVOCATIONS_READ_MAX);
    for number in 0..=page {
        let next = tokens(&(number + 1).to_string());
        store
            .rotate_refresh_token(&key(refresh_of(&number.to_string())), &next, STRICT)
            .await
            .unwrap();
        store.revoke_access_token(&key(access_of(&number.to_string())), NOW).await.unwrap();
    }
    let mut pages = Vec::new();
    loop {
        let (next, told) = store.revocations_since(Some(cursor)).await.unwrap();
        if told.is_empty() {
            break;
        }
        pages.push(told.len());
        cursor = next;
    }
    assert_eq!(pages, [page, 1]);
}

// --- people -----------------------------------------------------------------------------------

pub async fn grants_are_listed_oldest_first_by_whose_they_are(store: AnyStore) {
    store.register_client(&client("client", NOW)).await.unwrap();
    let alice = sign_in(&store, "a", &person("alice")).await;
    let bob = sign_in_later(&store, "b", "client", "bob", 1).await;
    let others = sign_in_later(&store, "c", "other", "alice", 2).await;
    let listed = async |of: GrantsOf| -> Vec<GrantId> {
        store.list_grants(&of, None).await.unwrap().into_iter().map(|grant| grant.id).collect()
    };
    let ids = |grants: &[&Grant]| -> Vec<GrantId> {
        grants.iter().map(|grant| grant.id.clone()).collect()
    };
    assert_eq!(listed(GrantsOf::Everyone).await, ids(&[&alice, &bob, &others]));
    assert_eq!(listed(GrantsOf::person(&person("alice"))).await, ids(&[&alice, &others]));
    assert_eq!(listed(GrantsOf::Client(ClientId::new("client"))).await, ids(&[&alice, &bob]));
    assert_eq!(listed(GrantsOf::One(bob.id.clone())).await, ids(&[&bob]));
    assert!(listed(GrantsOf::One(GrantId::new("none"))).await.is_empty());

    let all = store.list_grants(&GrantsOf::Everyone, None).await.unwrap();
    let rest = store.list_grants(&GrantsOf::Everyone, all.first()).await.unwrap();
    assert_eq!(rest.as_slice(), all.get(1..).unwrap(), "a page begins after the last one seen");
    let first = all.first().unwrap();
    assert_eq!(first.client, Some(client("client", NOW).metadata));
    assert_eq!((&first.identity, &first.scope), (&alice.identity, &alice.scope));
    assert_eq!((&first.resource, first.created_at), (&alice.resource, alice.created_at));
    assert_eq!((first.last_used_at, &first.personal), (None, &None));
    assert_eq!(all.last().unwrap().client, None, "a client that is not registered");
}

pub async fn people_are_found_by_what_they_are_called(store: AnyStore) {
    use FoundBy::{Name, Subject, VerifiedEmail};
    let called = |subject: &str, name: Option<&str>, email: Option<&str>, is_verified| Identity {
        name: name.map(str::to_owned),
        email: email.map(str::to_owned),
        email_verified: is_verified,
        ..person(subject)
    };
    let people = [
        called("alice", Some("Alice"), Some("alice@corp.example"), true),
        // Mallory says of himself whatever he likes.
        called("mallory", Some("alice"), Some("alice@corp.example"), false),
        called("bob", None, Some("bob@corp.example"), true),
        called("bob's other", None, Some("bob@corp.example"), true),
        Identity::of_machine(&ClientId::new("robot"), Some("alice")),
    ];
    for (number, identity) in people.iter().enumerate() {
        for again in ["", " again"] {
            sign_in(&store, &format!("{number}{again}"), identity).await;
        }
    }
    let rows: [(&str, &[(FoundBy, &str)], &str); 7] = [
        ("alice", &[(Subject, "alice"), (Name, "mallory")], "told apart from who says so"),
        ("alice@corp.example", &[(VerifiedEmail, "alice")], "and not who was not verified"),
        (
            "bob@corp.example",
            &[(VerifiedEmail, "bob"), (VerifiedEmail, "bob's other")],
            "two with one address",
        ),
        ("Alice", &[(Name, "alice")], "to the letter"),
        ("robot", &[], "a machine is nobody"),
        ("carol", &[], "nobody"),
        ("", &[], "nobody either"),
    ];
    for (text, expected, reason) in rows {
        let found = store.find_people(text).await.unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.by, one.subject.as_str())).collect();
        assert_eq!(found, expected, "{text:?}: {reason}");
    }
}

pub async fn what_is_said_of_a_person_holds_for_all_their_grants(store: AnyStore) {
    let groups = |names: &[&str]| -> Claims {
        [("groups".to_owned(), serde_json::json!(names))].into_iter().collect()
    };
    let alice = Identity { claims: groups(&["staff", "分析"]), ..person("alice") };
    for (name, who) in [("a", &alice), ("b", &alice), ("c", &person("bob"))] {
        sign_in(&store, name, who).await;
        let found = store.find_access_token(&key(access_of(name))).await.unwrap().unwrap();
        assert_eq!(found.principal.identity, *who, "a claim is kept as it came");
    }
    let end = NOW.plus(DAY);
    store.begin_browser_session(&hash("browser"), &alice, end).await.unwrap();
    let (cursor, _) = store.revocations_since(None).await.unwrap();

    let moved = Identity { claims: groups(&["sales"]), ..alice.clone() };
    assert_eq!(store.describe_person(&moved, NOW).await.unwrap(), 2, "both of hers");
    for (name, who) in [("a", &moved), ("b", &moved), ("c", &person("bob"))] {
        let found = store.find_access_token(&key(access_of(name))).await.unwrap().unwrap();
        assert_eq!(found.principal.identity, *who, "{name}");
    }
    let at_browser = store.find_browser_session(&hash("browser"), NOW).await.unwrap();
    assert_eq!(at_browser, Some(moved.clone()));
    let (cursor, told) = store.revocations_since(Some(cursor)).await.unwrap();
    assert_eq!(told.len(), 2, "other processes hear of both: {told:?}");

    assert_eq!(store.describe_person(&moved, NOW).await.unwrap(), 0, "nothing new");
    let plain = Identity { claims: Claims::default(), ..moved };
    assert_eq!(store.describe_person(&plain, NOW).await.unwrap(), 2, "nothing left is new too");
    // Something said before arrives after it: a code from before, a token from the command line.
    sign_in(&store, "d", &alice).await;
    store.add_personal_token(&personal_token("e", &alice)).await.unwrap();
    assert_eq!(store.describe_person(&plain, NOW).await.unwrap(), 2, "what came since is found");
    store.begin_browser_session(&hash("browser"), &alice, end).await.unwrap();
    assert_eq!(store.describe_person(&plain, NOW).await.unwrap(), 0, "no grant reads otherwise");
    let at_browser = store.find_browser_session(&hash("browser"), NOW).await.unwrap();
    assert_eq!(at_browser, Some(plain.clone()), "but a browser did");
    let nobody = person("carol");
    assert_eq!(store.describe_person(&nobody, NOW).await.unwrap(), 0, "who has no grant");
    let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
    assert_eq!(told.len(), 4);
}

pub async fn grants_end_by_whose_they_are_and_their_codes_too(store: AnyStore) {
    let everyone = |name: &str| GrantsOf::person(&person(name));
    for (of, ended, dead, reason) in [
        (GrantsOf::One(GrantId::new("none")), 0, vec![], "nobody's"),
        (GrantsOf::One(grant("a")), 1, vec!["a"], "one"),
        (everyone("alice"), 1, vec!["a", "c"], "a person's"),
        (everyone("alice"), 0, vec!["a", "c"], "again"),
        (GrantsOf::Client(ClientId::new("client")), 1, vec!["a", "b", "c"], "a client's"),
        (GrantsOf::Everyone, 1, vec!["a", "b", "c", "d"], "all"),
    ] {
        if reason == "nobody's" {
            sign_in(&store, "a", &person("alice")).await;
            sign_in_later(&store, "b", "client", "bob", 1).await;
            sign_in_later(&store, "c", "other", "alice", 2).await;
            sign_in_later(&store, "d", "other", "bob", 2).await;
        }
        assert_eq!(store.end_grants(&of, NOW).await.unwrap(), ended, "{reason}");
        for name in ["a", "b", "c", "d"] {
            assert_eq!(is_alive(&store, name).await, !dead.contains(&name), "{reason}: {name}");
        }
    }
    let (_, told) = store.revocations_since(Some(0)).await.unwrap();
    assert_eq!(told.len(), 4, "other processes hear of each: {told:?}");

    for (number, of) in
        [everyone("eve"), GrantsOf::Client(ClientId::new("client")), GrantsOf::Everyone]
            .into_iter()
            .enumerate()
    {
        let waiting = code(&format!("waiting {number}"), "client", &person("eve"));
        store.issue_code(&waiting).await.unwrap();
        assert_eq!(store.end_grants(&of, NOW).await.unwrap(), 0);
        assert_eq!(store.find_code(&waiting.code).await.unwrap(), None, "{of:?}");
    }
}

pub async fn a_last_use_is_written_down_and_never_goes_back(store: AnyStore) {
    let grant = sign_in(&store, "a", &person("alice")).await;
    let last_use = async || {
        let listed = store.list_grants(&GrantsOf::One(grant.id.clone()), None).await.unwrap();
        listed.first().unwrap().last_used_at
    };
    assert_eq!(last_use().await, None);
    for (at, expected) in [(NOW, NOW), (NOW.plus(DAY), NOW.plus(DAY)), (NOW, NOW.plus(DAY))] {
        store.note_use(&grant.id, at).await.unwrap();
        assert_eq!(last_use().await, Some(expected));
    }
    store.note_use(&GrantId::new("none"), NOW).await.unwrap();
}

pub async fn a_personal_token_is_a_grant_that_opens_and_ends(store: AnyStore) {
    let token = personal_token("a", &person("alice"));
    assert_eq!(store.add_personal_token(&token).await.unwrap(), PersonalTokenAdded::Added);
    let found = store.find_access_token(&key(token.token)).await.unwrap().unwrap();
    assert_eq!(found.principal.client_id, ClientId::new(PERSONAL_CLIENT));
    assert_eq!(found.principal.identity, token.identity);
    assert_eq!((&found.principal.scopes, &found.resource), (&token.scope, &token.resource));
    assert_eq!(found.principal.expires_at, token.expires_at);
    let listed = store.list_grants(&GrantsOf::person(&token.identity), None).await.unwrap();
    let [listed] = listed.as_slice() else { panic!("one is listed: {listed:?}") };
    let personal = Personal { label: token.label.clone(), expires_at: token.expires_at };
    assert_eq!((&listed.id, &listed.personal), (&token.id, &Some(personal)));

    store.sweep(token.expires_at.minus(DAY), NOW).await.unwrap();
    assert!(store.find_access_token(&key(token.token)).await.unwrap().is_some(), "not yet");
    store.sweep(token.expires_at, NOW).await.unwrap();
    assert!(store.list_grants(&GrantsOf::Everyone, None).await.unwrap().is_empty(), "over");

    let again = personal_token("b", &person("alice"));
    store.add_personal_token(&again).await.unwrap();
    assert_eq!(store.end_grants(&GrantsOf::One(again.id), NOW).await.unwrap(), 1);
    assert_eq!(store.find_access_token(&key(again.token)).await.unwrap(), None);
}

pub async fn a_personal_token_is_for_people_who_are_there_and_not_without_number(store: AnyStore) {
    let local = Identity { issuer: LOCAL_ISSUER.into(), ..person("demo") };
    let token = personal_token("a", &local);
    assert_eq!(store.add_personal_token(&token).await.unwrap(), PersonalTokenAdded::NoAccount);
    assert_eq!(store.find_access_token(&key(token.token)).await.unwrap(), None);
    assert!(store.add_user(&user("demo", "hash")).await.unwrap());
    assert_eq!(store.add_personal_token(&token).await.unwrap(), PersonalTokenAdded::Added);
    for number in 1..PERSONAL_TOKENS_PER_PERSON_MAX {
        let more = personal_token(&number.to_string(), &local);
        assert_eq!(store.add_personal_token(&more).await.unwrap(), PersonalTokenAdded::Added);
    }
    let one_more = personal_token("more", &local);
    assert_eq!(store.add_personal_token(&one_more).await.unwrap(), PersonalTokenAdded::TooMany);
    let others = personal_token("other", &person("alice"));
    assert_eq!(store.add_personal_token(&others).await.unwrap(), PersonalTokenAdded::Added);
    assert!(store.remove_user("demo", NOW).await.unwrap());
    assert_eq!(
        store.find_access_token(&key(token.token)).await.unwrap(),
        None,
        "gone with the account"
    );
    assert!(store.find_access_token(&key(others.token)).await.unwrap().is_some());
}

pub async fn a_local_account_is_added_listed_and_changed(store: AnyStore) {
    assert!(store.list_users().await.unwrap().is_empty());
    for name in ["demo", "alice", "Bob"] {
        assert!(store.add_user(&user(name, "first")).await.unwrap());
    }
    assert!(!store.add_user(&user("alice", "second")).await.unwrap(), "the name is taken");
    assert!(store.find_user("alice").await.unwrap() == Some(user("alice", "first")));
    assert!(store.find_user("ALICE").await.unwrap().is_none(), "names have case");
    let names: Vec<_> =
        store.list_users().await.unwrap().into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["Bob", "alice", "demo"], "by name, byte for byte");

    assert!(store.set_password("alice", "second").await.unwrap());
    assert!(store.find_user("alice").await.unwrap() == Some(user("alice", "second")));
    assert!(store.find_user("demo").await.unwrap() == Some(user("demo", "first")));
    assert!(!store.set_password("nobody", "second").await.unwrap());
    assert!(store.find_user("nobody").await.unwrap().is_none());
}

pub async fn a_removed_account_leaves_nothing_behind(store: AnyStore) {
    let strangers_namesake = person("alice");
    for name in ["alice", "bob"] {
        store.add_user(&user(name, "hash")).await.unwrap();
    }
    let rows = [
        ("alice's", local("alice"), false),
        ("bob's", local("bob"), true),
        ("namesake's", strangers_namesake, true),
    ];
    for (name, identity, _) in &rows {
        sign_in(&store, name, identity).await;
        store.remember_consent(&consent(identity, "tuple"), NOW).await.unwrap();
        store.begin_browser_session(&hash(name), identity, NOW.plus(DAY)).await.unwrap();
    }
    let (cursor, _) = store.revocations_since(None).await.unwrap();

    assert!(store.remove_user("alice", NOW).await.unwrap());

    assert!(store.find_user("alice").await.unwrap().is_none());
    assert!(store.find_user("bob").await.unwrap().is_some());
    for (name, identity, stays) in &rows {
        assert_eq!(is_alive(&store, name).await, *stays, "{name} access");
        let refresh = store.find_refresh_token(&key(refresh_of(name))).await.unwrap();
        assert_eq!(refresh.is_some(), *stays, "{name} refresh");
        let remembered =
            store.is_consent_remembered(&consent(identity, "tuple"), NOW).await.unwrap();
        assert_eq!(remembered, *stays, "{name} consent");
        let session = store.find_browser_session(&hash(name), NOW).await.unwrap();
        assert_eq!(session.is_some(), *stays, "{name} session");
    }
    let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
    assert_eq!(told.len(), 1, "other processes hear of it");
    assert!(!store.remove_user("alice", NOW).await.unwrap(), "gone is gone");
}

pub async fn a_consent_is_remembered_for_one_person_and_one_tuple(store: AnyStore) {
    let alice = person("alice");
    for _ in 0..2 {
        store.remember_consent(&consent(&alice, "tuple"), NOW).await.unwrap();
    }
    let renamed = Identity { name: None, email: Some("new@example".into()), ..alice.clone() };
    let elsewhere = Identity { issuer: "https://other.example".into(), ..alice.clone() };
    let rows = [
        (consent(&alice, "tuple"), true, "as given"),
        (consent(&renamed, "tuple"), true, "the person counts, not their name"),
        (consent(&alice, "another"), false, "another tuple"),
        (consent(&person("bob"), "tuple"), false, "another person"),
        (consent(&elsewhere, "tuple"), false, "the same subject at another issuer"),
    ];
    for (asked, expected, reason) in rows {
        assert_eq!(store.is_consent_remembered(&asked, NOW).await.unwrap(), expected, "{reason}");
    }
}

pub async fn a_consent_ends_a_year_after_the_last_yes(store: AnyStore) {
    let yes = consent(&person("alice"), "tuple");
    let end = NOW.plus(CONSENTS_KEPT);
    let second = Duration::from_secs(1);
    store.remember_consent(&yes, NOW).await.unwrap();
    assert!(store.is_consent_remembered(&yes, end.minus(second)).await.unwrap());
    assert!(!store.is_consent_remembered(&yes, end).await.unwrap());
    store.remember_consent(&yes, NOW.plus(second)).await.unwrap();
    assert!(store.is_consent_remembered(&yes, end).await.unwrap(), "said again");
    assert_eq!(store.sweep(end, NOW).await.unwrap(), Swept { rows: 0 });
    assert_eq!(store.sweep(end.plus(second), NOW).await.unwrap(), Swept { rows: 1 });
    assert!(!store.is_consent_remembered(&yes, NOW.plus(second)).await.unwrap());
}

pub async fn a_browser_session_ends_in_time_and_belongs_to_the_last_login(store: AnyStore) {
    let browser = hash("browser");
    let end = NOW.plus(DAY);
    store.begin_browser_session(&browser, &person("alice"), end).await.unwrap();
    let find = |now| store.find_browser_session(&browser, now);
    let last_second = end.minus(Duration::from_secs(1));
    assert_eq!(find(last_second).await.unwrap(), Some(person("alice")));
    assert_eq!(find(end).await.unwrap(), None, "over");
    store.begin_browser_session(&browser, &person("bob"), end.plus(DAY)).await.unwrap();
    assert_eq!(find(end).await.unwrap(), Some(person("bob")));
    assert_eq!(store.find_browser_session(&hash("another"), NOW).await.unwrap(), None);
}

// --- sweeping ---------------------------------------------------------------------------------

pub async fn whose_grant_is_ended_is_asked_anew(store: AnyStore) {
    let yes = |name: &str| RememberedConsent {
        identity: person(name),
        tuple: hash(&format!("what {name} allowed")),
    };
    let is_remembered =
        async |name: &str| store.is_consent_remembered(&yes(name), NOW).await.unwrap();
    for name in ["alice", "bob", "carol"] {
        sign_in(&store, name, &person(name)).await;
        store.remember_consent(&yes(name), NOW).await.unwrap();
    }
    let one = GrantsOf::One(grant("alice"));
    assert_eq!(store.end_grants(&one, NOW).await.unwrap(), 1);
    assert!(!is_remembered("alice").await && is_remembered("bob").await);
    let Identity { issuer, subject, .. } = person("bob");
    store.end_grants(&GrantsOf::Person { issuer, subject }, NOW).await.unwrap();
    assert!(!is_remembered("bob").await && is_remembered("carol").await);
    let client = store.find_access_token(&key(access_of("carol"))).await.unwrap().unwrap();
    let client = client.principal.client_id.clone();
    store.end_grants(&GrantsOf::Client(client), NOW).await.unwrap();
    assert!(!is_remembered("carol").await);
}

pub async fn a_new_password_or_no_grant_left_ends_browser_sessions(store: AnyStore) {
    let end = NOW.plus(DAY);
    let local = |name: &str| Identity { issuer: LOCAL_ISSUER.into(), ..person(name) };
    let begin = async |name: &str| {
        store.begin_account_session(&hash(name), &local(name), None, end, end).await.unwrap();
    };
    let is_there = async |name: &str| {
        store.use_account_session(&hash(name), NOW, end).await.unwrap().is_some()
    };
    for name in ["alice", "bob"] {
        let password_hash = "hash".to_owned();
        let user = LocalUser { name: local(name).subject, password_hash, created_at: NOW };
        assert!(store.add_user(&user).await.unwrap());
        begin(name).await;
    }
    assert!(store.set_password(&local("alice").subject, "another hash").await.unwrap());
    assert!(!is_there("alice").await && is_there("bob").await, "whoever knew the old one is out");

    begin("alice").await;
    let Identity { issuer, subject, .. } = local("alice");
    store.end_grants(&GrantsOf::Person { issuer, subject }, NOW).await.unwrap();
    assert!(!is_there("alice").await && is_there("bob").await, "and makes no new tokens there");
}

pub async fn an_account_session_ends_when_idle_and_at_its_end(store: AnyStore) {
    let (hour, browser) = (Duration::from_hours(1), hash("browser"));
    let alice = person("alice");
    store.begin_browser_session(&browser, &alice, NOW.plus(DAY)).await.unwrap();
    let use_at = async |at: Timestamp, browser: &SecretHash| {
        store.use_account_session(browser, at, at.plus(hour)).await.unwrap()
    };
    assert_eq!(use_at(NOW, &browser).await, None, "a browser that is merely remembered");
    let browser = hash("account");
    let ends_at = NOW.plus(hour * 3);
    store.begin_account_session(&browser, &alice, None, NOW.plus(hour), ends_at).await.unwrap();
    let later = |minutes| NOW.plus(Duration::from_mins(minutes));
    for (minutes, expected, reason) in [
        (59, Some(&alice), "just in time"),
        (118, Some(&alice), "kept by the last use"),
        (178, None, "idle for an hour"),
    ] {
        assert_eq!(use_at(later(minutes), &browser).await.as_ref(), expected, "{reason}");
    }
    let found = store.find_browser_session(&browser, later(179)).await.unwrap();
    assert_eq!(found, Some(alice.clone()), "the browser is known until the session's end");
    let browser = hash("busy");
    store.begin_account_session(&browser, &alice, None, NOW.plus(hour), ends_at).await.unwrap();
    for minutes in [50, 100, 150] {
        assert!(use_at(later(minutes), &browser).await.is_some());
    }
    assert_eq!(use_at(later(180), &browser).await, None, "over, though it was never idle");
    assert_eq!(use_at(NOW, &hash("nobody's")).await, None);
}

pub async fn a_sweep_of_a_living_store_removes_nothing(store: AnyStore) {
    store.register_client(&client("new", NOW)).await.unwrap();
    store.begin_login(&login("new", NOW.plus(DAY))).await.unwrap();
    store.begin_browser_session(&hash("b"), &person("alice"), NOW.plus(DAY)).await.unwrap();
    store.remember_consent(&consent(&person("alice"), "tuple"), NOW).await.unwrap();
    store.add_user(&user("alice", "hash")).await.unwrap();
    store.issue_code(&code("pending", "client", &person("alice"))).await.unwrap();
    sign_in(&store, "a", &person("alice")).await;
    let ended = sign_in(&store, "ended", &person("alice")).await;
    let (cursor, _) = store.revocations_since(None).await.unwrap();
    store.revoke_grant(&ended.id, NOW).await.unwrap();

    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: 0 });

    assert!(store.find_client(&ClientId::new("new")).await.unwrap().is_some());
    assert!(store.find_login(&hash("new")).await.unwrap().is_some());
    assert!(store.find_browser_session(&hash("b"), NOW).await.unwrap().is_some());
    assert!(store.find_code(&hash("pending")).await.unwrap().is_some());
    assert!(is_alive(&store, "a").await);
    assert!(store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().is_some());
    assert_eq!(store.revocations_since(Some(cursor)).await.unwrap().1.len(), 1);
}

pub async fn a_sweep_removes_logins_sessions_and_codes_at_their_end(store: AnyStore) {
    let second = Duration::from_secs(1);
    for (name, end) in [("over", NOW), ("on its way", NOW.plus(second))] {
        store.begin_login(&login(name, end)).await.unwrap();
        store.begin_browser_session(&hash(name), &person("alice"), end).await.unwrap();
        let code = CodeRecord { expires_at: end, ..code(name, "client", &person("alice")) };
        store.issue_code(&code).await.unwrap();
    }
    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: 3 });
    for (name, stays) in [("over", false), ("on its way", true)] {
        assert_eq!(store.find_login(&hash(name)).await.unwrap().is_some(), stays, "{name}");
        let session = store.find_browser_session(&hash(name), NOW.minus(second)).await.unwrap();
        assert_eq!(session.is_some(), stays, "{name}");
        assert_eq!(store.find_code(&hash(name)).await.unwrap().is_some(), stays, "{name}");
    }
}

pub async fn a_sweep_removes_tokens_at_their_end_and_then_their_grant(store: AnyStore) {
    let grant = sign_in(&store, "a", &person("alice")).await;
    assert!(is_alive(&store, "a").await);

    assert_eq!(store.sweep(ACCESS_END, NOW).await.unwrap(), Swept { rows: 1 }, "the access token");
    assert!(!is_alive(&store, "a").await);
    let refresh = store.find_refresh_token(&key(refresh_of("a"))).await.unwrap();
    assert_eq!(refresh.unwrap().grant, grant, "the grant lives by its refresh token");

    let swept = store.sweep(REFRESH_END, NOW).await.unwrap();
    assert_eq!(swept, Swept { rows: 3 }, "the refresh token, the grant and the code it came from");
    assert_eq!(store.find_refresh_token(&key(refresh_of("a"))).await.unwrap(), None);
    assert_eq!(store.find_code(&hash("a")).await.unwrap(), None);
    assert_eq!(store.end_grants(&all_of(IDP, "alice"), NOW).await.unwrap(), 0, "no grant is left");
}

pub async fn a_sweep_keeps_what_a_replay_could_still_hit(store: AnyStore) {
    sign_in(&store, "a", &person("alice")).await;
    let later = IssuedTokens {
        access_expires_at: REFRESH_END.plus(DAY),
        refresh: Some((refresh_of("b"), REFRESH_END.plus(DAY))),
        ..tokens("b")
    };
    store.rotate_refresh_token(&key(refresh_of("a")), &later, STRICT).await.unwrap();
    // A family whose last refresh token is spent, and that lives by an access token alone.
    sign_in(&store, "x", &person("alice")).await;
    let last = IssuedTokens { access: access_of("y"), refresh: None, ..later };
    store.rotate_refresh_token(&key(refresh_of("x")), &last, STRICT).await.unwrap();

    let swept = store.sweep(REFRESH_END, NOW).await.unwrap();
    assert_eq!(swept, Swept { rows: 2 }, "only the two first access tokens");
    for name in ["a", "x"] {
        assert!(store.find_code(&hash(name)).await.unwrap().is_some(), "the grant lives");
        let replayed =
            store.rotate_refresh_token(&key(refresh_of(name)), &tokens("c"), STRICT).await.unwrap();
        assert_eq!(replayed, RefreshRotation::Replayed, "spent, not forgotten");
    }

    let swept = store.sweep(REFRESH_END.plus(DAY), NOW).await.unwrap();
    assert_eq!(swept, Swept { rows: 5 + 4 }, "tokens, spent ones, grants, codes");
    for name in ["a", "x"] {
        let unknown =
            store.rotate_refresh_token(&key(refresh_of(name)), &tokens("c"), STRICT).await.unwrap();
        assert_eq!(unknown, RefreshRotation::Unknown);
    }
}

/// A family that is refreshed for ever must not keep every token it ever had.
pub async fn a_sweep_removes_spent_refresh_tokens_at_their_own_end(store: AnyStore) {
    sign_in(&store, "a", &person("alice")).await;
    let later = IssuedTokens {
        access_expires_at: REFRESH_END.plus(DAY),
        refresh: Some((refresh_of("b"), REFRESH_END.plus(DAY))),
        ..tokens("b")
    };
    store.rotate_refresh_token(&key(refresh_of("a")), &later, STRICT).await.unwrap();

    let second = Duration::from_secs(1);
    let end = REFRESH_END.plus(REFRESH_GRACE_MAX);
    store.sweep(end.minus(second), NOW).await.unwrap();
    assert!(
        store.find_refresh_token(&key(refresh_of("a"))).await.unwrap().is_some(),
        "a window lasts"
    );
    assert_eq!(store.sweep(end, NOW).await.unwrap(), Swept { rows: 1 });
    assert_eq!(store.find_refresh_token(&key(refresh_of("a"))).await.unwrap(), None);
    assert!(is_alive(&store, "b").await, "the family goes on");
    assert!(store.find_refresh_token(&key(refresh_of("b"))).await.unwrap().is_some());
}

pub async fn a_token_is_found_in_its_turn_and_in_its_family(store: AnyStore) {
    let grant = sign_in(&store, "a", &person("alice")).await;
    let turn = Turn::default().next();
    let next = IssuedTokens { turn, ..tokens("b") };
    store.rotate_refresh_token(&key(refresh_of("a")), &next, STRICT).await.unwrap();
    for turn in [Some(turn), None] {
        let key = TokenKey::of(&grant.id, turn, access_of("b"));
        let found = store.find_access_token(&key).await.unwrap().unwrap();
        assert_eq!((&found.principal.grant_id, found.principal.token), (&grant.id, access_of("b")));
    }
    let key = TokenKey::of(&grant.id, Some(turn), refresh_of("b"));
    let found = store.find_refresh_token(&key).await.unwrap().unwrap();
    assert_eq!((found.turn, &found.grant, found.key()), (turn, &grant, key.clone()));
    let last = IssuedTokens { turn: turn.next(), ..tokens("c") };
    let traded = store.rotate_refresh_token(&key, &last, STRICT).await.unwrap();
    assert_eq!(traded, RefreshRotation::Fresh);
    let kept = IssuedTokens { turn, ..tokens("d") };
    let spent = store.extend_refresh_token(&key, &kept).await.unwrap();
    assert_eq!(spent, RefreshExtension::Spent);
    let key = TokenKey::of(&grant.id, Some(turn), access_of("b"));
    let found = store.find_access_token(&key).await.unwrap().unwrap();
    store.revoke_access_token(&found.key(), NOW).await.unwrap();
    assert_eq!(store.find_access_token(&key).await.unwrap(), None);
}

/// A family of several turns that nothing is left of but spent tokens goes with them, before their end.
pub async fn a_sweep_removes_what_is_spent_once_nothing_of_its_family_lives(store: AnyStore) {
    sign_in(&store, "a", &person("alice")).await;
    sign_in(&store, "another", &person("alice")).await;
    let (mut turn, mut spent) = (Turn::default(), refresh_of("a"));
    let grant = grant("a");
    for name in ["b", "c"] {
        let end = if name == "b" { REFRESH_END.plus(DAY) } else { REFRESH_END.minus(DAY) };
        let refresh = Some((refresh_of(name), end));
        let next = IssuedTokens { turn: turn.next(), refresh, ..tokens(name) };
        let key = TokenKey::of(&grant, Some(turn), spent);
        let traded = store.rotate_refresh_token(&key, &next, STRICT).await.unwrap();
        assert_eq!(traded, RefreshRotation::Fresh);
        (turn, spent) = (turn.next(), refresh_of(name));
    }
    assert_eq!(store.sweep(ACCESS_END, NOW).await.unwrap(), Swept { rows: 4 }, "access tokens");
    let swept = store.sweep(REFRESH_END.minus(DAY), NOW).await.unwrap();
    assert_eq!(swept, Swept { rows: 1 + 2 + 1 + 1 }, "the last one, spent ones, grant, code");
    let left = store.list_grants(&GrantsOf::Everyone, None).await.unwrap();
    let [left] = left.as_slice() else { panic!("{left:?}") };
    assert_ne!(left.id, grant);
    assert!(store.find_refresh_token(&key(refresh_of("another"))).await.unwrap().is_some());
}

/// Case 120: however much is over, nobody waits for more than a step.
pub async fn a_sweep_goes_in_steps(store: AnyStore) {
    for number in 0..20 {
        sign_in(&store, &number.to_string(), &person("alice")).await;
    }
    let living = personal_token("living", &person("bob"));
    store.add_personal_token(&living).await.unwrap();
    let is_living = async || store.find_access_token(&key(living.token)).await.unwrap().is_some();
    let (mut rows, mut steps) = (0, 0);
    loop {
        let swept = store.sweep_some(REFRESH_END, NOW, 7).await.unwrap();
        assert!(swept.rows <= 7, "{swept:?}");
        if swept.rows == 0 {
            break;
        }
        assert!(is_living().await, "whoever asks between two steps is answered");
        (rows, steps) = (rows + swept.rows, steps + 1);
    }
    assert!(rows >= 60 && steps >= 9, "two tokens and a grant for each: {rows} in {steps}");
    assert_eq!(store.list_grants(&GrantsOf::Everyone, None).await.unwrap().len(), 1);
    assert_eq!(store.sweep(REFRESH_END, NOW).await.unwrap(), Swept { rows: 0 }, "nothing is left");
}

pub async fn a_sweep_forgets_revocations_after_a_day(store: AnyStore) {
    let (start, _) = store.revocations_since(None).await.unwrap();
    for name in ["a", "b", "c"] {
        let grant = sign_in(&store, name, &person("alice")).await;
        let at = if name == "c" { NOW.plus(Duration::from_secs(1)) } else { NOW };
        store.revoke_grant(&grant.id, at).await.unwrap();
    }
    let (cursor, _) = store.revocations_since(Some(start)).await.unwrap();
    store.sweep(NOW.plus(REVOCATIONS_KEPT), NOW).await.unwrap();
    assert_eq!(store.revocations_since(Some(start)).await.unwrap().1.len(), 1, "the young one");

    store.sweep(NOW.plus(REVOCATIONS_KEPT * 2), NOW).await.unwrap();
    assert_eq!(store.revocations_since(Some(start)).await.unwrap().1, []);
    let grant = sign_in(&store, "d", &person("alice")).await;
    store.revoke_grant(&grant.id, NOW).await.unwrap();
    let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
    assert_eq!(told, [Revocation::Grant(grant.id)], "no number is given out twice");
}

pub async fn a_sweep_removes_old_clients_that_never_finished_a_login(store: AnyStore) {
    let second = Duration::from_secs(1);
    for (name, at) in [("first", NOW), ("second", NOW), ("third", NOW.plus(second))] {
        store.register_client(&client(name, at)).await.unwrap();
    }
    let finished = CodeRecord { expires_at: NOW.plus(DAY), ..code("c", "first", &person("a")) };
    store.issue_code(&finished).await.unwrap();
    assert_eq!(store.sweep(NOW, NOW.plus(second)).await.unwrap(), Swept { rows: 1 });
    assert_eq!(clients_left(&store).await, ["first", "third"]);
}

// --- sessions at the identity provider -------------------------------------------------------------

pub async fn a_browser_session_can_end_alone(store: AnyStore) {
    for name in ["one", "other"] {
        store.begin_browser_session(&hash(name), &person("alice"), NOW.plus(DAY)).await.unwrap();
    }
    store.end_browser_session(&hash("one")).await.unwrap();
    store.end_browser_session(&hash("unknown")).await.unwrap();
    assert_eq!(store.find_browser_session(&hash("one"), NOW).await.unwrap(), None);
    assert!(store.find_browser_session(&hash("other"), NOW).await.unwrap().is_some());
}

pub async fn a_providers_session_is_found_with_its_grant_and_ends_with_it(store: AnyStore) {
    let ways: [(&str, AnyEnd); 3] = [
        ("alice", |store, grant| {
            Box::pin(async move { store.revoke_grant(&grant, NOW).await.unwrap() })
        }),
        ("bob", |store, _| {
            Box::pin(async move {
                store.end_grants(&all_of(IDP, "bob"), NOW).await.unwrap();
            })
        }),
        ("carol", |store, _| {
            Box::pin(async move {
                store.sweep(REFRESH_END, NOW).await.unwrap();
            })
        }),
    ];
    for (name, end) in ways {
        let session = log_in(&store, name, Some("s1"), Some(NOW)).await;
        let grant = session.grant_id.clone();
        assert_eq!(store.find_provider_session(&grant).await.unwrap(), Some(session), "{name}");
        end(Arc::clone(&store), grant.clone()).await;
        assert!(!is_alive(&store, name).await, "{name}");
        assert_eq!(store.find_provider_session(&grant).await.unwrap(), None, "{name}");
    }
    let left = claim(&store, REFRESH_END, 9).await;
    assert!(left.iter().all(|one| one.due != Due::Question), "asked about no more: {left:?}");
}

pub async fn the_living_session_of_a_browser_is_found(store: AnyStore) {
    assert_eq!(store.find_provider_session_of_browser(&hash("browser")).await.unwrap(), None);
    let session = log_in(&store, "alice", None, None).await;
    let found = store.find_provider_session_of_browser(&hash("browser of alice")).await.unwrap();
    assert_eq!(found, Some(session));
    assert_eq!(store.find_provider_session_of_browser(&hash("browser")).await.unwrap(), None);
}

pub async fn a_due_session_is_claimed_by_one_of_fifty(store: AnyStore) {
    log_in(&store, "alice", None, Some(NOW)).await;
    let claims = fifty(&store, |store, _| async move { claim(&store, NOW, 9).await.len() }).await;
    assert_eq!(claims.iter().sum::<usize>(), 1);
}

pub async fn sessions_are_claimed_when_they_are_due_and_a_few_at_a_time(store: AnyStore) {
    let second = Duration::from_secs(1);
    let rows = [
        ("never", None),
        ("later", Some(NOW.plus(second))),
        ("now", Some(NOW)),
        ("long due", Some(NOW.minus(DAY))),
        ("too far ahead", Some(NOW.plus(DAY * 2))),
    ];
    for (name, check_at) in rows {
        log_in(&store, name, None, check_at).await;
    }
    let first = claim(&store, NOW, 1).await;
    assert_eq!(subjects(&first), ["long due"], "longest due first");
    let next = claim(&store, NOW, 9).await;
    assert_eq!(subjects(&next), ["now", "too far ahead"], "a day is the horizon here");
    assert_eq!(claim(&store, NOW, 9).await, [], "all are taken");
    assert_eq!(subjects(&claim(&store, NOW.plus(second), 9).await), ["later"]);
}

pub async fn a_claim_that_nobody_followed_up_is_due_again(store: AnyStore) {
    log_in(&store, "alice", None, Some(NOW)).await;
    let first = claim(&store, NOW, 9).await;
    let just_before = NOW.plus(LEASE).minus(Duration::from_secs(1));
    assert_eq!(claim(&store, just_before, 9).await, []);
    let second = claim(&store, NOW.plus(LEASE), 9).await;
    assert_eq!(subjects(&second), ["alice"]);
    assert_ne!(first[0].claim, second[0].claim);
    assert_eq!(second[0].failures, 0, "nobody failed, somebody was gone");
}

pub async fn what_a_lost_claim_found_out_does_not_count(store: AnyStore) {
    log_in(&store, "alice", None, Some(NOW)).await;
    let [lost] = claim(&store, NOW, 9).await.try_into().unwrap();
    let later = NOW.plus(LEASE);
    let [held] = claim(&store, later, 9).await.try_into().unwrap();
    assert!(!store.postpone_provider_session(&lost, later).await.unwrap());
    assert_eq!(store.end_provider_session(&lost, NOW).await.unwrap(), SessionEnd::Lost);
    assert!(is_alive(&store, "alice").await);

    let later = later.plus(LEASE);
    assert!(store.postpone_provider_session(&held, later).await.unwrap());
    let [held] = claim(&store, later, 9).await.try_into().unwrap();
    assert_eq!(held.failures, 1);
}

pub async fn new_tokens_are_kept_if_they_follow_those_that_are_there(store: AnyStore) {
    let session = log_in(&store, "alice", None, Some(NOW)).await;
    let found = || async { store.find_provider_session(&session.grant_id).await.unwrap().unwrap() };
    let [slow] = claim(&store, NOW, 9).await.try_into().unwrap();
    let later = NOW.plus(LEASE);
    let [quick] = claim(&store, later, 9).await.try_into().unwrap();
    let (second, third) = (Sealed::from_bytes(vec![2]), Sealed::from_bytes(vec![3]));

    // The provider gave the slow one new tokens, and so a no to the quick one.
    let next = later.plus(LEASE);
    assert!(store.renew_provider_session(&slow, &second, Some(next)).await.unwrap());
    let end = store.end_provider_session(&quick, NOW).await.unwrap();
    assert_eq!(end, SessionEnd::Lost, "the no is void");
    assert!(!store.postpone_provider_session(&quick, NOW).await.unwrap());
    assert!(!store.renew_provider_session(&quick, &third, Some(next)).await.unwrap(), "too late");
    assert_eq!((found().await.tokens, found().await.check_at), (second.clone(), Some(next)));
    assert!(is_alive(&store, "alice").await);

    let [held] = claim(&store, next, 9).await.try_into().unwrap();
    assert_eq!((held.failures, &held.tokens), (0, &second));
    assert!(store.renew_provider_session(&held, &third, None).await.unwrap());
    assert_eq!((found().await.tokens, found().await.check_at), (third, None));
    assert_eq!(claim(&store, NOW.plus(DAY * 9), 9).await, [], "never again");
}

pub async fn a_session_that_is_over_ends_its_grant_and_no_other(store: AnyStore) {
    let session = log_in(&store, "alice", None, Some(NOW)).await;
    log_in(&store, "bob", None, None).await;
    assert!(is_alive(&store, "alice").await, "seen, so that a cache has it");
    let (cursor, _) = store.revocations_since(None).await.unwrap();
    let [claimed] = claim(&store, NOW, 9).await.try_into().unwrap();
    let end = store.end_provider_session(&claimed, NOW).await.unwrap();
    assert_eq!(end, SessionEnd::PersonGone { personal_tokens: 0 });

    assert!(!is_alive(&store, "alice").await);
    assert!(is_alive(&store, "bob").await);
    assert_eq!(store.find_refresh_token(&key(refresh_of("alice"))).await.unwrap(), None);
    let (_, told) = store.revocations_since(Some(cursor)).await.unwrap();
    assert_eq!(told, [Revocation::Grant(session.grant_id)], "other processes hear of it");
    let again = store.end_provider_session(&claimed, NOW).await.unwrap();
    assert_eq!(again, SessionEnd::Lost, "it is gone");
}

pub async fn a_logout_ends_the_sessions_it_names(store: AnyStore) {
    // Who was logged in, in which session.
    let people =
        [("alice", Some("a1")), ("alice", Some("a2")), ("alice", None), ("bob", Some("b1"))];
    // Whom a message names, and who is left.
    let rows: [(_, _, &[usize], _); 6] = [
        (Some("alice"), Some("a1"), &[1, 3], "a session; the nameless one could be it"),
        (Some("alice"), None, &[3], "all of a person"),
        (None, Some("a2"), &[0, 2, 3], "a session alone"),
        (Some("bob"), Some("a1"), &[0, 1, 2, 3], "another person's session"),
        (Some("carol"), None, &[0, 1, 2, 3], "nobody here"),
        (None, Some("unknown"), &[0, 1, 2, 3], "no session here"),
    ];
    for (row, (subject, sid, left, reason)) in rows.into_iter().enumerate() {
        for (number, (person, sid)) in people.iter().enumerate() {
            let name = format!("{row}-{number}");
            log_in_as(&store, &name, person, *sid, None).await;
            assert!(is_alive(&store, &name).await, "seen, so that a cache has it");
            let browser = hash(&name);
            let identity = self::person(person);
            store.begin_browser_session(&browser, &identity, NOW.plus(DAY)).await.unwrap();
        }
        let message = ProviderLogout {
            subject: subject.map(str::to_owned),
            sid: sid.map(str::to_owned),
            ..logout(&row.to_string())
        };
        let stranger = ProviderLogout {
            issuer: "https://other.example".into(),
            message: hash(&format!("stranger {row}")),
            ..message.clone()
        };
        let outcome = store.log_out_at_provider(&stranger, NOW).await.unwrap();
        assert_eq!(outcome, LoggedOut::Ended(vec![]), "the same names at another provider");

        let LoggedOut::Ended(ended) = store.log_out_at_provider(&message, NOW).await.unwrap()
        else {
            panic!("{reason}: taken for a replay")
        };
        assert_eq!(ended.len(), people.len() - left.len(), "{reason}");
        for (number, (person, _)) in people.iter().enumerate() {
            let name = format!("{row}-{number}");
            let stays = left.contains(&number);
            assert_eq!(is_alive(&store, &name).await, stays, "{reason}: {name}");
            let found = store.find_browser_session(&hash(&name), NOW).await.unwrap();
            let is_theirs = subject == Some(person) || (sid == Some("a2") && *person == "alice");
            assert_eq!(found.is_none(), is_theirs, "{reason}: the browser of {name}");
        }
        for person in ["alice", "bob"] {
            store.end_grants(&all_of(IDP, person), NOW).await.unwrap();
        }
    }
}

pub async fn a_logout_ends_a_code_that_was_not_redeemed_yet(store: AnyStore) {
    let code = code("c", "client", &person("alice"));
    let session = session_of(&code, Some("s1"), None);
    store.issue_code_of_session(&code, &session).await.unwrap();
    assert_eq!(store.find_code(&code.code).await.unwrap().as_ref(), Some(&code));
    let outcome = store.log_out_at_provider(&logout("m"), NOW).await.unwrap();
    assert_eq!(outcome, LoggedOut::Ended(vec![session.grant_id.clone()]));
    assert_eq!(store.find_code(&code.code).await.unwrap(), None);
    assert_eq!(store.find_provider_session(&session.grant_id).await.unwrap(), None);
}

pub async fn a_logout_counts_once(store: AnyStore) {
    let message = logout("m");
    let outcomes = {
        let message = message.clone();
        fifty(&store, move |store, _| {
            let message = message.clone();
            async move { store.log_out_at_provider(&message, NOW).await.unwrap() }
        })
        .await
    };
    let first = outcomes.iter().filter(|outcome| **outcome == LoggedOut::Ended(vec![])).count();
    assert_eq!(first, 1);
    log_in(&store, "alice", None, None).await;
    let again = store.log_out_at_provider(&message, NOW).await.unwrap();
    assert_eq!(again, LoggedOut::Replayed);
    assert!(is_alive(&store, "alice").await, "who logged in since is left alone");
    store.sweep(message.message_ends_at, NOW).await.unwrap();
    let late = store.log_out_at_provider(&message, NOW).await.unwrap();
    assert!(matches!(late, LoggedOut::Ended(_)), "forgotten once it could not come again");
}

pub async fn a_sweep_removes_sessions_whose_grant_or_code_is_gone(store: AnyStore) {
    let code = CodeRecord { expires_at: NOW, ..code("c", "client", &person("alice")) };
    let session = session_of(&code, None, Some(NOW));
    store.issue_code_of_session(&code, &session).await.unwrap();
    log_in(&store, "bob", None, Some(NOW)).await;
    let before = NOW.minus(Duration::from_secs(1));
    assert_eq!(store.sweep(before, NOW).await.unwrap(), Swept { rows: 0 }, "a code is a promise");
    assert_eq!(store.sweep(NOW, NOW).await.unwrap(), Swept { rows: 2 }, "the code, its session");
    assert_eq!(store.find_provider_session(&session.grant_id).await.unwrap(), None);
    let left = claim(&store, NOW, 9).await;
    let left: Vec<_> = left.iter().map(|one| (one.subject.as_str(), one.due)).collect();
    assert_eq!(left, [("alice", Due::Farewell), ("bob", Due::Question)]);
}

// --- clients that stay, clients that go, and machines -----------------------------------------

pub async fn a_preregistered_client_stays_until_it_is_removed(store: AnyStore) {
    let mine = Client { origin: ClientOrigin::Preregistered, ..client("first", NOW.minus(DAY)) };
    store.register_client(&mine).await.unwrap();
    for name in ["second", "third", "fourth"] {
        store.register_client(&client(name, NOW)).await.unwrap();
    }
    assert_eq!(clients_left(&store).await.len(), 3, "one that registered itself went");
    assert!(clients_left(&store).await.contains(&"first"), "the oldest, and the operator's");
    store.sweep(NOW, NOW.plus(DAY)).await.unwrap();
    store.sweep_idle_clients(NOW.plus(DAY)).await.unwrap();
    assert_eq!(clients_left(&store).await, ["first"]);
    assert!(store.remove_client(&mine.id, NOW).await.unwrap());
    assert_eq!(clients_left(&store).await, [""; 0]);
    assert!(!store.remove_client(&mine.id, NOW).await.unwrap());
}

pub async fn an_idle_client_goes_unless_it_has_a_grant_or_the_operator_made_it(store: AnyStore) {
    for name in ["first", "second", "third"] {
        store.register_client(&client(name, NOW.minus(DAY))).await.unwrap();
    }
    let granted = code("granted", "first", &person("alice"));
    store.issue_code(&granted).await.unwrap();
    redeem(&store, &granted, "granted").await;
    store.issue_code(&code("c", "third", &person("alice"))).await.unwrap();
    store.note_client_use(&ClientId::new("second"), NOW).await.unwrap();
    store.note_client_use(&ClientId::new("nobody"), NOW).await.unwrap();
    let noted = store.find_client(&ClientId::new("second")).await.unwrap().unwrap();
    assert_eq!(noted.last_used_at, NOW);
    assert_eq!(store.sweep_idle_clients(NOW).await.unwrap(), Swept { rows: 1 });
    assert_eq!(clients_left(&store).await, ["first", "second"], "a finished login is no grant");
}

pub async fn a_removed_client_takes_its_grants_and_nobody_elses(store: AnyStore) {
    for name in ["first", "second"] {
        store.register_client(&client(name, NOW)).await.unwrap();
        let code = code(name, name, &person("alice"));
        store.issue_code(&code).await.unwrap();
        redeem(&store, &code, name).await;
    }
    let on_its_way = code("on its way", "first", &person("alice"));
    store.issue_code(&on_its_way).await.unwrap();
    let (cursor, _) = store.revocations_since(None).await.unwrap();
    assert!(store.remove_client(&ClientId::new("first"), NOW).await.unwrap());
    assert!(!is_alive(&store, "first").await);
    assert!(is_alive(&store, "second").await);
    assert_eq!(store.find_code(&on_its_way.code).await.unwrap(), None, "and what it would become");
    let told = store.revocations_since(Some(cursor)).await.unwrap().1;
    assert_eq!(told, [Revocation::Grant(grant("first"))]);
    // A client that is written in a file has grants here and no row.
    let elsewhere = sign_in(&store, "elsewhere", &person("alice")).await;
    assert!(!store.remove_client(&elsewhere.client_id, NOW).await.unwrap());
    assert!(!is_alive(&store, "elsewhere").await);
}

pub async fn a_client_is_in_use_while_it_has_a_grant(store: AnyStore) {
    let is_in_use = async |id: &str| store.is_client_in_use(&ClientId::new(id)).await.unwrap();
    store.register_client(&client("client", NOW)).await.unwrap();
    assert!(!is_in_use("client").await);
    let grant = sign_in(&store, "a", &person("alice")).await;
    assert!(is_in_use("client").await && !is_in_use("another").await);
    store.revoke_grant(&grant.id, NOW).await.unwrap();
    assert!(!is_in_use("client").await);
}

pub async fn clients_are_listed_by_id_in_pages(store: AnyStore) {
    let count = usize::from(CLIENTS_LISTED_MAX) + 1;
    for number in 0..count {
        let origin = ClientOrigin::Preregistered;
        let client = Client { origin, ..client(&format!("client {number:04}"), NOW) };
        store.register_client(&client).await.unwrap();
    }
    let first = store.list_clients(None).await.unwrap();
    assert_eq!(first.len(), usize::from(CLIENTS_LISTED_MAX));
    assert!(first.is_sorted_by(|a, b| a.id < b.id));
    let rest = store.list_clients(first.last().map(|client| &client.id)).await.unwrap();
    let rest: Vec<_> = rest.iter().map(|client| client.id.as_str()).collect();
    assert_eq!(rest, ["client 0256"]);
}

pub async fn the_copy_of_a_document_is_replaced_and_nothing_else_is(store: AnyStore) {
    let id = "https://app.example/client.json";
    let copy = Client { origin: ClientOrigin::Document, ..client(id, NOW) };
    store.keep_document_client(&copy).await.unwrap();
    assert_eq!(store.find_client(&copy.id).await.unwrap().as_ref(), Some(&copy));
    let later = NOW.plus(DAY);
    let mut newer = Client { created_at: later, last_used_at: later, ..copy.clone() };
    newer.metadata.client_name = Some("another name".into());
    store.keep_document_client(&newer).await.unwrap();
    assert_eq!(store.find_client(&copy.id).await.unwrap().as_ref(), Some(&newer));
    store.sweep(NOW, later).await.unwrap();
    assert!(store.find_client(&copy.id).await.unwrap().is_some(), "a login has begun anew");

    store.issue_code(&code("c", id, &person("alice"))).await.unwrap();
    let latest = NOW.plus(DAY * 2);
    let again = Client { created_at: latest, last_used_at: latest, ..newer.clone() };
    store.keep_document_client(&again).await.unwrap();
    let expected = Client { last_used_at: latest, ..newer };
    assert_eq!(store.find_client(&copy.id).await.unwrap(), Some(expected), "finished one since");

    let registered = client("registered", NOW);
    store.register_client(&registered).await.unwrap();
    let mut impostor = Client { origin: ClientOrigin::Document, ..registered.clone() };
    impostor.metadata.client_name = None;
    store.keep_document_client(&impostor).await.unwrap();
    assert_eq!(store.find_client(&registered.id).await.unwrap(), Some(registered));
}

pub async fn a_machine_has_one_grant_at_a_server_for_all_its_tokens(store: AnyStore) {
    let resource = ResourceUri::new("http://localhost:8000/mcp");
    let machine = client("machine", NOW);
    let identity = Identity::of_machine(&machine.id, Some("A machine"));
    let grant = Grant {
        id: GrantId::of_machine(&machine.id, &resource),
        client_id: machine.id.clone(),
        identity: identity.clone(),
        scope: scope("fortune"),
        resource,
        created_at: NOW,
    };
    let of = |name: &str| IssuedTokens { refresh: None, ..tokens(name) };
    let key = |name: &str| TokenKey::of(&grant.id, Some(Turn::default()), access_of(name));
    let opens = async |name: &str| store.find_access_token(&key(name)).await.unwrap().is_some();
    for name in ["one", "two"] {
        store.issue_to_machine(&grant, &of(name)).await.unwrap();
        let found = store.find_access_token(&key(name)).await.unwrap().unwrap();
        assert_eq!((&found.principal.identity, &found.principal.grant_id), (&identity, &grant.id));
    }
    store.revoke_grant(&grant.id, NOW).await.unwrap();
    assert!(!opens("one").await && !opens("two").await);
    store.issue_to_machine(&grant, &of("three")).await.unwrap();
    assert!(opens("three").await, "what ends a machine for good is removing it");
}

pub async fn an_assertion_is_used_by_one_of_fifty(store: AnyStore) {
    let end = NOW.plus(Duration::from_mins(10));
    let outcomes = fifty(&store, |store, _| async move {
        store.use_assertion(&used("an assertion", "a", end)).await.unwrap()
    })
    .await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AssertionUse::Fresh).count(), 1);
    assert!(outcomes.iter().all(|outcome| *outcome != AssertionUse::Full));
    let another = store.use_assertion(&used("another", "a", end)).await.unwrap();
    assert_eq!(another, AssertionUse::Fresh);
    store.sweep(end.minus(Duration::from_secs(1)), NOW).await.unwrap();
    let again = store.use_assertion(&used("an assertion", "a", end)).await.unwrap();
    assert_eq!(again, AssertionUse::Replayed, "it is remembered to its end");
    store.sweep(end, NOW).await.unwrap();
    let over = store.use_assertion(&used("an assertion", "a", end)).await.unwrap();
    assert_eq!(over, AssertionUse::Fresh, "its own end refuses it from here on");
}

pub async fn tries_count_together_whoever_counts_them(store: AnyStore) {
    let counter =
        |place, burst| TryCounter { place, burst, one_more_every: Duration::from_secs(12) };
    let (first, second) = (counter(1, 5), counter(2, 50));
    let outcomes =
        fifty(
            &store,
            |store, _| async move { store.count_try(&[first, second], NOW).await.unwrap() },
        )
        .await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == TryCounted::Allowed).count(), 5);
    let too_many = |seconds| TryCounted::TooMany { wait: Duration::from_secs(seconds) };
    let at = |seconds| NOW.plus(Duration::from_secs(seconds));
    let count = async |counter: TryCounter, now| store.count_try(&[counter], now).await.unwrap();

    let left = counter(2, 6);
    assert_eq!(count(left, NOW).await, TryCounted::Allowed, "refused before it came to the second");
    assert_eq!(count(left, NOW).await, too_many(12));
    assert_eq!(count(first, at(5)).await, too_many(7), "what is refused does not count");
    store.sweep(at(59), NOW).await.unwrap();
    assert_eq!(count(first, at(12)).await, TryCounted::Allowed);
    assert_eq!(count(first, at(12)).await, too_many(12));
    assert_eq!(count(counter(3, 5), NOW).await, TryCounted::Allowed, "another counter");

    let year = Duration::from_hours(365 * 24);
    assert_eq!(
        count(first, NOW.minus(year)).await,
        too_many(12),
        "a clock set back forgives nothing"
    );
    let later = NOW.minus(year).plus(Duration::from_secs(12));
    assert_eq!(count(first, later).await, TryCounted::Allowed, "and locks nobody out");
}

// --- what the rules are told with ---------------------------------------------------------------

/// The moment at which everything happens.
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_305_600);
const DAY: Duration = Duration::from_hours(24);
const ACCESS_END: Timestamp = Timestamp::from_unix_seconds(1_795_305_600 + 3_600);
const REFRESH_END: Timestamp = Timestamp::from_unix_seconds(1_795_305_600 + 30 * 24 * 3_600);
/// A trade without a window: a token shown again is a replay.
pub const STRICT: RotationTime = RotationTime { now: NOW, grace: Duration::ZERO };
const IDP: &str = "https://idp.example/realms/master";

/// A hash of something that has a name in the test.
pub fn hash(name: &str) -> SecretHash {
    SecretHash::of(name.as_bytes())
}

/// The hash of the access token of the pair of that name.
pub fn access_of(name: &str) -> SecretHash {
    hash(&format!("access {name}"))
}

/// The hash of the refresh token of the pair of that name.
pub fn refresh_of(name: &str) -> SecretHash {
    hash(&format!("refresh {name}"))
}

/// With what the ids of all grants here begin: all tokens are of one family, as those of two grants would be
/// whose ids begin alike.
const FAMILY: &str = "0123456789abcdef";

/// The grant of that name.
pub fn grant(name: &str) -> GrantId {
    GrantId::new(format!("{FAMILY}{name}"))
}

/// What a token of one of these grants is looked up by.
pub fn key(token: SecretHash) -> TokenKey {
    TokenKey::of(&grant(""), Some(Turn::default()), token)
}

/// A pair of tokens: an hour for access, thirty days for refresh.
pub fn tokens(name: &str) -> IssuedTokens {
    IssuedTokens {
        access: access_of(name),
        access_expires_at: ACCESS_END,
        refresh: Some((refresh_of(name), REFRESH_END)),
        scope: scope("fortune admin"),
        turn: Turn::default(),
    }
}

/// Somebody whom the identity provider knows.
pub fn person(subject: &str) -> Identity {
    Identity {
        issuer: IDP.into(),
        subject: subject.into(),
        name: Some(format!("{subject} 山田")),
        email: Some(format!("{subject}@example.com")),
        email_verified: true,
        claims: Claims::default(),
    }
}

/// Somebody with an account of ours.
fn local(name: &str) -> Identity {
    Identity { issuer: LOCAL_ISSUER.into(), ..person(name) }
}

/// A code, the grant of which will be called `grant NAME`; valid for five minutes.
pub fn code(name: &str, client: &str, identity: &Identity) -> CodeRecord {
    CodeRecord {
        code: hash(name),
        grant: CodeGrant {
            request: AuthorizationRequest {
                client_id: ClientId::new(client),
                redirect_uri: redirect_uri().as_redirect_uri(),
                state: Some("the client's".into()),
                code_challenge: CodeChallenge::parse(Some(CHALLENGE), Some("S256")).unwrap(),
                scope: scope("fortune admin"),
                resource: ResourceUri::new("http://localhost:8000/mcp"),
            },
            identity: identity.clone(),
            grant_id: grant(name),
        },
        expires_at: NOW.plus(Duration::from_mins(5)),
        is_redeemed: false,
    }
}

/// Redeems a code for the pair of tokens of that name.
pub async fn redeem(store: &AnyStore, code: &CodeRecord, name: &str) -> Grant {
    let grant = code.grant.redeemed(NOW);
    let outcome = store.redeem_code(&code.code, &grant, &tokens(name)).await.unwrap();
    assert_eq!(outcome, CodeRedemption::Fresh);
    grant
}

/// A whole login: code issued and redeemed, all under one name.
pub async fn sign_in(store: &AnyStore, name: &str, identity: &Identity) -> Grant {
    let code = code(name, "client", identity);
    store.issue_code(&code).await.unwrap();
    redeem(store, &code, name).await
}

/// A sign-in of that person with that client, so many seconds later.
async fn sign_in_later(
    store: &AnyStore,
    name: &str,
    client: &str,
    subject: &str,
    seconds: u64,
) -> Grant {
    let code = code(name, client, &person(subject));
    store.issue_code(&code).await.unwrap();
    let grant = code.grant.redeemed(NOW.plus(Duration::from_secs(seconds)));
    store.redeem_code(&code.code, &grant, &tokens(name)).await.unwrap();
    grant
}

/// A personal access token that lives for ninety days.
pub fn personal_token(name: &str, identity: &Identity) -> PersonalToken {
    PersonalToken {
        id: grant(&format!("personal {name}")),
        token: access_of(&format!("personal {name}")),
        identity: identity.clone(),
        scope: scope("fortune"),
        resource: ResourceUri::new("http://localhost:8000/mcp"),
        label: Some(format!("label of {name}")),
        created_at: NOW,
        expires_at: NOW.plus(DAY * 90),
        session: None,
    }
}

/// Whether the access token of that pair is found.
pub async fn is_alive(store: &AnyStore, name: &str) -> bool {
    store.find_access_token(&key(access_of(name))).await.unwrap().is_some()
}

/// RFC 7636, appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn redirect_uri() -> RegisteredRedirectUri {
    RegisteredRedirectUri::parse("http://127.0.0.1:6274/callback").unwrap()
}

fn scope(text: &str) -> ScopeSet {
    ScopeSet::parse(text).unwrap()
}

/// A public client that registered then.
pub fn client(name: &str, created_at: Timestamp) -> Client {
    Client {
        id: ClientId::new(name),
        metadata: ClientMetadata {
            client_name: Some(format!("{name} <b>")),
            redirect_uris: vec![redirect_uri()],
            token_endpoint_auth_method: TokenEndpointAuthMethod::None,
            refreshes: true,
            scope: scope("fortune"),
            client_uri: None,
            keys: None,
            acts_alone: false,
        },
        secret: None,
        secret_expires_at: None,
        created_at,
        origin: ClientOrigin::Dynamic,
        last_used_at: created_at,
    }
}

async fn clients_left(store: &AnyStore) -> Vec<&'static str> {
    let mut left = Vec::new();
    for name in ["first", "second", "third", "fourth", "fifth"] {
        if store.find_client(&ClientId::new(name)).await.unwrap().is_some() {
            left.push(name);
        }
    }
    left
}

fn login(name: &str, expires_at: Timestamp) -> LoginRecord {
    LoginRecord {
        login_state: hash(name),
        browser: hash("cookie"),
        sealed: Sealed::from_bytes(vec![1, 0, 128, 255]),
        expires_at,
    }
}

fn user(name: &str, password_hash: &str) -> LocalUser {
    LocalUser { name: name.into(), password_hash: password_hash.into(), created_at: NOW }
}

fn consent(identity: &Identity, tuple: &str) -> RememberedConsent {
    RememberedConsent { identity: identity.clone(), tuple: hash(tuple) }
}

/// How a grant comes to its end.
type AnyEnd = fn(AnyStore, GrantId) -> futures::future::BoxFuture<'static, ()>;

/// A session at the provider behind a code.
fn session_of(
    code: &CodeRecord,
    sid: Option<&str>,
    check_at: Option<Timestamp>,
) -> ProviderSession {
    let identity = &code.grant.identity;
    ProviderSession {
        grant_id: code.grant.grant_id.clone(),
        issuer: identity.issuer.clone(),
        subject: identity.subject.clone(),
        sid: sid.map(str::to_owned),
        browser: Some(hash(&format!("browser of {}", identity.subject))),
        tokens: Sealed::from_bytes(vec![1, 0, 255]),
        is_offline: true,
        check_at,
    }
}

/// Somebody logs in at the provider, and the code is redeemed for the pair of their name.
async fn log_in(
    store: &AnyStore,
    name: &str,
    sid: Option<&str>,
    check_at: Option<Timestamp>,
) -> ProviderSession {
    log_in_as(store, name, name, sid, check_at).await
}

async fn log_in_as(
    store: &AnyStore,
    name: &str,
    subject: &str,
    sid: Option<&str>,
    check_at: Option<Timestamp>,
) -> ProviderSession {
    let code = code(name, "client", &person(subject));
    let session = session_of(&code, sid, check_at);
    store.issue_code_of_session(&code, &session).await.unwrap();
    redeem(store, &code, name).await;
    session
}

/// How long a claim holds in these rules.
const LEASE: Duration = Duration::from_mins(1);

async fn claim(store: &AnyStore, now: Timestamp, rows_max: u16) -> Vec<ClaimedSession> {
    claim_of(store, now, rows_max, DueSessions::All).await
}

async fn claim_of(
    store: &AnyStore,
    now: Timestamp,
    rows_max: u16,
    which: DueSessions,
) -> Vec<ClaimedSession> {
    let (horizon, until) = (now.plus(DAY), now.plus(LEASE));
    let claimed = store.claim_provider_sessions(now, horizon, until, rows_max, which).await;
    let mut claimed = claimed.unwrap();
    claimed.sort_by(|a, b| a.subject.cmp(&b.subject));
    claimed
}

fn subjects(claimed: &[ClaimedSession]) -> Vec<&str> {
    claimed.iter().map(|claimed| claimed.subject.as_str()).collect()
}

/// The provider says that alice was logged out, everywhere.
fn logout(message: &str) -> ProviderLogout {
    ProviderLogout {
        issuer: IDP.into(),
        subject: Some("alice".into()),
        sid: None,
        message: hash(message),
        message_ends_at: NOW.plus(Duration::from_mins(5)),
    }
}

/// Runs the same step as fifty tasks that start together.
async fn fifty<T, F>(store: &AnyStore, step: impl Fn(AnyStore, usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(tokio::sync::Barrier::new(50));
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let (start, step) = (Arc::clone(&start), step(Arc::clone(store), number));
            tokio::spawn(async move {
                start.wait().await;
                step.await
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}

/// Lets a step and a revocation run into each other; each sets out first in half of the rounds.
async fn meet<T>(
    round: usize,
    step: impl Future<Output = Result<T, StoreError>>,
    revocation: impl Future<Output = Result<(), StoreError>>,
) -> T {
    let (outcome, revoked) = if round.is_multiple_of(2) {
        tokio::join!(step, revocation)
    } else {
        let (revoked, outcome) = tokio::join!(revocation, step);
        (outcome, revoked)
    };
    revoked.unwrap();
    outcome.unwrap()
}

/// How many of the pairs named `0` to `49` have both tokens.
async fn pairs_alive(store: &AnyStore) -> usize {
    let mut alive = 0;
    for number in 0..50 {
        let name = number.to_string();
        let refresh = store.find_refresh_token(&key(refresh_of(&name))).await.unwrap();
        assert_eq!(is_alive(store, &name).await, refresh.is_some(), "a pair comes whole");
        alive += usize::from(refresh.is_some());
    }
    alive
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_rule_is_in_the_contract() {
        let source = include_str!("store_contract.rs");
        let people = include_str!("store_contract/people.rs");
        let rules = source.lines().chain(people.lines()).filter_map(|line| {
            line.strip_prefix("pub async fn ")?.strip_suffix("(store: AnyStore) {")
        });
        for rule in rules {
            let listed = format!("                {rule}\n");
            assert!(source.contains(&listed), "{rule} is written but not run");
        }
    }
}
