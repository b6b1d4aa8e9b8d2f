//! What carries out what the brain wants: everything a shard reaches the world outside with.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::sync::mpsc::{self, error::TrySendError};
use trunkline_proxy::{
    Answer, AskId, Effect, Hop, HopLoss, ListenerId, Moment, Outbox, Question, Sending, ShardId,
    question::HttpFailure,
};
use trunkline_sip::{Transport, peek};

use crate::{
    fence::{Fences, Word},
    mailbox::{self, Mail},
    sockets::Sockets,
    stats::NetStats,
    stream,
    teller::{TOGETHER_MAX, Teller},
};

pub(crate) struct Hands {
    /// Whose they are.
    pub(crate) shard: ShardId,
    pub(crate) sockets: Sockets,
    pub(crate) fences: Fences,
    pub(crate) mail: Mail,
    pub(crate) questions: mpsc::Sender<(AskId, Box<Question>)>,
    /// Questions for which the slow side had no room.
    pub(crate) unanswered: VecDeque<(AskId, Answer)>,
    pub(crate) teller: Teller,
    pub(crate) stats: Arc<NetStats>,
}

impl Hands {
    /// Carries out everything in the outbox, but for what was told: that waits there for more.
    pub(crate) fn carry_out(&mut self, now: Moment, out: &mut Outbox) {
        if out.events().len() > self.teller.heard() {
            self.hear(now, out);
        }
        if let Some(rest) = out.take_rest() {
            for effect in rest {
                self.do_rarely(effect);
            }
        }
        if self.fences.stand() {
            self.hear_who_is_asked(now, out);
        }
        let (sends, arena) = out.sends();
        self.send(now, sends, arena);
        out.sent();
    }

    fn hear(&mut self, now: Moment, out: &mut Outbox) {
        for event in self.teller.hear(now, out.events()) {
            self.fences.hear(now, event);
        }
        if out.events().len() >= TOGETHER_MAX {
            self.teller.flush(out);
        }
    }

    #[cold]
    fn do_rarely(&mut self, effect: Effect) {
        match effect {
            Effect::Ask { ask, question } => {
                if let Err(error) = self.questions.try_send((ask, question)) {
                    let (TrySendError::Full((_, question)) | TrySendError::Closed((_, question))) =
                        error;
                    self.stats.questions_failed.add(1);
                    self.unanswered.push_back((ask, nobody_knows(&question)));
                }
            }
            Effect::Share(news) => self.mail.tell_news(news, &self.stats),
            // An outbox keeps these apart.
            Effect::Send(_) | Effect::Tell(_) => {}
        }
    }

    #[inline]
    fn send(&mut self, now: Moment, sends: &mut [Sending], arena: &[u8]) {
        let Some(one) = sends.first().map(by) else {
            return;
        };
        if sends.iter().any(|it| by(it) != one) {
            return self.send_by_several(now, sends, arena);
        }
        self.send_by(now, one, sends, arena);
    }

    /// What leaves by one listener is put side by side, in its order.
    #[inline(never)]
    fn send_by_several(&mut self, now: Moment, sends: &mut [Sending], arena: &[u8]) {
        sends.sort_by_key(by);
        for sends in sends.chunk_by_mut(|one, next| by(one) == by(next)) {
            self.send_by(now, by(&sends[0]), sends, arena);
        }
    }

    #[inline]
    fn send_by(
        &mut self,
        now: Moment,
        (listener, transport): (ListenerId, Transport),
        sends: &mut [Sending],
        arena: &[u8],
    ) {
        if transport == Transport::Udp {
            self.sockets.send_datagrams(now, listener, sends, arena);
        } else {
            self.send_streams(now, sends, arena);
        }
    }

    #[inline(never)]
    fn send_streams(&mut self, now: Moment, sends: &[Sending], arena: &[u8]) {
        for it in sends {
            self.send_stream(now, it.to, it.within(arena), it.connect_within);
        }
    }

    /// A request's answer is to come through, whoever gives it.
    #[cold]
    fn hear_who_is_asked(&mut self, now: Moment, out: &mut Outbox) {
        let mut words = Vec::new();
        let (sends, arena) = out.sends();
        for it in sends {
            if it.to.transport == Transport::Udp && !peek::is_response(it.within(arena)) {
                words.extend(self.fences.ask(now, it.to, &self.sockets));
            }
        }
        self.say(now, words, out);
    }

    /// What is to be known of a fence elsewhere.
    #[cold]
    pub(crate) fn say(&mut self, now: Moment, words: Vec<Word>, out: &mut Outbox) {
        for word in words {
            match word {
                Word::Tell(event) => out.tell(event),
                Word::Pass(order) => self.mail.tell_fence(order, &self.stats),
            }
        }
        self.teller.hear(now, out.events());
    }

    /// Sends by a connection here, or has the shard do it that has it or is to have it.
    pub(crate) fn send_stream(
        &mut self,
        now: Moment,
        mut to: Hop,
        bytes: &[u8],
        connect_within: Duration,
    ) {
        let home = match to.connection.map(stream::shard_of) {
            _ if self.mail.is_alone() || self.sockets.reaches(&to) => self.shard,
            Some(home) if home != self.shard => home,
            // One that we had, or none.
            Some(_) | None => {
                to.connection = None;
                mailbox::dials(to.remote, self.mail.shards())
            }
        };
        if home == self.shard {
            self.sockets.send_stream(now, to, bytes, connect_within);
        } else if self
            .mail
            .have_sent(home, to, bytes, connect_within, &self.stats)
            .is_err()
        {
            self.sockets.lose(to, HopLoss::Limit);
        }
    }

    /// Whether nothing is left to be said, inside or outside.
    pub(crate) fn is_flushed(&self) -> bool {
        self.unanswered.is_empty()
            && !self.sockets.has_more()
            && self.sockets.is_flushed()
            && !self.mail.is_stuck()
            && !self.mail.has_arrived()
    }
}

/// What a message leaves by.
#[inline]
fn by(sending: &Sending) -> (ListenerId, Transport) {
    (sending.to.listener, sending.to.transport)
}

/// What a question gets that the slow side has no room for.
fn nobody_knows(question: &Question) -> Answer {
    match question {
        Question::Resolve(_) => Answer::ResolveFailed,
        Question::Http(_) => Answer::HttpFailed(HttpFailure::Busy),
    }
}
