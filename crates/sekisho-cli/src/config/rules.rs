//! Rights: each `[[rule]]`, for the servers that it is about, and who may log in at all.

use sekisho::policy::{Admission, Expression, Pattern, Reach, Rule, Rules, Says, Scope};
use sekisho::principal::WantedClaims;
use sekisho::protocol::oauth::ScopeSet;

use super::error::{ConfigError, Origin};
use super::identity::ProviderConfig;
use super::understood::Server;
use super::written::Settings;

/// Longest name of a rule.
const NAME_CHARS_MAX: usize = 100;

/// The rules of a server; nothing where there is none, and all is open. Those for every server hold
/// for what a merged one is made of, under the names that things have there, and so through it.
pub(super) fn rules(
    written: &[(Origin, Settings)],
    server: &Server,
) -> Result<Option<Rules>, ConfigError> {
    let name = server.resource.name.as_str();
    let mut rules = Vec::new();
    for (origin, settings) in written {
        // Read whomever it is about, so that a slip is told of all the same.
        let rule = rule(origin, settings)?;
        let is_for_all = !settings.was_written("server") && !server.upstream.is_merged();
        if is_for_all || settings.text("server") == name {
            rules.push(rule);
        }
    }
    Ok((!rules.is_empty()).then(|| Rules::new(name, rules)))
}

/// What no rule can be right in by itself: names that nobody has, or two have.
pub(super) fn check_names(
    written: &[(Origin, Settings)],
    servers: &[Server],
) -> Result<(), ConfigError> {
    let mut seen: Vec<&str> = Vec::new();
    for (_, settings) in written {
        let name = settings.text("name");
        if seen.contains(&name) {
            return Err(settings.refuse("name", "another [[rule]] has it: choose another name"));
        }
        seen.push(name);
        let server = settings.text("server");
        let is_known = servers.iter().any(|known| known.resource.name == server);
        if settings.was_written("server") && !is_known {
            let names: Vec<_> = servers.iter().map(|known| known.resource.name.as_str()).collect();
            let problem = format!("there is no such [[server]]: write one of {}", names.join(", "));
            return Err(settings.refuse("server", problem));
        }
    }
    Ok(())
}

fn rule(origin: &Origin, settings: &Settings) -> Result<Rule, ConfigError> {
    if !settings.was_written("name") {
        let problem = "a [[rule]] needs a name: the log says by it which rule decided";
        return Err(ConfigError::at(origin, "name", None, problem));
    }
    let name = settings.parse("name", |text| {
        let is_name = !text.trim().is_empty()
            && text.chars().count() <= NAME_CHARS_MAX
            && !text.contains(char::is_control);
        if is_name { Ok(text.to_owned()) } else { Err("write a few words on one line") }
    })?;
    let reach = Reach {
        tools: patterns(settings, "tools")?,
        resources: patterns(settings, "resources")?,
        prompts: patterns(settings, "prompts")?,
    };
    Ok(Rule::new(&name, reach, says(origin, settings)?))
}

fn says(origin: &Origin, settings: &Settings) -> Result<Says, ConfigError> {
    let [allows, denies, wants] = ["allow", "deny", "scope"].map(|key| settings.was_written(key));
    match (allows, denies, wants) {
        (true, true, _) => {
            let problem = "allow is set as well: write two rules, the denying one is asked first";
            Err(settings.refuse("deny", problem))
        }
        (_, true, true) => {
            let problem = "a scope allows, and this rule denies: leave one of them out";
            Err(settings.refuse("scope", problem))
        }
        (false, false, false) => {
            let problem = "a [[rule]] needs it, or deny, or scope: write for example allow = \
                           \"'staff' in user.groups\", or \"true\" for everybody who may come in";
            Err(ConfigError::at(origin, "allow", None, problem))
        }
        (false, true, false) => Ok(Says::Deny(condition(settings, "deny", Scope::Request)?)),
        (_, false, _) => {
            let condition = allows.then(|| condition(settings, "allow", Scope::Request));
            let scopes = if wants { settings.parse("scope", scopes)? } else { ScopeSet::default() };
            Ok(Says::Allow { scopes, condition: condition.transpose()? })
        }
    }
}

fn scopes(text: &str) -> Result<ScopeSet, &'static str> {
    match ScopeSet::parse(text) {
        Ok(scopes) if !scopes.is_empty() => Ok(scopes),
        Ok(_) | Err(_) => Err("it is no scope: write for example \"reports:run\""),
    }
}

fn patterns(settings: &Settings, key: &str) -> Result<Vec<Pattern>, ConfigError> {
    if settings.was_written(key) && settings.list(key).is_empty() {
        let problem = "it is empty: name some, or write [\"*\"] for all of them";
        return Err(settings.refuse(key, problem));
    }
    let patterns = settings.list(key).iter().map(|text| Pattern::parse(text));
    patterns.collect::<Result<_, _>>().map_err(|problem| settings.refuse(key, problem))
}

fn condition(settings: &Settings, key: &str, scope: Scope) -> Result<Expression, ConfigError> {
    settings.parse(key, |text| Expression::parse(text, scope))
}

/// Who may log in at all.
pub(super) fn admission(settings: &Settings) -> Result<Admission, ConfigError> {
    if settings.text("identity.allow").is_empty() {
        return Ok(Admission::default());
    }
    condition(settings, "identity.allow", Scope::Login).map(Admission::only)
}

/// What is kept of people: what rules ask about, and what servers are told.
pub(super) fn claims<'a>(
    servers: impl Iterator<Item = &'a Server> + Clone,
    providers: &[ProviderConfig],
) -> WantedClaims {
    let of_rules = servers.clone().filter_map(|server| server.rules.as_ref());
    let of_rules = of_rules.flat_map(|rules| rules.claims());
    let told = servers.flat_map(|server| server.upstream.claims()).map(String::as_str);
    let of_logins = providers.iter().flat_map(|provider| provider.admission.claims());
    WantedClaims::new(of_rules.chain(of_logins).chain(told).map(str::to_owned))
}
