//! A response on its way back (RFC 3261 §16.7 steps 3 and 9).

use trunkline_sip::{Fault, Malformed, Message, Name};

use super::{
    request::{missing_length, right_length},
    splice::Splice,
};

/// Writes a response without our Via, which is the top one. `stream`: the caller is reached by a
/// stream, so Content-Length must be there and right. On an error nothing is written.
pub fn response(message: &Message<'_>, stream: bool, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut vias = message.values(Name::Via);
    let ours = vias.next().ok_or(Malformed {
        fault: Fault::Missing(Name::Via),
        at: 0,
    })?;
    // Several values may share one line; then only the value leaves.
    let gap = match vias.next().filter(|below| below.line == ours.line) {
        Some(below) => (ours.at.0, below.at.0),
        None => ours.line,
    };
    let mut splice = Splice::new(message, out);
    let mut end = 0;
    for header in message.headers() {
        end = header.line.1;
        match header.name {
            Name::Via if header.line == ours.line => {
                splice.until(gap.0);
                splice.skip(gap.1);
            }
            Name::ContentLength if stream => {
                right_length(&mut splice, &header, message.body().len());
            }
            _ => {}
        }
    }
    splice.until(end);
    if stream {
        missing_length(&mut splice, message);
    }
    splice.finish();
    Ok(())
}
