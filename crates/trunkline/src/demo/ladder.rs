//! A call as a picture: the caller on the left, Trunkline in the middle, all others on the right.
//!
//! Pure: what was seen comes in, text goes out. Messages sent again share one row.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use trunkline_control::view::AttemptShown;

use super::{
    cast::label_of,
    tape::{Seen, Way},
};

/// Characters of an arrow with its message.
const LANE: usize = 26;
/// Characters of a time.
const TIME: usize = 6;

/// One row.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    at: Duration,
    /// `None`: the caller.
    peer: Option<String>,
    mark: Mark,
    what: String,
    print: Option<u64>,
    /// When it was sent again.
    again: Vec<Duration>,
}

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Mark {
    /// A message.
    Arrow(Way),
    /// A message from Trunkline that nobody took.
    Lost,
    /// What Trunkline concluded.
    Verdict,
}

/// The ladder of one call. `seen` is what its participants saw, in order; `attempts` are
/// Trunkline's own words on it, for what no participant can have seen: silence and refusal.
pub fn ladder(caller: &str, seen: &[Seen], attempts: &[AttemptShown]) -> String {
    let Some(zero) = seen.first().map(|first| first.at) else {
        return String::from("  (nothing was seen)\n");
    };
    let mut rows: Vec<Row> = Vec::new();
    for one in seen {
        add(&mut rows, caller, one, zero);
    }
    rows.extend(attempts.iter().filter_map(untold));
    rows.sort_by_key(|row| row.at);

    let mut text = format!(
        "{:>TIME$}   {:<LANE$} {:^9} peers\n",
        "time",
        format!("{caller} (caller)"),
        "trunkline"
    );
    for row in &rows {
        text += &line(row);
    }
    text
}

fn add(rows: &mut Vec<Row>, caller: &str, seen: &Seen, zero: Instant) {
    let at = seen.at.saturating_duration_since(zero);
    let peer = (seen.who != caller).then(|| seen.who.to_owned());
    let mark = Mark::Arrow(seen.way);
    let first = rows
        .iter_mut()
        .find(|row| row.print == Some(seen.print) && row.peer == peer && row.mark == mark);
    match first {
        Some(first) => first.again.push(at),
        None => rows.push(Row {
            at,
            peer,
            mark,
            what: seen.what.clone(),
            print: Some(seen.print),
            again: Vec::new(),
        }),
    }
}

/// What an attempt's outcome shows beyond the messages.
fn untold(attempt: &AttemptShown) -> Option<Row> {
    let addr = attempt.peer.split_once(':')?.1.parse::<SocketAddr>().ok()?;
    let began = Duration::try_from_secs_f64(attempt.began).ok()?;
    let took = Duration::try_from_secs_f64(attempt.took).ok()?;
    let (at, mark, what) = match attempt.outcome.as_str() {
        "silent" => (
            began + took,
            Mark::Verdict,
            format!("no answer in {:.1} s", took.as_secs_f64()),
        ),
        "peer_down" => (
            began + took,
            Mark::Verdict,
            "known to be dead by now".into(),
        ),
        "refused" | "unreachable" => (began, Mark::Lost, format!("INVITE, {}", attempt.outcome)),
        _ => return None,
    };
    Some(Row {
        at,
        peer: Some(label_of(addr)),
        mark,
        what,
        print: None,
        again: Vec::new(),
    })
}

fn line(row: &Row) -> String {
    let lane = match row.mark {
        // The caller's side of an arrow is the left one, everybody else's the right one.
        Mark::Arrow(way) => match (way, row.peer.is_some()) {
            (Way::In, false) | (Way::Out, true) => rightwards(&row.what, '>'),
            (Way::In, true) | (Way::Out, false) => leftwards(&row.what),
        },
        Mark::Lost => rightwards(&row.what, 'x'),
        Mark::Verdict => format!("  ({})", row.what),
    };
    let at = row.at.as_secs_f64();
    let again = match again(&row.again) {
        again if again.is_empty() => again,
        again => format!("  {again}"),
    };
    let text = match &row.peer {
        None => format!("{at:>TIME$.1}   {lane:<LANE$}     |{again}"),
        Some(peer) => format!(
            "{at:>TIME$.1}   {:<LANE$}     |     {lane:<LANE$} {peer}{again}",
            ""
        ),
    };
    text.trim_end().to_owned() + "\n"
}

fn rightwards(what: &str, head: char) -> String {
    let dashes = LANE.saturating_sub(what.chars().count() + 2).max(2);
    format!("{what} {}{head}", "-".repeat(dashes))
}

fn leftwards(what: &str) -> String {
    let dashes = LANE.saturating_sub(what.chars().count() + 2).max(2);
    format!("<{} {what}", "-".repeat(dashes))
}

fn again(times: &[Duration]) -> String {
    if times.is_empty() {
        return String::new();
    }
    let times: Vec<String> = times
        .iter()
        .map(|at| format!("{:.1}", at.as_secs_f64()))
        .collect();
    format!("(again {})", times.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(zero: Instant, ms: u64, who: &'static str, way: Way, what: &str) -> Seen {
        Seen {
            at: zero + Duration::from_millis(ms),
            who,
            way,
            what: what.into(),
            call_id: "c".into(),
            print: what.bytes().map(u64::from).sum(),
        }
    }

    fn attempt(peer: &str, outcome: &str, began: f64, took: f64) -> AttemptShown {
        AttemptShown {
            peer: peer.into(),
            outcome: outcome.into(),
            began,
            took,
        }
    }

    #[test]
    fn silence_is_shown_with_its_retransmissions_in_one_row_and_its_verdict() {
        let zero = Instant::now();
        let messages = [
            seen(zero, 0, "pbx-1", Way::In, "INVITE"),
            seen(zero, 1, "pbx-1", Way::Out, "100 Trying"),
            seen(zero, 2, "dublin-1", Way::Out, "INVITE"),
            seen(zero, 502, "dublin-1", Way::Out, "INVITE"),
            seen(zero, 1502, "dublin-1", Way::Out, "INVITE"),
            seen(zero, 4003, "dublin-2", Way::Out, "INVITE"),
            seen(zero, 4004, "dublin-2", Way::In, "180 Ringing"),
        ];
        let attempts = [
            attempt("udp:127.0.7.1:5060", "silent", 0.001, 4.001),
            attempt("udp:127.0.7.2:5060", "200", 4.002, 0.1),
        ];
        let expected = "\
\x20 time   pbx-1 (caller)             trunkline peers
   0.0   INVITE ------------------>     |
   0.0   <-------------- 100 Trying     |
   0.0                                  |     INVITE ------------------> dublin-1  (again 0.5 1.5)
   4.0                                  |       (no answer in 4.0 s)     dublin-1
   4.0                                  |     INVITE ------------------> dublin-2
   4.0                                  |     <------------- 180 Ringing dublin-2
";
        assert_eq!(ladder("pbx-1", &messages, &attempts), expected);
    }

    #[test]
    fn a_refusal_that_nobody_saw_is_told_by_trunkline() {
        let zero = Instant::now();
        let messages = [
            seen(zero, 0, "frankfurt", Way::In, "INVITE"),
            seen(zero, 1, "spare", Way::Out, "INVITE"),
        ];
        let attempts = [attempt("udp:127.0.8.2:5060", "refused", 0.0005, 0.0)];
        let text = ladder("frankfurt", &messages, &attempts);
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[2].ends_with("INVITE, refused ---------x pbx-2"),
            "{text}"
        );
        assert!(lines[3].ends_with("spare"), "{text}");
    }

    #[test]
    fn the_same_message_at_two_participants_has_two_rows() {
        let zero = Instant::now();
        let messages = [
            seen(zero, 0, "pbx-1", Way::In, "BYE"),
            seen(zero, 1, "pbx-1", Way::In, "BYE"),
            seen(zero, 2, "dublin-1", Way::Out, "BYE"),
        ];
        let text = ladder("pbx-1", &messages, &[]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(
            text.lines().nth(1).unwrap().ends_with("|  (again 0.0)"),
            "{text}"
        );
    }

    #[test]
    fn long_messages_keep_their_arrows_and_nothing_is_still_a_ladder() {
        let zero = Instant::now();
        let long = "an uncommonly long message for a lane";
        let text = ladder("pbx-1", &[seen(zero, 0, "pbx-1", Way::In, long)], &[]);
        assert!(text.contains(&format!("{long} -->")), "{text}");
        assert_eq!(ladder("pbx-1", &[], &[]), "  (nothing was seen)\n");
    }
}
