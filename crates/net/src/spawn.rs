//! Starting the shards of a process.

use std::{
    io,
    sync::{Arc, mpsc::SyncSender},
    thread,
    time::Instant,
};

use tokio::sync::mpsc;
use trunkline_proxy::{AskId, Clock, Question, ShardId, event::Batch};

use crate::{
    bind::Bound,
    brain::Brain,
    clock::{self, ShardClock},
    limits::NetLimits,
    mailbox::Mail,
    owner::Owners,
    shard::{Command, Ends, Shard},
    sockets::Sockets,
    stats::NetStats,
    teller::{self, TOGETHER_MAX},
};

/// Commands that may wait for one shard.
const COMMANDS_WAITING: usize = 4_096;

/// The slow side's ends of the shards' channels.
#[derive(Debug)]
pub struct Handles {
    /// Into each shard. A full channel means that it is far behind: wait.
    pub commands: Vec<mpsc::Sender<Command>>,
    /// What the shards want to know; answer each with [`Command::Answer`], to the shard that
    /// [`AskId::shard`] names.
    pub questions: mpsc::Receiver<(AskId, Box<Question>)>,
    /// What happened at each shard, in order, some events at a time. Whoever reads too slowly misses some
    /// ([`NetStats::events_dropped`]).
    pub events: mpsc::Receiver<Batch>,
    /// Back to each shard, by its number: batches that were read, whose memory it uses again. What there is no
    /// room for may be dropped.
    pub read: Vec<SyncSender<Batch>>,
    /// Each shard's counters.
    pub stats: Vec<Arc<NetStats>>,
}

/// The threads of all shards.
#[derive(Debug)]
pub struct Threads(Vec<thread::JoinHandle<()>>);

impl Threads {
    /// Whether all have ended.
    pub fn are_finished(&self) -> bool {
        self.0.iter().all(thread::JoinHandle::is_finished)
    }

    /// Waits for their end; false when one of them panicked.
    pub fn join(self) -> bool {
        let mut whole = true;
        for thread in self.0 {
            whole &= thread.join().is_ok();
        }
        whole
    }
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

/// Starts as many shards as there are sockets for, each on a thread of its own. They end after
/// [`Command::Stop`], or, when all of them were told to [`Command::Drain`], as soon as none has
/// anything in work.
///
/// `maker` gives what makes each shard's brain, which runs on the shard's thread; the clock it gets
/// ties the shard's time to wall time. `owners` must know the same number of shards. `epoch` is what brains count
/// their moments from, as [`Shared`](trunkline_proxy::Shared) was told.
pub fn spawn<B: Brain, M: FnOnce(Clock) -> B + Send + 'static>(
    bound: Bound,
    owners: Owners,
    mut maker: impl FnMut(ShardId) -> M,
    limits: NetLimits,
    epoch: Instant,
) -> Result<(Handles, Threads), SpawnError> {
    let clock = ShardClock::new(epoch);
    let (question_ends, questions) = mpsc::channel(limits.questions);
    let (event_ends, events) = mpsc::channel(limits.events.div_ceil(TOGETHER_MAX).max(1));
    let limits = limits.share(bound.shards());
    let mut opened = Vec::new();
    for (index, listeners) in bound.shards.into_iter().enumerate() {
        let stats = Arc::new(NetStats::default());
        let id = ShardId(index as u8);
        let sockets = Sockets::new(id, listeners, clock, limits.clone(), Arc::clone(&stats));
        let (sockets, bell) = sockets.map_err(|source| SpawnError {
            shard: id.0,
            source,
        })?;
        opened.push((id, sockets, bell, stats));
    }
    let bells: Vec<_> = opened
        .iter()
        .map(|(_, _, bell, _)| Arc::clone(bell))
        .collect();
    let mails = Mail::connect(&bells);

    let mut handles = Handles {
        commands: Vec::new(),
        questions,
        events,
        read: Vec::new(),
        stats: Vec::new(),
    };
    let mut threads = Threads(Vec::new());
    for ((id, sockets, bell, stats), mail) in opened.into_iter().zip(mails) {
        let (commands, command_ends) = mpsc::channel(COMMANDS_WAITING);
        let (read, way_back) = teller::way_back();
        handles.commands.push(commands);
        handles.read.push(read);
        handles.stats.push(Arc::clone(&stats));
        let ends = Ends {
            commands: command_ends,
            questions: question_ends.clone(),
            events: event_ends.clone(),
            read: way_back,
            bell,
        };
        let (owners, make) = (owners.clone(), maker(id));
        let thread = thread::Builder::new()
            .name(format!("shard-{}", id.0))
            .spawn(move || {
                let brain = make(clock::both());
                Shard::new(owners, brain, sockets, mail, ends, clock, stats).run();
            });
        match thread {
            Ok(thread) => threads.0.push(thread),
            Err(source) => {
                for started in &handles.commands {
                    // Empty so far, so it has room; and whoever did not start hears nothing.
                    let _ = started.try_send(Command::Stop);
                }
                threads.join();
                return Err(SpawnError {
                    shard: id.0,
                    source,
                });
            }
        }
    }
    Ok((handles, threads))
}
