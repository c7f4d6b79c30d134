//! Who else is there. Each instance counts its row in the store up; whose number stands still is gone.
//!
//! Everybody judges by their own watch how long a number stands still, so that no two clocks have to
//! agree. While the store cannot be asked, whoever was there last still counts as there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Fleet, InstanceId};
use crate::store::{InstanceSeen, PostgresStore, StoreError};

/// How often an instance says that it lives.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);

/// An instance that did not say so for this long is gone: nobody waits for it any more. One that ended
/// is noticed at once, since nobody listens there.
pub const GONE_AFTER: Duration = Duration::from_secs(10);

/// How long a request waits until the store was asked for an instance that nobody has heard of.
const LOOK_WAIT: Duration = Duration::from_secs(1);

/// The shortest time between two looks at the store.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(super) struct Members {
    table: RwLock<Table>,
    looks: Looks,
}

/// Looks at the store that requests ask for, one for all that wait.
#[derive(Debug, Default)]
struct Looks {
    wanted: watch::Sender<u64>,
    /// Up to which wish they are done; nothing while nobody looks.
    done: watch::Sender<Option<u64>>,
}

#[derive(Debug, Default)]
struct Table {
    members: HashMap<InstanceId, Member>,
    /// When the store was last asked with success.
    looked_at: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    reached: Reached,
    beat: i64,
    changed_at: Instant,
}

/// Where a living instance is, and when it is not one any more.
#[derive(Debug, Clone)]
pub(super) struct Reached {
    pub(super) address: SocketAddr,
    pub(super) gone: CancellationToken,
}

impl Members {
    pub(super) fn find(&self, id: &InstanceId) -> Option<Reached> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.members.get(id).map(|member| member.reached.clone())
    }

    /// Those that live.
    pub(super) fn all(&self) -> Vec<InstanceId> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.members.keys().cloned().collect()
    }

    /// Takes in what the store has at `now`, and gives the rows of those that are gone.
    fn see(&self, me: &InstanceId, rows: Vec<InstanceSeen>, now: Instant) -> Vec<InstanceSeen> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let is_late = |at: &Instant| now.duration_since(*at) >= GONE_AFTER / 2;
        // Nobody could say anything to us meanwhile: all have as long again.
        let all_anew = table.looked_at.replace(now).as_ref().is_some_and(is_late);
        let mut before = std::mem::take(&mut table.members);
        let mut gone = Vec::new();
        for row in rows {
            let (id, Ok(address)) = (InstanceId(row.id.clone()), row.address.parse()) else {
                continue;
            };
            if id == *me {
                continue;
            }
            let known = match before.remove(&id) {
                Some(moved) if moved.reached.address != address => {
                    moved.reached.gone.cancel();
                    None
                }
                known => known,
            };
            let mut member = known.unwrap_or_else(|| {
                tracing::debug!(instance = %id, %address, "there is another instance");
                let gone = CancellationToken::new();
                Member { reached: Reached { address, gone }, beat: row.beat, changed_at: now }
            });
            if member.beat != row.beat || all_anew {
                member.beat = row.beat;
                member.changed_at = now;
            }
            if now.duration_since(member.changed_at) >= GONE_AFTER {
                tracing::warn!(instance = %id, %address, "an instance is gone without a word");
                member.reached.gone.cancel();
                gone.push(row);
            } else {
                table.members.insert(id, member);
            }
        }
        for (_, left) in before {
            left.reached.gone.cancel();
        }
        gone
    }
}

impl Looks {
    /// Waits until the store was asked from now on; not where nobody does, and not for long.
    async fn once(&self) {
        let mut done = self.done.subscribe();
        if done.borrow().is_none() {
            return;
        }
        let mut wish = 0;
        self.wanted.send_modify(|wanted| {
            *wanted += 1;
            wish = *wanted;
        });
        let is_done = done.wait_for(|done| done.is_none_or(|done| done >= wish));
        // Whoever waits too long finds what is known.
        drop(tokio::time::timeout(LOOK_WAIT, is_done).await);
    }
}

impl Fleet {
    /// Where an instance is. One that begins is in the store before it serves anybody, so one that nobody
    /// has heard of yet is looked for there.
    pub(super) async fn find(&self, id: &InstanceId) -> Option<Reached> {
        if let Some(known) = self.members.find(id) {
            return Some(known);
        }
        self.members.looks.once().await;
        self.members.find(id)
    }

    /// Says that we live and looks who else does, once.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn beat(&self, store: &PostgresStore) -> Result<(), StoreError> {
        let rows = store.note_instance(self.me.as_str(), &self.address.to_string()).await?;
        for gone in self.members.see(&self.me, rows, Instant::now()) {
            store.forget_instance(&gone).await?;
        }
        Ok(())
    }

    /// Goes on with it for as long as it is polled.
    pub async fn follow(self: Arc<Self>, store: Arc<PostgresStore>) {
        let mut turn = interval(BEAT_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let Looks { wanted, done } = &self.members.looks;
        let mut wishes = wanted.subscribe();
        let mut is_out = false;
        loop {
            let wish = *wishes.borrow_and_update();
            let beat = self.beat(&store).await;
            done.send_replace(Some(wish));
            match beat {
                Ok(()) => is_out = false,
                Err(error) if !is_out => {
                    is_out = true;
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "other instances cannot be looked for in the store: trying again"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(LOOK_PAUSE).await;
            tokio::select! {
                _ = turn.tick() => {}
                _ = wishes.changed() => {}
            }
        }
    }

    /// Says that we end.
    ///
    /// # Errors
    /// When the store cannot be asked: the others then find out by themselves.
    pub async fn leave(&self, store: &PostgresStore) -> Result<(), StoreError> {
        store.remove_instance(self.me.as_str()).await
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn row(id: &str, beat: i64) -> InstanceSeen {
        InstanceSeen { id: id.to_owned(), address: "192.0.2.1:8000".to_owned(), beat }
    }

    #[test]
    fn whoever_stands_still_is_gone_and_nobody_who_moves() {
        let (members, me) = (Members::default(), InstanceId("me".to_owned()));
        let id = |name: &str| InstanceId(name.to_owned());
        let begun = Instant::now();
        let at = |seconds: u64| begun + Duration::from_secs(seconds);
        for second in 0..10 {
            let beat = i64::try_from(second).unwrap();
            let rows = vec![row("me", beat), row("lives", beat), row("still", 7)];
            assert!(members.see(&me, rows, at(second)).is_empty(), "{second} s");
            assert!(members.find(&id("still")).is_some(), "{second} s");
        }
        let still = members.find(&id("still")).unwrap();
        let rows = vec![row("me", 10), row("lives", 10), row("still", 7)];
        assert_eq!(members.see(&me, rows, at(10)), [row("still", 7)]);
        assert!(still.gone.is_cancelled(), "whoever waits for it hears so");
        assert!(members.find(&id("still")).is_none());
        assert!(members.find(&id("lives")).is_some());
        assert!(members.find(&me).is_none(), "we are not another");

        assert!(members.see(&me, vec![row("still", 8)], at(11)).is_empty());
        assert!(members.find(&id("still")).is_some(), "it only slept");
        assert!(members.find(&id("lives")).is_none(), "it left");
    }

    #[test]
    fn after_an_outage_of_the_store_nobody_is_gone_at_once() {
        let (members, me) = (Members::default(), InstanceId("me".to_owned()));
        let begun = Instant::now();
        members.see(&me, vec![row("other", 1)], begun);
        let later = begun + Duration::from_mins(5);
        assert!(members.see(&me, vec![row("other", 1)], later).is_empty());
        assert!(members.find(&InstanceId("other".to_owned())).is_some());
    }
}
