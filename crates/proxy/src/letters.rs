//! Base64 as tokens and branches are written in it: url-safe, without padding (RFC 4648 §5).
//!
//! A call writes and reads a dozen of them, each a few dozen letters long. A library that has to be
//! right for megabytes spends more on beginning than these take altogether.

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

/// Writes bytes as letters to the front of `text`, which has room for [`letters_of`] them; says how
/// many it wrote.
pub fn write(bytes: &[u8], text: &mut [u8]) -> usize {
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
    let last = text[whole..].iter_mut().take(rest.len() + 1);
    last.zip([18, 12, 6])
        .for_each(|(place, shift)| *place = letter(bits >> shift));
    letters_of(bytes.len())
}

/// Reads letters into the front of `bytes`, which has room for three of four; says how many bytes
/// they were. `None` for what [`write`] does not write: other letters, an impossible length, bits
/// over at the end.
pub fn read(text: &[u8], bytes: &mut [u8]) -> Option<usize> {
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
        fn no_room_makes_it_panic(text in "[A-Za-z]{0,20}", room in 0usize..20) {
            let mut bytes = vec![0; room];
            prop_assert_eq!(
                read(text.as_bytes(), &mut bytes),
                URL_SAFE_NO_PAD.decode(&text).ok().map(|it| it.len()).filter(|len| *len <= room)
            );
        }
    }
}
