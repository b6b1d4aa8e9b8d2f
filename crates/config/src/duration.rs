//! Durations as the file writes them: a whole number and a unit.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads "250ms", "4s", "3m" or "1h". The error says what to write instead.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let usual = "write a whole number and a unit: \"250ms\", \"4s\", \"3m\", \"1h\"";
    if number.is_empty() {
        return Err(usual.to_owned());
    }
    let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(match unit {
            "" => format!("it has no unit: write \"{number}s\" or \"{number}ms\""),
            "sec" | "secs" | "second" | "seconds" => format!("write \"{number}s\""),
            "min" | "mins" | "minute" | "minutes" => format!("write \"{number}m\""),
            _ => usual.to_owned(),
        });
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*scale));
    millis
        .map(Duration::from_millis)
        .ok_or_else(|| "the number is too large".to_owned())
}

/// The shortest way to write it that [`parse`] reads back.
pub(crate) fn show(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = UNITS
        .iter()
        .rev()
        .find(|(_, scale)| millis >= *scale && millis.is_multiple_of(*scale));
    let (unit, scale) = whole.unwrap_or(&("s", 1_000));
    format!("{}{unit}", millis / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_are_shown() {
        for (text, millis) in [
            ("250ms", 250),
            ("4s", 4_000),
            ("90s", 90_000),
            ("3m", 180_000),
            ("1h", 3_600_000),
            ("0s", 0),
        ] {
            let read = parse(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis));
            assert_eq!(parse(&show(read)), Ok(read), "{text}");
        }
        assert_eq!(show(Duration::from_millis(4_000)), "4s");
        assert_eq!(show(Duration::from_millis(1_500)), "1500ms");
    }

    #[test]
    fn what_is_no_duration_is_told_how_to_become_one() {
        for (text, told) in [
            ("4", "\"4s\" or \"4ms\""),
            ("4 s", "a whole number and a unit"),
            ("4sec", "write \"4s\""),
            ("2 min", "a whole number"),
            ("2min", "write \"2m\""),
            ("s", "a whole number"),
            ("", "a whole number"),
            ("-4s", "a whole number"),
            ("1.5s", "a whole number"),
            ("99999999999999999999s", "too large"),
            ("18446744073709551615h", "too large"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
