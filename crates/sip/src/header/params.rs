//! Parameters: `;name=value;flag` behind a header value or in a URI (RFC 3261 §7.3.1).

use crate::lex::{self, class};

/// The parameters of a value, as written; may start with the first `;`.
#[derive(Copy, Clone, Debug)]
pub struct Params<'a>(pub &'a [u8]);

impl<'a> Params<'a> {
    /// The first parameter of that name, in any case: its value, `b""` for a flag without one.
    /// A quoted value keeps its quotes.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let rest = match self.skip_to(name.as_bytes()) {
            Ok(found) => return found,
            Err(rest) => rest,
        };
        Params(rest).look_for(name.as_bytes())
    }

    /// As [`get`](Self::get), one after the other.
    fn look_for(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter()
            .find(|(known, _)| lex::same_word(known, name))
            .map(|(_, value)| value.unwrap_or_default())
    }

    /// As [`get`](Self::get), straight from semicolon to semicolon. Where quotes or white space make
    /// it harder than that, it fails with the parameters that were not looked at yet.
    #[inline]
    fn skip_to(&self, name: &[u8]) -> Result<Option<&'a [u8]>, &'a [u8]> {
        let mut rest = self.0;
        while let Some((b';', param)) = rest.split_first() {
            if is_blank(param.first()) || name.is_empty() {
                return Err(rest);
            }
            // A quote may hide the semicolons behind it.
            let end = lex::find_either(param, 0, b';', b'"').unwrap_or(param.len());
            let (this, next) = param.split_at(end);
            if matches!(next, [b'"', ..]) {
                return Err(rest);
            }
            if let Some((known, value)) = this.split_at_checked(name.len())
                && lex::same_word(known, name)
            {
                match value {
                    [] => return Ok(Some(b"")),
                    [b'=', value @ ..] if !is_blank(value.first()) && !is_blank(value.last()) => {
                        return Ok(Some(value));
                    }
                    [..=b' ' | b'=', ..] => return Err(rest),
                    _ => {}
                }
            }
            rest = next;
        }
        if rest.is_empty() { Ok(None) } else { Err(rest) }
    }

    /// Whether there is a parameter of that name.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All parameters in order: names and values without white space around them; `None` where
    /// there is no `=`. Empty ones (`;;`) are passed over.
    pub fn iter(&self) -> ParamsIter<'a> {
        ParamsIter(self.0)
    }
}

/// White space or a control: whoever asks looks closer.
#[inline]
fn is_blank(byte: Option<&u8>) -> bool {
    byte.is_some_and(|&byte| byte <= b' ')
}

impl<'a> IntoIterator for Params<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = ParamsIter<'a>;

    fn into_iter(self) -> ParamsIter<'a> {
        self.iter()
    }
}

/// See [`Params::iter`].
#[derive(Clone, Debug)]
pub struct ParamsIter<'a>(&'a [u8]);

impl<'a> Iterator for ParamsIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let skip = self
            .0
            .iter()
            .position(|&byte| byte != b';' && !lex::is_lws(byte))?;
        let rest = &self.0[skip..];
        let name_end = lex::find_class(rest, class::NAME_END).unwrap_or(rest.len());
        let name = lex::trim_end(&rest[..name_end]);
        if rest.get(name_end) != Some(&b'=') {
            self.0 = &rest[name_end..];
            return Some((name, None));
        }
        let value_start = match rest.get(name_end + 1) {
            Some(b'!'..) | None => name_end + 1,
            Some(_) => name_end + 1 + lex::lws_len(&rest[name_end + 1..]),
        };
        // A semicolon inside quotes separates nothing; quotes that never close hold all the rest.
        let quotes_end = match rest.get(value_start) {
            Some(b'"') => lex::quoted_end(rest, value_start).unwrap_or(rest.len()),
            _ => value_start,
        };
        let end = lex::find(rest, quotes_end, b';').unwrap_or(rest.len());
        self.0 = &rest[end..];
        Some((name, Some(lex::trim_end(&rest[value_start..end]))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_order_and_quotes_hide_semicolons() {
        type Pairs<'a> = &'a [(&'a str, Option<&'a str>)];
        let table: &[(&str, Pairs<'_>)] = &[
            ("", &[]),
            (";", &[]),
            (";lr", &[("lr", None)]),
            (
                "transport=tcp;lr",
                &[("transport", Some("tcp")), ("lr", None)],
            ),
            (
                ";branch=z9hG4bK1;rport",
                &[("branch", Some("z9hG4bK1")), ("rport", None)],
            ),
            (" ; Tag = a1 \r\n ;\tx", &[("Tag", Some("a1")), ("x", None)]),
            (
                r#";t="a;b\";c";d=1"#,
                &[("t", Some(r#""a;b\";c""#)), ("d", Some("1"))],
            ),
            (";a=;b", &[("a", Some("")), ("b", None)]),
            (";;a;;", &[("a", None)]),
            (r#";a="never;closed"#, &[("a", Some(r#""never;closed"#))]),
            (";=v", &[("", Some("v"))]),
            (";a=b=c", &[("a", Some("b=c"))]),
        ];
        for (text, expected) in table {
            let pairs: Vec<_> = Params(text.as_bytes()).iter().collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes)))
                .collect();
            assert_eq!(pairs, expected, "{text}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_the_first_wins() {
        for text in [
            "",
            ";",
            ";tag",
            ";tag=",
            ";tag=1",
            ";x;tag=1;y",
            "tag=1",
            ";;tag=1",
            "; tag=1",
            ";tag =1",
            ";tag= 1",
            ";tag=1 ;x",
            ";tag\r\n =1",
            ";tags=1;tag=2",
            ";x=tag;TAG=2",
            ";x=\";tag=1\";tag=2",
            ";tag=\"a;b\"",
            ";x=\"never;tag=1",
            ";=v;tag=1",
            ";x\";tag=1",
            ";x=a\";tag=1\";tag=2",
            ";tag=a=b",
            ";tag=\x01",
            ";tag;tag=2",
            ";x ;tag=1",
            ";x= \";tag=3\"",
        ] {
            for name in ["tag", "x", "", "ta", "y"] {
                let params = Params(text.as_bytes());
                assert_eq!(
                    params.get(name),
                    params.look_for(name.as_bytes()),
                    "{text} {name}"
                );
            }
        }
        let params = Params(b";TAG=1;tag=2;LR");
        assert_eq!(params.get("tag"), Some(&b"1"[..]));
        assert_eq!(params.get("lr"), Some(&b""[..]));
        assert!(params.has("Lr") && !params.has("ag"));
    }
}
