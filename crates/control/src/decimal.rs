//! Numbers in digits, at the end of a line.

/// The digits of each number below a thousand, and how many they are.
static SHORT: [[u8; 4]; 1000] = {
    let mut short = [[0; 4]; 1000];
    let mut value = 0;
    while value < 1000 {
        let [a, b, c] = [value / 100, value / 10 % 10, value % 10];
        let [a, b, c] = [b'0' + a as u8, b'0' + b as u8, b'0' + c as u8];
        short[value] = match value {
            0..=9 => [c, 0, 0, 1],
            10..=99 => [b, c, 0, 2],
            _ => [a, b, c, 3],
        };
        value += 1;
    }
    short
};

/// Writes a number.
#[inline]
pub(crate) fn push(out: &mut Vec<u8>, value: u64) {
    if value < 1000 {
        push_short(out, value as usize);
    } else {
        push_long(out, value);
    }
}

/// Of less than a thousand.
#[inline]
fn push_short(out: &mut Vec<u8>, value: usize) {
    let [digits @ .., count] = SHORT[value];
    // Always three, which is one step, and then less.
    let end = out.len() + usize::from(count);
    out.extend_from_slice(&digits);
    out.truncate(end);
}

fn push_long(out: &mut Vec<u8>, value: u64) {
    let (thousands, rest) = (value / 1000, (value % 1000) as u32);
    if thousands < 1000 {
        push_short(out, thousands as usize);
    } else {
        push_long(out, thousands);
    }
    let digit = |value: u32| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(rest / 100), digit(rest / 10), digit(rest)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for value in (0..2100).chain([65_535, 1_000_000, 1_002_030, u64::MAX]) {
            let mut out = Vec::new();
            push(&mut out, value);
            assert_eq!(out, value.to_string().as_bytes());
        }
    }
}
