//! Two instances of one service on one `PostgreSQL` database.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use testkit::McpClient;
use testkit::world::{VERIFIER, post_as, redeem, tokens};
use tokio::time::{Instant, sleep};

use crate::harness::{Folder, Server, free_port};
use crate::person::{app, open_login};

/// What design and documentation promise.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

/// Two instances behind one name, as behind a load balancer, and the password of `demo`.
async fn two(folder: &Folder) -> (Server, Server, String) {
    let key = folder
        .write("sekisho.key", "7f3b1c9ad0e25846b1f7093c6ae84d152e90fb7746c3a8d15f0c2b9e84d36a17");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ports = [free_port(), free_port()];
    let settings = format!(
        "public_url = \"http://localhost:{}\"\nallowed_hosts = [\"localhost:{}\"]\nstore = \"{}\"\n",
        ports[0],
        ports[1],
        testkit::postgres::database().reveal()
    );
    let one = folder.serve_at(ports[0], &settings).await;
    let other = folder.serve_at(ports[1], &settings).await;
    let password = one.password().expect("the first makes the account");
    assert_eq!(other.password(), None, "and the second finds it");
    (one, other, password)
}

#[tokio::test]
async fn a_login_begun_at_one_instance_is_finished_at_the_other() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let mut login = open_login(&one).await;
    let sent = login.submit(&other, "demo", &password).await;
    let back = login.browser.open(&app(&one), sent.location().unwrap()).await;
    let code = back.parameter("code").unwrap_or_else(|| panic!("no code: {back:?}"));

    let bought = tokens(&redeem(&app(&other), &login.client, &code, VERIFIER).await);
    for server in [&one, &other] {
        let mut client = McpClient::new(server.url("/mcp")).with_token(&bought.access);
        assert_eq!(client.begin("2025-11-25").await.status, 200);
    }
    let again = redeem(&app(&one), &login.client, &code, VERIFIER).await;
    assert_eq!(again.status, 400, "a code is spent everywhere: {again:?}");
    for server in [&one, &other] {
        assert_eq!(refused_within(server, &bought.access).await, 401, "the replay ends its grant");
    }
}

#[tokio::test]
async fn a_revocation_at_one_instance_holds_at_the_other_within_a_second() {
    let folder = Folder::new();
    let (one, other, password) = two(&folder).await;
    let login = open_login(&one).await;
    let client = login.client.clone();
    let bought = login.finish(&one, "demo", &password).await;
    let mut seen = McpClient::new(other.url("/mcp")).with_token(&bought.access);
    assert_eq!(seen.begin("2025-11-25").await.status, 200, "the other has it in memory now");

    let revoked = post_as(&app(&one), &client, "/revoke", &[("token", &bought.access)]).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    assert_eq!(refused_within(&other, &bought.access).await, 401);
}

#[tokio::test]
async fn without_a_key_no_instance_begins() {
    let folder = Folder::new();
    let url = testkit::postgres::database();
    let listen = format!("127.0.0.1:{}", free_port());
    let serve = ["serve", "--store", url.reveal(), "--listen", &listen];
    let done = folder.run(&serve, "").await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.err.contains("give every instance the same"), "{}", done.err);
    assert!(!folder.path().join("sekisho.key").exists(), "none is made");
}

/// The status once the token is refused, or the last one when the time for it is over.
async fn refused_within(server: &Server, token: &str) -> u16 {
    let given_up_at = Instant::now() + REVOKED_WITHIN;
    loop {
        let mut client = McpClient::new(server.url("/mcp")).with_token(token);
        let status = client.begin("2025-11-25").await.status.as_u16();
        if status == 401 || Instant::now() >= given_up_at {
            return status;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
