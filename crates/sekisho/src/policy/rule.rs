//! The rules of one server, and what they say of a request.
//!
//! A rule reaches what its patterns name. Of the rules that reach a request the denying ones are asked
//! first: one that holds, or cannot be decided, ends it. Then one that allows is enough. Without any
//! the answer is no. What an allowing rule lacks but a scope can be asked for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use cel::Value;
use sekisho_protocol::oauth::{ClientId, ScopeSet};
use url::Url;

use super::expression::{Expression, Facts, Outcome, Scene};
use super::pattern::{Pattern, is_straight};
use super::value::{of_json, of_members, of_text};
use crate::principal::{Identity, Principal};

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// What the log and `explain` call it.
    pub name: String,
    /// What it is about.
    pub reach: Reach,
    /// What it says of that.
    pub says: Says,
    failures: AtomicU64,
}

/// What a rule is about: what one of its patterns names. Without any pattern: everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Tools by name.
    pub tools: Vec<Pattern>,
    /// Resources by URI.
    pub resources: Vec<Pattern>,
    /// Prompts by name.
    pub prompts: Vec<Pattern>,
}

/// What a rule says of what it reaches.
#[derive(Debug, PartialEq)]
pub enum Says {
    /// It is allowed to a token of these scopes, if the condition holds.
    Allow {
        /// What the token must have; often nothing.
        scopes: ScopeSet,
        /// None holds always.
        condition: Option<Expression>,
    },
    /// It is denied if the condition holds, or cannot be decided.
    Deny(Expression),
}

/// All rules of one server.
#[derive(Debug, PartialEq)]
pub struct Rules {
    server: String,
    rules: Vec<Rule>,
}

/// One thing that somebody wants of a server.
#[derive(Debug, Clone, Copy)]
pub enum Wish<'a> {
    /// To call a tool.
    Tool(&'a str),
    /// To read or follow a resource.
    Resource(&'a str),
    /// To use a template of resources.
    Template(&'a str),
    /// To get a prompt.
    Prompt(&'a str),
}

/// What is known of what somebody passes along.
#[derive(Debug, Clone)]
pub(super) enum Arguments {
    /// These.
    Given(Value),
    /// Nothing yet, as for a list.
    Open,
}

/// What the rules say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Yes, by the rule of this name.
    Allowed {
        /// Its name.
        by: &'a str,
    },
    /// Not with this token: one with these scopes as well would do.
    Lacks {
        /// The rule that wants them.
        by: &'a str,
        /// What is missing.
        scopes: ScopeSet,
    },
    /// No.
    Denied {
        /// The rule that says so; none where no rule allows it.
        by: Option<&'a str>,
    },
}

/// What one rule says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is about something else.
    DoesNotReach,
    /// Its condition does not hold.
    SaysNothing,
    /// It allows it.
    Allows,
    /// It would allow it to a token with these scopes too.
    Wants(ScopeSet),
    /// It denies it.
    Denies,
    /// Its condition could not be decided: it allows nothing, and denies if that is what it is for.
    Fails {
        /// Why.
        reason: String,
        /// Whether it denies.
        denies: bool,
    },
}

/// A decision, and what each rule had to say about it.
#[derive(Debug)]
pub struct Explained<'a> {
    /// What came of it.
    pub decision: Decision<'a>,
    /// Each rule in the order they are asked in, with its verdict.
    pub verdicts: Vec<(&'a Rule, Verdict)>,
}

/// Whether they say the same; what became of them meanwhile is nothing they say.
impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.reach == other.reach && self.says == other.says
    }
}

impl Rule {
    /// A rule of this name.
    pub fn new(name: &str, reach: Reach, says: Says) -> Self {
        Self { name: name.to_owned(), reach, says, failures: AtomicU64::new(0) }
    }

    /// Its condition, where it has one.
    pub fn condition(&self) -> Option<&Expression> {
        match &self.says {
            Says::Allow { condition, .. } => condition.as_ref(),
            Says::Deny(condition) => Some(condition),
        }
    }

    const fn denies(&self) -> bool {
        matches!(self.says, Says::Deny(_))
    }

    fn verdict(&self, wish: Wish<'_>, scene: &Scene<'_>, has: &ScopeSet) -> Verdict {
        if !self.reaches(wish) {
            return Verdict::DoesNotReach;
        }
        let outcome = self.condition().map_or(Outcome::Yes, |condition| condition.decide(scene));
        if let Outcome::Failed(reason) = outcome {
            self.tell_of_failure(&reason);
            return Verdict::Fails { reason, denies: self.denies() };
        }
        match &self.says {
            Says::Deny(_) if outcome == Outcome::Yes => Verdict::Denies,
            Says::Allow { scopes, .. } if outcome != Outcome::No => {
                let missing = scopes.iter().filter(|scope| !has.contains(scope));
                let missing = ScopeSet::of(missing);
                if missing.is_empty() { Verdict::Allows } else { Verdict::Wants(missing) }
            }
            // What may be denied once all is known, may be allowed too: it is listed.
            Says::Deny(_) | Says::Allow { .. } => Verdict::SaysNothing,
        }
    }

    fn reaches(&self, wish: Wish<'_>) -> bool {
        let Reach { tools, resources, prompts } = &self.reach;
        if [tools, resources, prompts].into_iter().all(Vec::is_empty) {
            return true;
        }
        match wish {
            Wish::Tool(name) => tools.iter().any(|pattern| pattern.matches(name)),
            Wish::Prompt(name) => prompts.iter().any(|pattern| pattern.matches(name)),
            Wish::Resource(uri) => resources.iter().any(|pattern| pattern.matches(uri)),
            Wish::Template(template) => {
                // One that denies some of a template leaves the rest of it.
                !self.denies() && resources.iter().any(|pattern| pattern.may_match(template))
            }
        }
    }

    /// The first time, and then twice as seldom each time: whoever provokes it fills no log.
    fn tell_of_failure(&self, reason: &str) {
        let times = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if times.is_power_of_two() {
            tracing::warn!(
                rule = self.name,
                times,
                reason,
                "a rule could not be decided: it allows nothing"
            );
        }
    }
}

impl Rules {
    /// The rules of the server called `server`.
    pub fn new(server: &str, mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| !rule.denies());
        Self { server: server.to_owned(), rules }
    }

    /// In the order they are asked in.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Every scope that a rule wants: what a token may have beside those of the server.
    pub fn scopes(&self) -> ScopeSet {
        let scopes = self.rules.iter().filter_map(|rule| match &rule.says {
            Says::Allow { scopes, .. } => Some(scopes),
            Says::Deny(_) => None,
        });
        ScopeSet::of(scopes.flat_map(ScopeSet::iter))
    }

    /// The claims that its conditions ask about.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(Rule::condition).flat_map(Expression::claims)
    }

    /// Whether what a caller passes along makes a difference to some rule.
    pub(super) fn ask_about_arguments(&self) -> bool {
        let conditions = self.rules.iter().filter_map(Rule::condition);
        conditions.into_iter().any(|condition| condition.asks_about("args"))
    }

    /// What is known of a caller, whatever they want.
    pub(super) fn facts_about(&self, caller: &Principal) -> Facts {
        person(&caller.identity)
            .with("client", client(&caller.client_id))
            .with("server", of_text(&self.server))
    }

    /// What the rules say of one wish.
    pub(super) fn decide(
        &self,
        wish: Wish<'_>,
        arguments: &Arguments,
        caller: &Facts,
        has: &ScopeSet,
    ) -> Decision<'_> {
        if !is_sound(wish) {
            return Decision::Denied { by: None };
        }
        let facts = facts(wish, arguments, caller.clone());
        let scene = facts.scene();
        let mut lacks = None;
        for rule in &self.rules {
            match rule.verdict(wish, &scene, has) {
                Verdict::Allows => return Decision::Allowed { by: &rule.name },
                Verdict::Denies | Verdict::Fails { denies: true, .. } => {
                    return Decision::Denied { by: Some(&rule.name) };
                }
                Verdict::Wants(scopes) if lacks.is_none() => {
                    lacks = Some(Decision::Lacks { by: &rule.name, scopes });
                }
                Verdict::Wants(_)
                | Verdict::DoesNotReach
                | Verdict::SaysNothing
                | Verdict::Fails { denies: false, .. } => {}
            }
        }
        lacks.unwrap_or(Decision::Denied { by: None })
    }

    /// The decision about somebody who passes along `arguments` (none: as for a list), with the
    /// verdict of every rule.
    ///
    /// # Errors
    /// When the arguments are no object that names its members once.
    pub fn explain(
        &self,
        wish: Wish<'_>,
        arguments: Option<&str>,
        caller: &Principal,
    ) -> Result<Explained<'_>, serde_json::Error> {
        let arguments = match arguments {
            None => Arguments::Open,
            Some(text) => Arguments::read(text)?,
        };
        let caller_facts = self.facts_about(caller);
        let decision = self.decide(wish, &arguments, &caller_facts, &caller.scopes);
        let facts = facts(wish, &arguments, caller_facts);
        let scene = facts.scene();
        let verdicts = self.rules.iter();
        let verdicts = verdicts.map(|rule| (rule, rule.verdict(wish, &scene, &caller.scopes)));
        Ok(Explained { decision, verdicts: verdicts.collect() })
    }
}

/// No rule is asked about what does not lead where it seems to.
fn is_sound(wish: Wish<'_>) -> bool {
    match wish {
        Wish::Resource(uri) => is_straight(uri),
        Wish::Tool(_) | Wish::Template(_) | Wish::Prompt(_) => true,
    }
}

fn facts(wish: Wish<'_>, arguments: &Arguments, caller: Facts) -> Facts {
    let (method, tool, resource, prompt) = match wish {
        Wish::Tool(name) => ("tools/call", name, Some(""), ""),
        Wish::Resource(uri) => ("resources/read", "", Some(uri), ""),
        Wish::Template(_) => ("resources/read", "", None, ""),
        Wish::Prompt(name) => ("prompts/get", "", Some(""), name),
    };
    let mut facts = caller
        .with("method", of_text(method))
        .with("tool", of_text(tool))
        .with("prompt", of_text(prompt));
    if let Some(resource) = resource {
        facts.know("resource", of_text(resource));
    }
    if let Arguments::Given(value) = arguments {
        facts.know("args", value.clone());
    }
    facts
}

/// What is known of a person.
pub(super) fn person(identity: &Identity) -> Facts {
    let facts = Facts::default().with("user", user(identity));
    if identity.claims.are_in_part() { facts.of_a_person_in_part() } else { facts }
}

/// A person as conditions see them. An address that nobody verified is not there. Of whom more may be
/// to say, there is nothing where nothing was said: no condition takes that for an answer.
fn user(identity: &Identity) -> Value {
    let email = identity.email.as_deref().filter(|_| identity.email_verified).unwrap_or_default();
    let groups = match identity.claims.find("groups").map(of_json) {
        Some(Value::List(groups)) => Value::List(groups),
        Some(Value::String(group)) => Value::List(vec![Value::String(group)].into()),
        _ => Value::List(Vec::new().into()),
    };
    let claims = identity.claims.iter().map(|(name, value)| (name.clone(), of_json(value)));
    let members = [
        ("issuer", of_text(&identity.issuer)),
        ("subject", of_text(&identity.subject)),
        ("name", of_text(identity.name.as_deref().unwrap_or_default())),
        ("email", of_text(&email.to_lowercase())),
        ("email_verified", Value::Bool(!email.is_empty())),
        ("is_machine", Value::Bool(identity.is_machine())),
        ("groups", groups),
        ("claims", of_members(claims)),
    ];
    let is_known = |name: &str| match name {
        _ if !identity.claims.are_in_part() => true,
        "name" => identity.name.is_some(),
        "email" | "email_verified" => !email.is_empty(),
        "groups" => identity.claims.find("groups").is_some(),
        _ => true,
    };
    let members = members.into_iter().filter(|(name, _)| is_known(name));
    of_members(members.map(|(name, value)| (name.to_owned(), value)))
}

fn client(id: &ClientId) -> Value {
    let url = Url::parse(id.as_str()).ok().filter(|url| url.scheme() == "https");
    let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    let members = [("id", id.as_str()), ("host", host)];
    of_members(members.map(|(name, text)| (name.to_owned(), of_text(text))))
}

impl Arguments {
    /// An object that names its members once.
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let super::value::Strict(value) = serde_json::from_str(text)?;
        if matches!(value, Value::Map(_)) {
            Ok(Self::Given(value))
        } else {
            Err(serde::de::Error::custom("arguments are an object"))
        }
    }

    pub(super) fn none() -> Self {
        Self::Given(of_members([]))
    }
}

impl fmt::Display for Wish<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(name) => write!(f, "the tool {name:?}"),
            Self::Resource(uri) => write!(f, "the resource {uri:?}"),
            Self::Template(template) => write!(f, "the template {template:?}"),
            Self::Prompt(name) => write!(f, "the prompt {name:?}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DoesNotReach => f.write_str("is about something else"),
            Self::SaysNothing => f.write_str("its condition does not hold"),
            Self::Allows => f.write_str("allows it"),
            Self::Wants(scopes) => write!(f, "allows it to a token that has {scopes} too"),
            Self::Denies => f.write_str("denies it"),
            Self::Fails { reason, denies: true } => {
                write!(f, "cannot be decided, and so denies it: {reason}")
            }
            Self::Fails { reason, denies: false } => {
                write!(f, "cannot be decided, and so does not allow it: {reason}")
            }
        }
    }
}
