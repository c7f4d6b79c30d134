//! What changes in a service while clients listen: its lists, and the resources they follow.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::service::Subscription;
use crate::principal::{Person, Principal};

/// Where a service says what changed. Clones speak to the same clients.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    audiences: Arc<Mutex<Vec<Weak<dyn Audience>>>>,
    whose: Whose,
    is_heard_by_each: bool,
}

/// Whom something concerns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum Whose {
    /// All there are.
    #[default]
    Everybodys,
    /// One person, over all their clients.
    Persons(Person),
    /// One session, by its id.
    Sessions(String),
}

impl Whose {
    /// Whether it concerns this caller, in the session of this id if there is one.
    pub(super) fn concerns(&self, caller: Option<&Arc<Principal>>, session: Option<&str>) -> bool {
        match self {
            Self::Everybodys => true,
            Self::Persons(person) => caller.is_some_and(|caller| caller.person() == *person),
            Self::Sessions(id) => session == Some(id),
        }
    }
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change<'a> {
    Tools,
    Prompts,
    Resources,
    Resource(&'a str),
}

/// Whoever passes a change on to clients: the sessions and streams of one transport.
pub(super) trait Audience: fmt::Debug + Send + Sync {
    /// Never waits: a client that does not read is cut off.
    fn hear(&self, change: Change<'_>, whose: &Whose);
}

impl Changes {
    /// For a service of which every instance hears by itself what changes. Else an instance that is told
    /// something passes it on to the clients of the others.
    pub fn heard_by_each_instance() -> Self {
        Self { is_heard_by_each: true, ..Self::default() }
    }

    /// The same clients, of whom only those hear whom it concerns.
    #[must_use]
    pub fn of(&self, whose: Whose) -> Self {
        Self { whose, ..self.clone() }
    }

    pub(super) fn is_heard_by_each(&self) -> bool {
        self.is_heard_by_each
    }

    /// The list of tools is another one.
    pub fn tools_changed(&self) {
        self.say(Change::Tools);
    }

    /// The list of prompts is another one.
    pub fn prompts_changed(&self) {
        self.say(Change::Prompts);
    }

    /// The list of resources is another one.
    pub fn resources_changed(&self) {
        self.say(Change::Resources);
    }

    /// The resource of this URI reads otherwise now.
    pub fn resource_updated(&self, uri: &str) {
        self.say(Change::Resource(uri));
    }

    /// Says here too what is said at `other`, to whom it concerns, of resources by the URIs that
    /// `rename` gives them; until what is returned is dropped.
    pub fn repeat(
        &self,
        other: &Self,
        rename: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Subscription {
        let repeats: Arc<dyn Audience> =
            Arc::new(Repeats { to: self.clone(), rename: Box::new(rename) });
        other.add(Arc::downgrade(&repeats));
        Subscription::holding(repeats)
    }

    pub(super) fn add(&self, audience: Weak<dyn Audience>) {
        self.audiences.lock().unwrap_or_else(PoisonError::into_inner).push(audience);
    }

    /// Says nothing there any more.
    pub(super) fn forget(&self, audience: &Weak<dyn Audience>) {
        let mut audiences = self.audiences.lock().unwrap_or_else(PoisonError::into_inner);
        audiences.retain(|known| !Weak::ptr_eq(known, audience));
    }

    fn say(&self, change: Change<'_>) {
        let present: Vec<Arc<dyn Audience>> = {
            let mut audiences = self.audiences.lock().unwrap_or_else(PoisonError::into_inner);
            audiences.retain(|audience| audience.strong_count() > 0);
            audiences.iter().filter_map(Weak::upgrade).collect()
        };
        for audience in present {
            audience.hear(change, &self.whose);
        }
    }
}

/// Passes changes on.
struct Repeats {
    to: Changes,
    rename: Box<dyn Fn(&str) -> String + Send + Sync>,
}

impl fmt::Debug for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Repeats")
    }
}

impl Audience for Repeats {
    fn hear(&self, change: Change<'_>, whose: &Whose) {
        let to = self.to.of(whose.clone());
        match change {
            Change::Resource(uri) => to.resource_updated(&(self.rename)(uri)),
            Change::Tools | Change::Prompts | Change::Resources => to.say(change),
        }
    }
}

impl Change<'_> {
    /// The notification that tells it.
    pub(super) fn method(&self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Resource(_) => "notifications/resources/updated",
        }
    }

    /// What is told by the notification of this name, with this URI.
    pub(super) fn by_method<'a>(method: &str, uri: Option<&'a str>) -> Option<Change<'a>> {
        let lists = [Change::Tools, Change::Prompts, Change::Resources];
        let any = lists.into_iter().chain(uri.map(Change::Resource));
        any.into_iter().find(|change| change.method() == method)
    }
}
