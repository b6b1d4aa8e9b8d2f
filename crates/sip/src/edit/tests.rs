use std::fmt::Write as _;

use super::*;
use crate::message::Limits;

fn edited(text: &str, change: impl FnOnce(&mut Edit<'_, '_>, &Message<'_>)) -> String {
    let message = Message::parse(text.as_bytes(), &Limits::default()).unwrap();
    let mut edit = Edit::new(&message);
    change(&mut edit, &message);
    let mut out = b"before ".to_vec();
    edit.write(&mut out);
    let out = String::from_utf8(out)
        .unwrap()
        .strip_prefix("before ")
        .unwrap()
        .to_owned();
    assert_eq!(edit.written_len(), out.len());
    out
}

const OPTIONS: &str = "OPTIONS sip:a SIP/2.0\r\nVia: one\r\nVia: two\r\nX-Y: y\r\n\r\nbody";

#[test]
fn no_change_is_no_change() {
    assert_eq!(edited(OPTIONS, |_, _| ()), OPTIONS);
    assert_eq!(edited(&format!("\r\n\r\n{OPTIONS}"), |_, _| ()), OPTIONS);
}

#[test]
fn changes_land_where_they_belong_in_any_order() {
    let out = edited(OPTIONS, |edit, message| {
        let last = edit.headers_end();
        edit.insert(last, b"Last: 1\r\n");
        edit.replace(message.first(Name::Other).unwrap().value_at, b"z");
        edit.delete(message.first(Name::Via).unwrap().line);
        edit.insert(edit.before_first(Name::Via), b"Via: zero\r\n");
        edit.insert(edit.before_first(Name::RecordRoute), b"Record-Route: r\r\n");
        edit.request_uri(b"sip:b");
    });
    assert_eq!(
        out,
        "OPTIONS sip:b SIP/2.0\r\nVia: zero\r\nRecord-Route: r\r\nVia: two\r\nX-Y: z\r\nLast: 1\r\n\r\nbody"
    );
}

#[test]
fn insertions_at_one_place_keep_their_order_and_come_before_a_replacement() {
    let out = edited(OPTIONS, |edit, message| {
        let at = message.request_uri_at().unwrap();
        edit.replace(at, b"sip:b");
        edit.insert(at.0, b"1");
        edit.insert(at.0, b"2");
        edit.insert_fmt(at.0, |text| {
            text.push_num(3);
            let _ = write!(text, "{:02}", 4);
        });
    });
    assert!(out.starts_with("OPTIONS 12304sip:b SIP/2.0\r\n"), "{out}");
}

#[test]
fn overlapping_deletions_take_bytes_out_once() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
        let out = edited("OPTIONS sip:0123456789 SIP/2.0\r\n\r\n", |edit, _| {
            let spans = [(12, 15), (14, 18), (13, 14), (20, 20)];
            for index in order {
                edit.delete(spans[index]);
            }
        });
        assert_eq!(out, "OPTIONS sip:6789 SIP/2.0\r\n\r\n");
    }
}

#[test]
fn an_insertion_inside_a_deletion_stays() {
    let out = edited("OPTIONS sip:0123456789 SIP/2.0\r\n\r\n", |edit, _| {
        edit.delete((12, 22));
        edit.insert(15, b"x");
        edit.replace_fmt((21, 22), |text| text.push_num(u64::MAX));
    });
    assert_eq!(out, "OPTIONS sip:x18446744073709551615 SIP/2.0\r\n\r\n");
}

#[test]
fn a_value_goes_with_the_comma_that_is_too_many() {
    // values to remove, in every order, and the line that stays
    let table: &[(&[usize], &str)] = &[
        (&[0], "Route: <sip:b>;x=\",\" ,\r\n <sip:c>, <sip:d>\r\n"),
        (&[1], "Route: <sip:a> ,\r\n <sip:c>, <sip:d>\r\n"),
        (&[2], "Route: <sip:a>, <sip:b>;x=\",\", <sip:d>\r\n"),
        (&[3], "Route: <sip:a>, <sip:b>;x=\",\" ,\r\n <sip:c>\r\n"),
        (&[0, 1], "Route: <sip:c>, <sip:d>\r\n"),
        (&[2, 3], "Route: <sip:a>, <sip:b>;x=\",\"\r\n"),
        (&[1, 2], "Route: <sip:a>, <sip:d>\r\n"),
        (&[0, 3], "Route: <sip:b>;x=\",\" ,\r\n <sip:c>\r\n"),
        (&[0, 2], "Route: <sip:b>;x=\",\", <sip:d>\r\n"),
        (&[0, 1, 3], "Route: <sip:c>\r\n"),
        (&[1, 2, 3], "Route: <sip:a>\r\n"),
        (&[0, 1, 2, 3], ""),
    ];
    let head = "OPTIONS sip:a SIP/2.0\r\n";
    let text =
        format!("{head}Route: <sip:a>, <sip:b>;x=\",\" ,\r\n <sip:c>, <sip:d>\r\nX: y\r\n\r\n");
    for (removed, stays) in table {
        for order in orders(removed) {
            let out = edited(&text, |edit, message| {
                let values: Vec<_> = message.values(Name::Route).collect();
                for &index in &order {
                    edit.remove_value(&values[index]);
                }
            });
            assert_eq!(
                out,
                format!("{head}{stays}X: y\r\n\r\n"),
                "removed {order:?}"
            );
        }
    }
}

/// All orders of a few things.
fn orders(things: &[usize]) -> Vec<Vec<usize>> {
    if things.len() < 2 {
        return vec![things.to_vec()];
    }
    let mut all = Vec::new();
    for (index, &first) in things.iter().enumerate() {
        let mut others = things.to_vec();
        others.remove(index);
        for mut order in orders(&others) {
            order.insert(0, first);
            all.push(order);
        }
    }
    all
}

#[test]
fn the_top_via_goes_and_the_next_is_on_top() {
    let text = "SIP/2.0 200 OK\r\nX: y\r\nv: SIP/2.0/UDP a;branch=1 , SIP/2.0/UDP b;branch=2\r\nVia: c\r\n\r\n";
    let out = edited(text, |edit, _| edit.remove_top_via().unwrap());
    assert_eq!(
        out,
        "SIP/2.0 200 OK\r\nX: y\r\nv: SIP/2.0/UDP b;branch=2\r\nVia: c\r\n\r\n"
    );
    let text = "SIP/2.0 200 OK\r\nVia: a\r\n ;branch=1\r\nVia: c\r\n\r\n";
    let out = edited(text, |edit, _| edit.remove_top_via().unwrap());
    assert_eq!(out, "SIP/2.0 200 OK\r\nVia: c\r\n\r\n");
    edited("SIP/2.0 200 OK\r\n\r\n", |edit, _| {
        assert!(edit.remove_top_via().is_err())
    });
}

#[test]
fn a_stream_gets_the_content_length_that_a_datagram_may_lack() {
    let out = edited(OPTIONS, |edit, _| edit.content_length());
    assert!(
        out.ends_with("X-Y: y\r\nContent-Length: 4\r\n\r\nbody"),
        "{out}"
    );
    let with = "OPTIONS sip:a SIP/2.0\r\nl: 4\r\n\r\nbody";
    assert_eq!(edited(with, |edit, _| edit.content_length()), with);
}

#[test]
fn a_response_has_no_request_uri_to_change() {
    let text = "SIP/2.0 200 OK\r\n\r\n";
    assert_eq!(edited(text, |edit, _| edit.request_uri(b"sip:a")), text);
}

#[test]
fn more_changes_than_fit_inline_are_kept() {
    let out = edited(OPTIONS, |edit, _| {
        let at = edit.headers_start();
        for number in 0..100 {
            edit.insert_fmt(at, |line| {
                line.push(b"N: ");
                line.push_num(number);
                line.push(b"\r\n");
            });
        }
    });
    let numbers: Vec<_> = out
        .lines()
        .filter_map(|line| line.strip_prefix("N: "))
        .collect();
    assert_eq!(
        numbers,
        (0..100)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_usual_forward_stays_off_the_heap() {
    let message = Message::parse(OPTIONS.as_bytes(), &Limits::default()).unwrap();
    let mut edit = Edit::new(&message);
    for _ in 0..4 {
        // A Via, two Record-Routes and a Request-URI, each of a generous length.
        edit.insert(edit.headers_start(), &[b'x'; 180]);
    }
    for header in message.all(Name::Via) {
        edit.delete(header.line);
    }
    assert!(!edit.ops.spilled() && !edit.scratch.spilled());
}
