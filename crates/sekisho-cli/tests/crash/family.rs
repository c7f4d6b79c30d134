//! What one client knows of one login: what was acknowledged, and what was on its way.

use testkit::{RegisteredClient, Tokens};

/// Access tokens remembered of one login; older ones are forgotten.
const ACCESS_TOKENS_MAX: usize = 3;

/// A login, from its code on.
pub(crate) struct Family {
    pub(crate) client: RegisteredClient,
    pub(crate) code: String,
    pub(crate) access: Vec<String>,
    /// The newest that was acknowledged; empty while there is none.
    pub(crate) refresh: String,
    pub(crate) stage: Stage,
}

/// How far it is, by what was answered; the steps in `-ing` got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The code came.
    Coded,
    /// The code was sent in.
    Redeeming,
    /// Tokens came.
    Alive,
    /// The refresh token was sent in.
    Refreshing,
    /// The refresh token was sent in to end it all, or the code a second time.
    Ending,
    /// The access token at this place was sent in to end it alone.
    EndingOne(usize),
    /// All its tokens are void.
    Ended,
}

impl Family {
    pub(crate) fn begun(client: RegisteredClient, code: String) -> Self {
        let (access, refresh) = Default::default();
        Self { client, code, access, refresh, stage: Stage::Coded }
    }

    /// What the token endpoint acknowledged.
    pub(crate) fn renew(&mut self, tokens: Tokens) {
        self.access.push(tokens.access);
        if self.access.len() > ACCESS_TOKENS_MAX {
            self.access.remove(0);
        }
        self.refresh = tokens.refresh;
        self.stage = Stage::Alive;
    }
}
