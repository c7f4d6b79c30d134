//! One instance. (`tests/fleet` has the same tests with two.)

use axum::Router;
use sekisho::mcp::Settings;

/// 128 random bits.
pub(crate) const SESSION_ID_LETTERS: usize = 32;

#[expect(clippy::unused_async, reason = "where there are two, they have to find each other")]
pub(crate) async fn serving(settings: Settings, instance: impl Fn(Settings) -> Router) -> Router {
    instance(settings)
}
