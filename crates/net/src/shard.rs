//! The loop of one shard.
//!
//! One thread owns everything here; nothing is locked. A turn takes what is
//! ready, each thing within a budget, hands it to the brain and carries out what the brain wants.

use std::{
    collections::VecDeque,
    ops::{ControlFlow, Range},
    sync::{Arc, mpsc::Receiver},
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};
use trunkline_proxy::{
    Answer, AskId, Effect, Hop, HopLoss, Input, Outbox, Question, Routing, ShardId, event::Batch,
    health::News, question::HttpFailure,
};
use trunkline_sip::{Transport, peek};

use crate::{
    brain::Brain,
    clock,
    fence::{Fences, Word},
    grid::Grid,
    mailbox::{self, Letter, Mail},
    owner::Owners,
    poller::{Ready, Token},
    sockets::Sockets,
    stats::NetStats,
    stream,
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
    sockets: Sockets,
    fences: Fences,
    mail: Mail,
    /// Connections left unread while another shard does not keep up.
    held: Vec<Ready>,
    /// Questions for which the slow side had no room.
    unanswered: VecDeque<(AskId, Answer)>,
    /// `None` when the slow side is gone. Calls go on without it.
    commands: Option<mpsc::Receiver<Command>>,
    questions: mpsc::Sender<(AskId, Box<Question>)>,
    teller: Teller,
    thrift: Thrift,
    stats: Arc<NetStats>,
    bell: Waker,
    /// The bell rang, and whoever rang it was not asked yet.
    called: bool,
    draining: bool,
    /// When the last turn began.
    turned: Instant,
    /// When the brain wants to be told of its deadline, as it was at the end of the last turn.
    due: Option<Instant>,
    timers: Grid,
    /// For everything else that is due some time.
    chores: Grid,
    /// The last turn did not get to the end of what there was to read.
    is_behind: bool,
    /// When a turn last did.
    kept_up: Instant,
    /// The brain knows of a backlog.
    backlog_told: bool,
}

impl<B: Brain> Shard<B> {
    pub(crate) fn new(
        id: ShardId,
        owners: Owners,
        brain: B,
        sockets: Sockets,
        mail: Mail,
        ends: Ends,
        stats: Arc<NetStats>,
    ) -> Self {
        let now = clock::now();
        Shard {
            id,
            owners,
            brain,
            out: Outbox::new(),
            sockets,
            fences: Fences::new(id, mail.shards()),
            mail,
            held: Vec::new(),
            unanswered: VecDeque::new(),
            commands: Some(ends.commands),
            questions: ends.questions,
            teller: Teller::new(id, ends.events, ends.read, Arc::clone(&stats)),
            thrift: Thrift::new(now),
            stats,
            bell: Waker::from(Arc::new(Bell(ends.bell))),
            called: true,
            draining: false,
            is_behind: false,
            turned: now,
            due: None,
            timers: Grid::new(now),
            chores: Grid::new(now),
            kept_up: now,
            backlog_told: false,
        }
    }

    /// The thread's whole life.
    pub(crate) fn run(mut self) {
        while self.turn().is_continue() {
            let until = self.sleeps_until();
            self.thrift.before_sleep(self.turned, until);
            self.called |= self.sockets.wait(self.turned, until);
            if !self.mail.is_alone() {
                self.mail.wake_up();
            }
        }
        self.teller.flush();
    }

    /// One turn, in order of importance to a call that is being set up.
    fn turn(&mut self) -> ControlFlow<()> {
        let now = clock::now();
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
        let is_due = |deadline: Instant| deadline <= now;
        if self.due.is_some_and(is_due) && self.brain.next_deadline().is_some_and(is_due) {
            self.brain.handle(now, Input::Deadline, &mut self.out);
            self.dispatch(now);
        }

        // 3. Sockets that are ready.
        for _ in 0..VISITS_PER_TURN {
            let Some(ready) = self.sockets.take_ready() else {
                break;
            };
            if matches!(ready.token, Token::Connection(_)) && self.mail.is_stuck() {
                self.held.push(ready);
                continue;
            }
            self.visit(now, ready);
            self.dispatch(now);
        }
        self.open_mail(now);

        // 4. What is due at the sockets: datagrams that found no room, errors, connections out of
        // time.
        self.sockets.tick(now);
        if self.fences.deadline().is_some_and(is_due) {
            let words = self.fences.tend(now, &self.brain, &self.sockets);
            self.say(now, words);
        }

        // 5. What 1 to 4 left to tell the brain.
        for _ in 0..LOSSES_PER_TURN {
            let input = match (self.sockets.next_loss(), self.unanswered.pop_front()) {
                (None, None) => break,
                lost => lost,
            };
            if let (Some((hop, why)), _) = input {
                // Who sent there may be on any shard: the system reports a datagram's error to any
                // socket of an address, and one shard's connection serves all.
                self.mail.tell_lost(hop, why, &self.stats);
                self.brain
                    .handle(now, Input::HopLost { hop, why }, &mut self.out);
            }
            if let (_, Some((ask, answer))) = input {
                self.brain
                    .handle(now, Input::Answer { ask, answer }, &mut self.out);
            }
            self.dispatch(now);
        }

        // 6. One write for all that a connection got in this turn; what another shard had no room
        // for.
        self.sockets.flush(now);
        self.mail.send_off(&self.stats);
        if !self.held.is_empty() && !self.mail.is_stuck() {
            self.sockets.again(&mut self.held);
        }

        // 7. The bookkeeping.
        self.teller.tick(now);
        if self.teller.has_records() {
            self.out.reuse(self.teller.records());
        }

        if self.draining {
            let done = self.brain.is_idle() && self.is_flushed();
            if self.mail.are_all_done(done) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// How long what is read now has waited at most, as far as this side of the system knows; once
    /// 0 when we have caught up.
    fn tell_backlog(&mut self, now: Instant) {
        let backlog = if self.is_behind {
            now - self.kept_up
        } else {
            self.kept_up = now;
            Duration::ZERO
        };
        let is_worth_a_word = backlog >= BACKLOG_MIN;
        if is_worth_a_word {
            self.fences.crowd(now);
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
    fn sleeps_until(&mut self) -> Option<Instant> {
        let deadline = self.brain.next_deadline();
        self.due = deadline.map(|deadline| self.timers.point(deadline));
        self.is_behind =
            self.sockets.has_more() || (!self.mail.is_alone() && !self.mail.fall_asleep());
        let must_say = self.backlog_told || !self.unanswered.is_empty();
        if self.is_behind || self.called || must_say {
            return Some(self.turned);
        }
        let chore = earliest(self.sockets.deadline(), self.teller.deadline());
        let chore = earliest(chore, self.fences.deadline());
        let chore = chore.map(|deadline| self.chores.point(deadline));
        let until = earliest(self.due, chore);
        if self.mail.is_stuck() {
            return earliest(until, Some(clock::now() + STUCK_PAUSE));
        }
        until
    }

    fn obey(&mut self, now: Instant, command: Command) -> ControlFlow<()> {
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
            let words = self.fences.review(now, &self.brain, &self.sockets);
            self.say(now, words);
        }
        ControlFlow::Continue(())
    }

    fn visit(&mut self, now: Instant, ready: Ready) {
        self.sockets.visit(now, ready, |from, bytes| {
            if bytes.is_empty() {
                return self.fences.count(now, from);
            }
            match self.owners.of(bytes) {
                Some(owner) if owner != self.id => {
                    self.mail.hand_over(owner, from, bytes, &self.stats);
                }
                Some(_) | None => {
                    self.brain
                        .handle(now, Input::Message { from, bytes }, &mut self.out);
                }
            }
        });
    }

    /// What other shards sent.
    fn open_mail(&mut self, now: Instant) {
        if self.mail.is_alone() {
            return;
        }
        for _ in 0..PARCELS_PER_TURN {
            let Some((from, mut parcel)) = self.mail.next() else {
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
                        let words = self.fences.obey(now, order, &self.sockets);
                        self.say(now, words);
                        continue;
                    }
                    Letter::Send {
                        to,
                        at,
                        connect_within,
                    } => {
                        self.send_stream(now, to, bytes(at), connect_within);
                        continue;
                    }
                };
                self.brain.handle(now, input, &mut self.out);
            }
            self.mail.give_back(from, parcel);
            self.dispatch(now);
        }
    }

    /// Sends by a connection here, or has the shard do it that has it or is to have it.
    fn send_stream(&mut self, now: Instant, mut to: Hop, bytes: &[u8], connect_within: Duration) {
        let home = match to.connection.map(stream::shard_of) {
            _ if self.mail.is_alone() || self.sockets.reaches(&to) => self.id,
            Some(home) if home != self.id => home,
            // One that we had, or none.
            Some(_) | None => {
                to.connection = None;
                mailbox::dials(to.remote, self.mail.shards())
            }
        };
        if home == self.id {
            self.sockets.send_stream(now, to, bytes, connect_within);
        } else if self
            .mail
            .have_sent(home, to, bytes, connect_within, &self.stats)
            .is_err()
        {
            self.sockets.lose(to, HopLoss::Limit);
        }
    }

    /// Carries out everything in the outbox.
    fn dispatch(&mut self, now: Instant) {
        if !self.out.is_empty() {
            let mut out = std::mem::take(&mut self.out);
            self.carry_out(now, &mut out);
            self.out = out;
        }
        if !self.mail.is_alone() {
            self.mail.send_off(&self.stats);
        }
    }

    fn carry_out(&mut self, now: Instant, out: &mut Outbox) {
        let (effects, arena) = out.split();
        for effect in effects {
            match effect {
                Effect::Send {
                    to,
                    bytes,
                    connect_within,
                } => {
                    if to.transport == Transport::Udp {
                        if self.fences.stand() {
                            self.hear_who_is_asked(now, to, arena, &bytes);
                        }
                        self.sockets.send_datagram(to, bytes);
                    } else {
                        let bytes = arena.get(bytes.start as usize..bytes.end as usize);
                        self.send_stream(now, to, bytes.unwrap_or_default(), connect_within);
                    }
                }
                Effect::Ask { ask, question } => {
                    if let Err(error) = self.questions.try_send((ask, question)) {
                        let (TrySendError::Full((_, question))
                        | TrySendError::Closed((_, question))) = error;
                        self.stats.questions_failed.add(1);
                        self.unanswered.push_back((ask, nobody_knows(&question)));
                    }
                }
                Effect::Tell(event) => {
                    self.fences.hear(now, &event);
                    self.teller.tell(now, event);
                }
                Effect::Share(news) => self.mail.tell_news(news, &self.stats),
            }
        }
        self.sockets.flush_datagrams(now, arena);
        out.clear();
    }

    /// A request's answer is to come through, whoever gives it.
    #[cold]
    fn hear_who_is_asked(&mut self, now: Instant, to: Hop, arena: &[u8], at: &Range<u32>) {
        let bytes = arena.get(at.start as usize..at.end as usize);
        if !peek::is_response(bytes.unwrap_or_default()) {
            let words = self.fences.ask(now, to, &self.sockets);
            self.say(now, words);
        }
    }

    /// What is to be known of a fence elsewhere.
    fn say(&mut self, now: Instant, words: Vec<Word>) {
        for word in words {
            match word {
                Word::Tell(event) => self.teller.tell(now, event),
                Word::Pass(order) => self.mail.tell_fence(order, &self.stats),
            }
        }
    }

    /// Whether nothing is left to be said, inside or outside.
    fn is_flushed(&self) -> bool {
        self.unanswered.is_empty()
            && !self.sockets.has_more()
            && self.sockets.is_flushed()
            && !self.mail.is_stuck()
            && !self.mail.has_arrived()
    }
}

/// What a question gets that the slow side has no room for.
fn nobody_knows(question: &Question) -> Answer {
    match question {
        Question::Resolve(_) => Answer::ResolveFailed,
        Question::Http(_) => Answer::HttpFailed(HttpFailure::Busy),
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
