//! A response on its way back (RFC 3261 §16.7 steps 3 and 9).

use trunkline_sip::{Fault, Malformed, Message, Name};

use super::{
    request::{missing_length, right_length},
    splice::Splice,
};

/// Writes a response without our Via, which is the top one. `stream`: the caller is reached by a
/// stream, so Content-Length must be there and right. On an error nothing is written.
pub fn response(message: &Message<'_>, stream: bool, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let gap = own_via(message)?;
    let mut splice = Splice::new(message, out);
    let via_left = |splice: &mut Splice<'_, '_>| {
        splice.until(gap.0);
        splice.skip(gap.1);
    };
    if stream {
        let length = message.first(Name::ContentLength);
        let above = length.is_some_and(|length| length.line.0 < gap.0);
        if !above {
            via_left(&mut splice);
        }
        match length {
            Some(length) => right_length(&mut splice, length.value_at, message.body().len()),
            None => {
                splice.until(message.headers_end());
                missing_length(&mut splice, message);
            }
        }
        if above {
            via_left(&mut splice);
        }
    } else {
        via_left(&mut splice);
    }
    splice.finish();
    Ok(())
}

/// What leaves with our Via: its whole line, or only the value where several share one.
fn own_via(message: &Message<'_>) -> Result<(u32, u32), Malformed> {
    let first = message.first(Name::Via);
    if let Some(line) = first
        && !line.value.is_empty()
        && (line.is_single() || memchr::memchr(b',', line.value).is_none())
    {
        return Ok(line.line);
    }
    let mut vias = message.values(Name::Via);
    let ours = vias.next().ok_or(Malformed {
        fault: Fault::Missing(Name::Via),
        at: 0,
    })?;
    Ok(match vias.next().filter(|below| below.line == ours.line) {
        Some(below) => (ours.at.0, below.at.0),
        None => ours.line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::sample::{lines, parse, written};

    #[test]
    fn our_via_leaves_and_all_else_stays() {
        // The response after its status line as it came, and as it leaves; over a stream or not.
        let table: &[(&str, &str, bool)] = &[
            (
                "Via: SIP/2.0/UDP us;branch=1\r\nVia: SIP/2.0/UDP a\r\nX:\r\n y\r\n\r\nabc",
                "Via: SIP/2.0/UDP a\r\nX:\r\n y\r\n\r\nabc",
                false,
            ),
            (
                "v :  SIP/2.0/UDP us;branch=1 ,\r\n SIP/2.0/UDP a ,SIP/2.0/UDP b\r\n\r\n",
                "v :  SIP/2.0/UDP a ,SIP/2.0/UDP b\r\n\r\n",
                false,
            ),
            (
                "X: y\r\nVia: SIP/2.0/UDP us;a=\"x,y\",SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b\r\n\r\n",
                "X: y\r\nVia: SIP/2.0/UDP a\r\nv: SIP/2.0/UDP b\r\n\r\n",
                false,
            ),
            ("Via: SIP/2.0/UDP us\r\nX: y\r\n\r\n", "X: y\r\n\r\n", false),
            (
                "Via: SIP/2.0/UDP us\r\nv: SIP/2.0/TCP a\r\n\r\nabc",
                "v: SIP/2.0/TCP a\r\nContent-Length: 3\r\n\r\nabc",
                true,
            ),
            (
                "l: 2\r\nVia: SIP/2.0/UDP us\r\nv: SIP/2.0/TCP a\r\n\r\nabc",
                "l: 2\r\nv: SIP/2.0/TCP a\r\n\r\nab",
                true,
            ),
        ];
        for (came, leaves, stream) in table {
            let status = "SIP/2.0 200 Jó napot\r\n";
            let got = written(|out| {
                let bytes = format!("{status}{came}");
                response(&parse(bytes.as_bytes()), *stream, out).expect("it has a Via");
            });
            assert_eq!(got, lines(format!("{status}{leaves}").as_bytes()), "{came}");
        }
    }

    #[test]
    fn a_response_without_via_goes_nowhere() {
        let mut out = Vec::new();
        let error = response(&parse(b"SIP/2.0 200 OK\r\nX: y\r\n\r\n"), false, &mut out);
        assert_eq!(
            error.map_err(|error| error.fault),
            Err(Fault::Missing(Name::Via))
        );
        assert!(out.is_empty());
    }
}
