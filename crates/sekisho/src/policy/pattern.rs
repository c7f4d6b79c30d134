//! Names with `*` for any run of characters. What a template of URIs could stand for is matched by
//! the same function: its variables are such runs too.

/// Longest pattern, and longest name that is matched with one: a longer one is nobody's.
pub(super) const NAME_BYTES_MAX: usize = 4 * 1024;

/// What a rule is about, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// It matches nothing, or is no name at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has from 1 to {NAME_BYTES_MAX} bytes: write a name, with * for any characters")]
pub struct PatternError;

/// One step of a text that may have gaps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    Byte(u8),
    Any,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(PatternError);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it is this name.
    pub(super) fn matches(&self, name: &str) -> bool {
        name.len() <= NAME_BYTES_MAX && meet(self.pieces(), name.bytes().map(Piece::Byte))
    }

    /// Whether some URI of this template (RFC 6570) is one.
    pub(super) fn may_match(&self, template: &str) -> bool {
        template.len() <= NAME_BYTES_MAX && meet(self.pieces(), pieces_of_template(template))
    }

    fn pieces(&self) -> impl Iterator<Item = Piece> {
        self.0.bytes().map(|byte| if byte == b'*' { Piece::Any } else { Piece::Byte(byte) })
    }
}

fn pieces_of_template(template: &str) -> impl Iterator<Item = Piece> {
    let mut is_inside = false;
    template.bytes().filter_map(move |byte| match (byte, is_inside) {
        (b'{', false) => {
            is_inside = true;
            Some(Piece::Any)
        }
        (b'}', true) => {
            is_inside = false;
            None
        }
        (_, true) => None,
        (byte, false) => Some(Piece::Byte(byte)),
    })
}

/// Whether one text fits both. A row of a table for each piece of the first: where in the second one
/// may be after it.
fn meet(one: impl Iterator<Item = Piece>, other: impl Iterator<Item = Piece>) -> bool {
    let other: Vec<Piece> = other.collect();
    // Where nothing of the first is read yet: beyond gaps of the second alone.
    let mut row = Vec::with_capacity(other.len() + 1);
    row.push(true);
    for piece in &other {
        row.push(*piece == Piece::Any && row.last() == Some(&true));
    }
    for piece in one {
        let mut next = Vec::with_capacity(row.len());
        next.push(piece == Piece::Any && row.first() == Some(&true));
        for ((over, corner), across) in row.iter().skip(1).zip(&row).zip(&other) {
            let before = next.last() == Some(&true);
            next.push(match (piece, across) {
                (Piece::Byte(byte), Piece::Byte(same)) => *corner && byte == *same,
                (Piece::Byte(_), Piece::Any) => *over || *corner,
                (Piece::Any, Piece::Byte(_)) => before || *over,
                (Piece::Any, Piece::Any) => before || *over || *corner,
            });
        }
        row = next;
    }
    row.last() == Some(&true)
}

/// Whether a URI leads where it seems to: with `..` between its slashes, or those behind percent
/// signs, whoever reads it may end up outside what a pattern says.
pub(super) fn is_straight(uri: &str) -> bool {
    let plain = uri.to_ascii_lowercase();
    let plain = plain.replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    // A percent sign behind a percent sign is unpacked by whoever unpacks twice.
    !plain.contains("%25") && !plain.split(['/', '\\']).any(|part| matches!(part, "." | ".."))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_is_any_run_of_characters_and_nothing_else_is_special() {
        let rows = [
            ("fortune", "fortune", true, "to the letter"),
            ("report_*", "report_", true, "a run may be empty"),
            ("report_*", "report_run", true, "or not"),
            ("*", "", true, "anything at all"),
            ("*_run", "report_run_run", true, "the longest run counts"),
            ("a*b*c", "a-b-b-c", true, "two stars"),
            ("file:///pub/*", "file:///pub/a/b", true, "a slash is a character"),
            ("報*", "報告", true, "any letter"),
            ("fortune", "Fortune", false, "another letter"),
            ("fortune", "fortunes", false, "longer"),
            ("report_*", "my_report_run", false, "the beginning counts"),
            ("report.run", "report_run", false, "a dot is a dot"),
            ("[ab]", "a", false, "no classes"),
            ("a?", "ab", false, "no question marks"),
            ("a**b", "ab", true, "two stars in a row are one"),
        ];
        for (pattern, name, expected, reason) in rows {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(name), expected, "{pattern:?} {name:?}: {reason}");
        }
        assert_eq!(Pattern::parse(""), Err(PatternError), "nothing");
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        assert_eq!(Pattern::parse(&long), Err(PatternError), "too long");
        assert!(!Pattern::parse("*").unwrap().matches(&long), "a name without end is nobody's");
    }

    #[test]
    fn a_template_is_matched_by_what_it_could_stand_for() {
        let rows = [
            ("file:///pub/*", "file:///pub/{name}", true, "all of it"),
            ("file:///pub/*", "file:///{path}", true, "some of it"),
            ("file:///pub/a", "file:///{path}", true, "one of it"),
            ("file:///pub/*", "file:///private/{name}", false, "none of it"),
            ("file:///pub/*", "{+uri}", true, "anything"),
            ("*.txt", "file:///{name}.md", false, "another ending"),
        ];
        for (pattern, template, expected, reason) in rows {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.may_match(template), expected, "{pattern:?} {template}: {reason}");
        }
    }

    #[test]
    fn a_uri_that_turns_around_is_not_what_it_seems() {
        let rows = [
            ("file:///pub/a", true, "plain"),
            ("demo://a/b.c/..d", true, "dots in names"),
            ("file:///pub/a%20b", true, "other percent signs"),
            ("file:///pub/../secret", false, "up"),
            ("file:///pub/%2E%2e/secret", false, "up, behind percent signs"),
            ("file:///pub/..%2Fsecret", false, "its slash too"),
            ("file:///pub/..\\secret", false, "as Windows writes it"),
            ("file:///pub/%252e%252e/secret", false, "behind two of them"),
            ("file:///pub/./a", false, "here"),
        ];
        for (uri, expected, reason) in rows {
            assert_eq!(is_straight(uri), expected, "{uri}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn a_name_matches_the_pattern_made_of_it(
            parts in proptest::collection::vec("[a-c/]{0,4}", 1..5),
            runs in proptest::collection::vec("[a-c/]{0,4}", 5),
        ) {
            let pattern = Pattern(parts.join("*"));
            let (last, before) = parts.split_last().unwrap();
            let filled = before.iter().zip(&runs).flat_map(|(part, run)| [part, run]);
            let name: String = filled.chain([last]).map(String::as_str).collect();
            prop_assert!(pattern.matches(&name), "{pattern:?} {name}");
            prop_assert!(pattern.may_match(&name), "as a template without variables");
        }
    }
}
