//! The words of a script's line: bare words, quoted bytes, comments.

/// One word.
#[derive(Clone, PartialEq, Debug)]
pub enum Word {
    /// As it stands.
    Bare(String),
    /// In quotes, escapes resolved.
    Quoted(Vec<u8>),
    /// `<<`: a block follows on the next lines.
    Block,
}

/// Splits a line; what follows a `#` at the start of a word is a comment.
///
/// # Errors
/// A sentence about the fault.
pub fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        match first {
            '#' => break,
            '"' => {
                let (bytes, after) = quoted(&rest[1..])?;
                words.push(Word::Quoted(bytes));
                rest = after;
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                let word = &rest[..end];
                words.push(if word == "<<" {
                    Word::Block
                } else {
                    Word::Bare(word.to_string())
                });
                rest = &rest[end..];
            }
        }
        rest = rest.trim_start();
    }
    Ok(words)
}

fn quoted(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Ok((unescape(&text[..at])?, &text[at + 1..])),
            _ => {}
        }
    }
    Err(format!("the quote of \"{text} is not closed"))
}

/// Resolves `\r \n \t \\ \"` and `\xHH`.
///
/// # Errors
/// A sentence about the fault.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(same @ (b'\\' | b'"')) => same,
            Some(b'x') => {
                let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high * 16 + low) as u8,
                    _ => return Err(format!("\\x wants two hex digits in \"{text}\"")),
                }
            }
            _ => {
                return Err(format!(
                    "unknown escape in \"{text}\"; there are \\r \\n \\t \\\\ \\\" \\xHH"
                ));
            }
        });
    }
    Ok(out)
}

/// Puts bytes into quotes, so that [`split`] gives them back.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\r' => out.push_str("\\r"),
            b'\n' => out.push_str("\\n"),
            b'\t' => out.push_str("\\t"),
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_comments_are_told_apart() {
        let words =
            split("  0.5  a -> b  INVITE sip:x#y with \"A: #1\\r\\n\"  # a comment").unwrap();
        assert_eq!(words.len(), 8);
        assert_eq!(words[5], Word::Bare("sip:x#y".into()));
        assert_eq!(words[7], Word::Quoted(b"A: #1\r\n".to_vec()));
        assert!(split("\"open").is_err());
        assert!(split("\"\\q\"").is_err());
        assert!(split("\"\\x4\"").is_err());
    }

    #[test]
    fn any_bytes_survive_quoting() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(split(&quote(&all)).unwrap(), [Word::Quoted(all)]);
    }
}
