//! Lengths of time as people write them: `90s`, `5m`, `1h`, `30d`, and `0`.

use std::time::Duration;

/// The text is no length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a length of time: write a number and s, m, h or d, for example \"90s\" or \"1h\""
)]
pub(crate) struct MalformedDuration;

/// Reads a number and its unit; the unit may be left out only for `0`.
pub(crate) fn parse(text: &str) -> Result<Duration, MalformedDuration> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = text.chars().last().ok_or(MalformedDuration)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(MalformedDuration),
    };
    let digits = text.strip_suffix(unit).ok_or(MalformedDuration)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MalformedDuration);
    }
    let count: u64 = digits.parse().map_err(|_| MalformedDuration)?;
    count.checked_mul(seconds).map(Duration::from_secs).ok_or(MalformedDuration)
}

/// The shortest way to write it.
pub(crate) fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    for (unit, length) in [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60)] {
        if seconds != 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    if seconds == 0 { "0".to_owned() } else { format!("{seconds}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_a_number_and_a_unit() {
        let rows = [
            ("0", Some(0), "for ever, where that is a choice"),
            ("90s", Some(90), "seconds"),
            ("5m", Some(300), "minutes"),
            ("1h", Some(3_600), "hours"),
            ("30d", Some(2_592_000), "days"),
            ("0s", Some(0), "nothing, with a unit"),
            ("90", None, "no unit"),
            ("s", None, "no number"),
            ("", None, "nothing"),
            ("-5m", None, "negative"),
            ("+5m", None, "a sign"),
            ("1.5h", None, "a fraction"),
            ("5 m", None, "a space"),
            ("5M", None, "upper case"),
            ("1h30m", None, "two units"),
            ("5分", None, "another script"),
            ("99999999999999999999d", None, "too long to count"),
            ("999999999999999999d", None, "too long to multiply"),
        ];
        for (text, expected, reason) in rows {
            let parsed = parse(text).ok().map(|duration| duration.as_secs());
            assert_eq!(parsed, expected, "{reason}: {text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["0", "90s", "5m", "1h", "30d", "36h"] {
            assert_eq!(parse(text).map(show).as_deref(), Ok(text));
        }
    }
}
