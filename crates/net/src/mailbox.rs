//! What shards say to each other.
//!
//! Between any two shards there is a bounded queue each way with one writer and one reader, so
//! nobody waits for anybody. What goes through it are [`Parcel`]s, everything that one visit to a
//! socket brought for the other shard: one push and at most one wake for all of it. Emptied parcels
//! come back by a queue of their own, so that a busy pair of shards allocates nothing.
//!
//! A full queue costs datagrams, which SIP repeats, and holds back streams: see
//! [`Mail::is_stuck`].

use std::{
    collections::VecDeque,
    net::SocketAddr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering, fence},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    time::Duration,
};

use trunkline_proxy::{Hop, HopLoss, ShardId, health::News};

use crate::{fence::Order, stats::NetStats};

/// Parcels that may wait for one shard from one other.
const PARCELS_WAITING: usize = 128;
/// A parcel with so many letters is closed.
const LETTERS_MAX: usize = 64;
/// And one with so many bytes.
const BYTES_MAX: usize = 64 * 1024;

/// One thing said. Bytes stand in the parcel's arena.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A message whose call is yours.
    Message { from: Hop, at: Range<u32> },
    /// To be sent over a connection that is yours, or yours to open.
    Send {
        to: Hop,
        at: Range<u32>,
        connect_within: Duration,
    },
    /// A hop that others may be waiting for.
    Lost { hop: Hop, why: HopLoss },
    /// What was learned of a candidate.
    News(News),
    /// Whom to keep out, or whom not to.
    Fence(Order),
}

/// Letters and their bytes.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    arena: Vec<u8>,
    letters: Vec<Letter>,
}

impl Parcel {
    fn is_closed(&self) -> bool {
        self.letters.len() >= LETTERS_MAX || self.arena.len() >= BYTES_MAX
    }

    fn write(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = self.arena.len() as u32;
        self.arena.extend_from_slice(bytes);
        start..self.arena.len() as u32
    }

    /// The letters, and the arena their bytes stand in.
    pub(crate) fn open(&mut self) -> (std::vec::Drain<'_, Letter>, &[u8]) {
        (self.letters.drain(..), &self.arena)
    }
}

/// What all shards of a process can see of one of them. The only memory they share.
struct Door {
    bell: Arc<mio::Waker>,
    /// It is about to sleep, or asleep: whoever brings something must ring.
    asleep: AtomicBool,
    /// It is draining and has nothing in work.
    done: AtomicBool,
}

impl Door {
    fn ring(&self) {
        // Against the store and fence of `fall_asleep`: either we see that it sleeps, or it sees
        // what was brought.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            // Fails only when the shard is gone, and then nobody wants to know.
            let _ = self.bell.wake();
        }
    }
}

/// The way to one other shard.
struct Post {
    ring: SyncSender<Parcel>,
    empties: Receiver<Parcel>,
    filling: Parcel,
}

/// The way from one other shard.
struct Inlet {
    ring: Receiver<Parcel>,
    empties: SyncSender<Parcel>,
}

/// One shard's end of all queues.
pub(crate) struct Mail {
    own: ShardId,
    doors: Arc<[Door]>,
    /// By shard; our own place is empty.
    posts: Vec<Option<Post>>,
    inlets: Vec<Option<Inlet>>,
    arrived: VecDeque<(usize, Parcel)>,
}

impl Mail {
    /// Connects shards that have these bells, each with each.
    pub(crate) fn connect(bells: &[Arc<mio::Waker>]) -> Vec<Mail> {
        let doors: Arc<[Door]> = bells
            .iter()
            .map(|bell| Door {
                bell: Arc::clone(bell),
                asleep: AtomicBool::new(false),
                done: AtomicBool::new(false),
            })
            .collect();
        let mut mails: Vec<_> = (0..bells.len())
            .map(|own| Mail {
                // `Bound` has no more shards than a number has room for.
                own: ShardId(own as u8),
                doors: Arc::clone(&doors),
                posts: bells.iter().map(|_| None).collect(),
                inlets: bells.iter().map(|_| None).collect(),
                arrived: VecDeque::new(),
            })
            .collect();
        for from in 0..bells.len() {
            for to in (0..bells.len()).filter(|to| *to != from) {
                let (ring, letters) = sync_channel(PARCELS_WAITING);
                let (back, empties) = sync_channel(PARCELS_WAITING);
                mails[from].posts[to] = Some(Post {
                    ring,
                    empties,
                    filling: Parcel::default(),
                });
                mails[to].inlets[from] = Some(Inlet {
                    ring: letters,
                    empties: back,
                });
            }
        }
        mails
    }

    /// Whose it is.
    pub(crate) fn own(&self) -> ShardId {
        self.own
    }

    /// How many shards there are.
    pub(crate) fn shards(&self) -> usize {
        self.doors.len()
    }

    /// Whether there is nobody else.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        self.doors.len() == 1
    }

    /// Hands over a message whose call is another shard's. Leaves with the next
    /// [`send_off`](Self::send_off).
    pub(crate) fn hand_over(&mut self, to: ShardId, from: Hop, bytes: &[u8], stats: &NetStats) {
        // A stream cannot repeat: it is held back instead, and what is still read before that
        // must find room.
        let may_drop = from.connection.is_none();
        self.post(to, may_drop, stats, |parcel| Letter::Message {
            from,
            at: parcel.write(bytes),
        });
    }

    /// Has a message sent by the shard that has the connection, or shall have it.
    pub(crate) fn have_sent(
        &mut self,
        by: ShardId,
        to: Hop,
        bytes: &[u8],
        connect_within: Duration,
        stats: &NetStats,
    ) -> Result<(), HopLoss> {
        let taken = self.post(by, true, stats, |parcel| Letter::Send {
            to,
            at: parcel.write(bytes),
            connect_within,
        });
        if taken { Ok(()) } else { Err(HopLoss::Limit) }
    }

    /// Tells all other shards that a hop is lost.
    pub(crate) fn tell_lost(&mut self, hop: Hop, why: HopLoss, stats: &NetStats) {
        self.tell_all(stats, || Letter::Lost { hop, why });
    }

    /// Tells all other shards what was learned of a candidate.
    pub(crate) fn tell_news(&mut self, news: News, stats: &NetStats) {
        self.tell_all(stats, || Letter::News(news));
    }

    /// Tells all other shards of a source that floods, or that must be heard.
    pub(crate) fn tell_fence(&mut self, order: Order, stats: &NetStats) {
        self.tell_all(stats, || Letter::Fence(order));
    }

    fn tell_all(&mut self, stats: &NetStats, letter: impl Fn() -> Letter) {
        for to in 0..self.posts.len() {
            if to != usize::from(self.own.0) {
                self.post(ShardId(to as u8), true, stats, |_| letter());
            }
        }
    }

    fn post(
        &mut self,
        to: ShardId,
        may_drop: bool,
        stats: &NetStats,
        letter: impl FnOnce(&mut Parcel) -> Letter,
    ) -> bool {
        let Some(Some(post)) = self.posts.get_mut(usize::from(to.0)) else {
            return false;
        };
        if post.filling.is_closed() {
            post.send(stats);
        }
        if may_drop && post.filling.is_closed() {
            stats.posts_dropped.add(1);
            return false;
        }
        let letter = letter(&mut post.filling);
        post.filling.letters.push(letter);
        true
    }

    /// Sends what was posted, and wakes whom it is for.
    #[inline]
    pub(crate) fn send_off(&mut self, stats: &NetStats) {
        if !self.is_alone() {
            self.send_all_off(stats);
        }
    }

    fn send_all_off(&mut self, stats: &NetStats) {
        for (post, door) in self.posts.iter_mut().zip(self.doors.iter()) {
            if let Some(post) = post
                && !post.filling.letters.is_empty()
            {
                post.send(stats);
                door.ring();
            }
        }
    }

    /// Whether something could not be sent off, because somebody does not keep up: until he does,
    /// streams are to be left unread.
    #[inline]
    pub(crate) fn is_stuck(&self) -> bool {
        !self.is_alone() && self.has_unsent()
    }

    fn has_unsent(&self) -> bool {
        let mut posts = self.posts.iter().flatten();
        posts.any(|post| !post.filling.letters.is_empty())
    }

    /// The next parcel from anybody; give it back with [`give_back`](Self::give_back).
    pub(crate) fn next(&mut self) -> Option<(usize, Parcel)> {
        if self.arrived.is_empty() {
            self.collect();
        }
        self.arrived.pop_front()
    }

    /// For the next letters of whoever sent it.
    pub(crate) fn give_back(&mut self, from: usize, mut parcel: Parcel) {
        parcel.arena.clear();
        parcel.letters.clear();
        if parcel.arena.capacity() <= 2 * BYTES_MAX
            && let Some(Some(inlet)) = self.inlets.get(from)
        {
            // He has enough of them, or is gone.
            let _ = inlet.empties.try_send(parcel);
        }
    }

    /// Says that we are about to sleep. Whether there is no mail that speaks against it.
    pub(crate) fn fall_asleep(&mut self) -> bool {
        self.doors[usize::from(self.own.0)]
            .asleep
            .store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.collect();
        self.arrived.is_empty()
    }

    /// The sleep is over.
    pub(crate) fn wake_up(&self) {
        self.doors[usize::from(self.own.0)]
            .asleep
            .store(false, Ordering::Relaxed);
    }

    /// Whether mail waits for us, as far as we know.
    pub(crate) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// Says whether we, in a drain, have nothing in work. Whether that is true of everybody: until
    /// then we are needed, for messages to others that land here.
    pub(crate) fn are_all_done(&self, done: bool) -> bool {
        let was = self.doors[usize::from(self.own.0)]
            .done
            .swap(done, Ordering::AcqRel);
        let all = done
            && self
                .doors
                .iter()
                .all(|door| door.done.load(Ordering::Acquire));
        if all && !was {
            for door in self.doors.iter() {
                let _ = door.bell.wake();
            }
        }
        all
    }

    /// One parcel from each queue.
    fn collect(&mut self) {
        for (from, inlet) in self.inlets.iter().enumerate() {
            let Some(inlet) = inlet else { continue };
            match inlet.ring.try_recv() {
                Ok(parcel) => self.arrived.push_back((from, parcel)),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
        }
    }
}

impl Post {
    fn send(&mut self, stats: &NetStats) {
        let empty = self.empties.try_recv().unwrap_or_default();
        let parcel = std::mem::replace(&mut self.filling, empty);
        let letters = parcel.letters.len() as u64;
        match self.ring.try_send(parcel) {
            Ok(()) => stats.posts.add(letters),
            Err(TrySendError::Full(parcel)) => self.filling = parcel,
            // It has ended, and nobody waits for its answers.
            Err(TrySendError::Disconnected(_)) => stats.posts_dropped.add(letters),
        }
    }
}

/// Which shard of `shards` dials this peer: always the same, so that there is one connection and not
/// one a shard.
pub(crate) fn dials(remote: SocketAddr, shards: usize) -> ShardId {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    remote.hash(&mut hasher);
    // The remainder is smaller than `shards`, which is at most 255.
    ShardId((hasher.finish() % shards.max(1) as u64) as u8)
}
