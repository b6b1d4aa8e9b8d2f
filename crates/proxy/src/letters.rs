//! Base64 as tokens and branches are written in it: url-safe, without padding (RFC 4648 §5).
//!
//! A call writes and reads a dozen of them, each a few dozen letters long. A library that has to be
//! right for megabytes spends more on beginning than these take altogether. Sixteen letters at a
//! time, and what is left one by one.

use wide::{CmpGt, i8x16};

/// Letters that are written and read at a time.
pub const RUN: usize = 16;
/// The bytes that they stand for.
pub const RUN_BYTES: usize = 12;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// In [`VALUES`]: no letter of ours. Letters have six bits, so it is seen after all were joined.
const NONE: u8 = 0x80;
const VALUES: [u8; 256] = values();

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < LETTERS.len() {
        values[LETTERS[at] as usize] = at as u8;
        at += 1;
    }
    values
}

/// How many letters so many bytes become.
pub const fn letters_of(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// Whether nothing in it ends a parameter of a URI, or may not stand in one: all letters pass, and a few
/// marks. That is quicker to say than whether all are letters.
pub fn go_on(text: &[u8]) -> bool {
    match text.last_chunk() {
        // A few are looked at twice, which is quicker than one by one.
        Some(last) => {
            let (runs, _) = text.as_chunks();
            runs.iter()
                .fold(plain_among(last), |all, run| all & plain_among(run))
                .all()
        }
        None => text
            .iter()
            .all(|byte| matches!(byte, b'-'..=b':' | b'A'..=b'z')),
    }
}

/// Which of these pass.
#[inline(always)]
fn plain_among(run: &[u8; RUN]) -> i8x16 {
    let all = signed(run);
    between(all, b'-', b':') | between(all, b'A', b'z')
}

#[inline(always)]
fn between(text: i8x16, first: u8, last: u8) -> i8x16 {
    text.cmp_gt(i8x16::splat(first as i8 - 1)) & i8x16::splat(last as i8 + 1).cmp_gt(text)
}

/// Writes bytes as letters to the front of `text`, which has room for [`letters_of`] them; says how
/// many it wrote.
pub fn write(bytes: &[u8], text: &mut [u8]) -> usize {
    let (runs, few) = bytes.as_chunks::<RUN_BYTES>();
    for (run, place) in runs.iter().zip(text.as_chunks_mut::<RUN>().0) {
        *place = letters_of_run(run);
    }
    let written = runs.len() * RUN;
    if few.len() < 3 {
        return written + write_few(few, &mut text[written..]);
    }
    // As a run that goes on with zeros: what stands for them is left out.
    let mut run = [0; RUN_BYTES];
    run[..few.len()].copy_from_slice(few);
    let len = letters_of(few.len());
    text[written..written + len].copy_from_slice(&letters_of_run(&run)[..len]);
    written + len
}

/// One by one.
fn write_few(bytes: &[u8], text: &mut [u8]) -> usize {
    let (threes, rest) = bytes.as_chunks::<3>();
    let letter = |bits: u32| LETTERS[(bits & 63) as usize];
    for (&[a, b, c], four) in threes.iter().zip(text.as_chunks_mut::<4>().0) {
        let bits = u32::from_be_bytes([0, a, b, c]);
        *four = [
            letter(bits >> 18),
            letter(bits >> 12),
            letter(bits >> 6),
            letter(bits),
        ];
    }
    let whole = bytes.len() / 3 * 4;
    let bits = match *rest {
        [a] => u32::from_be_bytes([0, a, 0, 0]),
        [a, b] => u32::from_be_bytes([0, a, b, 0]),
        _ => return whole,
    };
    let len = letters_of(bytes.len());
    let letters = [letter(bits >> 18), letter(bits >> 12), letter(bits >> 6)];
    text[whole..len].copy_from_slice(&letters[..len - whole]);
    len
}

/// Reads letters into the front of `bytes`, which has room for three of four; says how many bytes
/// they were. `None` for what [`write`] does not write: other letters, an impossible length, bits
/// over at the end.
pub fn read(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let (runs, few) = text.as_chunks::<RUN>();
    let places = bytes.as_chunks_mut::<RUN_BYTES>().0;
    if places.len() < runs.len() {
        return None;
    }
    for (run, place) in runs.iter().zip(places) {
        *place = bytes_of_run(run)?;
    }
    let read = runs.len() * RUN_BYTES;
    if few.is_empty() {
        return Some(read);
    }
    Some(read + read_few(few, bytes.get_mut(read..)?)?)
}

/// One by one.
fn read_few(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
    let (fours, rest) = text.as_chunks::<4>();
    let mut seen = 0;
    for (four, three) in fours.iter().zip(bytes.as_chunks_mut::<3>().0) {
        let [a, b, c, d] = *four;
        let (a, b) = (VALUES[usize::from(a)], VALUES[usize::from(b)]);
        let (c, d) = (VALUES[usize::from(c)], VALUES[usize::from(d)]);
        seen |= a | b | c | d;
        *three = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
    }
    let mut bits = 0;
    for letter in rest {
        let value = VALUES[usize::from(*letter)];
        seen |= value;
        bits = bits << 6 | u32::from(value);
    }
    let whole = text.len() / 4 * 3;
    if seen & NONE != 0 || bytes.len() < whole {
        return None;
    }
    let over = match rest.len() {
        0 => return Some(whole),
        2 => 4,
        3 => 2,
        _ => return None,
    };
    if bits & ((1 << over) - 1) != 0 {
        return None;
    }
    let tail = &(bits >> over).to_be_bytes()[4 - (rest.len() - 1)..];
    bytes
        .get_mut(whole..whole + tail.len())?
        .copy_from_slice(tail);
    Some(whole + tail.len())
}

/// All the letters of a run at once: each value is moved to where its kind of letter begins.
fn letters_of_run(bytes: &[u8; RUN_BYTES]) -> [u8; RUN] {
    let mut values = [0; RUN];
    for (six, eight) in bytes
        .as_chunks::<6>()
        .0
        .iter()
        .zip(values.as_chunks_mut::<8>().0)
    {
        let [a, b, c, d, e, f] = *six;
        *eight = apart(u64::from_be_bytes([0, 0, a, b, c, d, e, f])).to_be_bytes();
    }
    let values = signed(&values);
    let from = |first: i8, further: u8| {
        values.cmp_gt(i8x16::splat(first - 1)) & i8x16::splat(further as i8)
    };
    // From A on; then a, 0, - and _ stand so much further on, or back, than the kind before them.
    let letters = values
        + i8x16::splat(b'A' as i8)
        + from(26, b'a' - b'A' - 26)
        + from(52, b'0'.wrapping_sub(b'a' + 26))
        + from(62, b'-'.wrapping_sub(b'0' + 10))
        + from(63, b'_' - b'-' - 1);
    unsigned(letters)
}

/// The bytes of a run, if all of it are letters.
fn bytes_of_run(run: &[u8; RUN]) -> Option<[u8; RUN_BYTES]> {
    let letters = signed(run);
    let among = |first: u8, last: u8| {
        letters.cmp_gt(i8x16::splat(first as i8 - 1)) & i8x16::splat(last as i8 + 1).cmp_gt(letters)
    };
    let kinds = [
        (among(b'A', b'Z'), 0, b'A'),
        (among(b'a', b'z'), 26, b'a'),
        (among(b'0', b'9'), 52, b'0'),
        (among(b'-', b'-'), 62, b'-'),
        (among(b'_', b'_'), 63, b'_'),
    ];
    let (mut known, mut values) = (i8x16::ZERO, letters);
    for (fits, value, letter) in kinds {
        known |= fits;
        values += fits & i8x16::splat(value - letter as i8);
    }
    if !known.all() {
        return None;
    }
    let values = unsigned(values);
    let mut bytes = [0; RUN_BYTES];
    for (eight, six) in values
        .as_chunks::<8>()
        .0
        .iter()
        .zip(bytes.as_chunks_mut::<6>().0)
    {
        let [_, _, joined @ ..] = together(u64::from_be_bytes(*eight)).to_be_bytes();
        *six = joined;
    }
    Some(bytes)
}

/// The same bits. Loops, since `map` over an array is not always made one move.
fn signed(bytes: &[u8; RUN]) -> i8x16 {
    let mut signed = [0; RUN];
    for (to, from) in signed.iter_mut().zip(bytes) {
        *to = *from as i8;
    }
    signed.into()
}

fn unsigned(values: i8x16) -> [u8; RUN] {
    let mut bytes = [0; RUN];
    for (to, from) in bytes.iter_mut().zip(values.to_array()) {
        *to = from as u8;
    }
    bytes
}

/// Eight values of six bits, each in a byte, as one of 48 bits.
fn together(eight: u64) -> u64 {
    let four = (eight & 0x3f00_3f00_3f00_3f00) >> 2 | eight & 0x003f_003f_003f_003f;
    let two = (four & 0x0fff_0000_0fff_0000) >> 4 | four & 0x0000_0fff_0000_0fff;
    (two & 0x00ff_ffff_0000_0000) >> 8 | two & 0x00ff_ffff
}

/// The other way round.
fn apart(joined: u64) -> u64 {
    let two = (joined << 8) & 0x00ff_ffff_0000_0000 | joined & 0x00ff_ffff;
    let four = (two << 4) & 0x0fff_0000_0fff_0000 | two & 0x0000_0fff_0000_0fff;
    (four << 2) & 0x3f00_3f00_3f00_3f00 | four & 0x003f_003f_003f_003f
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_what_the_library_writes(
            bytes in prop::collection::vec(any::<u8>(), 0..70),
        ) {
            let mut text = [0; 100];
            let written = write(&bytes, &mut text);
            let expected = URL_SAFE_NO_PAD.encode(&bytes);
            prop_assert_eq!(&text[..written], expected.as_bytes());
            prop_assert_eq!(written, letters_of(bytes.len()));
        }

        #[test]
        fn what_is_read_is_what_the_library_reads(
            text in prop_oneof!["[A-Za-z0-9_-]{0,90}", "[ -~]{0,20}", "[AQgw]{0,9}"],
        ) {
            let mut bytes = [0; 70];
            let read = read(text.as_bytes(), &mut bytes).map(|len| bytes[..len].to_vec());
            prop_assert_eq!(read, URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn letters_go_on_and_what_ends_a_parameter_does_not(
            text in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..4),
                "[A-Za-z0-9_-]{0,70}".prop_map(String::into_bytes),
            ],
            at in 0usize..70,
            odd: u8,
        ) {
            let goes_on = |text: &[u8]| {
                text.iter().all(|byte| LETTERS.contains(byte) || b"./:[\\]^`".contains(byte))
            };
            prop_assert_eq!(go_on(&text), goes_on(&text));
            let mut text = text;
            if let Some(byte) = text.get_mut(at) {
                *byte = odd;
            }
            prop_assert_eq!(go_on(&text), goes_on(&text));
        }

        #[test]
        fn no_room_makes_it_panic(text in "[A-Za-z]{0,20}", room in 0usize..20) {
            let mut bytes = vec![0; room];
            prop_assert_eq!(
                read(text.as_bytes(), &mut bytes),
                URL_SAFE_NO_PAD.decode(&text).ok().map(|it| it.len()).filter(|len| *len <= room)
            );
        }
    }
}
