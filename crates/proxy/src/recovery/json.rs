//! The little of JSON that NCCO needs (RFC 8259), with the place of every value and limits that
//! come before the memory they protect. It exists because serde has no place in this crate and
//! knows no places.

/// Values inside values.
pub const DEPTH_MAX: usize = 16;
/// Values of one text.
pub const VALUES_MAX: usize = 4000;

/// A value and where it begins.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// The byte.
    pub at: usize,
    /// What it is.
    pub json: Json,
}

/// What a value is.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A string.
    Text(String),
    /// `[ ]`.
    List(Vec<Value>),
    /// `{ }`, in order; the last of equal names counts.
    Object(Vec<(String, Value)>),
}

/// What is wrong, and at which byte.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what}")]
pub struct NotJson {
    /// The byte.
    pub at: usize,
    /// For a person.
    pub what: &'static str,
}

impl Value {
    /// A member of an object.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Json::Object(members) = &self.json else {
            return None;
        };
        let named = |(known, _): &&(String, Value)| known == name;
        members.iter().rev().find(named).map(|(_, value)| value)
    }

    /// A string's text.
    pub fn text(&self) -> Option<&str> {
        match &self.json {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, also one in quotes.
    pub fn whole(&self) -> Option<u32> {
        match &self.json {
            Json::Number(number) if number.fract() == 0.0 && (0.0..=1e9).contains(number) => {
                Some(*number as u32)
            }
            Json::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A string, or the first of a list of them, as `eventUrl` and `streamUrl` are written.
    pub fn first_text(&self) -> Option<&str> {
        match &self.json {
            Json::List(values) => values.first()?.text(),
            _ => self.text(),
        }
    }
}

/// Reads one value and nothing after it.
///
/// # Errors
/// The first fault.
pub fn parse(text: &str) -> Result<Value, NotJson> {
    let mut reader = Reader {
        text,
        at: 0,
        values: 0,
    };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.at < text.len() {
        return reader.refuse("something follows the end of the document");
    }
    Ok(value)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn refuse<T>(&self, what: &'static str) -> Result<T, NotJson> {
        Err(NotJson { at: self.at, what })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Result<Value, NotJson> {
        self.blanks();
        self.values += 1;
        if depth > DEPTH_MAX {
            return self.refuse("lists and objects are too deep inside each other");
        }
        if self.values > VALUES_MAX {
            return self.refuse("there are too many values");
        }
        let at = self.at;
        let json = match self.peek() {
            Some(b'"') => Json::Text(self.string()?),
            Some(b'[') => self.list(depth)?,
            Some(b'{') => self.object(depth)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(_) => self.word()?,
            None => return self.refuse("it ends where a value must be"),
        };
        Ok(Value { at, json })
    }

    fn list(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.at += 1;
        let mut values = Vec::new();
        if self.take(b']') {
            return Ok(Json::List(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::List(values));
            }
            if !self.take(b',') {
                return self.refuse("a comma or ] must be here");
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, NotJson> {
        self.at += 1;
        let mut members = Vec::new();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return self.refuse("a name in quotes must be here");
            }
            let name = self.string()?;
            if !self.take(b':') {
                return self.refuse("a colon must be here");
            }
            members.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return self.refuse("a comma or } must be here");
            }
        }
    }

    fn word(&mut self) -> Result<Json, NotJson> {
        let rest = &self.text[self.at..];
        let known = [
            ("null", Json::Null),
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
        ];
        for (word, json) in known {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(json);
            }
        }
        self.refuse("a value must be here: text in quotes, a number, a list or an object")
    }

    fn number(&mut self) -> Result<Json, NotJson> {
        let rest = &self.text.as_bytes()[self.at..];
        let fits = |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let length = rest.iter().take_while(|byte| fits(byte)).count();
        match self.text[self.at..self.at + length].parse() {
            Ok(number) => {
                self.at += length;
                Ok(Json::Number(number))
            }
            Err(_) => self.refuse("this is no number"),
        }
    }

    /// From its opening quote to behind its closing one.
    fn string(&mut self) -> Result<String, NotJson> {
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest
                .find(|c: char| c == '"' || c == '\\' || c < ' ')
                .unwrap_or(rest.len());
            text.push_str(&rest[..plain]);
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return self.refuse("a control character must be escaped"),
                None => return self.refuse("a text has no closing quote"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, NotJson> {
        self.at += 1;
        let plain = match self.peek() {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return self.refuse("this is no escape"),
        };
        self.at += 1;
        Ok(plain)
    }

    /// `\uXXXX`, and the second half of a pair where there is one; half a pair alone is U+FFFD.
    fn unicode(&mut self) -> Result<char, NotJson> {
        let first = self.four_digits()?;
        if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let before = self.at;
            self.at += 2;
            let second = self.four_digits()?;
            if (0xDC00..0xE000).contains(&second) {
                let both = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32, NotJson> {
        let digits = self.text.get(self.at..self.at + 4);
        let hex = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match hex.and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
            Some(number) => {
                self.at += 4;
                Ok(number)
            }
            None => self.refuse("\\u needs four hexadecimal digits"),
        }
    }
}

/// A text as JSON, quotes included.
pub fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            // Writing to a String cannot fail.
            c if c < ' ' => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read_with_its_place() {
        let value = parse(
            " {\"a\": [1, -2.5e1, \"x\\u00e9\\ud83d\\ude00\\n\"], \"b\": null, \"c\": true}\n",
        )
        .unwrap();
        assert_eq!(value.at, 1);
        let list = value.get("a").unwrap();
        assert_eq!(list.at, 7);
        let Json::List(values) = &list.json else {
            panic!("{list:?}")
        };
        assert_eq!(values[0].whole(), Some(1));
        assert_eq!(values[1].json, Json::Number(-25.0));
        assert_eq!(values[2].text(), Some("xé😀\n"));
        assert_eq!(value.get("b").unwrap().json, Json::Null);
        assert_eq!(value.get("c").unwrap().json, Json::Bool(true));
        assert_eq!(value.get("d"), None);
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_place() {
        let deep = "[".repeat(DEPTH_MAX + 2);
        let many = format!("[{}0]", "0,".repeat(VALUES_MAX));
        for (text, at) in [
            ("", 0),
            ("[1 2]", 3),
            ("[1,]", 3),
            ("{\"a\" 1}", 5),
            ("{a: 1}", 1),
            ("\"abc", 4),
            ("\"a\nb\"", 2),
            ("\"\\x\"", 2),
            ("\"\\u12\"", 3),
            ("nul", 0),
            ("-", 0),
            ("1 2", 2),
            (&deep, DEPTH_MAX + 1),
        ] {
            assert_eq!(parse(text).unwrap_err().at, at, "{text}");
        }
        assert!(parse(&many).is_err());
        assert_eq!(parse("\"\\ud800x\"").unwrap().text(), Some("\u{fffd}x"));
    }

    #[test]
    fn what_is_quoted_reads_back() {
        for text in ["", "plain", "a\"b\\c\n\u{1}é😀"] {
            assert_eq!(parse(&quoted(text)).unwrap().text(), Some(text));
        }
    }
}
