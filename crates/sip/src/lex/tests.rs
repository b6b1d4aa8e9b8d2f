use super::*;

#[test]
fn a_search_finds_the_first_wherever_it_stands() {
    // Neighbours of what is searched, and bytes whose bits borrow from each other.
    let fill = [0x80, 0xff, 0x3b, 0x39, 0x01, 0x20, 0x0e, 0x8d];
    for len in 0..40 {
        for at in 0..len {
            for filler in fill {
                let mut bytes = vec![filler; len];
                bytes[at] = b':';
                for from in 0..=len {
                    let first = (from..len).find(|&at| bytes[at] == b':');
                    assert_eq!(find(&bytes, from, b':'), first);
                    let low = (from..len).find(|&at| bytes[at] < 0x0e);
                    assert_eq!(find_line_end(&bytes, from), low);
                    assert_eq!(find_either(&bytes, from, b'A', b':'), first);
                }
            }
        }
    }
    assert_eq!(find(b"abc", 4, b'a'), None);
}

#[test]
fn what_is_rare_is_found_wherever_it_stands() {
    type Row = (fn(&[u8]) -> Option<usize>, fn(u8) -> bool);
    let table: [Row; 8] = [
        (find_escaped, |byte| {
            matches!(byte, 0..=b' ' | b'<' | b'>' | b'"' | 0x7f)
        }),
        (find_break, |byte| matches!(byte, 0..=b' ' | b'<' | b'>')),
        (find_line, |byte| byte <= b'\r'),
        (
            |bytes| found(bytes, seek_param_end(bytes)),
            |byte| matches!(byte, 0..=b' ' | b';' | b',' | b'"'),
        ),
        (
            |bytes| found(bytes, seek_tag_end(bytes)),
            |byte| matches!(byte, 0..=b' ' | b';' | b',' | b'<' | b'=' | b'>' | b'"'),
        ),
        (
            |bytes| found(bytes, seek_blank(bytes)),
            |byte| matches!(byte, 0..=b' '),
        ),
        (
            |bytes| found(bytes, seek_in_line::<b'"', b'>'>(bytes)),
            |byte| matches!(byte, 0..=b'\r' | b'"' | b'>'),
        ),
        (find_separator, |byte| {
            matches!(
                byte,
                b',' | b'<' | b'>' | b'"' | b' ' | b'\t' | b'\r' | b'\n'
            )
        }),
    ];
    for (search, is_wanted) in table {
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..=255 {
                    let mut bytes = vec![b'a'; len];
                    bytes[at] = byte;
                    let found = is_wanted(byte).then_some(at);
                    assert_eq!(search(&bytes), found, "{byte} at {at} of {len}");
                }
            }
        }
        assert_eq!(search(b""), None);
    }
}

/// Where a search ended, as the others say it.
fn found(bytes: &[u8], rest: &[u8]) -> Option<usize> {
    (!rest.is_empty()).then_some(bytes.len() - rest.len())
}

fn find_line(bytes: &[u8]) -> Option<usize> {
    let mut block = [b'a'; 64];
    block[..bytes.len()].copy_from_slice(bytes);
    let (ends, commas) = line_ends_and_commas(&block);
    let end = find_line_end(bytes, 0);
    assert_eq!(end.map_or(0, |at| 1 << at), ends);
    assert_eq!(commas != 0, block.contains(&b','));
    end
}

#[test]
fn a_name_is_as_long_as_a_token() {
    for byte in 0..=255u8 {
        for len in 1..40 {
            for filler in *b"aZ9-.!" {
                let mut text = vec![filler; len];
                text[len - 1] = byte;
                text.extend_from_slice(b": x");
                assert_eq!(name_len(&text), token_len(&text), "{byte}");
            }
        }
    }
    assert_eq!(name_len(b"name"), 4);
}

#[test]
fn a_host_is_as_long_as_its_letters_go() {
    for byte in 0..=255u8 {
        let belongs = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        for len in 1..20 {
            for filler in *b"a0." {
                let mut text = vec![filler; len];
                text[len - 1] = byte;
                assert_eq!(host_len(&text), len - usize::from(!belongs), "{byte}");
            }
        }
    }
    assert_eq!(host_len(b""), 0);
}

#[test]
fn an_address_is_what_the_library_reads_as_one() {
    let parts = [
        "", "0", "00", "1", "9", "10", "01", "99", "255", "256", "1000", "a", "-1",
    ];
    for (a, b) in parts.iter().flat_map(|a| parts.iter().map(move |b| (a, b))) {
        for (c, d) in parts.iter().flat_map(|c| parts.iter().map(move |d| (c, d))) {
            for text in [
                format!("{a}.{b}.{c}.{d}"),
                format!("{a}.{b}.{c}.{d}."),
                format!("{a}.{b}{c}.{d}"),
            ] {
                assert_eq!(v4(text.as_bytes()), text.parse().ok(), "{text}");
            }
        }
    }
}

#[test]
fn digits_are_counted_and_ports_have_their_range() {
    assert_eq!(digits(b"0170;"), (4, 170));
    assert_eq!(digits(b""), (0, 0));
    for number in 0..=99_999 {
        let text = format!("{number:04}");
        assert_eq!(digits(text.as_bytes()), (text.len(), number));
    }
    for at in 0..4 {
        for byte in (0..=255u8).filter(|byte| !byte.is_ascii_digit()) {
            let mut text = *b"9999";
            text[at] = byte;
            assert_eq!(digits(&text).0, at, "{byte} at {at}");
        }
    }
    assert_eq!(digits(b"/1:"), (0, 0));
    assert_eq!(few_digits(b"170;"), Some((170, &b";"[..])));
    assert_eq!(few_digits(b"999999999"), Some((999_999_999, &b""[..])));
    assert_eq!(few_digits(b"0000000001"), None);
    assert_eq!(few_digits(b";1"), None);
    type Row<'a> = (&'a str, Option<(u16, usize)>);
    let table: &[Row<'_>] = &[
        ("5060;x", Some((5060, 4))),
        ("65535", Some((65535, 5))),
        ("65536", None),
        ("0", None),
        ("", None),
        ("x", None),
        ("00000005060", Some((5060, 11))),
        ("4294972356", None),
        ("99999999999999999999999999", None),
    ];
    for (text, port) in table {
        assert_eq!(port_prefix(text.as_bytes()), *port, "{text}");
        let usual = usual_port(text.as_bytes()).map(|(port, rest)| (port, text.len() - rest.len()));
        assert_eq!(usual, *port, "{text}");
    }
}

#[test]
fn a_quoted_string_ends_at_its_own_quote() {
    let table: &[(&str, Option<usize>)] = &[
        (r#""a""#, Some(3)),
        (r#""""#, Some(2)),
        (r#""a\"b" <"#, Some(6)),
        (r#""a\\" "#, Some(5)),
        (r#""a"#, None),
        (r#""a\"#, None),
        (r#""a\""#, None),
    ];
    for (text, end) in table {
        assert_eq!(quoted_end(text.as_bytes(), 0), *end, "{text}");
    }
}

#[test]
fn a_number_is_digits_and_fits() {
    let table: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("0009", Some(9)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1 ", None),
        ("0x1", None),
    ];
    for (text, value) in table {
        assert_eq!(number(text.as_bytes()), *value, "{text}");
    }
}

#[test]
fn trimming_takes_folds_too() {
    assert_eq!(trim(b" \t a b\r\n \t"), b"a b");
    assert_eq!(trim(b" \r\n "), b"");
}
