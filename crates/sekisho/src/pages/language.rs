//! Which language someone reads, by `Accept-Language` (RFC 9110 §12.5.4). Never by address or cookie.

use http::HeaderMap;
use http::header::ACCEPT_LANGUAGE;

/// A language our pages are written in. English, unless Japanese is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// Also for everybody whose language we do not have.
    #[default]
    English,
    /// 日本語
    Japanese,
}

impl Language {
    /// The one of ours with the highest quality value; of two alike, the one named first.
    pub fn of(headers: &HeaderMap) -> Self {
        let ranges = headers.get_all(ACCEPT_LANGUAGE).iter().filter_map(|line| line.to_str().ok());
        let ranges = ranges.flat_map(|line| line.split(',')).take(RANGES_MAX).filter_map(parse);
        let mut best = (Self::English, 0);
        for (language, quality) in ranges {
            if quality > best.1 {
                best = (language, quality);
            }
        }
        best.0
    }

    /// The tag for `lang` and `Content-Language` (RFC 5646).
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Japanese => "ja",
        }
    }
}

/// A range that means one of our languages, with its quality in thousandths.
fn parse(range: &str) -> Option<(Language, u16)> {
    let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
    let primary = tag.trim().split('-').next()?;
    let language = match primary.to_ascii_lowercase().as_str() {
        "ja" => Language::Japanese,
        // Whoever takes anything gets what we write first.
        "en" | "*" => Language::English,
        _ => return None,
    };
    let weight = weight.trim();
    let value = weight.strip_prefix("q=").or_else(|| weight.strip_prefix("Q="))?;
    Some((language, thousandths(value)?))
}

/// RFC 9110 §12.4.2: nought to one with up to three decimals, nothing else.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(decimals),
        "1" if decimals == 0 => Some(1000),
        _ => None,
    }
}

/// More ranges than this nobody reads; the rest is not looked at.
const RANGES_MAX: usize = 32;
