//! Refresh: attacks 46 to 48, A18, A24. What the window is for, what it must not be good for, and
//! that it is the same for everybody who shares a store.

use std::sync::Arc;
use std::time::Duration;

use sekisho::authorization_server::Rotation;
use sekisho::seal::{KeyRing, Sealer, random_key};
use sekisho::store::{CachedStore, Durability, PostgresStore, SqliteStore, Store, TableLimits};
use sekisho_protocol::Secret;
use testkit::world::{Tokens, VERIFIER, authorize_url, refresh_at, tokens};
use testkit::{Answer, Browser, ManualClock, RegisteredClient, World};

const WINDOW: Duration = Duration::from_secs(60);
/// Still in the window.
const LAST_MOMENT: Duration = Duration::from_secs(59);
const SECOND: Duration = Duration::from_secs(1);
const WINDOWS_AT_ONCE: usize = 50;

fn form<'a>(refresh: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[("grant_type", "refresh_token"), ("refresh_token", refresh)], more].concat()
}

fn is_refused(answer: &Answer) -> bool {
    (answer.status.as_u16(), answer.error().as_str()) == (400, "invalid_grant")
}

#[tokio::test]
async fn a_refresh_repeated_in_its_window_gets_the_identical_pair() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    let answer = world.refresh(&client, &first.refresh).await;
    let second = tokens(&answer);
    assert_ne!(first, second);
    assert!(second.access.starts_with("mcp_") && second.access.len() == 4 + 64);
    assert!(second.refresh.starts_with("mcpr_") && second.refresh.len() == 5 + 64);

    let at_once = world.refresh(&client, &first.refresh).await;
    assert_eq!(at_once.body, answer.body, "to the last byte");
    assert_eq!(at_once.header("cache-control"), "no-store");
    world.clock.advance(LAST_MOMENT);
    let late = world.refresh(&client, &first.refresh).await;
    assert_eq!(tokens(&late), second);
    assert_eq!(late.json()["expires_in"], 3600 - 59, "what is left of this very token");
    assert_eq!(world.call("/mcp", &second.access).await.status, 200);
    assert_ne!(tokens(&world.refresh(&client, &second.refresh).await), second, "it goes on");
}

#[tokio::test]
async fn a_refresh_repeated_after_its_window_ends_the_family() {
    let rows = [
        (Duration::from_secs(60), WINDOW, "at its end"),
        (Duration::from_secs(60), 30 * WINDOW, "long after"),
        (Duration::ZERO, Duration::ZERO, "no window at all"),
        (Duration::from_secs(5), Duration::from_secs(5), "a short one"),
    ];
    for (grace, wait, reason) in rows {
        let mut builder = World::builder();
        builder.settings.refresh_grace = grace;
        let world = builder.build().await;
        let client = world.public_client("https://app.example/cb").await;
        let first = world.tokens(&client, "alice").await;
        let second = tokens(&world.refresh(&client, &first.refresh).await);
        let bystander = world.tokens(&client, "alice").await;
        world.clock.advance(wait);
        assert!(is_refused(&world.refresh(&client, &first.refresh).await), "{reason}");
        for access in [&first.access, &second.access] {
            assert_eq!(world.call("/mcp", access).await.status, 401, "{reason}");
        }
        assert!(is_refused(&world.refresh(&client, &second.refresh).await), "{reason}");
        assert_eq!(world.refresh(&client, &bystander.refresh).await.status, 200, "{reason}");
    }
}

/// A thief of a refresh token ends up with the owner's pair or with none, and loses it as soon as
/// one of them shows what the other has used.
#[tokio::test]
async fn a_stolen_refresh_token_is_found_out_whoever_comes_first() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    for owner_waits in [WINDOW, LAST_MOMENT] {
        let stolen = world.tokens(&client, "alice").await;
        let thief = tokens(&world.refresh(&client, &stolen.refresh).await);
        world.clock.advance(owner_waits);
        let owner = world.refresh(&client, &stolen.refresh).await;
        if owner_waits == WINDOW {
            assert!(is_refused(&owner));
        } else {
            assert_eq!(tokens(&owner), thief, "one chain, not two");
            let next = tokens(&world.refresh(&client, &thief.refresh).await);
            world.clock.advance(WINDOW);
            assert!(is_refused(&world.refresh(&client, &thief.refresh).await));
            assert_eq!(world.call("/mcp", &next.access).await.status, 401);
        }
        assert_eq!(world.call("/mcp", &thief.access).await.status, 401);
        assert!(is_refused(&world.refresh(&client, &thief.refresh).await));
    }
}

#[tokio::test]
async fn nothing_prolongs_a_window() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    let second = tokens(&world.refresh(&client, &first.refresh).await);
    world.clock.advance(30 * SECOND);
    assert_eq!(tokens(&world.refresh(&client, &first.refresh).await), second, "a repeat");
    let third = tokens(&world.refresh(&client, &second.refresh).await);
    world.clock.advance(29 * SECOND);
    assert_eq!(tokens(&world.refresh(&client, &first.refresh).await), second, "the client went on");
    assert_eq!(tokens(&world.refresh(&client, &second.refresh).await), third);
    world.clock.advance(SECOND);
    assert!(is_refused(&world.refresh(&client, &first.refresh).await), "60 s after its own trade");
    assert!(is_refused(&world.refresh(&client, &third.refresh).await), "and that was the family");
}

#[tokio::test]
async fn a_window_closes_with_its_grant() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    let second = tokens(&world.refresh(&client, &first.refresh).await);
    assert_eq!(world.revoke(&client, &second.refresh).await.status, 200);
    assert!(is_refused(&world.refresh(&client, &first.refresh).await));
    assert_eq!(world.call("/mcp", &second.access).await.status, 401);
}

/// Whatever is asked the second time, there is one pair; the answer says what it may do.
#[tokio::test]
async fn a_repeat_is_checked_like_any_refresh_and_changes_nothing() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let stranger = world.confidential_client().await;
    let changes = [("resource", "http://localhost:8000/other/mcp")];
    let answer =
        world.log_in(&mut Browser::default(), "alice", &authorize_url(&client, &changes)).await;
    let first = tokens(&world.redeem(&client, &answer.parameter("code").unwrap(), VERIFIER).await);
    let ask = |more| {
        let (world, client, first) = (&world, &client, &first);
        async move { world.post_as(client, "/token", &form(&first.refresh, more)).await }
    };
    let narrowed = ask(&[("scope", "other")]).await;
    let pair = tokens(&narrowed);
    assert_eq!(narrowed.json()["scope"], "other");

    let elsewhere = ("resource", "http://localhost:8000/mcp");
    let own = ("resource", "http://localhost:8000/other/sse");
    let rows: [(&[(&str, &str)], Result<(), &str>, &str); 8] = [
        (&[], Ok(()), "everything"),
        (&[("scope", "other")], Ok(()), "the same"),
        (&[("scope", "more")], Ok(()), "something else that was granted"),
        (&[("scope", "other offline_access")], Ok(()), "a wish for refresh tokens"),
        (&[own], Ok(()), "by another name of the resource"),
        (&[("scope", "other fortune")], Err("invalid_scope"), "more than was granted"),
        (&[elsewhere], Err("invalid_target"), "another resource"),
        (&[own, elsewhere], Err("invalid_target"), "another resource as well"),
    ];
    for (more, expected, reason) in rows {
        let answer = ask(more).await;
        match expected {
            Ok(()) => {
                assert_eq!(tokens(&answer), pair, "{reason}");
                assert_eq!(answer.json()["scope"], "other", "{reason}");
            }
            Err(error) => assert_eq!(answer.error(), error, "{reason}"),
        }
    }
    assert!(is_refused(&world.refresh(&stranger, &first.refresh).await), "another client");
    let nobody = RegisteredClient { secret: None, ..client.clone() };
    assert_eq!(world.refresh(&nobody, &first.refresh).await.status, 401, "no authentication");
    assert_eq!(tokens(&ask(&[]).await), pair, "none of these has ended anything");
    let full = world.refresh(&client, &pair.refresh).await;
    assert_eq!(full.json()["scope"], "other more", "narrowing lasts for one access token");
}

#[tokio::test]
async fn a_wish_for_offline_access_is_fine_and_widens_nothing() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let changes = [("scope", "fortune offline_access")];
    let answer =
        world.log_in(&mut Browser::default(), "alice", &authorize_url(&client, &changes)).await;
    let redeemed = world.redeem(&client, &answer.parameter("code").unwrap(), VERIFIER).await;
    assert_eq!(redeemed.json()["scope"], "fortune");
    let mut refresh = tokens(&redeemed).refresh;
    for scope in ["fortune offline_access", "offline_access"] {
        let answer = world.post_as(&client, "/token", &form(&refresh, &[("scope", scope)])).await;
        assert_eq!(answer.json()["scope"], "fortune", "{scope}");
        refresh = tokens(&answer).refresh;
    }
}

#[tokio::test]
async fn a_window_outlasts_the_token_that_opened_it_and_a_replay_past_its_end_harms_nobody() {
    let mut builder = World::builder();
    builder.settings.refresh_token_ttl = Duration::from_secs(3600);
    let world = builder.build().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    world.clock.advance(Duration::from_secs(3590));
    let second = tokens(&world.refresh(&client, &first.refresh).await);
    world.clock.advance(20 * SECOND);
    assert_eq!(tokens(&world.refresh(&client, &first.refresh).await), second, "in the window");
    world.clock.advance(WINDOW);
    assert!(is_refused(&world.refresh(&client, &first.refresh).await), "over, whoever shows it");
    assert_eq!(world.call("/mcp", &second.access).await.status, 200, "nobody could have used it");
    assert_eq!(world.refresh(&client, &second.refresh).await.status, 200);
}

#[tokio::test]
async fn only_a_confidential_client_may_keep_its_refresh_token() {
    let mut builder = World::builder();
    builder.settings.rotation = Rotation::PublicClients;
    let world = builder.build().await;
    let confidential = world.confidential_client().await;
    let first = world.tokens(&confidential, "alice").await;
    let mut seen = vec![first.access.clone()];
    for _ in 0..3 {
        world.clock.advance(20 * 24 * 3600 * SECOND);
        let next = tokens(&world.refresh(&confidential, &first.refresh).await);
        assert_eq!(next.refresh, first.refresh, "kept, and its end moves with its use");
        assert!(!seen.contains(&next.access), "a new access token each time");
        assert_eq!(world.call("/mcp", &next.access).await.status, 200);
        seen.push(next.access);
    }
    world.clock.advance(30 * 24 * 3600 * SECOND);
    assert!(is_refused(&world.refresh(&confidential, &first.refresh).await), "unused for 30 days");

    let public = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&public, "alice").await;
    let second = tokens(&world.refresh(&public, &first.refresh).await);
    assert_ne!(first.refresh, second.refresh, "A18");
    world.clock.advance(WINDOW);
    assert!(is_refused(&world.refresh(&public, &first.refresh).await));
    assert_eq!(world.call("/mcp", &second.access).await.status, 401);
}

// --- keys ---------------------------------------------------------------------------------------

#[tokio::test]
async fn a_key_rotated_inside_the_window_changes_nothing() {
    let (old, new) = (random_key(), random_key());
    let sealer = Sealer::new(&old);
    let world = World::builder().sealed_with(&sealer).build().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    let second = tokens(&world.refresh(&client, &first.refresh).await);

    sealer.turn_to(KeyRing::new(&new, [&old]));
    assert_eq!(tokens(&world.refresh(&client, &first.refresh).await), second);
    let third = tokens(&world.refresh(&client, &second.refresh).await);
    sealer.turn_to(KeyRing::new(&old, [&new]));
    assert_eq!(tokens(&world.refresh(&client, &second.refresh).await), third, "made by the new");

    sealer.turn_to(KeyRing::new(&new, []));
    assert!(is_refused(&world.refresh(&client, &first.refresh).await), "nobody can make it again");
    assert_eq!(world.call("/mcp", &third.access).await.status, 200, "which is no theft");
    assert_eq!(world.refresh(&client, &third.refresh).await.status, 200);
}

// --- many at once -------------------------------------------------------------------------------

/// Where the instances meet.
enum Place {
    File(tempfile::TempDir),
    Postgres(Secret),
}

impl Place {
    /// What a process of its own opens: another connection, another cache.
    async fn open(&self) -> Arc<dyn Store> {
        let limits = TableLimits::default();
        let behind: Arc<dyn Store> = match self {
            Self::File(folder) => {
                let path = folder.path().join("sekisho.db");
                Arc::new(SqliteStore::open(&path, limits, Durability::Normal).await.unwrap())
            }
            Self::Postgres(url) => Arc::new(PostgresStore::open(url, limits).await.unwrap()),
        };
        Arc::new(CachedStore::new(behind))
    }

    async fn instance(&self, sealer: &Sealer, clock: &Arc<ManualClock>) -> World {
        let mut builder = World::builder().over(self.open().await).sealed_with(sealer).by(clock);
        builder.settings.refreshes_per_minute = std::num::NonZeroU32::MAX;
        builder.build().await
    }

    /// What a thief of the disk would read, where there is one file to steal.
    fn disk(&self) -> Vec<u8> {
        let Self::File(folder) = self else { return Vec::new() };
        let files = std::fs::read_dir(folder.path()).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

/// One refresh token, shown at once by fifty windows that are spread over the instances: every
/// answer is 200, and all say the same.
async fn refresh_at_once(instances: &[&World], client: &RegisteredClient, refresh: &str) -> Tokens {
    let start = Arc::new(tokio::sync::Barrier::new(WINDOWS_AT_ONCE));
    let windows: Vec<_> = (0..WINDOWS_AT_ONCE)
        .map(|number| {
            let app = instances[number % instances.len()].app.clone();
            let (start, client, refresh) = (Arc::clone(&start), client.clone(), refresh.to_owned());
            tokio::spawn(async move {
                start.wait().await;
                refresh_at(&app, &client, &refresh).await
            })
        })
        .collect();
    let mut bodies = Vec::new();
    for window in windows {
        let answer = window.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        bodies.push(answer);
    }
    let pair = tokens(&bodies[0]);
    assert!(bodies.iter().all(|answer| answer.body == bodies[0].body), "one pair");
    pair
}

/// Rounds of one family; at the end the replay ends it, everywhere.
async fn live_through(rounds: usize, processes: usize, place: Place) {
    let (sealer, clock) = (Sealer::ephemeral(), Arc::new(ManualClock::default()));
    let mut instances = Vec::new();
    for _ in 0..processes {
        instances.push(place.instance(&sealer, &clock).await);
    }
    let instances: Vec<&World> = instances.iter().collect();
    let client = instances[0].public_client("https://app.example/cb").await;
    let mut family = vec![instances[0].tokens(&client, "alice").await];
    for _ in 0..rounds {
        let next = refresh_at_once(&instances, &client, &family.last().unwrap().refresh).await;
        assert!(!family.contains(&next), "a new pair each round");
        for world in &instances {
            assert_eq!(world.call("/mcp", &next.access).await.status, 200);
        }
        family.push(next);
    }

    let disk = place.disk();
    let lately = family.iter().rev().take(3);
    for text in lately.flat_map(|pair| [&pair.access, &pair.refresh]) {
        let is_there = disk.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(!is_there, "a token in clear");
    }

    clock.advance(WINDOW);
    let [before, last] = family.last_chunk().unwrap();
    let replayer = instances[processes - 1];
    assert!(is_refused(&replayer.refresh(&client, &before.refresh).await));
    assert_eq!(replayer.call("/mcp", &last.access).await.status, 401);
    assert!(is_refused(&instances[0].refresh(&client, &last.refresh).await));
}

/// So many rounds, or as many as `REFRESH_ROUNDS` says: the long check asks for more.
#[expect(clippy::disallowed_methods, reason = "how often it is tried is no setting of the program")]
fn rounds(usual: usize) -> usize {
    std::env::var("REFRESH_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_refreshes_at_once_get_one_pair() {
    live_through(rounds(100), 1, Place::File(tempfile::tempdir().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_on_one_store_give_the_same_pair() {
    live_through(10, 2, Place::File(tempfile::tempdir().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_on_one_database_give_the_same_pair() {
    live_through(rounds(30), 2, Place::Postgres(testkit::postgres::database())).await;
}

#[tokio::test]
async fn a_flood_of_refreshes_is_slowed_and_repeats_are_free() {
    let mut builder = World::builder();
    builder.settings.refreshes_per_minute = std::num::NonZeroU32::new(2).unwrap();
    let world = builder.build().await;
    let client = world.public_client("https://app.example/cb").await;
    let mut pair = world.tokens(&client, "alice").await;
    for _ in 0..2 {
        let next = tokens(&world.refresh(&client, &pair.refresh).await);
        for _ in 0..20 {
            assert_eq!(tokens(&world.refresh(&client, &pair.refresh).await), next);
        }
        pair = next;
    }
    let slowed = world.refresh(&client, &pair.refresh).await;
    assert_eq!(slowed.status, 429);
    assert!(!slowed.header("retry-after").is_empty());
    let other = world.tokens(&client, "bob").await;
    assert_eq!(world.refresh(&client, &other.refresh).await.status, 200, "another grant");
}

// --- what every refresh is bound to -------------------------------------------------------------

#[tokio::test]
async fn a_refresh_is_for_its_client_its_scope_and_its_resource() {
    let world = World::new().await;
    let client = world.confidential_client().await;
    let other = world.confidential_client().await;
    let changes = [("resource", "http://localhost:8000/other/mcp")];
    let answer =
        world.log_in(&mut Browser::default(), "alice", &authorize_url(&client, &changes)).await;
    let first = tokens(&world.redeem(&client, &answer.parameter("code").unwrap(), VERIFIER).await);

    assert_eq!(
        world.refresh(&other, &first.refresh).await.error(),
        "invalid_grant",
        "other client"
    );
    let nobody = RegisteredClient { secret: None, ..client.clone() };
    assert_eq!(world.refresh(&nobody, &first.refresh).await.status, 401, "no authentication");
    let form = |name, value| {
        [("grant_type", "refresh_token"), ("refresh_token", first.refresh.as_str()), (name, value)]
    };
    let wider = world.post_as(&client, "/token", &form("scope", "other fortune")).await;
    assert_eq!(wider.error(), "invalid_scope");
    let elsewhere =
        world.post_as(&client, "/token", &form("resource", "http://localhost:8000/mcp")).await;
    assert_eq!(elsewhere.error(), "invalid_target");

    let narrower = world.post_as(&client, "/token", &form("scope", "other")).await;
    assert_eq!(narrower.json()["scope"], "other", "none of the refused requests had rotated it");
    let second = tokens(&narrower);
    assert_ne!(first.refresh, second.refresh);
    let full = world.refresh(&client, &second.refresh).await;
    assert_eq!(full.json()["scope"], "other more", "narrowing lasts for one access token");
}

#[tokio::test]
async fn a_refresh_token_ends_after_its_time() {
    let world = World::new().await;
    let client = world.public_client("https://app.example/cb").await;
    let first = world.tokens(&client, "alice").await;
    world.clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(world.refresh(&client, &first.refresh).await.error(), "invalid_grant");
}
