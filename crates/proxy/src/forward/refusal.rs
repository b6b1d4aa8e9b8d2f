//! The answer to a request that was only glanced at.

use trunkline_sip::Glance;

use super::{
    reply::Reply,
    splice::{put_ip, put_number},
};

/// Writes what [`reply`](super::reply()) would write of the same request read in full.
///
/// `false`, and nothing is written, where that takes a closer look: To has a tag, or what is to be
/// noted in the top Via does not simply fit in.
pub fn reply_at_a_glance(request: &Glance<'_>, reply: &Reply<'_>, out: &mut Vec<u8>) -> bool {
    let via = &request.facts.via;
    let (Some(rport), Some(source)) = (via.rport_to_fill(), reply.received) else {
        return false;
    };
    if request.facts.to_tag.is_some() {
        return false;
    }
    reply.put_status_line(out);
    let ip = source.ip().to_canonical();
    let (mut top, below) = request.vias(via.at.1);
    if let Some(end) = rport {
        let (before, behind) = top.split_at(request.vias(end).0.len());
        out.extend_from_slice(before);
        out.extend_from_slice(b"=");
        put_number(out, u64::from(source.port()));
        top = behind;
    }
    out.extend_from_slice(top);
    if rport.is_some() || via.host().ip() != Some(ip) {
        out.extend_from_slice(b";received=");
        put_ip(out, ip);
    }
    for text in [
        below,
        request.from(),
        request.to(),
        b";tag=",
        reply.to_tag,
        b"\r\n",
    ] {
        out.extend_from_slice(text);
    }
    out.extend_from_slice(request.call_id());
    out.extend_from_slice(request.cseq());
    reply.put_end(out);
    true
}
