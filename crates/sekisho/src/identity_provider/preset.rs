//! What is known of providers beforehand, so that an operator need not find it out: data, each fact as
//! the provider documents it. What is common to all of them is in `oidc`.

use super::oidc::Quirks;

/// A provider by its name.
#[derive(Debug)]
pub struct Preset {
    /// What it is called in settings.
    pub name: &'static str,
    /// What people call it.
    pub label: &'static str,
    /// Where its issuer comes from.
    pub issuer: PresetIssuer,
    /// What is asked for, if nothing else is written.
    pub scopes: &'static [&'static str],
    /// How it is spoken to.
    pub protocol: PresetProtocol,
    /// What it cannot do.
    pub lacks: &'static [Lack],
}

/// Where the issuer of a provider comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresetIssuer {
    /// The operator writes it.
    Written,
    /// It is the same for everybody, unless another is written.
    Fixed(&'static str),
    /// Before and after the one thing that the operator knows; and what that is.
    Around {
        /// How it looks.
        shape: TenantShape,
        /// What stands before it.
        before: &'static str,
        /// What stands after it.
        after: &'static str,
        /// What it is, as a remedy says it.
        what: &'static str,
    },
}

/// How the one thing looks by which a provider tells its customers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantShape {
    /// Thirty-two hex digits in five groups.
    Guid,
    /// A name in the DNS.
    Host,
}

impl TenantShape {
    /// Whether this can be one.
    pub fn fits(self, text: &str) -> bool {
        match self {
            Self::Guid => {
                let lengths = text.split('-').map(str::len);
                lengths.eq([8, 4, 4, 4, 12])
                    && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
            }
            Self::Host => {
                let is_label = |label: &str| {
                    !label.is_empty()
                        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                };
                text.contains('.') && text.split('.').all(is_label)
            }
        }
    }
}

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PresetProtocol {
    /// `OpenID` Connect, but for these.
    OpenId(Quirks),
    /// OAuth 2.0, and people by GitHub's own API.
    GitHub,
}

/// What a provider cannot do, which somebody may count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// It tells nobody that a person was logged out (Back-Channel Logout).
    LogoutMessages,
    /// A browser cannot be sent there to log out (RP-Initiated Logout).
    LogoutPage,
    /// It says of no e-mail address that it was verified, unless it is told to.
    VerifiedEmail,
    /// It says of nobody in which groups they are.
    Groups,
}

impl Lack {
    /// What follows from it, for an operator.
    pub const fn consequence(self) -> &'static str {
        match self {
            Self::LogoutMessages => {
                "it sends no message when somebody logs out there: identity.recheck is how soon that \
                 is noticed here"
            }
            Self::LogoutPage => {
                "it has no page for logging out: /logout ends the session here alone"
            }
            Self::VerifiedEmail => {
                "it says of no e-mail address that it was verified, unless it is told to: rules do not \
                 see addresses, and the guide says how"
            }
            Self::Groups => "it says nothing of groups: rules see none",
        }
    }
}

/// Find a preset.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

const PLAIN: Quirks = Quirks {
    offline_parameters: &[],
    email_verified_by: None,
    asks_userinfo: false,
    says_of_over: &[],
};
const WITH_USERINFO: Quirks = Quirks { asks_userinfo: true, ..PLAIN };
const USUAL_SCOPES: &[&str] = &["openid", "email", "profile"];

/// Every provider that has a name of its own; `oidc` is any other.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "oidc",
        label: "",
        issuer: PresetIssuer::Written,
        scopes: USUAL_SCOPES,
        protocol: PresetProtocol::OpenId(WITH_USERINFO),
        lacks: &[],
    },
    Preset {
        name: "keycloak",
        label: "Keycloak",
        issuer: PresetIssuer::Written,
        scopes: USUAL_SCOPES,
        protocol: PresetProtocol::OpenId(PLAIN),
        lacks: &[],
    },
    Preset {
        name: "google",
        label: "Google",
        issuer: PresetIssuer::Fixed("https://accounts.google.com"),
        scopes: USUAL_SCOPES,
        // There is no offline_access; and without the page once more, none but the first login gives
        // a refresh token.
        protocol: PresetProtocol::OpenId(Quirks {
            offline_parameters: &[("access_type", "offline"), ("prompt", "consent")],
            ..PLAIN
        }),
        lacks: &[Lack::LogoutMessages, Lack::LogoutPage, Lack::Groups],
    },
    Preset {
        name: "entra",
        label: "Microsoft",
        issuer: PresetIssuer::Around {
            shape: TenantShape::Guid,
            before: "https://login.microsoftonline.com/",
            after: "/v2.0",
            what: "the directory (tenant) id of your organisation, 36 characters with dashes",
        },
        scopes: USUAL_SCOPES,
        // An address in Entra is whatever an administrator of some organisation wrote; the optional
        // claim says whether its domain belongs to them.
        protocol: PresetProtocol::OpenId(Quirks { email_verified_by: Some("xms_edov"), ..PLAIN }),
        lacks: &[Lack::LogoutMessages, Lack::VerifiedEmail],
    },
    Preset {
        name: "auth0",
        label: "Auth0",
        issuer: PresetIssuer::Around {
            shape: TenantShape::Host,
            before: "https://",
            after: "/",
            what: "the domain of your tenant, such as \"example.eu.auth0.com\"",
        },
        scopes: USUAL_SCOPES,
        protocol: PresetProtocol::OpenId(WITH_USERINFO),
        lacks: &[Lack::Groups],
    },
    Preset {
        name: "okta",
        label: "Okta",
        issuer: PresetIssuer::Around {
            shape: TenantShape::Host,
            before: "https://",
            after: "",
            what: "the domain of your organisation, such as \"example.okta.com\"; for a custom \
                   authorization server its whole issuer as identity.issuer instead",
        },
        scopes: &["openid", "email", "profile", "groups"],
        protocol: PresetProtocol::OpenId(WITH_USERINFO),
        lacks: &[Lack::LogoutMessages],
    },
    Preset {
        name: "authentik",
        label: "authentik",
        issuer: PresetIssuer::Written,
        scopes: USUAL_SCOPES,
        protocol: PresetProtocol::OpenId(WITH_USERINFO),
        lacks: &[Lack::VerifiedEmail],
    },
    Preset {
        name: "dex",
        label: "Dex",
        issuer: PresetIssuer::Written,
        scopes: &["openid", "email", "profile", "groups"],
        // Unknown, spent and expired are a request that it calls invalid; only a session that it ended
        // is no grant.
        protocol: PresetProtocol::OpenId(Quirks { says_of_over: &["invalid_request"], ..PLAIN }),
        lacks: &[Lack::LogoutMessages, Lack::LogoutPage],
    },
    Preset {
        name: "github",
        label: "GitHub",
        issuer: PresetIssuer::Fixed("https://github.com"),
        scopes: &["read:user", "user:email", "read:org"],
        protocol: PresetProtocol::GitHub,
        lacks: &[Lack::LogoutMessages, Lack::LogoutPage],
    },
];
