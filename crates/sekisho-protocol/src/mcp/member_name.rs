//! What things are called where several servers are one: a tool or prompt `NAME_own-name`, a resource
//! `NAME+own-uri`. A server's name has neither `_` nor `+`, so that the first of them ends it: whose
//! something is stands in its name, and nobody has to remember it.

use std::fmt;

/// Longest name of a member. So much is left for the names of its tools.
pub const MEMBER_NAME_CHARS_MAX: usize = 24;
/// Longest name of a tool that all clients take.
pub const TOOL_NAME_CHARS_MAX: usize = 64;

const BEFORE_NAMES: char = '_';
const BEFORE_URIS: char = '+';

/// What one of several servers is called that are one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemberName(Box<str>);

/// It cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemberNameError {
    /// Other signs, or another beginning.
    #[error(
        "it begins the names of tools and the schemes of URIs: give it a name of lower-case letters, \
         digits and dashes that begins with a letter"
    )]
    Malformed,
    /// Clients would refuse its tools.
    #[error(
        "it begins the names of tools, of which clients take {TOOL_NAME_CHARS_MAX} characters: give it \
         a name of at most {MEMBER_NAME_CHARS_MAX}"
    )]
    TooLong,
}

impl MemberName {
    /// Reads one.
    ///
    /// # Errors
    /// When names that begin with it could be another's, or would be too long.
    pub fn parse(text: &str) -> Result<Self, MemberNameError> {
        let is_sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // RFC 3986 §3.1: a scheme begins with a letter.
        if !text.starts_with(|first: char| first.is_ascii_lowercase()) || !text.bytes().all(is_sign)
        {
            return Err(MemberNameError::Malformed);
        }
        if text.len() > MEMBER_NAME_CHARS_MAX {
            return Err(MemberNameError::TooLong);
        }
        Ok(Self(text.into()))
    }

    /// Itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What its tool or prompt of this name is called.
    pub fn name(&self, own: &str) -> String {
        format!("{self}{BEFORE_NAMES}{own}")
    }

    /// The same, if clients take a tool of that name.
    pub fn tool_name(&self, own: &str) -> Option<String> {
        let name = self.name(own);
        (name.chars().count() <= TOOL_NAME_CHARS_MAX).then_some(name)
    }

    /// Where its resource of this URI is, or those of this template.
    pub fn uri(&self, own: &str) -> String {
        format!("{self}{BEFORE_URIS}{own}")
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose tool or prompt this is, and what it is called there.
pub fn owner_of_name(name: &str) -> Option<(&str, &str)> {
    name.split_once(BEFORE_NAMES)
}

/// Whose resource this is, or template, and where it is there.
pub fn owner_of_uri(uri: &str) -> Option<(&str, &str)> {
    uri.split_once(BEFORE_URIS)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_has_a_name_that_ends_where_it_seems_to() {
        let (long, longest) = ("a".repeat(25), "a".repeat(24));
        let rows = [
            ("files", Ok(()), "a word"),
            ("my-files-2", Ok(()), "every sign"),
            (longest.as_str(), Ok(()), "24 characters"),
            (long.as_str(), Err(MemberNameError::TooLong), "25 characters"),
            ("my_files", Err(MemberNameError::Malformed), "where would it end?"),
            ("my+files", Err(MemberNameError::Malformed), "where would it end, as a URI?"),
            ("1files", Err(MemberNameError::Malformed), "no scheme begins so"),
            ("-files", Err(MemberNameError::Malformed), "nor so"),
            ("Files", Err(MemberNameError::Malformed), "schemes have no case"),
            ("a.b", Err(MemberNameError::Malformed), "a dot"),
            ("文書", Err(MemberNameError::Malformed), "other letters"),
            ("", Err(MemberNameError::Malformed), "nothing"),
        ];
        for (text, expected, reason) in rows {
            assert_eq!(MemberName::parse(text).map(drop), expected, "{text}: {reason}");
        }
    }

    #[test]
    fn a_tool_whose_name_clients_refuse_has_none() {
        let name = MemberName::parse("files").unwrap();
        assert_eq!(name.tool_name(&"a".repeat(58)).unwrap().len(), 64);
        assert_eq!(name.tool_name(&"a".repeat(59)), None);
    }

    proptest! {
        #[test]
        fn a_name_leads_back_to_its_owner_and_its_own_name(
            member in "[a-z][a-z0-9-]{0,23}", own in ".{0,40}"
        ) {
            let name = MemberName::parse(&member).unwrap();
            let (called, located) = (name.name(&own), name.uri(&own));
            prop_assert_eq!(owner_of_name(&called), Some((&*member, &*own)));
            prop_assert_eq!(owner_of_uri(&located), Some((&*member, &*own)));
        }

        #[test]
        fn no_name_is_two_members(
            one in "[a-z][a-z0-9-]{0,23}", other in "[a-z][a-z0-9-]{0,23}", a in ".{0,9}", b in ".{0,9}"
        ) {
            let [first, second] = [&one, &other].map(|text| MemberName::parse(text).unwrap());
            if first.name(&a) == second.name(&b) {
                prop_assert_eq!(&one, &other);
            }
            if first.uri(&a) == second.uri(&b) {
                prop_assert_eq!(one, other);
            }
        }
    }
}
