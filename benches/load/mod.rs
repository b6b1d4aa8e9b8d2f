//! The load: callers and callees of all calls, in one thread. Open loop: calls are placed by the
//! clock, whatever comes back.
//!
//! A call is INVITE, 180, 200, ACK, BYE, 200, each end one socket away from the server (six messages
//! into it; a proxy's own 100 makes seven out). Over UDP both ends send again what is not answered
//! (T1 = 500 ms). Messages are read and written in batches, and the load sleeps when there is nothing
//! to do, as real peers do; its own share of a core and how late it was with its calls are part of
//! every result, since a load that cannot keep up measures itself.

mod calls;
mod line;
pub mod message;
mod peers;
mod score;
mod stranger;

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::sys;
use calls::Calls;
use line::{Line, Role};
use message::CallerScript;
use peers::{Peers, Visit};
pub use score::{Problem, Score};
use stranger::Stranger;

/// The peers' addresses.
const CALLER: [u8; 4] = [127, 0, 0, 1];
/// One for each target.
const CALLEES: [[u8; 4]; 3] = [[127, 0, 0, 11], [127, 0, 0, 12], [127, 0, 0, 13]];

/// Calls placed in one turn: what came back must be read now and then.
const PLACED_A_TURN: usize = 32;

/// How messages travel.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// Datagrams.
    Udp,
    /// Over this many connections of the caller; the server dials each callee as it likes.
    Tcp(usize),
}

impl Carrier {
    /// In a SIP URI.
    pub fn name(self) -> &'static str {
        match self {
            Carrier::Udp => "udp",
            Carrier::Tcp(_) => "tcp",
        }
    }
}

/// How calls are spread in time.
#[derive(Copy, Clone, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Arrivals {
    /// As of many callers who know nothing of each other (a Poisson process).
    Random,
    /// At equal distances.
    Even,
}

/// How to load.
#[derive(Copy, Clone, Debug)]
pub struct Plan {
    /// Calls a second.
    pub rate: f64,
    /// Time that is not measured: until the server's tables have their usual size.
    pub warm: Duration,
    /// Time that is.
    pub measure: Duration,
    /// How calls are spread in time.
    pub arrivals: Arrivals,
    /// Datagrams a second from somebody whom the server does not know, besides the calls and only in
    /// the measured time.
    pub flood: f64,
    /// Never sleep, so that the server never has to wake us.
    pub spin: bool,
}

/// What begins in a run; for what must be read off at that very time.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Mark {
    /// What is warming up is over.
    MeasureBegins,
    /// Calls that are still open go on; no more are placed.
    MeasureEnds,
}

/// Sockets that are bound before the server starts, since its configuration names them.
pub struct Bound {
    carrier: Carrier,
    caller: UdpSocket,
    callees: Vec<Callee>,
}

enum Callee {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

impl Bound {
    /// On loopback, ports of the system's choice.
    pub fn new(carrier: Carrier) -> io::Result<Bound> {
        let callees = CALLEES.into_iter().map(|ip| {
            let address = SocketAddr::from((ip, 0));
            match carrier {
                Carrier::Udp => udp(address).map(Callee::Udp),
                Carrier::Tcp(_) => {
                    let listener = TcpListener::bind(address)?;
                    listener.set_nonblocking(true)?;
                    Ok(Callee::Tcp(listener))
                }
            }
        });
        Ok(Bound {
            carrier,
            caller: udp((CALLER, 0).into())?,
            callees: callees.collect::<io::Result<_>>()?,
        })
    }

    /// The callees' addresses.
    pub fn targets(&self) -> io::Result<Vec<SocketAddr>> {
        let address = |callee: &Callee| match callee {
            Callee::Udp(socket) => socket.local_addr(),
            Callee::Tcp(listener) => listener.local_addr(),
        };
        self.callees.iter().map(address).collect()
    }

    /// The caller's; over TCP each connection has its own port.
    pub fn caller(&self) -> io::Result<SocketAddr> {
        self.caller.local_addr()
    }

    /// Connects to a server that is about to listen, or (TCP) listens already.
    pub fn connect(self, server: SocketAddr) -> io::Result<Load> {
        let transport = self.carrier.name();
        let targets = self.targets()?;
        let mut lines = Vec::new();
        let mut listeners = Vec::new();
        match self.carrier {
            Carrier::Udp => {
                self.caller.connect(server)?;
                lines.push(Line::udp(Role::Caller, self.caller));
            }
            Carrier::Tcp(connections) => {
                for _ in 0..connections {
                    let stream = TcpStream::connect(server)?;
                    lines.push(Line::tcp(Role::Caller, stream)?);
                }
            }
        }
        let scripts = lines
            .iter()
            .map(|line| Ok(CallerScript::new(line.local()?, server, transport)))
            .collect::<io::Result<Vec<_>>>()?;
        for (target, callee) in self.callees.into_iter().enumerate() {
            match callee {
                Callee::Udp(socket) => {
                    socket.connect(server)?;
                    lines.push(Line::udp(Role::Callee(target), socket));
                }
                Callee::Tcp(listener) => listeners.push((target, listener)),
            }
        }
        Ok(Load {
            stranger: Stranger::new(server)?,
            lines,
            listeners,
            peers: Peers {
                scripts,
                targets,
                transport,
                repeats: self.carrier == Carrier::Udp,
                calls: Calls::default(),
                score: Score::default(),
            },
            began: Instant::now(),
            chance: 0x9e37_79b9_7f4a_7c15,
        })
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // What the load cannot read in time must not look like the server's loss.
    SockRef::from(&socket).set_recv_buffer_size(8 << 20)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// A load that can run again and again against one server.
pub struct Load {
    stranger: Stranger,
    lines: Vec<Line>,
    listeners: Vec<(usize, TcpListener)>,
    peers: Peers,
    began: Instant,
    chance: u64,
}

impl Load {
    /// Places one call after the other until one goes through: the server is there.
    ///
    /// # Errors
    /// When none did in so long.
    pub fn knock(&mut self, most: Duration) -> Result<(), Problem> {
        let until = Instant::now() + most;
        while Instant::now() < until {
            self.run(
                &Plan {
                    rate: 50.0,
                    warm: Duration::ZERO,
                    measure: Duration::from_millis(100),
                    arrivals: Arrivals::Even,
                    flood: 0.0,
                    spin: false,
                },
                &mut |_| {},
            );
            if self.peers.score.done > 0 {
                return Ok(());
            }
        }
        Err(Problem::Silent(most))
    }

    /// Loads by the plan. `mark` is called when the measured time begins and ends.
    pub fn run(&mut self, plan: &Plan, mark: &mut dyn FnMut(Mark)) -> Score {
        /// How long calls of the measured time may still take after it: one that is sent again
        /// once, and again.
        const AFTER: u64 = 2_000_000_000;
        self.peers.calls.forget();
        self.peers.score = Score::default();
        let start = self.now();
        let measured = start + nanoseconds(plan.warm);
        let end = measured + nanoseconds(plan.measure);
        let mut pace = Pace::new(plan, start);
        let mut ready = Vec::new();
        let (mut began, mut ended) = (false, false);
        loop {
            let now = self.now();
            if !began && now >= measured {
                began = true;
                self.peers.score.begin(&self.lines);
                mark(Mark::MeasureBegins);
            }
            if !ended && now >= end {
                ended = true;
                mark(Mark::MeasureEnds);
                self.peers.score.end(plan.measure, &self.lines);
            }
            if ended && (self.peers.score.open == 0 || now >= end + AFTER) {
                break;
            }
            if !ended {
                self.place(&mut pace, now, began);
            }
            let flooding = began && !ended && plan.flood > 0.0;
            if flooding {
                let due = (now - measured) as f64 / 1e9 * plan.flood;
                self.peers.score.flooded += self.stranger.flood(due as u64);
            }
            self.send_again(now);
            self.lines.iter_mut().for_each(Line::flush);

            let most = match plan.spin || flooding {
                true => Duration::ZERO,
                false => self.idle_time(now, if ended { end + AFTER } else { pace.due }),
            };
            self.read(most, &mut ready, began && !ended);
            self.lines.iter_mut().for_each(Line::flush);
        }
        self.peers.score.close();
        self.peers.score.clone()
    }

    /// Places the calls that are due.
    fn place(&mut self, pace: &mut Pace, now: u64, counted: bool) {
        for _ in 0..PLACED_A_TURN {
            if pace.due > now {
                return;
            }
            self.peers.place(&mut self.lines, now, counted);
            if counted {
                self.peers.score.late.record(now - pace.due);
            }
            pace.advance(&mut self.chance);
        }
    }

    fn send_again(&mut self, now: u64) {
        while let Some((number, awaited, again)) = self.peers.calls.overdue(now) {
            self.peers.overdue(&mut self.lines, number, awaited, again);
        }
    }

    fn idle_time(&self, now: u64, due: u64) -> Duration {
        // Streams that are full are tried again soon.
        let held_back = self.lines.iter().any(Line::holds_back);
        let again = self.peers.calls.next_deadline().unwrap_or(u64::MAX);
        let next = due.min(again).saturating_sub(now);
        Duration::from_nanos(next.min(if held_back { 100_000 } else { 10_000_000 }))
    }

    /// Waits at most so long and handles what is there then.
    fn read(&mut self, most: Duration, ready: &mut Vec<bool>, counting: bool) {
        sys::wait(self.lines.iter().map(Line::socket), most, ready);
        let now = self.now();
        for (at, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            let line = &mut self.lines[at];
            let visit = Visit {
                line: at,
                role: line.role,
                now,
                counting,
            };
            line.receive(|bytes, out| self.peers.handle(visit, bytes, out));
        }
        // The server dials a callee at the first call to it, and after a lost connection.
        for (target, listener) in &self.listeners {
            if let Ok((stream, _)) = listener.accept() {
                self.lines
                    .extend(Line::tcp(Role::Callee(*target), stream).ok());
            }
        }
        if !self.lines.iter().all(Line::is_open) {
            // Callers' lines keep their places: calls know them by these.
            let callers = self.peers.scripts.len();
            let mut at = 0;
            self.lines.retain(|line| {
                at += 1;
                at <= callers || line.is_open()
            });
        }
    }

    fn now(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }
}

/// When calls are due.
struct Pace {
    due: u64,
    exact: f64,
    gap: f64,
    arrivals: Arrivals,
}

impl Pace {
    fn new(plan: &Plan, start: u64) -> Pace {
        Pace {
            due: start,
            exact: start as f64,
            gap: 1e9 / plan.rate,
            arrivals: plan.arrivals,
        }
    }

    fn advance(&mut self, chance: &mut u64) {
        self.exact += match self.arrivals {
            Arrivals::Even => self.gap,
            Arrivals::Random => {
                // Xorshift (Marsaglia 2003); the distribution of gaps is exponential.
                *chance ^= *chance << 13;
                *chance ^= *chance >> 7;
                *chance ^= *chance << 17;
                let uniform = ((*chance >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
                -uniform.ln() * self.gap
            }
        };
        self.due = self.exact as u64;
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}
