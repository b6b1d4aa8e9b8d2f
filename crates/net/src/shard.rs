//! The loop of one shard.
//!
//! One thread owns everything here; nothing is locked. A turn takes what is
//! ready, each thing within a budget, hands it to the brain and carries out what the brain wants.

use std::{
    collections::VecDeque,
    ops::{ControlFlow, Range},
    sync::{Arc, mpsc::Receiver},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::sync::mpsc;
use trunkline_proxy::{
    Answer, AskId, Input, Moment, Outbox, Question, Routing, ShardId, event::Batch, health::News,
};

use crate::{
    brain::Brain,
    clock::ShardClock,
    fence::Fences,
    grid::Grid,
    hands::Hands,
    mailbox::{Letter, Mail},
    owner::Owners,
    poller::{Ready, Token},
    sockets::Sockets,
    stats::NetStats,
    teller::Teller,
    thrift::Thrift,
};

/// Sockets visited before the clock is read again.
const VISITS_PER_TURN: usize = 16;
/// Commands taken in one turn.
const COMMANDS_PER_TURN: usize = 16;
/// Lost hops, and failed questions, told in one turn.
const LOSSES_PER_TURN: usize = 256;
/// Parcels of other shards opened in one turn.
const PARCELS_PER_TURN: usize = 16;
/// A shorter backlog is as good as none.
const BACKLOG_MIN: Duration = Duration::from_millis(1);
/// How soon a shard that does not keep up is asked again to take what is for it.
const STUCK_PAUSE: Duration = Duration::from_millis(1);

/// What the slow side tells a shard.
#[derive(Clone, Debug)]
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
    /// Something was seen of a candidate elsewhere.
    PeerHealth(News),
    /// Take no new calls; end when no shard has anything in work.
    Drain,
    /// End now.
    Stop,
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

/// A shard's ends of the channels to the slow side.
pub(crate) struct Ends {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) questions: mpsc::Sender<(AskId, Box<Question>)>,
    pub(crate) events: mpsc::Sender<Batch>,
    pub(crate) read: Receiver<Batch>,
    /// Ends the shard's sleep.
    pub(crate) bell: Arc<mio::Waker>,
}

pub(crate) struct Shard<B> {
    id: ShardId,
    owners: Owners,
    brain: B,
    out: Outbox,
    hands: Hands,
    /// Connections left unread while another shard does not keep up.
    held: Vec<Ready>,
    /// `None` when the slow side is gone. Calls go on without it.
    commands: Option<mpsc::Receiver<Command>>,
    thrift: Thrift,
    bell: Waker,
    /// The bell rang, and whoever rang it was not asked yet.
    called: bool,
    draining: bool,
    /// When the last turn began.
    turned: Moment,
    /// When the brain wants to be told of its deadline or something else is due, as it was at the end of the
    /// last turn.
    due: Moment,
    clock: ShardClock,
    grid: Grid,
    /// The last turn did not get to the end of what there was to read.
    is_behind: bool,
    /// When a turn last did.
    kept_up: Moment,
    /// The brain knows of a backlog.
    backlog_told: bool,
}

impl<B: Brain> Shard<B> {
    pub(crate) fn new(
        owners: Owners,
        brain: B,
        sockets: Sockets,
        mail: Mail,
        ends: Ends,
        clock: ShardClock,
        stats: Arc<NetStats>,
    ) -> Self {
        let (now, id) = (clock.now(), mail.own());
        Shard {
            id,
            owners,
            brain,
            out: Outbox::new(),
            hands: Hands {
                shard: id,
                sockets,
                fences: Fences::new(id, mail.shards()),
                mail,
                questions: ends.questions,
                unanswered: VecDeque::new(),
                teller: Teller::new(id, ends.events, ends.read, Arc::clone(&stats)),
                stats,
            },
            held: Vec::new(),
            commands: Some(ends.commands),
            thrift: Thrift::new(now),
            bell: Waker::from(Arc::new(Bell(ends.bell))),
            called: true,
            draining: false,
            is_behind: false,
            turned: now,
            due: now,
            clock,
            grid: Grid::new(now),
            kept_up: now,
            backlog_told: false,
        }
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        while self.turn().is_continue() {
            let until = self.sleeps_until();
            self.thrift.before_sleep(self.turned, until);
            self.called |= self.hands.sockets.wait(self.turned, until);
            if !self.hands.mail.is_alone() {
                self.hands.mail.wake_up();
            }
        }
        self.hands.teller.flush(&mut self.out);
    }

    /// One turn, in order of importance to a call that is being set up.
    fn turn(&mut self) -> ControlFlow<()> {
        let now = self.clock.now();
        self.turned = now;
        self.tell_backlog(now);

        // 1. Commands: few, and a new snapshot or Stop must not wait behind a flood of packets.
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.next_command() else {
                break;
            };
            self.obey(now, command)?;
        }

        // 2. Timers that are due: what they decide is older than any packet still unread.
        if self.due <= now && self.brain.next_deadline() <= now {
            self.brain.handle(now, Input::Deadline, &mut self.out);
            self.dispatch(now);
        }

        // 3. Sockets that are ready.
        for _ in 0..VISITS_PER_TURN {
            let Some(ready) = self.hands.sockets.take_ready() else {
                break;
            };
            if matches!(ready.token, Token::Connection(_)) && self.hands.mail.is_stuck() {
                self.held.push(ready);
                continue;
            }
            self.visit(now, ready);
            self.dispatch(now);
        }
        self.open_mail(now);

        // 4. What is left to do at the sockets, and to tell the brain of them.
        if self.hands.fences.deadline() <= now {
            let words = self
                .hands
                .fences
                .tend(now, &self.brain, &self.hands.sockets);
            self.hands.say(now, words, &mut self.out);
        }
        if self.hands.sockets.is_stirred() || !self.hands.unanswered.is_empty() {
            self.do_chores(now);
        }

        // 5. What another shard had no room for.
        self.hands.mail.send_off(&self.hands.stats);
        if !self.held.is_empty() && !self.hands.mail.is_stuck() {
            self.hands.sockets.again(&mut self.held);
        }

        // 6. The bookkeeping.
        self.hands.teller.tick(now, &mut self.out);

        if self.draining {
            let done = self.brain.is_idle() && self.hands.is_flushed();
            if self.hands.mail.are_all_done(done) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// What hardly a turn has to do that only has datagrams.
    #[inline(never)]
    fn do_chores(&mut self, now: Moment) {
        // Datagrams that found no room, errors, connections out of time.
        self.hands.sockets.tick(now);
        self.tell_losses(now);
        // One write for all that a connection got in this turn.
        self.hands.sockets.flush(now);
    }

    /// Tells the brain which hops are lost and which questions are not answered.
    fn tell_losses(&mut self, now: Moment) {
        for _ in 0..LOSSES_PER_TURN {
            let input = match (
                self.hands.sockets.next_loss(),
                self.hands.unanswered.pop_front(),
            ) {
                (None, None) => break,
                lost => lost,
            };
            if let (Some((hop, why)), _) = input {
                // Who sent there may be on any shard: the system reports a datagram's error to any
                // socket of an address, and one shard's connection serves all.
                self.hands.mail.tell_lost(hop, why, &self.hands.stats);
                self.brain
                    .handle(now, Input::HopLost { hop, why }, &mut self.out);
            }
            if let (_, Some((ask, answer))) = input {
                self.brain
                    .handle(now, Input::Answer { ask, answer }, &mut self.out);
            }
            self.dispatch(now);
        }
    }

    /// How long what is read now has waited at most, as far as this side of the system knows; once
    /// 0 when we have caught up.
    fn tell_backlog(&mut self, now: Moment) {
        let backlog = if self.is_behind {
            now - self.kept_up
        } else {
            self.kept_up = now;
            if !self.backlog_told {
                return;
            }
            Duration::ZERO
        };
        let is_worth_a_word = backlog >= BACKLOG_MIN;
        if is_worth_a_word {
            self.hands.fences.crowd(now);
        }
        if !is_worth_a_word && !self.backlog_told {
            return;
        }
        self.backlog_told = is_worth_a_word;
        self.brain
            .handle(now, Input::Backlog(backlog), &mut self.out);
        self.dispatch(now);
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

    /// Until when the sockets may be waited for; not at all when that is over.
    fn sleeps_until(&mut self) -> Moment {
        let hands = &self.hands;
        let chore = hands.sockets.deadline().min(hands.teller.deadline());
        let chore = chore.min(hands.fences.deadline());
        self.due = self.grid.point(self.brain.next_deadline().min(chore));
        self.is_behind = self.hands.sockets.has_more()
            || (!self.hands.mail.is_alone() && !self.hands.mail.fall_asleep());
        let must_say = self.backlog_told | !self.hands.unanswered.is_empty();
        if self.is_behind | self.called | must_say {
            return self.turned;
        }
        if self.hands.mail.is_stuck() {
            return self.due.min(self.clock.now() + STUCK_PAUSE);
        }
        self.due
    }

    fn obey(&mut self, now: Moment, command: Command) -> ControlFlow<()> {
        let is_routing = matches!(command, Command::Routing(_));
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
        if is_routing {
            let words = self
                .hands
                .fences
                .review(now, &self.brain, &self.hands.sockets);
            self.hands.say(now, words, &mut self.out);
        }
        ControlFlow::Continue(())
    }

    fn visit(&mut self, now: Moment, ready: Ready) {
        self.hands.sockets.visit(now, ready, |from, bytes| {
            if bytes.is_empty() {
                return self.hands.fences.count(now, from);
            }
            match self.owners.of(bytes) {
                Some(owner) if owner != self.id => {
                    self.hands
                        .mail
                        .hand_over(owner, from, bytes, &self.hands.stats);
                }
                Some(_) | None => self.brain.hear(now, from, bytes, &mut self.out),
            }
        });
    }

    /// What other shards sent.
    fn open_mail(&mut self, now: Moment) {
        if self.hands.mail.is_alone() {
            return;
        }
        for _ in 0..PARCELS_PER_TURN {
            let Some((from, mut parcel)) = self.hands.mail.next() else {
                return;
            };
            let (letters, arena) = parcel.open();
            let bytes = |at: Range<u32>| {
                let bytes = arena.get(at.start as usize..at.end as usize);
                bytes.unwrap_or_default()
            };
            for letter in letters {
                let input = match letter {
                    Letter::Message { from, at } => Input::Message {
                        from,
                        bytes: bytes(at),
                    },
                    Letter::Lost { hop, why } => Input::HopLost { hop, why },
                    Letter::News(news) => Input::PeerHealth(news),
                    Letter::Fence(order) => {
                        let words = self.hands.fences.obey(now, order, &self.hands.sockets);
                        self.hands.say(now, words, &mut self.out);
                        continue;
                    }
                    Letter::Send {
                        to,
                        at,
                        connect_within,
                    } => {
                        self.hands.send_stream(now, to, bytes(at), connect_within);
                        continue;
                    }
                };
                self.brain.handle(now, input, &mut self.out);
            }
            self.hands.mail.give_back(from, parcel);
            self.dispatch(now);
        }
    }

    /// Carries out everything in the outbox.
    fn dispatch(&mut self, now: Moment) {
        if !self.out.is_empty() {
            self.hands.carry_out(now, &mut self.out);
        }
        self.hands.mail.send_off(&self.hands.stats);
    }
}
