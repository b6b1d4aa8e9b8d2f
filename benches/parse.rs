//! What reading, checking and changing a 1 kB INVITE costs, in time and in heap allocations.
//!
//! Where no allocations are printed there are none; `whole_way` has one, the buffer that it
//! writes to.

use divan::{AllocProfiler, Bencher, black_box};
use trunkline_benches::INVITE;
use trunkline_sip::frame::{Frame, Framer};
use trunkline_sip::{Edit, Limits, Message, Name, peek};

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Start line, header lines, body.
#[divan::bench]
fn parse() -> usize {
    let message = Message::parse(black_box(INVITE), &Limits::default());
    black_box(&message)
        .as_ref()
        .map_or(0, |message| message.body().len())
}

/// What must hold before anyone acts on it.
#[divan::bench]
fn check(bencher: Bencher<'_, '_>) {
    let message = read();
    bencher.bench_local(|| black_box(&message).check().is_ok());
}

/// What a proxy asks of a request that it admits.
#[divan::bench]
fn ask(bencher: Bencher<'_, '_>) {
    let message = read();
    bencher.bench_local(|| {
        let message = black_box(&message);
        let via = message
            .top_via()
            .ok()
            .and_then(|via| via.branch())
            .map_or(0, <[u8]>::len);
        let tags =
            message.from_tag().map_or(0, <[u8]>::len) + message.to_tag().map_or(0, <[u8]>::len);
        via + tags + message.call_id().map_or(0, <[u8]>::len) + message.routes().count()
    });
}

/// The changes of a forward, written into a buffer that is used again.
#[divan::bench]
fn edit_and_write(bencher: Bencher<'_, '_>) {
    let message = read();
    let mut out = Vec::with_capacity(4096);
    bencher.bench_local(move || {
        out.clear();
        forward(black_box(&message), &mut out);
        out.len()
    });
}

/// All of it: bytes in, new bytes out.
#[divan::bench]
fn whole_way() -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(message) = Message::parse(black_box(INVITE), &Limits::default())
        && message.check().is_ok()
    {
        forward(&message, &mut out);
    }
    out
}

/// Finding the end of a message in a stream.
#[divan::bench]
fn frame(bencher: Bencher<'_, '_>) {
    let mut framer = Framer::new(Limits::default());
    bencher.bench_local(move || {
        let whole = matches!(framer.next(black_box(INVITE)), Frame::Message { .. });
        framer.consumed();
        whole
    });
}

/// What decides which shard owns a request.
#[divan::bench]
fn peek_call_id() -> usize {
    peek::call_id(black_box(INVITE)).map_or(0, <[u8]>::len)
}

fn read() -> Message<'static> {
    Message::parse(INVITE, &Limits::default())
        .unwrap_or_else(|error| panic!("the INVITE of the benches: {error}"))
}

fn forward(message: &Message<'_>, out: &mut Vec<u8>) {
    let mut edit = Edit::new(message);
    edit.request_uri(b"sip:+15551234567@192.0.2.20:5060;transport=udp");
    edit.insert(
        edit.before_first(Name::Via),
        b"Via: SIP/2.0/UDP 203.0.113.5:5060;branch=z9hG4bKAAECAwQFBgcICQoLDA0ODxAREhMUFRYX;rport\r\n",
    );
    edit.insert(
        edit.before_first(Name::RecordRoute),
        b"Record-Route: <sip:203.0.113.5:5060;lr;t=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8>\r\n",
    );
    if let (Some(hops), Ok(Some(left))) = (message.first(Name::MaxForwards), message.max_forwards())
    {
        edit.replace_fmt(hops.value_at, |text| {
            text.push_num(u64::from(left.saturating_sub(1)))
        });
    }
    if let Some(route) = message.values(Name::Route).next() {
        edit.remove_value(&route);
    }
    edit.write(out);
}
