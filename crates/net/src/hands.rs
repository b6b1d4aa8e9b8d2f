//! What carries out what the brain wants: everything a shard reaches the world outside with.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use tokio::sync::mpsc::{self, error::TrySendError};
use trunkline_proxy::{
    Answer, AskId, Effect, Hop, HopLoss, Moment, Outbox, Question, ShardId, question::HttpFailure,
};
use trunkline_sip::{Transport, peek};

use crate::{
    fence::{Fences, Word},
    mailbox::{self, Mail},
    sockets::Sockets,
    stats::NetStats,
    stream,
    teller::Teller,
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
    /// Carries out everything in the outbox.
    pub(crate) fn carry_out(&mut self, now: Moment, out: &mut Outbox) {
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
    fn hear_who_is_asked(&mut self, now: Moment, to: Hop, arena: &[u8], at: &Range<u32>) {
        let bytes = arena.get(at.start as usize..at.end as usize);
        if !peek::is_response(bytes.unwrap_or_default()) {
            let words = self.fences.ask(now, to, &self.sockets);
            self.say(now, words);
        }
    }

    /// What is to be known of a fence elsewhere.
    pub(crate) fn say(&mut self, now: Moment, words: Vec<Word>) {
        for word in words {
            match word {
                Word::Tell(event) => self.teller.tell(now, event),
                Word::Pass(order) => self.mail.tell_fence(order, &self.stats),
            }
        }
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

/// What a question gets that the slow side has no room for.
fn nobody_knows(question: &Question) -> Answer {
    match question {
        Question::Resolve(_) => Answer::ResolveFailed,
        Question::Http(_) => Answer::HttpFailed(HttpFailure::Busy),
    }
}
