//! Text that strangers wrote, made fit to be shown (cleaned here, escaped by the template).
//!
//! What could reorder, hide or break the line around it goes; what is left is cut. Never used for
//! anything that is compared or sent on.

/// A client's name of itself on one line, or `None` if nothing visible is left.
pub(super) fn name(text: &str) -> Option<String> {
    Some(one_line(text, NAME_CHARACTERS_MAX)).filter(|name| !name.is_empty())
}

/// An identifier or URI on one line.
pub(super) fn identifier(text: &str) -> String {
    one_line(text, IDENTIFIER_CHARACTERS_MAX)
}

fn one_line(text: &str, characters_max: usize) -> String {
    let visible = text.chars().filter(|&c| c.is_whitespace() || !is_invisible(c));
    let mut line = String::new();
    let mut characters = 0;
    let mut is_gap = false;
    for c in visible {
        if c.is_whitespace() {
            is_gap = !line.is_empty();
            continue;
        }
        let wanted = if is_gap { 2 } else { 1 };
        if characters + wanted > characters_max {
            while characters >= characters_max {
                line.pop();
                characters -= 1;
            }
            line.push('…');
            return line;
        }
        if is_gap {
            line.push(' ');
        }
        line.push(c);
        characters += wanted;
        is_gap = false;
    }
    line
}

/// Characters that take no place of their own but change how the others are read.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}' | '\u{17b5}' // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}' // Mongolian selectors and vowel separator
            | '\u{200b}'..='\u{200f}' // zero width, left-to-right and right-to-left marks
            | '\u{202a}'..='\u{202e}' // bidi embeddings and overrides
            | '\u{2060}'..='\u{206f}' // word joiner, invisible operators, bidi isolates
            | '\u{2800}' // blank Braille
            | '\u{fe00}'..='\u{fe0f}' // variation selectors
            | '\u{feff}' // zero width no-break space
            | '\u{fff0}'..='\u{fffb}' // interlinear annotation
            | '\u{1d173}'..='\u{1d17a}' // musical format characters
            | '\u{e0000}'..='\u{e0fff}' // tags and further selectors
        )
}

/// As long as fits a card in two lines.
const NAME_CHARACTERS_MAX: usize = 80;
/// Longer than any honest URI of a client, short enough for a page.
const IDENTIFIER_CHARACTERS_MAX: usize = 400;
