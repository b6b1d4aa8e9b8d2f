//! `application/x-www-form-urlencoded`, as browsers and webhooks write it.

use std::fmt::Write;

/// "name=value&name=value": letters, digits and `*-._` as they are, a space as `+`, all other
/// bytes as `%XX`.
pub(crate) fn encode(form: &[(String, String)]) -> String {
    let mut out = String::new();
    for (index, (name, value)) in form.iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        escape(name, &mut out);
        out.push('=');
        escape(value, &mut out);
    }
    out
}

/// The URL with the form added to its query.
pub(crate) fn with_query(url: &str, form: &[(String, String)]) -> String {
    if form.is_empty() {
        return url.to_owned();
    }
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{joint}{}", encode(form))
}

fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // Writing to a String does not fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect()
    }

    #[test]
    fn what_has_a_meaning_in_a_form_is_escaped() {
        let cases = [
            (&[("From", "+15550100")][..], "From=%2B15550100"),
            (&[("a b", "c&d=e"), ("x", "")], "a+b=c%26d%3De&x="),
            (&[("n", "é\u{0}%")], "n=%C3%A9%00%25"),
            (
                &[("SipHeader_X-Foo", "a.b-c_d*e~")],
                "SipHeader_X-Foo=a.b-c_d*e%7E",
            ),
            (&[], ""),
        ];
        for (pairs, want) in cases {
            assert_eq!(encode(&form(pairs)), want);
        }
    }

    #[test]
    fn a_query_that_is_there_is_added_to() {
        let cases = [
            ("http://h/p", "http://h/p?a=1"),
            ("http://h/p?", "http://h/p?a=1"),
            ("http://h/p?x=2", "http://h/p?x=2&a=1"),
        ];
        for (url, want) in cases {
            assert_eq!(with_query(url, &form(&[("a", "1")])), want);
            assert_eq!(with_query(url, &[]), url);
        }
    }
}
