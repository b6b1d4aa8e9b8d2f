//! The loop of one shard.
//!
//! One thread owns everything here; nothing is shared and nothing is locked. A turn takes what is
//! ready, each thing within a budget, hands it to the brain and carries out what the brain wants.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    ops::ControlFlow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::Sleep,
};
use trunkline_proxy::{
    Answer, AskId, Clock, Effect, Event, Hop, HopLoss, Input, ListenerId, Outbox, Question,
    Routing, ShardId,
    event::{HealthState, Peer},
    question::HttpFailure,
};
use trunkline_sip::Transport;

use crate::{
    bind::{Bound, BoundListener, BoundSocket},
    brain::Brain,
    clock,
    limits::NetLimits,
    ready::{ReadyList, Token},
    stats::NetStats,
    udp::Udp,
};

/// Datagrams, or error queue entries, of one socket before the next has its turn.
const DATAGRAMS_PER_VISIT: usize = 32;
/// Sockets visited before the clock is read again.
const VISITS_PER_TURN: usize = 16;
/// Commands taken in one turn.
const COMMANDS_PER_TURN: usize = 16;
/// Inputs of our own making (lost hops, failed questions) in one turn.
const LATER_PER_TURN: usize = 256;
/// The largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Commands that may wait for the shard.
const COMMANDS_WAITING: usize = 4_096;

/// What the slow side tells a shard.
#[derive(Debug)]
pub enum Command {
    /// A new snapshot.
    Routing(Arc<Routing>),
    /// The answer to a question.
    Answer {
        /// To which.
        ask: AskId,
        /// What came back.
        answer: Answer,
    },
    /// Another shard has seen a candidate change.
    PeerHealth {
        /// Which.
        peer: Peer,
        /// What it is now.
        is: HealthState,
    },
    /// Take no new calls; end when nothing is in work.
    Drain,
    /// End now.
    Stop,
}

/// The slow side's ends of a shard's channels.
#[derive(Debug)]
pub struct Handles {
    /// Into the shard. A full channel means that it is far behind: wait.
    pub commands: mpsc::Sender<Command>,
    /// What the shard wants to know; answer each with [`Command::Answer`].
    pub questions: mpsc::Receiver<(AskId, Box<Question>)>,
    /// What happened. Whoever reads too slowly misses some ([`NetStats::events_dropped`]).
    pub events: mpsc::Receiver<Event>,
    /// The shard's counters.
    pub stats: Arc<NetStats>,
}

/// A shard that could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot start data path thread {shard}: {source}; check the limits on open files and threads of this process"
)]
pub struct SpawnError {
    /// Which.
    pub shard: u8,
    /// What the system said.
    pub source: io::Error,
}

/// Starts a shard on a thread of its own. It ends after [`Command::Stop`], or after
/// [`Command::Drain`] as soon as nothing is in work.
///
/// `make` runs on that thread; the clock it gets ties the shard's time to wall time.
pub fn spawn<B: Brain + 'static>(
    shard: ShardId,
    bound: Bound,
    make: impl FnOnce(Clock) -> B + Send + 'static,
    limits: NetLimits,
) -> Result<(Handles, thread::JoinHandle<()>), SpawnError> {
    let failed = |source| SpawnError {
        shard: shard.0,
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let (commands, command_ends) = mpsc::channel(COMMANDS_WAITING);
    let (question_ends, questions) = mpsc::channel(limits.questions);
    let (event_ends, events) = mpsc::channel(limits.events);
    let stats = Arc::new(NetStats::default());
    let handles = Handles {
        commands,
        questions,
        events,
        stats: Arc::clone(&stats),
    };
    let ready = ReadyList::new();
    let endpoints = {
        let _context = runtime.enter();
        let open = |listener| Endpoint::open(listener, &ready, &limits);
        bound
            .listeners
            .into_iter()
            .map(open)
            .collect::<io::Result<_>>()
            .map_err(failed)?
    };
    let thread = thread::Builder::new()
        .name(format!("shard-{}", shard.0))
        .spawn(move || {
            let shard = Shard {
                brain: make(clock::both()),
                out: Outbox::new(),
                later: VecDeque::new(),
                endpoints,
                ready,
                commands: Some(command_ends),
                questions: question_ends,
                events: event_ends,
                stats,
                buffer: vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice(),
                draining: false,
            };
            // Unconstrained: the loop keeps budgets of its own, and yields by itself.
            runtime.block_on(tokio::task::unconstrained(shard.run()));
        });
    Ok((handles, thread.map_err(failed)?))
}

/// One listener at work.
enum Endpoint {
    Udp(Udp),
    /// Stream listeners.
    Tcp,
}

impl Endpoint {
    fn open(listener: BoundListener, ready: &ReadyList, limits: &NetLimits) -> io::Result<Self> {
        match listener.socket {
            BoundSocket::Udp(socket) => {
                Udp::new(listener.id, socket, ready, limits.datagram_queue).map(Endpoint::Udp)
            }
            BoundSocket::Tcp(_) => Ok(Endpoint::Tcp),
        }
    }
}

/// An input that the shard itself owes the brain.
enum Later {
    Lost(Hop, HopLoss),
    Answer(AskId, Answer),
}

/// Why the loop woke up.
enum Woken {
    Socket(Token),
    Command(Command),
    Alarm,
}

struct Shard<B> {
    brain: B,
    out: Outbox,
    later: VecDeque<Later>,
    endpoints: Vec<Endpoint>,
    ready: ReadyList,
    /// `None` when the slow side is gone. Calls go on without it.
    commands: Option<mpsc::Receiver<Command>>,
    questions: mpsc::Sender<(AskId, Box<Question>)>,
    events: mpsc::Sender<Event>,
    stats: Arc<NetStats>,
    buffer: Box<[u8]>,
    draining: bool,
}

impl<B: Brain> Shard<B> {
    async fn run(mut self) {
        let mut alarm = Alarm::default();
        let mut woken = None;
        while self.turn(woken.take()).is_continue() {
            if self.has_more() {
                // Lets the runtime look at the sockets again.
                tokio::task::yield_now().await;
            } else {
                woken = Some(self.wait(&mut alarm).await);
            }
        }
    }

    /// One turn, in order of importance to a call that is being set up.
    fn turn(&mut self, woken: Option<Woken>) -> ControlFlow<()> {
        let now = clock::now();

        let (mut command, mut token) = match woken {
            Some(Woken::Command(command)) => (Some(command), None),
            Some(Woken::Socket(token)) => (None, Some(token)),
            Some(Woken::Alarm) | None => (None, None),
        };

        // 1. Commands: few, and a new snapshot or Stop must not wait behind a flood of packets.
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = command
                .take()
                .or_else(|| self.commands.as_mut()?.try_recv().ok())
            else {
                break;
            };
            self.obey(now, command)?;
        }

        // 2. Timers that are due: what they decide is older than any packet still unread.
        if self
            .brain
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.brain.handle(now, Input::Deadline, &mut self.out);
            self.dispatch(now);
        }

        // 3. Sockets that are ready.
        for _ in 0..VISITS_PER_TURN {
            let Some(token) = token.take().or_else(|| self.ready.take()) else {
                break;
            };
            self.visit(now, token);
            self.dispatch(now);
        }

        // 4. Datagrams that found no room before.
        self.retry_sends(now);

        // 5. What came out of 1 to 4 and is news to the brain.
        for _ in 0..LATER_PER_TURN {
            match self.later.pop_front() {
                Some(Later::Lost(hop, why)) => {
                    self.brain
                        .handle(now, Input::HopLost { hop, why }, &mut self.out)
                }
                Some(Later::Answer(ask, answer)) => {
                    self.brain
                        .handle(now, Input::Answer { ask, answer }, &mut self.out);
                }
                None => break,
            }
            self.dispatch(now);
        }

        if self.draining && self.brain.is_idle() && self.is_flushed() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn obey(&mut self, now: Instant, command: Command) -> ControlFlow<()> {
        let input = match command {
            Command::Routing(routing) => Input::Routing(routing),
            Command::Answer { ask, answer } => Input::Answer { ask, answer },
            Command::PeerHealth { peer, is } => Input::PeerHealth { peer, is },
            Command::Drain => {
                self.draining = true;
                Input::Drain
            }
            Command::Stop => return ControlFlow::Break(()),
        };
        self.brain.handle(now, input, &mut self.out);
        self.dispatch(now);
        ControlFlow::Continue(())
    }

    fn visit(&mut self, now: Instant, token: Token) {
        match token {
            Token::Datagrams(id) => self.receive(now, id),
            Token::Errors(id) => self.read_errors(id),
            Token::Accept(_) | Token::Connection(_) => {}
        }
    }

    fn receive(&mut self, now: Instant, id: ListenerId) {
        let Some(Endpoint::Udp(udp)) = self.endpoints.get_mut(usize::from(id.0)) else {
            return;
        };
        let (brain, out) = (&mut self.brain, &mut self.out);
        udp.receive(
            &mut self.buffer,
            DATAGRAMS_PER_VISIT,
            &self.stats,
            |remote, bytes| {
                brain.handle(
                    now,
                    Input::Message {
                        from: datagram_hop(id, remote),
                        bytes,
                    },
                    out,
                );
            },
        );
    }

    fn read_errors(&mut self, id: ListenerId) {
        let Some(Endpoint::Udp(udp)) = self.endpoints.get_mut(usize::from(id.0)) else {
            return;
        };
        let later = &mut self.later;
        udp.read_errors(DATAGRAMS_PER_VISIT, &self.stats, |remote| {
            later.push_back(Later::Lost(datagram_hop(id, remote), HopLoss::Unreachable));
        });
    }

    fn retry_sends(&mut self, now: Instant) {
        for (index, endpoint) in self.endpoints.iter_mut().enumerate() {
            let Endpoint::Udp(udp) = endpoint else {
                continue;
            };
            let later = &mut self.later;
            udp.retry(now, &self.stats, |remote, why| {
                later.push_back(Later::Lost(
                    datagram_hop(ListenerId(index as u16), remote),
                    why,
                ));
            });
        }
    }

    /// Carries out everything in the outbox.
    fn dispatch(&mut self, now: Instant) {
        if self.out.is_empty() {
            return;
        }
        let (effects, arena) = self.out.split();
        for effect in effects {
            match effect {
                Effect::Send {
                    to,
                    bytes,
                    connect_within,
                } => {
                    let bytes = arena
                        .get(bytes.start as usize..bytes.end as usize)
                        .unwrap_or_default();
                    if let Err(why) = send(
                        &mut self.endpoints,
                        now,
                        to,
                        bytes,
                        connect_within,
                        &self.stats,
                    ) {
                        self.later.push_back(Later::Lost(to, why));
                    }
                }
                Effect::Ask { ask, question } => {
                    if let Err(error) = self.questions.try_send((ask, question)) {
                        let (TrySendError::Full((_, question))
                        | TrySendError::Closed((_, question))) = error;
                        self.stats.questions_failed.add(1);
                        self.later
                            .push_back(Later::Answer(ask, nobody_knows(&question)));
                    }
                }
                // The telephone outranks the bookkeeping: a full channel costs an event, no call.
                Effect::Tell(event) => {
                    if self.events.try_send(event).is_err() {
                        self.stats.events_dropped.add(1);
                    }
                }
            }
        }
        self.out.clear();
    }

    /// Whether the next turn has something to do already.
    fn has_more(&self) -> bool {
        !self.later.is_empty() || !self.ready.is_empty()
    }

    /// Whether everything that was to be sent has left.
    fn is_flushed(&self) -> bool {
        self.later.is_empty()
            && self.endpoints.iter().all(|endpoint| match endpoint {
                Endpoint::Udp(udp) => udp.is_flushed(),
                Endpoint::Tcp => true,
            })
    }

    /// The next moment at which something must be done without anything happening outside.
    fn deadline(&self) -> Option<Instant> {
        let retries = self.endpoints.iter().filter_map(|endpoint| match endpoint {
            Endpoint::Udp(udp) => udp.retry_at(),
            Endpoint::Tcp => None,
        });
        retries.chain(self.brain.next_deadline()).min()
    }

    /// 6. Sleeps until a socket, a command or a deadline.
    async fn wait(&mut self, alarm: &mut Alarm) -> Woken {
        let deadline = self.deadline();
        poll_fn(|cx| {
            if let Poll::Ready(token) = self.ready.poll_take(cx) {
                return Poll::Ready(Woken::Socket(token));
            }
            if let Some(commands) = &mut self.commands {
                match commands.poll_recv(cx) {
                    Poll::Ready(Some(command)) => return Poll::Ready(Woken::Command(command)),
                    Poll::Ready(None) => self.commands = None,
                    Poll::Pending => {}
                }
            }
            alarm.poll(cx, deadline).map(|()| Woken::Alarm)
        })
        .await
    }
}

/// The hop of a datagram.
fn datagram_hop(listener: ListenerId, remote: std::net::SocketAddr) -> Hop {
    Hop {
        transport: Transport::Udp,
        listener,
        remote,
        connection: None,
    }
}

fn send(
    endpoints: &mut [Endpoint],
    now: Instant,
    to: Hop,
    bytes: &[u8],
    _connect_within: Duration,
    stats: &NetStats,
) -> Result<(), HopLoss> {
    match endpoints.get_mut(usize::from(to.listener.0)) {
        Some(Endpoint::Udp(udp)) => udp.send(now, to.remote, bytes, stats),
        Some(Endpoint::Tcp) | None => {
            stats.sends_dropped.add(1);
            Err(HopLoss::Unreachable)
        }
    }
}

/// What a question gets that the slow side has no room for.
fn nobody_knows(question: &Question) -> Answer {
    match question {
        Question::Resolve(_) => Answer::ResolveFailed,
        Question::Http(_) => Answer::HttpFailed(HttpFailure::Busy),
    }
}

/// The one timer of the loop.
///
/// A deadline that moves away is not re-armed: the alarm rings once for nothing instead of being
/// set with every packet.
#[derive(Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Alarm {
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return Poll::Pending;
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.is_elapsed() || deadline < sleep.deadline() {
            sleep.as_mut().reset(deadline);
        }
        std::future::Future::poll(sleep.as_mut(), cx)
    }
}
