//! Numbers and strangers' text as they may be shown: no phone number whole, nothing that a
//! terminal or a log reader would take for more than text.

/// Digits in a row that make a phone number.
const NUMBER_DIGITS_MIN: usize = 7;
/// Characters of a stranger's text that are shown.
const SHOWN_MAX: usize = 128;

/// A user part or called number: the first three and the last two characters stay ("+15****00").
/// Of one too short for that, only the last two, or nothing.
pub fn number(text: &str) -> String {
    let mut out = String::new();
    push_number(&mut out, text);
    out
}

/// [`number`], at the end of a line.
pub(crate) fn push_number(out: &mut String, text: &str) {
    let plain = is_plain(text);
    let count = if plain {
        text.len()
    } else {
        text.chars().take(SHOWN_MAX).count()
    };
    let (head, tail) = match count {
        0..=4 => (0, 0),
        5..=7 => (0, 2),
        _ => (3, 2),
    };
    if plain {
        let (start, rest) = text.split_at(head);
        let (hidden, end) = rest.split_at(rest.len() - tail);
        out.push_str(start);
        out.extend(std::iter::repeat_n('*', hidden.len()));
        return out.push_str(end);
    }
    out.extend(shown(text).enumerate().map(|(at, c)| {
        if at < head || at >= count - tail {
            c
        } else {
            '*'
        }
    }));
}

/// A sentence that may quote a number somewhere: every longer run of digits is masked.
pub fn sentence(text: &str) -> String {
    let clean = printable(text);
    let mut out = String::with_capacity(clean.len());
    let mut run = String::new();
    for c in clean.chars() {
        if c.is_ascii_digit() || (c == '+' && run.is_empty()) {
            run.push(c);
            continue;
        }
        flush(&mut run, &mut out);
        out.push(c);
    }
    flush(&mut run, &mut out);
    out
}

/// A stranger's text without anything but printable ASCII, and not too long.
pub fn printable(text: &str) -> String {
    shown(text).collect()
}

/// [`printable`], at the end of a line.
pub(crate) fn push_printable(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
    } else {
        out.extend(shown(text));
    }
}

/// Whether it is shown as it is: nearly always. Without a branch at any letter, so that sixteen of
/// them take one step.
fn is_plain(text: &str) -> bool {
    let graphic = |byte: u8| byte.wrapping_sub(b' ') <= b'~' - b' ';
    text.len() <= SHOWN_MAX && text.bytes().fold(true, |plain, byte| plain & graphic(byte))
}

fn shown(text: &str) -> impl Iterator<Item = char> + '_ {
    let plain = |c: char| {
        if c.is_ascii_graphic() || c == ' ' {
            c
        } else {
            '?'
        }
    };
    text.chars().take(SHOWN_MAX).map(plain)
}

fn flush(run: &mut String, out: &mut String) {
    let digits = run.bytes().filter(u8::is_ascii_digit).count();
    if digits >= NUMBER_DIGITS_MIN {
        out.push_str(&number(run));
    } else {
        out.push_str(run);
    }
    run.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_keeps_its_head_and_its_tail() {
        let cases = [
            ("+155550100", "+15*****00"),
            ("+15550100", "+15****00"),
            ("15550100", "155***00"),
            ("alice.b", "*****.b"),
            ("10001", "***01"),
            ("1001", "****"),
            ("", ""),
            ("+1555\r\n0100\u{1b}[0m", "+15**********0m"),
        ];
        for (number, want) in cases {
            assert_eq!(super::number(number), want);
        }
    }

    #[test]
    fn a_number_inside_a_sentence_is_masked_and_the_rest_is_not() {
        let cases = [
            (
                "Dial sip:+15550100@10.0.0.9:5060 answered 486",
                "Dial sip:+15****00@10.0.0.9:5060 answered 486",
            ),
            (
                "HTTP 500 from https://dr.test/voice",
                "HTTP 500 from https://dr.test/voice",
            ),
            ("15550100", "155***00"),
            ("line\nbreak", "line?break"),
        ];
        for (text, want) in cases {
            assert_eq!(sentence(text), want);
        }
    }
}
