//! Numbers and strangers' text as they may be shown: no phone number whole, nothing that a
//! terminal or a log reader would take for more than text.

use wide::u8x16;

/// Digits in a row that make a phone number.
const NUMBER_DIGITS_MIN: usize = 7;
/// Characters of a stranger's text that are shown.
const SHOWN_MAX: usize = 128;

/// A user part or called number: the first three and the last two characters stay ("+15****00").
/// Of one too short for that, only the last two, or nothing.
pub fn number(text: &str) -> String {
    let count = text.chars().take(SHOWN_MAX).count();
    let (head, tail) = stays(count);
    let masked = shown(text).enumerate().map(|(at, c)| {
        if at < head || at >= count - tail {
            c
        } else {
            '*'
        }
    });
    masked.collect()
}

/// [`number`] of one that [is plain](is_plain), at the end of a line.
pub(crate) fn push_plain_number(out: &mut Vec<u8>, plain: &[u8]) {
    let (head, tail) = stays(plain.len());
    let start = out.len() + head;
    out.extend_from_slice(plain);
    let end = out.len() - tail;
    if let Some(hidden) = out.get_mut(start..end) {
        hidden.fill(b'*');
    }
}

/// How many characters of so many stay at the beginning and at the end.
fn stays(count: usize) -> (usize, usize) {
    match count {
        0..=4 => (0, 0),
        5..=7 => (0, 2),
        _ => (3, 2),
    }
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

/// Whether a text [is shown](printable) as it is, even between quotes: nearly always.
pub(crate) fn is_plain(bytes: &[u8]) -> bool {
    if bytes.len() > SHOWN_MAX {
        return false;
    }
    match bytes.last_chunk() {
        // A few letters are looked at twice, which is quicker than one by one.
        Some(last) => bytes.as_chunks().0.iter().all(are_plain) && are_plain(last),
        None => are_plain(&short(bytes)),
    }
}

/// Sixteen letters at once, and without a branch at any.
#[inline(always)]
fn are_plain(letters: &[u8; 16]) -> bool {
    let letters = u8x16::from(*letters);
    let shown = letters.max(u8x16::splat(b' ')).min(u8x16::splat(b'~'));
    let marks = letters.cmp_eq(u8x16::splat(b'"')) | letters.cmp_eq(u8x16::splat(b'\\'));
    (shown.cmp_eq(letters) & !marks).move_mask() == 0xffff
}

/// Fewer letters, as sixteen: some of them twice, and blanks.
#[inline(always)]
fn short(bytes: &[u8]) -> [u8; 16] {
    const BLANKS: u128 = u128::from_ne_bytes([b' '; 16]);
    let letters = match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|it| u128::from(u64::from_ne_bytes(*it)));
            first | last << 64
        }
        _ => match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                let [first, last] = [first, last].map(|it| u128::from(u32::from_ne_bytes(*it)));
                BLANKS << 64 | last << 32 | first
            }
            // At most three.
            _ => bytes
                .iter()
                .fold(BLANKS, |run, byte| run << 8 | u128::from(*byte)),
        },
    };
    letters.to_ne_bytes()
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
            if is_plain(number.as_bytes()) {
                let mut line = b"from=".to_vec();
                push_plain_number(&mut line, number.as_bytes());
                assert_eq!(line, format!("from={want}").as_bytes());
            }
        }
    }

    #[test]
    fn only_what_is_shown_as_it_is_is_plain() {
        let long = "x".repeat(SHOWN_MAX + 1);
        for (text, plain) in [
            ("", true),
            (" ~a84b4c76@192.0.2.1", true),
            (&long[1..], true),
            (&long, false),
            ("a\"b", false),
            ("a\\b", false),
            ("a\u{7f}", false),
            ("a\u{1f}", false),
            ("z\u{fc}rich", false),
        ] {
            assert_eq!(is_plain(text.as_bytes()), plain, "{text:?}");
            assert!(!plain || printable(text) == text, "{text:?}");
        }
        for byte in 0..=255u8 {
            let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for (len, at) in [
                (1, 0),
                (7, 6),
                (8, 7),
                (9, 0),
                (15, 14),
                (16, 0),
                (17, 16),
                (40, 20),
                (40, 35),
            ] {
                let mut text = vec![b'a'; len];
                text[at] = byte;
                assert_eq!(is_plain(&text), plain, "{byte} at {at} of {len}");
            }
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
