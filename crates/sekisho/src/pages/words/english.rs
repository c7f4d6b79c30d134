//! English.

use super::{
    AccountWords, ChooserWords, ConsentWords, ErrorWords, LoginWords, LogoutWords, ProblemWords,
    Told, WelcomeWords, Words,
};

pub(super) const WORDS: Words = Words {
    consent: ConsentWords {
        title: "Allow access?",
        lead: "An application is asking to use this server in your name.",
        recipient: "The answer goes to",
        host_advice: "Whoever runs this address gets the access. If you do not know it, deny.",
        scheme_advice: "This opens an application on your device. If you do not know it, deny.",
        loopback_warning: "This stays on your own computer",
        loopback_advice: "Any program on your computer can pose as this application. Only allow \
                          if you just started this from an application you use.",
        client_host: "It is published at",
        client_host_advice: "Whoever runs this address vouches for the application. This is checked.",
        name: "It calls itself",
        name_open: "“",
        name_close: "”",
        name_advice: "A name the application gave itself. Nobody has checked it.",
        no_name: "The application gave no name.",
        scopes: "It asks for",
        new: "new",
        resource: "At this server",
        details: "Technical details",
        client_id: "Application ID",
        redirect_uri: "Return address",
        allow: "Allow",
        deny: "Deny",
    },
    chooser: ChooserWords {
        title: "Where do you log in?",
        lead: "Choose where you have an account. You will come back here afterwards.",
        own: "An account of this server",
    },
    login: LoginWords {
        title: "Log in",
        lead: "Your password stays with this server. The application never sees it.",
        username: "Name",
        password: "Password",
        submit: "Log in",
        wrong_name_or_password: "The name or the password is wrong. Please try again.",
        too_many_tries: "Too many tries. Please wait a while before you try again.",
    },
    logout: LogoutWords {
        title: "Log out?",
        lead: "This logs you out of this browser. By itself it does not take back what you \
               allowed applications.",
        submit: "Log out",
    },
    error: ErrorWords {
        what_was_wrong: "What was wrong",
        trace_id: "Tell this to whoever runs this server:",
        wait: |seconds| match seconds {
            0 | 1 => "Try again in 1 second.".into(),
            2..=119 => format!("Try again in {seconds} seconds."),
            _ => format!("Try again in {} minutes.", seconds.div_ceil(60)),
        },
    },
    problems: ProblemWords {
        unknown_client: Told {
            title: "This application is not known here",
            explanation: "Its registration with this server is gone, or was never made.",
            remedy: "In the application, remove this server and add it again, so that it \
                     registers anew.",
        },
        unknown_redirect_uri: Told {
            title: "The answer would go to an unknown place",
            explanation: "The application asks for the answer at an address that it did not \
                          register, so you were not sent there.",
            remedy: "If you started this yourself, remove this server in the application and \
                     add it again. If you followed a link, close this window.",
        },
        client_document: Told {
            title: "This application cannot be identified",
            explanation: "It says that it is described at an address on the web, and what is \
                          there cannot be used or cannot be reached.",
            remedy: "Try again later. If it happens again, report it to whoever makes the \
                     application.",
        },
        bad_request: Told {
            title: "This request cannot be understood",
            explanation: "The link that brought you here is incomplete or damaged.",
            remedy: "Start again from the application. If it happens again, report it to \
                     whoever makes the application.",
        },
        login_not_found: Told {
            title: "This login is over",
            explanation: "It has expired, is already finished, or was never begun.",
            remedy: "Start again from the application. You can close this window.",
        },
        other_browser: Told {
            title: "This login began in another browser",
            explanation: "It can only be finished where it was begun. Maybe someone sent you \
                          this link to get into your account; nothing was given to them.",
            remedy: "If you began it yourself, go on in that browser, or start again from the \
                     application. Otherwise close this window.",
        },
        forged_answer: Told {
            title: "This answer was not counted",
            explanation: "It did not come from the page that was shown in this browser, or \
                          cookies are blocked.",
            remedy: "Go back, reload the page and answer again.",
        },
        wrong_provider: Told {
            title: "Someone else answered",
            explanation: "The login’s answer did not come from the identity provider that this \
                          server uses, so it was thrown away.",
            remedy: "Start again from the application. If it happens again, tell whoever runs \
                     this server.",
        },
        too_many_requests: Told {
            title: "One moment, please",
            explanation: "Too many requests came from your network in a short time.",
            remedy: "Then reload this page or start again from the application.",
        },
        unavailable: Told {
            title: "Closed for a moment",
            explanation: "Something that this server needs does not answer at present.",
            remedy: "Try again in a minute.",
        },
        not_found: Told {
            title: "There is nothing here",
            explanation: "This server has no page at this address.",
            remedy: "Check the address, or go back.",
        },
        internal: Told {
            title: "Something broke",
            explanation: "This server made a mistake. You did nothing wrong.",
            remedy: "Start again from the application. If it happens again, tell whoever runs \
                     this server.",
        },
    },
    closable: Told {
        title: "All done",
        explanation: "Nothing more is needed here.",
        remedy: "You can close this window.",
    },
    welcome: WelcomeWords {
        title: "An MCP server, behind a checkpoint",
        lead: "This address is for MCP clients. To use it, paste this URL into yours:",
        mcp_url: "Streamable HTTP",
        sse_url: "HTTP+SSE, for older clients",
        then: "Your client will then open a page like this one, where you log in and say what it \
               may do.",
    },
    account: AccountWords {
        title: "Who may act for you",
        login_lead: "Log in to see which applications may act in your name at this server, and to remove them.",
        login: "Log in",
        login_failed: "The login did not work. Please try again.",
        logged_in_as: "Logged in as",
        log_out: "Log out",
        applications: "Applications",
        no_applications: "No application may act in your name here.",
        may_do: "May do",
        since: "Since",
        last_used: "Last used",
        never: "Not yet",
        until: "Until",
        remove: "Remove",
        tokens: "Personal tokens",
        tokens_advice: "For a machine that has no browser. Whoever holds one acts in your name until it ends or you remove it.",
        no_label: "Without a label",
        label: "What it is for",
        life: "How long it works",
        make: "Make a token",
        made: "Copy it now. It is shown only this once.",
        token_not_made: "No token was made. Choose at least one thing that it may do, and a label of one line.",
        too_many_tokens: "No token was made, because you have too many already. Remove one first.",
        days: |days| format!("{days} days"),
    },
};
