//! Request parameters (RFC 6749 §3.1, §3.2): each at most once, empty means absent.

use std::collections::BTreeMap;

/// Parameters of a query or form, with the ones that came twice kept apart.
#[derive(Debug, Default)]
pub struct Parameters {
    values: BTreeMap<String, String>,
    doubled: Vec<String>,
    /// `resource` may come several times (RFC 8707 §2).
    resources: Vec<String>,
}

/// More parameters than any real request has.
const PARAMETERS_MAX: usize = 64;

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text. A doubled parameter is remembered as such
    /// and has no value, since two readers might pick different ones. One with a NUL in it counts as
    /// doubled: no parameter of OAuth has one (RFC 6749 appendix A), and two readers might read it to
    /// different ends.
    pub fn parse(text: &[u8]) -> Self {
        let mut parameters = Self::default();
        for (name, value) in form_urlencoded::parse(text).take(PARAMETERS_MAX) {
            if value.is_empty() {
                continue;
            }
            if name == "resource" {
                parameters.resources.push(value.into_owned());
            } else if parameters.doubled.iter().any(|doubled| *doubled == name)
                || parameters.values.contains_key(name.as_ref())
                || value.contains('\0')
            {
                parameters.values.remove(name.as_ref());
                parameters.doubled.push(name.into_owned());
            } else {
                parameters.values.insert(name.into_owned(), value.into_owned());
            }
        }
        parameters
    }

    /// The value of a parameter that came exactly once.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether a parameter came at all.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name) || self.is_doubled(name)
    }

    /// Whether that parameter came more than once.
    pub fn is_doubled(&self, name: &str) -> bool {
        self.doubled.iter().any(|doubled| doubled == name)
    }

    /// Whether any parameter came more than once (RFC 6749 §3.1 forbids it).
    pub fn has_doubled(&self) -> bool {
        !self.doubled.is_empty()
    }

    /// All values of `resource`.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_only_if_it_came_once() {
        let parameters =
            Parameters::parse(b"a=1&b=2&b=3&c=&d=%E5%A4%A7+x&b=4&resource=r&resource=s");
        assert_eq!(parameters.value("a"), Some("1"));
        assert_eq!(parameters.value("b"), None, "doubled");
        assert!(parameters.is_doubled("b") && parameters.has("b") && parameters.has_doubled());
        assert_eq!(parameters.value("c"), None, "empty means absent");
        assert_eq!(parameters.value("d"), Some("大 x"));
        assert_eq!(parameters.resources(), ["r", "s"], "resource may come twice");
        let parameters = Parameters::parse(b"client_id=a%00b&state=s");
        assert_eq!(parameters.value("client_id"), None, "cut short by some, not by others");
        assert!(parameters.has("client_id") && parameters.has_doubled());
        assert_eq!(parameters.value("state"), Some("s"));
    }
}
