//! What is counted around the proxy: `trunkline run` with real calls over loopback, all threads.
//!
//! Start and end of a process cost more than thousands of calls, so each figure is the difference of two
//! runs. One call is in flight at a time: nothing gathers, every message pays for its own wake-up, and
//! so the figure is the most that a call costs, and moves least.

use std::{
    collections::HashSet,
    env, fs,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use trunkline_benches::{
    callgrind::Tally,
    load::message::{self, CallerScript},
    peers::{Scene, answer, value},
};

/// Calls of every run: what comes first must not count.
const WARM_UP: u64 = 300;

/// Further calls in the run that counts calls: so many that what a start costs, which the metrics' clock makes
/// some millions more or less, is lost among them.
const CALLS: u64 = 6000;

/// Packets of strangers in the run that counts those.
const PACKETS: u64 = 20_000;

/// They send so many before the carrier asks whether they were read, so that none is lost.
const PACKETS_AT_ONCE: u64 = 50;

/// Whom no `allow` lists: so many that none of them is a flood, which would be turned away unread.
const STRANGERS: std::ops::Range<u8> = 100..228;

/// What anything may take on a slow, busy machine, under callgrind.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose messages a call is made of.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Words {
    /// A carrier's behind proxies of its own: two Vias, a Record-Route below ours.
    Carrier,
    /// The yardstick's, which [`versus`](../versus) sends as well: one Via, no other Record-Route.
    Yardstick,
}

/// Instructions of the whole process for one call and for one packet of a stranger.
pub struct Cost {
    pub call: u64,
    pub yardstick: u64,
    pub stranger: u64,
}

/// Counts all of them.
pub fn count() -> Result<Cost, String> {
    let program = program()?;
    let questions = PACKETS / PACKETS_AT_ONCE;
    let run = |words, calls, strangers| run(&program, words, calls, strangers, questions);
    let base = run(Words::Carrier, WARM_UP, 0)?;
    let calls = run(Words::Carrier, WARM_UP + CALLS, 0)?;
    let strangers = run(Words::Carrier, WARM_UP, PACKETS_AT_ONCE)?;
    let yardstick_base = run(Words::Yardstick, WARM_UP, 0)?;
    let yardstick = run(Words::Yardstick, WARM_UP + CALLS, 0)?;
    Ok(Cost {
        call: calls.saturating_sub(base) / CALLS,
        yardstick: yardstick.saturating_sub(yardstick_base) / CALLS,
        stranger: strangers.saturating_sub(base) / PACKETS,
    })
}

/// The release build of the program, made now unless `TRUNKLINE` names another one.
fn program() -> Result<PathBuf, String> {
    if let Some(named) = env::var_os("TRUNKLINE") {
        return Ok(named.into());
    }
    // target/release/deps/<this bench>
    let bench = env::current_exe().map_err(|error| error.to_string())?;
    let release = bench
        .ancestors()
        .nth(2)
        .ok_or("this bench is in no target folder")?;
    let target = release
        .parent()
        .ok_or("this bench is in no target folder")?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "trunkline",
        "--target-dir",
    ]);
    cargo.arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    // What cargo tells a bench about its package would make build scripts run again.
    for (name, _) in env::vars_os() {
        let told = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if told {
            cargo.env_remove(name);
        }
    }
    let built = cargo.status().map_err(|error| format!("cargo: {error}"))?;
    if !built.success() {
        return Err("cargo could not build trunkline".into());
    }
    Ok(release.join("trunkline"))
}

/// One life of the process: instructions from its start to its end.
fn run(
    program: &PathBuf,
    words: Words,
    calls: u64,
    strangers_at_once: u64,
    questions: u64,
) -> Result<u64, String> {
    let tally = Tally::new("process");
    let stop = Arc::new(AtomicBool::new(false));
    let callees: Vec<Callee> = (3..6)
        .map(|host| Callee::start(words, host, &stop))
        .collect::<Result<_, _>>()?;
    let caller = socket(2)?;
    let strangers: Vec<UdpSocket> = STRANGERS.map(socket).collect::<Result<_, _>>()?;
    let mut strangers = strangers.iter().cycle();
    // Free now; nobody else takes addresses of this process's block.
    let edge = local(&socket(1)?)?;
    caller.connect(edge).map_err(|error| error.to_string())?;
    let targets: Vec<SocketAddr> = callees.iter().map(|callee| callee.address).collect();
    let folder = Folder::new()?;
    fs::write(folder.0.join("trunkline.toml"), config(edge, &targets))
        .map_err(|error| error.to_string())?;

    let mut valgrind = tally.valgrind();
    valgrind
        .arg(program)
        .args(["run", "--config", "trunkline.toml"]);
    valgrind
        .current_dir(&folder.0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let child = valgrind
        .spawn()
        .map_err(|error| format!("valgrind: {error}"))?;
    let mut process = Process(child);
    let mut load = Load {
        scene: Scene {
            caller: local(&caller)?.to_string(),
            edge: edge.to_string(),
            ..Scene::default()
        },
        script: CallerScript::new(local(&caller)?, edge, "udp"),
        words,
        caller,
        asked: 0,
    };
    load.until_ready(&mut process)?;
    load.calls(calls)?;
    for round in 0..questions {
        for packet in 0..strangers_at_once {
            let invite = load
                .scene
                .invite((1 << 24) + round * strangers_at_once + packet);
            if let Some(stranger) = strangers.next() {
                stranger
                    .send_to(&invite, edge)
                    .map_err(|error| error.to_string())?;
            }
        }
        load.ask(PATIENCE)?;
    }
    process.end()?;
    stop.store(true, Ordering::Relaxed);
    for callee in callees {
        callee.thread.join().map_err(|_| "a callee panicked")?;
    }
    tally.instructions()
}

/// Everything on, as it is by default: health, metrics, call records in the log.
fn config(edge: SocketAddr, targets: &[SocketAddr]) -> String {
    let carrier = octets(2);
    let targets: Vec<String> = targets.iter().map(|it| format!("\"sip:{it}\"")).collect();
    format!(
        "node.state_dir = \".\"\nnode.workers = 1\nnode.drain_timeout = \"1s\"\n\
         admin.address = \"{}:0\"\n\
         [[listen]]\nprotocol = \"udp\"\naddress = \"{edge}\"\n\
         [[trunk]]\nname = \"bench\"\nallow = [\"{carrier}\"]\n\
         origination.targets = [{}]\n",
        octets(1),
        targets.join(", ")
    )
}

/// A loopback address of this process alone.
fn octets(host: u8) -> String {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    format!("127.{}.{low}.{host}", 1 + high % 250)
}

fn socket(host: u8) -> Result<UdpSocket, String> {
    let at = format!("{}:0", octets(host));
    let socket = UdpSocket::bind(&at).map_err(|error| format!("{at}: {error}"))?;
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .map_err(|error| error.to_string())?;
    Ok(socket)
}

fn local(socket: &UdpSocket) -> Result<SocketAddr, String> {
    socket.local_addr().map_err(|error| error.to_string())
}

/// The next datagram, if one comes soon.
fn hear(socket: &UdpSocket) -> Result<Option<(Vec<u8>, SocketAddr)>, String> {
    let mut buffer = [0; 65_535];
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => Ok(Some((buffer[..length].to_vec(), from))),
        // Refused: it is not there yet, or no more.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Answers every call at once: 180 and 200 to an INVITE, 200 to anything else.
struct Callee {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Callee {
    fn start(words: Words, host: u8, stop: &Arc<AtomicBool>) -> Result<Callee, String> {
        let socket = socket(host)?;
        let address = local(&socket)?;
        let stop = Arc::clone(stop);
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let Ok(Some((request, from))) = hear(&socket) else {
                    continue;
                };
                let statuses: &[&str] = match &request[..] {
                    [b'I', b'N', b'V', ..] => &["180 Ringing", "200 OK"],
                    [b'A', b'C', b'K', ..] => &[],
                    _ => &["200 OK"],
                };
                for status in statuses {
                    let mut bytes = Vec::new();
                    match words {
                        Words::Carrier => bytes = answer(&request, status, &address.to_string()),
                        Words::Yardstick => {
                            message::answer(&request, status, address, "udp", &mut bytes);
                        }
                    }
                    let _ = socket.send_to(&bytes, from);
                }
            }
        });
        Ok(Callee { address, thread })
    }
}

/// The carrier.
struct Load {
    words: Words,
    scene: Scene,
    script: CallerScript,
    caller: UdpSocket,
    asked: u64,
}

impl Load {
    fn until_ready(&mut self, process: &mut Process) -> Result<(), String> {
        let begin = Instant::now();
        while self.ask(Duration::from_millis(200)).is_err() {
            if let Ok(Some(status)) = process.0.try_wait() {
                return Err(format!("trunkline did not start ({status})"));
            }
            if begin.elapsed() > PATIENCE {
                return Err(format!("trunkline is not ready after {PATIENCE:?}"));
            }
        }
        Ok(())
    }

    /// Sends OPTIONS and waits for the answer: whatever was sent before has been read by then.
    fn ask(&mut self, patience: Duration) -> Result<(), String> {
        self.asked += 1;
        let wanted = format!("options-{:08x}@", self.asked);
        self.send(&self.scene.options(self.asked));
        self.wait(patience, |_, text| {
            value(text, "Call-ID").is_some_and(|it| it.starts_with(&wanted))
        })
    }

    /// Places calls, one after the other, each to its end.
    fn calls(&mut self, calls: u64) -> Result<(), String> {
        let mut answered = HashSet::new();
        for number in 0..calls {
            self.send(&self.invite(number));
            self.wait(PATIENCE, |load, text| {
                let ok = text.starts_with("SIP/2.0 200 ");
                match value(text, "CSeq") {
                    // A copy has been answered already.
                    Some("1 INVITE") if ok && answered.insert(number) => {
                        load.send(&load.within("ACK", number, text));
                        load.send(&load.within("BYE", number, text));
                        false
                    }
                    Some("2 BYE") => ok,
                    _ => false,
                }
            })
            .map_err(|error| format!("call {number}: {error}"))?;
        }
        Ok(())
    }

    fn invite(&self, number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.words {
            Words::Carrier => bytes = self.scene.invite(number),
            Words::Yardstick => self.script.invite(number, &mut bytes),
        }
        bytes
    }

    /// The ACK or the BYE in the dialog that this 2xx made.
    fn within(&self, method: &str, number: u64, answer: &str) -> Vec<u8> {
        if self.words == Words::Carrier {
            let cseq = if method == "ACK" { 1 } else { 2 };
            return self.scene.within(method, cseq, answer.as_bytes());
        }
        let (mut routes, mut contact, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
        message::routes(answer.as_bytes(), &mut routes);
        message::contact(answer.as_bytes(), &mut contact);
        let write = match method {
            "ACK" => CallerScript::ack,
            _ => CallerScript::bye,
        };
        write(&self.script, number, &contact, &routes, &mut bytes);
        bytes
    }

    fn send(&self, bytes: &[u8]) {
        // Refused by a process that does not listen yet: asked again.
        let _ = self.caller.send(bytes);
    }

    /// Reads until one message is the one.
    fn wait(
        &self,
        patience: Duration,
        mut is_it: impl FnMut(&Self, &str) -> bool,
    ) -> Result<(), String> {
        let begin = Instant::now();
        while begin.elapsed() < patience {
            if let Some((bytes, _)) = hear(&self.caller)?
                && is_it(self, &String::from_utf8_lossy(&bytes))
            {
                return Ok(());
            }
        }
        Err(format!("no answer within {patience:?}"))
    }
}

/// The process, which ends with this handle.
struct Process(Child);

impl Process {
    /// Asks it to end, as an operator would, and waits until it has.
    fn end(&mut self) -> Result<(), String> {
        let told = Command::new("sh")
            .args(["-c", "kill -s TERM \"$0\"", &self.0.id().to_string()])
            .status();
        if !told.is_ok_and(|status| status.success()) {
            return Err("trunkline could not be told to end".into());
        }
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            match self.0.try_wait().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(format!("trunkline ended badly ({status})")),
                None => thread::sleep(Duration::from_millis(20)),
            }
        }
        Err(format!("trunkline did not end within {PATIENCE:?}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of this run, gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, String> {
        let folder = env::temp_dir().join(format!("trunkline-counts.{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Folder(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
