//! What log lines say, and what they never say.

mod common;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::with_trunk;
use trunkline_control::{CallLines, LineFormat, fences::Fences, log::log};
use trunkline_proxy::{
    Event, Hop, ListenerId, ShardId,
    event::{AttemptRecord, CallNames, CallRecord, Direction, Fence, HealthState, Outcome, Peer},
    settings::TrunkId,
};
use trunkline_sip::Transport;

const CALLER: &str = "+12349013030";
const CALLED: &str = "+18005551212";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines these events make at a level.
fn logged(level: tracing::Level, events: &[Event]) -> String {
    let settings = with_trunk("127.0.0.1", "127.0.0.2");
    let mut calls = CallLines::new(LineFormat::Text);
    let mut lines = Lines::default();
    lines.written_by(level, || {
        events
            .iter()
            .for_each(|event| log(event, &settings, &mut calls));
    });
    calls.flush(&mut lines);
    lines.text()
}

impl Lines {
    /// Takes what this logs.
    fn written_by(&self, level: tracing::Level, tell: impl FnOnce()) {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, tell);
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn peer(last: u8) -> Peer {
    Peer {
        transport: Transport::Udp,
        addr: ([192, 0, 2, last], 5060).into(),
        listener: ListenerId(0),
    }
}

fn attempt(last: u8, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        trunk: TrunkId(0),
        peer: peer(last),
        outcome: Some(outcome),
        began: Duration::ZERO,
        took: Duration::from_secs(4),
    }
}

fn call() -> Event {
    Event::CallSetUp(Box::new(CallRecord {
        drill: None,
        names: CallNames::new(
            "a84b4c76\u{1b}[31m\nforged=\"line\"".as_bytes(),
            CALLER.as_bytes(),
            CALLED.as_bytes(),
        ),
        source: Hop {
            transport: Transport::Udp,
            listener: ListenerId(0),
            remote: ([10, 0, 1, 5], 5060).into(),
            connection: None,
        },
        direction: Direction::Termination,
        trunk: TrunkId(0),
        status: 200,
        own: false,
        attempts: [attempt(1, Outcome::Silent), attempt(2, Outcome::Final(200))]
            .into_iter()
            .collect(),
        first_ring: Some(Duration::from_millis(4020)),
        took: Duration::from_secs(6),
        why: "",
    }))
}

fn everything() -> Vec<Event> {
    let (direction, trunk) = (Direction::Termination, TrunkId(0));
    vec![
        call(),
        Event::CallStarted { direction, trunk },
        Event::CallEnded {
            direction,
            trunk,
            lasted: Duration::from_secs(60),
            call_id: "a84b4c76".into(),
            why: "bye",
        },
        Event::Health {
            peer: peer(1),
            was: HealthState::Suspect,
            is: HealthState::Down,
            why: "2 failures in a row",
        },
        Event::Recovery {
            trunk,
            drill: false,
            step: "dial",
            detail: format!("sip:{CALLED}@192.0.2.9 from {CALLER}").into(),
        },
        Event::RetryWithheld {
            direction,
            trunk,
            is_first: true,
        },
        Event::LateAnswer {
            trunk,
            peer: peer(1),
            used: false,
        },
    ]
}

#[test]
fn a_call_is_one_line_with_where_it_was_tried() {
    let lines = logged(tracing::Level::INFO, &[call(), Event::Retransmitted]);
    assert_eq!(lines.lines().count(), 1, "{lines}");
    for want in [
        "status=200",
        "trunk=\"acme\"",
        "attempts=\"udp:192.0.2.1:5060=silent udp:192.0.2.2:5060=200\"",
        "source=udp:10.0.1.5:5060",
        "ring_ms=4020",
        "+18*******12",
    ] {
        assert!(lines.contains(want), "{want} is not in {lines}");
    }
}

#[test]
fn no_line_at_any_level_shows_a_whole_number_or_lets_a_stranger_write_lines() {
    let lines = logged(tracing::Level::TRACE, &everything());
    assert_eq!(lines.lines().count(), everything().len(), "{lines}");
    for number in [CALLER, CALLED] {
        for part in [number, &number[1..], &number[3..10]] {
            assert!(!lines.contains(part), "{part} is in {lines}");
        }
    }
    assert!(!lines.contains('\u{1b}'), "{lines}");
    assert!(lines.contains("192.0.2.9"), "hosts are shown: {lines}");
}

#[test]
fn a_flood_is_one_line_when_it_begins_and_one_when_it_is_over_on_all_shards() {
    let settings = with_trunk("127.0.0.1", "127.0.0.2");
    let fence = |shard, sources: &[[u8; 4]], turned_away| Fence {
        shard: ShardId(shard),
        listener: ListenerId(0),
        sources: sources.iter().map(|ip| (*ip).into()).collect(),
        rate: 40_000,
        turned_away,
    };
    let (one, other) = ([192, 0, 2, 66], [192, 0, 2, 77]);
    let mut fences = Fences::default();
    let mut shown = Vec::new();
    let lines = Lines::default();
    lines.written_by(tracing::Level::INFO, || {
        for told in [
            fence(0, &[one], 0),
            fence(1, &[one], 0),
            fence(0, &[one, other], 300),
            fence(1, &[], 4),
            fence(0, &[one], 500),
            fence(0, &[], 700),
            // Of a flood that nobody has heard of: its begin was lost.
            fence(2, &[], 9),
        ] {
            fences.record(&told, &settings);
            let all = fences.shown(&settings);
            shown.push(all.first().map(|it| (it.sources.len(), it.turned_away)));
        }
    });
    let wanted = [(1, 0), (1, 0), (2, 300), (2, 304), (1, 504)].map(Some);
    assert_eq!(shown, [&wanted[..], &[None, None]].concat());
    let lines = lines.text();
    let (begin, end) = lines.split_once('\n').unwrap();
    for (line, words) in [
        (
            begin,
            &["WARN", "sources=1", "busiest=192.0.2.66", "rate=40000"][..],
        ),
        (end, &["INFO", "turned_away=704"]),
    ] {
        assert!(words.iter().all(|word| line.contains(word)), "{lines}");
    }
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

/// What `tracing` would write for the same fields, so that a reader of the log sees one format.
#[test]
fn the_line_of_a_call_looks_like_every_other_line() {
    let call = call();
    let Event::CallSetUp(record) = &call else {
        unreachable!("it is one")
    };
    for format in [LineFormat::Text, LineFormat::Json] {
        let theirs = Lines::default();
        let writer = theirs.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_target(false)
            .with_writer(move || writer.clone());
        let tell = || {
            tracing::info!(
                call_id = "a84b4c76?[31m?forged=\"line\"",
                from = "+12*******30",
                to = "+18*******12",
                source = %record.source,
                direction = "termination",
                trunk = "acme",
                status = 200,
                own = false,
                why = "",
                ring_ms = 4020,
                ms = 6000,
                attempts = "udp:192.0.2.1:5060=silent udp:192.0.2.2:5060=200",
                "call"
            );
        };
        match format {
            LineFormat::Text => tracing::subscriber::with_default(lines.finish(), tell),
            LineFormat::Json => {
                let lines = lines.json().flatten_event(true).finish();
                tracing::subscriber::with_default(lines, tell);
            }
        }
        let mut ours = Vec::new();
        let mut calls = CallLines::new(format);
        calls.add(record, "acme");
        calls.flush(&mut ours);
        let ours = String::from_utf8(ours).unwrap();
        let theirs = String::from_utf8(theirs.0.lock().unwrap().clone()).unwrap();
        match format {
            LineFormat::Text => {
                let (stamp, rest) = ours.split_at(27);
                assert_eq!(rest, &theirs[27..]);
                assert!(stamp.starts_with("20") && stamp.ends_with('Z'), "{stamp}");
            }
            LineFormat::Json => {
                let fields = |text: &str| -> serde_json::Value {
                    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
                    assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
                    value["timestamp"] = "".into();
                    value
                };
                assert_eq!(fields(&ours), fields(&theirs));
            }
        }
    }
}
