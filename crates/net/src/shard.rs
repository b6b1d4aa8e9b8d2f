//! The loop of one shard.
//!
//! One thread owns everything here; nothing is shared and nothing is locked. A turn takes what is
//! ready, each thing within a budget, hands it to the brain and carries out what the brain wants.

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};
use trunkline_proxy::{
    Answer, AskId, Clock, Effect, Event, Input, Outbox, Question, Routing, ShardId, health::News,
    question::HttpFailure,
};

use crate::{
    bind::Bound, brain::Brain, clock, limits::NetLimits, owner::Owners, poller::Ready,
    sockets::Sockets, stats::NetStats, teller::Teller,
};

/// Sockets visited before the clock is read again.
const VISITS_PER_TURN: usize = 16;
/// Commands taken in one turn.
const COMMANDS_PER_TURN: usize = 16;
/// Lost hops, and failed questions, told in one turn.
const LOSSES_PER_TURN: usize = 256;
/// How finely the shard's timers are told apart: nothing against T1, and at most so many wakes a
/// second however many calls there are.
const ALARM_GRID: Duration = Duration::from_millis(4);
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
    /// Another shard has seen something of a candidate.
    PeerHealth(News),
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
    let (sockets, bell) = Sockets::new(shard, bound, limits, Arc::clone(&stats)).map_err(failed)?;
    let thread = thread::Builder::new()
        .name(format!("shard-{}", shard.0))
        .spawn(move || {
            let shard = Shard {
                id: shard,
                owners: Owners::alone(),
                brain: make(clock::both()),
                out: Outbox::new(),
                sockets,
                unanswered: VecDeque::new(),
                commands: Some(command_ends),
                questions: question_ends,
                teller: Teller::new(event_ends, Arc::clone(&stats)),
                stats,
                bell: Waker::from(Arc::new(Bell(bell))),
                called: true,
                draining: false,
            };
            shard.run();
        });
    Ok((handles, thread.map_err(failed)?))
}

/// Wakes the shard for a command.
struct Bell(Arc<mio::Waker>);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Fails only when the shard is gone, and then nobody wants to know.
        let _ = self.0.wake();
    }
}

struct Shard<B> {
    id: ShardId,
    owners: Owners,
    brain: B,
    out: Outbox,
    sockets: Sockets,
    /// Questions for which the slow side had no room.
    unanswered: VecDeque<(AskId, Answer)>,
    /// `None` when the slow side is gone. Calls go on without it.
    commands: Option<mpsc::Receiver<Command>>,
    questions: mpsc::Sender<(AskId, Box<Question>)>,
    teller: Teller,
    stats: Arc<NetStats>,
    bell: Waker,
    /// The bell rang, and whoever rang it was not asked yet.
    called: bool,
    draining: bool,
}

impl<B: Brain> Shard<B> {
    fn run(mut self) {
        let start = clock::now();
        while self.turn(start).is_continue() {
            let patience = self.patience(start);
            self.called |= self.sockets.wait(patience);
        }
        self.teller.flush();
    }

    /// One turn, in order of importance to a call that is being set up.
    fn turn(&mut self, start: Instant) -> ControlFlow<()> {
        let now = clock::now();

        // 1. Commands: few, and a new snapshot or Stop must not wait behind a flood of packets.
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.next_command() else {
                break;
            };
            self.obey(now, command)?;
        }

        // 2. Timers that are due: what they decide is older than any packet still unread.
        if self
            .brain
            .next_deadline()
            .is_some_and(|deadline| on_grid(start, deadline) <= now)
        {
            self.brain.handle(now, Input::Deadline, &mut self.out);
            self.dispatch(now);
        }

        // 3. Sockets that are ready.
        for _ in 0..VISITS_PER_TURN {
            let Some(ready) = self.sockets.take_ready() else {
                break;
            };
            self.visit(now, ready);
            self.dispatch(now);
        }

        // 4. What is due at the sockets: datagrams that found no room, errors, connections out of
        // time.
        self.sockets.tick(now);

        // 5. What 1 to 4 left to tell the brain.
        for _ in 0..LOSSES_PER_TURN {
            let input = match (self.sockets.next_loss(), self.unanswered.pop_front()) {
                (None, None) => break,
                lost => lost,
            };
            if let (Some((hop, why)), _) = input {
                self.brain
                    .handle(now, Input::HopLost { hop, why }, &mut self.out);
            }
            if let (_, Some((ask, answer))) = input {
                self.brain
                    .handle(now, Input::Answer { ask, answer }, &mut self.out);
            }
            self.dispatch(now);
        }

        // 6. One write for all that a connection got in this turn.
        self.sockets.flush(now);

        // 7. The bookkeeping.
        self.teller.tick(now);

        if self.draining && self.brain.is_idle() && self.is_flushed() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// The next command. Once there is none, the bell rings for the next.
    fn next_command(&mut self) -> Option<Command> {
        if !self.called {
            return None;
        }
        let commands = self.commands.as_mut()?;
        match commands.poll_recv(&mut Context::from_waker(&self.bell)) {
            Poll::Ready(Some(command)) => return Some(command),
            Poll::Ready(None) => self.commands = None,
            Poll::Pending => {}
        }
        self.called = false;
        None
    }

    /// How long the sockets may be waited for.
    fn patience(&self, start: Instant) -> Option<Duration> {
        if self.called || self.sockets.has_more() || !self.unanswered.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = self
            .brain
            .next_deadline()
            .into_iter()
            .chain(self.sockets.deadline())
            .chain(self.teller.deadline())
            .min()?;
        Some(on_grid(start, deadline).saturating_duration_since(clock::now()))
    }

    fn obey(&mut self, now: Instant, command: Command) -> ControlFlow<()> {
        let input = match command {
            Command::Routing(routing) => Input::Routing(routing),
            Command::Answer { ask, answer } => Input::Answer { ask, answer },
            Command::PeerHealth(news) => Input::PeerHealth(news),
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

    fn visit(&mut self, now: Instant, ready: Ready) {
        self.sockets.visit(now, ready, |from, bytes| {
            if self.owners.of(bytes).is_none_or(|owner| owner == self.id) {
                self.brain
                    .handle(now, Input::Message { from, bytes }, &mut self.out);
            } else {
                // A mailbox to the owner goes here once there is more than one shard.
                self.stats.misplaced.add(1);
            }
        });
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
                    self.sockets.send(now, to, arena, bytes, connect_within);
                }
                Effect::Ask { ask, question } => {
                    if let Err(error) = self.questions.try_send((ask, question)) {
                        let (TrySendError::Full((_, question))
                        | TrySendError::Closed((_, question))) = error;
                        self.stats.questions_failed.add(1);
                        self.unanswered.push_back((ask, nobody_knows(&question)));
                    }
                }
                Effect::Tell(event) => self.teller.tell(now, event),
                // A mailbox to the others goes here once there is more than one shard.
                Effect::Share(_) => {}
            }
        }
        self.sockets.flush_datagrams(now, arena);
        self.out.clear();
    }

    /// Whether nothing is left to be said, inside or outside.
    fn is_flushed(&self) -> bool {
        self.unanswered.is_empty() && !self.sockets.has_more() && self.sockets.is_flushed()
    }
}

/// What a question gets that the slow side has no room for.
fn nobody_knows(question: &Question) -> Answer {
    match question {
        Question::Resolve(_) => Answer::ResolveFailed,
        Question::Http(_) => Answer::HttpFailed(HttpFailure::Busy),
    }
}

/// The first point of the grid that is not before `deadline`. Deadlines that lie close together
/// wake the shard once, and a busy one looks at its timers so often and not after every packet.
fn on_grid(start: Instant, deadline: Instant) -> Instant {
    let past = deadline.saturating_duration_since(start).as_nanos() % ALARM_GRID.as_nanos();
    if past == 0 {
        return deadline;
    }
    deadline + ALARM_GRID.saturating_sub(Duration::from_nanos(past as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_rings_never_before_a_deadline_and_less_than_a_grid_width_after() {
        let start = clock::now();
        for (deadline, expected) in [
            (0, 0),
            (1, 4_000),
            (3_999, 4_000),
            (4_000, 4_000),
            (4_001, 8_000),
        ] {
            let at = |microseconds| start + Duration::from_micros(microseconds);
            assert_eq!(on_grid(start, at(deadline)), at(expected), "{deadline}");
        }
    }
}
