//! Every sentence on our pages, once per language. Another language is another file beside these.
//!
//! Sentences are whole: none is put together from pieces, but for a number.

mod english;
mod japanese;

use super::language::Language;

/// All that a language has to say.
#[derive(Debug)]
pub(in crate::pages) struct Words {
    pub(in crate::pages) consent: ConsentWords,
    pub(in crate::pages) chooser: ChooserWords,
    pub(in crate::pages) login: LoginWords,
    pub(in crate::pages) logout: LogoutWords,
    pub(in crate::pages) error: ErrorWords,
    pub(in crate::pages) problems: ProblemWords,
    pub(in crate::pages) closable: Told,
    pub(in crate::pages) welcome: WelcomeWords,
    pub(in crate::pages) account: AccountWords,
}

impl Words {
    pub(in crate::pages) const fn of(language: Language) -> &'static Self {
        match language {
            Language::English => &english::WORDS,
            Language::Japanese => &japanese::WORDS,
        }
    }
}

#[derive(Debug)]
pub(in crate::pages) struct ConsentWords {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) lead: &'static str,
    pub(in crate::pages) recipient: &'static str,
    pub(in crate::pages) host_advice: &'static str,
    pub(in crate::pages) scheme_advice: &'static str,
    pub(in crate::pages) loopback_warning: &'static str,
    pub(in crate::pages) loopback_advice: &'static str,
    pub(in crate::pages) client_host: &'static str,
    pub(in crate::pages) client_host_advice: &'static str,
    pub(in crate::pages) name: &'static str,
    pub(in crate::pages) name_open: &'static str,
    pub(in crate::pages) name_close: &'static str,
    pub(in crate::pages) name_advice: &'static str,
    pub(in crate::pages) no_name: &'static str,
    pub(in crate::pages) scopes: &'static str,
    pub(in crate::pages) new: &'static str,
    pub(in crate::pages) resource: &'static str,
    pub(in crate::pages) details: &'static str,
    pub(in crate::pages) client_id: &'static str,
    pub(in crate::pages) redirect_uri: &'static str,
    pub(in crate::pages) allow: &'static str,
    pub(in crate::pages) deny: &'static str,
}

#[derive(Debug)]
pub(in crate::pages) struct ChooserWords {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) lead: &'static str,
    pub(in crate::pages) own: &'static str,
}

#[derive(Debug)]
pub(in crate::pages) struct LoginWords {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) lead: &'static str,
    pub(in crate::pages) username: &'static str,
    pub(in crate::pages) password: &'static str,
    pub(in crate::pages) submit: &'static str,
    pub(in crate::pages) wrong_name_or_password: &'static str,
    pub(in crate::pages) too_many_tries: &'static str,
}

#[derive(Debug)]
pub(in crate::pages) struct LogoutWords {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) lead: &'static str,
    pub(in crate::pages) submit: &'static str,
}

#[derive(Debug)]
pub(in crate::pages) struct ErrorWords {
    pub(in crate::pages) what_was_wrong: &'static str,
    pub(in crate::pages) trace_id: &'static str,
    /// Of a number of seconds.
    pub(in crate::pages) wait: fn(u64) -> String,
}

/// One for each [`Problem`](super::Problem).
#[derive(Debug)]
pub(in crate::pages) struct ProblemWords {
    pub(in crate::pages) unknown_client: Told,
    pub(in crate::pages) unknown_redirect_uri: Told,
    pub(in crate::pages) client_document: Told,
    pub(in crate::pages) bad_request: Told,
    pub(in crate::pages) login_not_found: Told,
    pub(in crate::pages) other_browser: Told,
    pub(in crate::pages) forged_answer: Told,
    pub(in crate::pages) wrong_provider: Told,
    pub(in crate::pages) too_many_requests: Told,
    pub(in crate::pages) unavailable: Told,
    pub(in crate::pages) not_found: Told,
    pub(in crate::pages) internal: Told,
}

/// What happened, why, and what to do now.
#[derive(Debug)]
pub(in crate::pages) struct Told {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) explanation: &'static str,
    pub(in crate::pages) remedy: &'static str,
}

#[derive(Debug)]
pub(in crate::pages) struct WelcomeWords {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) lead: &'static str,
    pub(in crate::pages) mcp_url: &'static str,
    pub(in crate::pages) sse_url: &'static str,
    pub(in crate::pages) then: &'static str,
}

#[derive(Debug)]
pub(in crate::pages) struct AccountWords {
    pub(in crate::pages) title: &'static str,
    pub(in crate::pages) login_lead: &'static str,
    pub(in crate::pages) login: &'static str,
    pub(in crate::pages) login_failed: &'static str,
    pub(in crate::pages) logged_in_as: &'static str,
    pub(in crate::pages) log_out: &'static str,
    pub(in crate::pages) applications: &'static str,
    pub(in crate::pages) no_applications: &'static str,
    pub(in crate::pages) may_do: &'static str,
    pub(in crate::pages) since: &'static str,
    pub(in crate::pages) last_used: &'static str,
    pub(in crate::pages) never: &'static str,
    pub(in crate::pages) until: &'static str,
    pub(in crate::pages) remove: &'static str,
    pub(in crate::pages) tokens: &'static str,
    pub(in crate::pages) tokens_advice: &'static str,
    pub(in crate::pages) no_label: &'static str,
    pub(in crate::pages) label: &'static str,
    pub(in crate::pages) life: &'static str,
    pub(in crate::pages) make: &'static str,
    pub(in crate::pages) made: &'static str,
    pub(in crate::pages) token_not_made: &'static str,
    pub(in crate::pages) too_many_tokens: &'static str,
    /// Of a number of days.
    pub(in crate::pages) days: fn(u16) -> String,
}
