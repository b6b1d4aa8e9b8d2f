//! Peers and strangers that mean harm, against the real program: it stays within its memory, and the
//! calls of those who do not go on.
//!
//! `TRUNKLINE_ATTACK` makes each attack last so many seconds instead of a few.

use std::{
    env, fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, sleep},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use trunkline_tests::{Lab, Sipp, Trunkline, until, within};

/// A carrier at @2 and @6 with a PBX at @3; another with one at @4, which never answers.
const CONFIG: &str = r#"
[[listen]]
protocol = "udp"
address = "@1:5060"
[[listen]]
protocol = "tcp"
address = "@1:5060"
[[trunk]]
name = "carrier"
allow = ["@2", "@6"]
origination.targets = ["@3:5060"]
[[trunk]]
name = "nobody-home"
allow = ["@5"]
origination.targets = ["@4:5060"]
[health]
target_probe_interval = "off"
"#;

/// Packets of an attack, in a burst and from one burst to the next: more than any peer sends, and
/// less than what fills the system's buffers, whose losses nobody could tell from ours.
const BURST: u32 = 20;
const EVERY: Duration = Duration::from_millis(10);

/// What the process may grow by under an attack.
const GROWTH_MAX: u64 = 48 << 20;

/// How long an attack lasts.
fn seconds() -> u32 {
    let asked = env::var("TRUNKLINE_ATTACK").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// One attack at a time: two cores cannot carry all of them and tell whose fault a lost call is.
static ALONE: Mutex<()> = Mutex::new(());

/// Calls of 20 a second go through while `attack` is repeated, with the number of the time.
fn under(mut attack: impl FnMut(&Lab, u32) + Send) -> (Lab, Trunkline) {
    // One that failed says so itself.
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, CONFIG);
    let _pbx = Sipp::new(&lab, "answer.xml", "@3:5060").start();
    let _silence = lab.silence("@4:5060");
    // What the first calls need once is not the attack's.
    call(&lab, 20);
    let before = memory(&trunkline);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                attack(&lab, number);
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        // Ends the attack even when the calls fail, or the scope would wait for ever.
        let _ends = Ends(&over);
        call(&lab, 20 * seconds());
    });
    let growth = memory(&trunkline).saturating_sub(before);
    assert!(growth < GROWTH_MAX, "it grew by {growth} bytes");
    assert!(!trunkline.log().contains("panicked"), "it panicked");
    (lab, trunkline)
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn call(lab: &Lab, calls: u32) {
    Sipp::new(lab, "call.xml", "@2:5060")
        .calls("@1:5060", "+15550100", calls, 20)
        .start()
        .succeed();
}

/// Resident bytes of the process.
fn memory(trunkline: &Trunkline) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", trunkline.pid())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|text| text.parse::<u64>().ok())
        .expect("Linux tells")
        << 10
}

/// One value of `/metrics`.
fn metric(trunkline: &Trunkline, name: &str) -> f64 {
    let page = trunkline.page("/metrics");
    let mut values = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    values
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

/// One burst of datagrams, and the pause behind it.
fn burst(socket: &UdpSocket, to: SocketAddr, mut packet: impl FnMut(u32) -> Vec<u8>) {
    for at in 0..BURST {
        // A full buffer of the system is not Trunkline's fault.
        let _ = socket.send_to(&packet(at), to);
    }
    sleep(EVERY);
}

/// A request with what it needs and no more; `more` are whole lines.
fn request(method: &str, from: SocketAddr, name: &str, more: &str) -> Vec<u8> {
    format!(
        "{method} sip:+15550100@example.net SIP/2.0\r\n\
         Via: SIP/2.0/UDP {from};branch=z9hG4bK{name}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:x@{from}>;tag={name}\r\nTo: <sip:y@example.net>\r\n\
         Call-ID: {name}@{from}\r\nCSeq: 1 {method}\r\nContact: <sip:x@{from}>\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn datagrams_of_64_kilobytes_harm_no_call() {
    let lab_socket = |lab: &Lab, at| UdpSocket::bind(lab.addr(at)).expect("the address is free");
    let mut sockets = None;
    under(move |lab, number| {
        let (peer, stranger) = sockets
            .get_or_insert_with(|| (lab_socket(lab, "@6:5061"), lab_socket(lab, "@66:5060")));
        let to = lab.addr("@1:5060");
        // From a configured peer: one header that is too long, thousands of headers, and no SIP.
        let at = lab.addr("@6:5061");
        let endless = request(
            "INVITE",
            at,
            &format!("e{number}"),
            &format!("X: {}\r\n", "a".repeat(64_000)),
        );
        let crowded = request(
            "INVITE",
            at,
            &format!("c{number}"),
            &"V: a\r\n".repeat(10_600),
        );
        for packet in [&endless, &crowded, &vec![number as u8; 65_507]] {
            let _ = peer.send_to(packet, to);
            let _ = stranger.send_to(packet, to);
        }
        sleep(EVERY);
    });
}

#[test]
fn cancels_and_acks_that_match_nothing_leave_nothing() {
    let mut socket = None;
    let (_lab, trunkline) = under(move |lab, number| {
        let at = lab.addr("@6:5061");
        let socket =
            socket.get_or_insert_with(|| UdpSocket::bind(at).expect("the address is free"));
        burst(socket, lab.addr("@1:5060"), |packet| {
            let method = if packet % 2 == 0 { "ACK" } else { "CANCEL" };
            request(method, at, &format!("n{number}.{packet}"), "")
        });
    });
    // What belongs to the calls is over 32 seconds after them; nothing else may be there now.
    let contexts = metric(&trunkline, "trunkline_contexts");
    let calls = f64::from(20 * (seconds() + 1));
    assert!(
        contexts <= 3.0 * calls,
        "{contexts} requests are remembered, of {calls} calls"
    );
}

#[test]
fn a_scanner_is_turned_away_unread_and_is_heard_as_soon_as_the_file_names_it() {
    let mut socket = None;
    let scan = |lab: &Lab, socket: &UdpSocket, number: u32| {
        let at = lab.addr("@66:5060");
        for packet in 0..10 * BURST {
            let scan = request("REGISTER", at, &format!("s{number}.{packet}"), "");
            let _ = socket.send_to(&scan, lab.addr("@1:5060"));
        }
        sleep(Duration::from_millis(1));
    };
    let open = |lab: &Lab| UdpSocket::bind(lab.addr("@66:5060")).expect("the address is free");
    let (lab, trunkline) = under(|lab, number| {
        scan(lab, socket.get_or_insert_with(|| open(lab)), number);
    });
    let scanner = socket.expect("there was an attack");
    let address = lab.ip("@66").to_string();
    let line = trunkline.logs("WARN strangers flood");
    assert!(line.contains(&format!("busiest={address}")), "{line}");
    assert!(metric(&trunkline, "trunkline_datagrams_fenced_total") > 1000.0);
    // It may just have been lifted.
    until("the fence stands", || {
        scan(&lab, &scanner, u32::MAX);
        (metric(&trunkline, "trunkline_fenced_sources") == 1.0).then_some(())
    });
    assert_eq!(trunkline.json("/fences")[0]["sources"][0], address.as_str());

    let config = fs::read_to_string(trunkline.config()).expect("it is there");
    let named = config.replace(&lab.text("\"@6\""), &lab.text("\"@6\", \"@66\""));
    fs::write(trunkline.config(), named).expect("it can be written");
    trunkline.signal("HUP");
    trunkline.logs("reloaded");
    let edge = lab.addr("@1:5060");
    let text = request("OPTIONS", lab.addr("@66:5060"), "named", "");
    let text = String::from_utf8_lossy(&text).into_owned();
    let text = text.replacen("+15550100@example.net", &edge.to_string(), 1);
    scanner
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("an option can be set");
    let mut answer = [0; 2048];
    // The log is a moment ahead of the shards; a fence would stand for ten seconds.
    within(Duration::from_secs(3), "an answer", || {
        scanner
            .send_to(text.as_bytes(), edge)
            .expect("the system takes it");
        scanner.recv(&mut answer).ok()
    });
    assert!(answer.starts_with(b"SIP/2.0 200 "));

    let line = trunkline.logs("INFO flood over");
    assert!(line.contains("turned_away="), "{line}");
    let lines = trunkline.log().matches("strangers flood").count();
    assert_eq!(lines, 1, "one line for one flood");
    assert_eq!(metric(&trunkline, "trunkline_fenced_sources"), 0.0);
}

#[test]
fn forged_responses_go_nowhere() {
    let mut socket = None;
    let (_lab, trunkline) = under(move |lab, number| {
        // The address of the carrier's PBX is not needed for it: any configured peer may respond.
        let at = lab.addr("@6:5061");
        let socket =
            socket.get_or_insert_with(|| UdpSocket::bind(at).expect("the address is free"));
        let edge = lab.addr("@1:5060");
        burst(socket, edge, |packet| {
            let code = [180, 200, 302, 486, 503, 603][packet as usize % 6];
            format!(
                "SIP/2.0 {code} Forged\r\nVia: SIP/2.0/UDP {edge};branch=z9hG4bK{:032x}\r\n\
                 Via: SIP/2.0/UDP {at};branch=z9hG4bKx\r\nFrom: <sip:x@y>;tag=1\r\n\
                 To: <sip:y@z>;tag=2\r\nCall-ID: forged\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
                (u128::from(number) << 64) | u128::from(packet)
            )
            .into_bytes()
        });
    });
    assert!(
        trunkline.log().lines().count() < 2000,
        "each of them was logged"
    );
}

#[test]
fn invites_that_nobody_answers_cost_what_they_may_and_end() {
    let mut socket = None;
    let (_lab, trunkline) = under(move |lab, number| {
        let at = lab.addr("@5:5060");
        let socket =
            socket.get_or_insert_with(|| UdpSocket::bind(at).expect("the address is free"));
        burst(socket, lab.addr("@1:5060"), |packet| {
            request("INVITE", at, &format!("i{number}.{packet}"), "")
        });
    });
    let contexts = metric(&trunkline, "trunkline_contexts");
    assert!(
        contexts > 500.0,
        "only {contexts} are remembered: was there an attack?"
    );
    // The silent target is given up after four seconds; nothing may be stuck in setup then.
    until("no call is in setup", || {
        (metric(&trunkline, "trunkline_calls_in_setup") == 0.0).then_some(())
    });
}

#[test]
fn a_message_may_come_byte_by_byte_and_one_that_never_ends_holds_nobody_up() {
    let (lab, _trunkline) = {
        let mut lines = Vec::new();
        under(move |lab, number| {
            let at = lab.addr("@1:5060");
            // Strangers that begin a message and leave it at that, one byte at a time.
            if lines.len() < 200
                && let Ok(line) = TcpStream::connect(at)
            {
                let _ = line.set_nodelay(true);
                lines.push(line);
            }
            let text = b"OPTIONS sip:edge SIP/2.0\r\nVia: ";
            for line in &mut lines {
                let _ = line.write_all(&text[number as usize % text.len()..][..1]);
            }
            sleep(EVERY);
        })
    };
    let mut line = connect(&lab, "@6:0").expect("it listens");
    line.set_nodelay(true).expect("an option can be set");
    for byte in options_over_tcp(&lab) {
        line.write_all(&[byte]).expect("it listens");
    }
    assert_answered(&mut line);
}

#[test]
fn thousands_of_connections_that_say_nothing_cost_little_and_keep_no_peer_out() {
    let lab = Lab::new();
    let trunkline = Trunkline::start(&lab, CONFIG);
    // As many as there may be, if the system lets one process have so many.
    let wanted = 9_900.min(open_files().saturating_sub(200));
    let before = memory(&trunkline);
    let mut idle = Vec::new();
    // One source has a thousand at most.
    for source in (0..).take_while(|source| source * 900 < wanted) {
        let at = format!("@{}:0", 10 + source);
        idle.extend((0..900.min(wanted - source * 900)).filter_map(|_| connect(&lab, &at).ok()));
    }
    assert!(
        idle.len() * 10 >= wanted * 9,
        "only {} of {wanted} connected",
        idle.len()
    );
    until("all of them are accepted", || {
        let open = metric(&trunkline, "trunkline_connections");
        (open * 10.0 >= wanted as f64 * 9.0).then_some(())
    });
    let each = memory(&trunkline).saturating_sub(before) / idle.len() as u64;
    println!("{} idle connections, {each} bytes each", idle.len());
    assert!(
        each <= 4096,
        "{each} bytes for each of {} connections",
        idle.len()
    );
    let mut line = connect(&lab, "@6:0").expect("it listens");
    line.write_all(&options_over_tcp(&lab)).expect("it listens");
    assert_answered(&mut line);
}

fn options_over_tcp(lab: &Lab) -> Vec<u8> {
    let text = request("OPTIONS", lab.addr("@6:5061"), "tcp", "");
    let text = String::from_utf8_lossy(&text).into_owned();
    let text = text.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    let edge = lab.addr("@1:5060").to_string();
    text.replacen("+15550100@example.net", &edge, 1)
        .into_bytes()
}

fn assert_answered(line: &mut TcpStream) {
    let patience = Some(Duration::from_secs(30));
    line.set_read_timeout(patience)
        .expect("an option can be set");
    let mut answer = [0; 12];
    line.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"SIP/2.0 200 ");
}

/// Connects to Trunkline from an address.
fn connect(lab: &Lab, from: &str) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&lab.addr(from).into())?;
    socket.connect(&lab.addr("@1:5060").into())?;
    Ok(socket.into())
}

/// How many files this process may have open, and so the one it starts.
fn open_files() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux tells");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.map_or(0, |soft| soft.parse().unwrap_or(usize::MAX))
}
