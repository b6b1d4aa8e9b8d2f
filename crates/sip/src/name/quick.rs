//! The name that a line starts with, at a glance: two letters lead to the one or few names that it
//! can be, and one comparison of sixteen bytes tells. Every header of every message comes by here.

use wide::u8x16;

use super::Name;

/// A name with its colon, as far as that is no longer than sixteen bytes.
#[repr(align(64))]
struct Word {
    /// In lower case.
    text: u8x16,
    /// What makes a letter a small one; 0 where there is no letter.
    fold: u8x16,
    /// One bit for each byte of the text.
    bits: u16,
    /// Of the name alone.
    len: u8,
    name: Name,
    /// The next word with these first two letters, see [`Words::place`].
    next: u8,
}

struct Words {
    /// By [`key`]: the place of the first word.
    place: [u8; KEYS],
    /// The first one is no word at all, and follows the last of each key.
    words: [Word; WORDS_MAX],
}

/// By [`key`]: the first word.
static FIRST: [&Word; KEYS] = {
    let mut first = [&WORDS.words[0]; KEYS];
    let mut key = 0;
    while key < KEYS {
        first[key] = &WORDS.words[WORDS.place[key] as usize];
        key += 1;
    }
    first
};

/// More than there are long and compact names.
const WORDS_MAX: usize = 64;

/// Enough to let hardly any two of them meet.
const KEYS: usize = 1 << 9;

static WORDS: Words = Words::new();

/// A number for the first two letters in any case. Others may share it: whoever is led to a word
/// compares all of it.
#[inline]
const fn key(letters: [u8; 2]) -> usize {
    let letters = u16::from_le_bytes(letters) & 0x1f1f;
    ((letters as u32).wrapping_mul(0x9e37_79b1) >> 23) as usize
}

impl Words {
    const fn new() -> Words {
        // No byte is what this wants it to be.
        const EMPTY: Word = Word {
            text: u8x16::new([0; 16]),
            fold: u8x16::new([1; 16]),
            bits: 1,
            len: 0,
            name: Name::Other,
            next: 0,
        };
        let mut all = Words {
            place: [0; KEYS],
            words: [EMPTY; WORDS_MAX],
        };
        let mut count = 1;
        let mut at = 0;
        while at < Name::ALL.len() {
            let name = Name::ALL[at];
            if name.canonical().len() < 16 {
                all.add(&mut count, name.canonical().as_bytes(), name);
            }
            at += 1;
        }
        let mut letter = b'a';
        while letter <= b'z' {
            match Name::compact(letter) {
                Name::Other => {}
                name => all.add(&mut count, &[letter, b':'], name),
            }
            letter += 1;
        }
        all
    }

    /// Puts a word behind those that it shares its key with.
    const fn add(&mut self, count: &mut usize, letters: &[u8], name: Name) {
        let key = key([letters[0], letters[1]]);
        self.words[*count] = Word::new(letters, name);
        let place = *count as u8;
        *count += 1;
        if self.place[key] == 0 {
            self.place[key] = place;
            return;
        }
        let mut last = self.place[key] as usize;
        while self.words[last].next != 0 {
            last = self.words[last].next as usize;
        }
        self.words[last].next = place;
    }
}

impl Word {
    const fn new(letters: &[u8], name: Name) -> Word {
        let (mut text, mut fold) = ([0; 16], [0; 16]);
        let mut at = 0;
        while at < letters.len() && letters[at] != b':' {
            text[at] = letters[at].to_ascii_lowercase();
            if letters[at].is_ascii_alphabetic() {
                fold[at] = 0x20;
            }
            at += 1;
        }
        text[at] = b':';
        Word {
            text: u8x16::new(text),
            fold: u8x16::new(fold),
            bits: ((1u32 << (at + 1)) - 1) as u16,
            len: at as u8,
            name,
            next: 0,
        }
    }
}

impl Name {
    /// The name that these bytes start with and its length, if its colon comes right behind it.
    /// Names longer than fifteen bytes are left to [`Name::parse`], and so is [`Name::Other`].
    #[inline(always)]
    pub(crate) fn quick(line: &[u8; 16]) -> Option<(Name, usize)> {
        let bytes = u8x16::new(*line);
        let mut word = FIRST[key([line[0], line[1]])];
        loop {
            let same = (bytes | word.fold).cmp_eq(word.text).move_mask() as u16;
            if !same & word.bits == 0 {
                return Some((word.name, usize::from(word.len)));
            }
            if word.next == 0 {
                return None;
            }
            word = &WORDS.words[usize::from(word.next) % WORDS_MAX];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick(text: &str) -> Option<(Name, usize)> {
        Name::quick(format!("{text:<16}").as_bytes().first_chunk()?)
    }

    #[test]
    fn a_quick_look_says_what_a_long_one_does() {
        let compact = (b'a'..=b'z').map(|letter| char::from(letter).to_string());
        let names = Name::ALL.iter().map(|name| name.canonical().to_string());
        let mut found = 0;
        for text in names.chain(compact) {
            let name = Name::parse(text.as_bytes());
            let expected = (name != Name::Other && text.len() < 16).then_some((name, text.len()));
            found += usize::from(expected.is_some());
            for line in [
                format!("{text}: x"),
                format!("{}:", text.to_ascii_lowercase()),
                format!("{}:\r", text.to_ascii_uppercase()),
            ] {
                assert_eq!(quick(&line), expected, "{line}");
            }
            for other in [
                format!("{text} :"),
                format!("{text}x:"),
                format!("x{text}:"),
            ] {
                assert_eq!(quick(&other), None, "{other}");
            }
        }
        assert_eq!(found, 56);
    }

    #[test]
    fn no_other_byte_passes_for_one_of_a_name() {
        for name in Name::ALL.iter().filter(|name| name.canonical().len() < 16) {
            let text = format!("{}:", name.canonical());
            for at in 0..text.len() {
                for byte in 0..=255 {
                    let mut line = [b' '; 16];
                    line[..text.len()].copy_from_slice(text.as_bytes());
                    line[at] = byte;
                    let len = line.iter().position(|&byte| byte == b':').unwrap_or(0);
                    let known = Some((Name::parse(&line[..len]), len));
                    let expected = known.filter(|(name, _)| *name != Name::Other);
                    assert_eq!(Name::quick(&line), expected, "{text} with {byte} at {at}");
                }
            }
        }
    }
}
