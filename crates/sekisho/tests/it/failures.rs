//! Who is wrong too often is told to wait, and nobody else: attack 63 at `/token`.

use std::num::NonZeroU32;
use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;
use sekisho::front::ClientAddress;
use testkit::{Answer, RegisteredClient, World};

async fn world() -> World {
    let mut builder = World::builder();
    builder.settings.failures_per_minute = NonZeroU32::new(5).unwrap();
    builder.build().await
}

async fn post_from(world: &World, address: [u8; 4], path: &str, form: String) -> Answer {
    let request = Request::post(path)
        .extension(ClientAddress(address.into()))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(axum::body::Body::from(form))
        .unwrap();
    Answer::to(&world.app, request).await
}

fn refresh(client: &RegisteredClient, secret: &str, token: &str) -> String {
    format!(
        "grant_type=refresh_token&refresh_token={token}&client_id={}&client_secret={secret}",
        client.id
    )
}

const MALLORY: [u8; 4] = [192, 0, 2, 66];
const ALICE: [u8; 4] = [192, 0, 2, 1];

#[tokio::test]
async fn an_address_that_guesses_is_told_to_wait_and_nobody_else_is() {
    let world = world().await;
    let client = world.confidential_client().await;
    let secret = client.secret.clone().unwrap();
    let tokens = world.tokens(&client, "alice").await;
    for guess in 0..5 {
        let wrong = refresh(&client, &format!("guess{guess}"), &tokens.refresh);
        assert_eq!(post_from(&world, MALLORY, "/token", wrong).await.status, 401);
    }
    let wrong = refresh(&client, "guess5", &tokens.refresh);
    let refused = post_from(&world, MALLORY, "/token", wrong).await;
    assert_eq!(
        (refused.status.as_u16(), refused.error().as_str()),
        (429, "temporarily_unavailable")
    );
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    for path in ["/revoke", "/introspect"] {
        let form = format!("token=x&client_id={}&client_secret=guess6", client.id);
        assert_eq!(post_from(&world, MALLORY, path, form).await.status, 429, "nor at {path}");
    }

    let right = refresh(&client, &secret, &tokens.refresh);
    let answer = post_from(&world, MALLORY, "/token", right.clone()).await;
    assert_eq!(answer.status, 200, "who shares the address with a guesser is not locked out");
    assert_eq!(post_from(&world, ALICE, "/token", right).await.status, 200, "nor anybody else");
    world.clock.advance(Duration::from_secs(wait));
    let wrong = refresh(&client, "guess", "mcpr_x");
    assert_eq!(post_from(&world, MALLORY, "/token", wrong).await.status, 401, "heard again");
}

#[tokio::test]
async fn codes_and_refresh_tokens_are_guesses_and_what_is_malformed_is_none() {
    let client_of = async |world: &World| world.public_client("https://app.example/cb").await.id;
    let rows = [
        ("grant_type=refresh_token&refresh_token=mcpr_guess", true, "a refresh token"),
        (
            "grant_type=authorization_code&code=mcp_guess&code_verifier=v&redirect_uri=x",
            true,
            "a code",
        ),
        ("grant_type=refresh_token", false, "no token at all"),
        ("grant_type=password", false, "another grant"),
        ("grant_type=client_credentials", false, "a grant it has not"),
    ];
    for (form, counts, reason) in rows {
        let world = world().await;
        let id = client_of(&world).await;
        for _ in 0..5 {
            let answer =
                post_from(&world, MALLORY, "/token", format!("{form}&client_id={id}")).await;
            assert_eq!(answer.status, 400, "{reason}");
        }
        let sixth = post_from(&world, MALLORY, "/token", format!("{form}&client_id={id}")).await;
        assert_eq!(sixth.status == 429, counts, "{reason}");
    }
}

#[tokio::test]
async fn an_unknown_client_at_token_hears_that_it_must_register_again() {
    let world = World::new().await;
    let ids = ["unknown", "https%3A%2F%2Fapp.example%2Fclient.json", "https%3A%2F%2F127.0.0.1%2Fx"];
    for id in ids {
        let form = format!("grant_type=refresh_token&refresh_token=mcpr_x&client_id={id}");
        let answer = post_from(&world, ALICE, "/token", form).await;
        assert_eq!(
            (answer.status.as_u16(), answer.error().as_str()),
            (401, "invalid_client"),
            "{id}"
        );
    }
}
