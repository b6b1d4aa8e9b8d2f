//! `trunkline run`: the service from its first socket to its last call.

use std::{
    future::Future,
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, mpsc::SyncSender},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing::{error, info, warn};
use trunkline_config::{ControlFile, Diagnostic, Loaded, LogFormat};
use trunkline_control::{
    Control, ControlHandle, ControlSettings, LineFormat, NetCounts, Pace, View,
};
use trunkline_net::{Bound, Command, Count, NetLimits, NetStats, Threads, owner::Owners};
use trunkline_proxy::{
    AskId, Proxy, Routing, Seed, Settings, Shared, branch::Branches, event::Batch,
};

use crate::{logging, secrets};

/// Runs until a signal ends it. Exit code 0 after a drain, 1 when it cannot start, 2 for a bad
/// configuration.
pub fn run(config: &Path) -> ExitCode {
    let loaded = match trunkline_config::load(config) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{report}");
            return ExitCode::from(2);
        }
    };
    logging::start(loaded.control.log_format, loaded.control.log_level);
    warn_of(config, &loaded.warnings);
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return cannot_start(&error),
    };
    runtime.block_on(async {
        match Service::start(loaded).await {
            Ok(service) => service.until_signalled(config).await,
            Err(error) => cannot_start(&*error),
        }
    })
}

fn cannot_start(error: &dyn std::error::Error) -> ExitCode {
    error!(error = %error, "cannot start");
    ExitCode::FAILURE
}

fn warn_of(config: &Path, warnings: &[Diagnostic]) {
    for warning in warnings {
        warn!(file = %config.display(), line = warning.line, "{}; {}", warning.message, warning.remedy);
    }
}

/// What can keep the service from starting: each says what to do.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// The running parts.
pub struct Service {
    settings: Arc<Settings>,
    control_file: ControlFile,
    control: ControlHandle,
    /// To each shard.
    commands: Vec<mpsc::Sender<Command>>,
    shards: Threads,
    /// Ends when the shards have.
    slow_side: tokio::task::JoinHandle<()>,
    /// Where the admin server listens.
    pub admin: Option<std::net::SocketAddr>,
}

impl Service {
    /// Binds, resolves and starts everything.
    pub async fn start(loaded: Loaded) -> Result<Self, StartError> {
        let Loaded {
            settings,
            control: control_file,
            ..
        } = loaded;
        let seed = secrets::seed(&control_file)?;
        Self::start_with(settings, control_file, seed, Pace::default()).await
    }

    /// As [`start`](Self::start), with a seed and a DNS pace of the caller's.
    pub async fn start_with(
        settings: Arc<Settings>,
        control_file: ControlFile,
        seed: Seed,
        pace: Pace,
    ) -> Result<Self, StartError> {
        let workers = workers(control_file.workers);
        let bound = Bound::bind(&settings.listeners, workers)?;
        let listening: Vec<String> = settings
            .listeners
            .iter()
            .zip(bound.local_addrs())
            .map(|(listener, addr)| format!("{}:{addr}", listener.transport.param()))
            .collect();
        let control_settings = ControlSettings {
            admin: control_file.admin,
            dns_servers: control_file.dns_servers.clone(),
            dns_timeout: control_file.dns_timeout,
            pace,
            line_format: match control_file.log_format {
                LogFormat::Text => LineFormat::Text,
                LogFormat::Json => LineFormat::Json,
            },
        };
        let (control, routing) = Control::new(control_settings, Arc::clone(&settings)).await?;
        let (admin, handle) = (control.admin_addr(), control.handle());
        let branches = Branches::new(seed.process);
        let owners = Owners::new(workers, seed.process, move |branch| {
            branches.read(branch).map(|(token, _)| token.shard)
        });
        let epoch = Instant::now();
        let shared = Shared::new(workers, epoch);
        handle.view().set_shared(Arc::clone(&shared));
        let maker = |shard| {
            let (routing, seed, shared) = (Arc::clone(&routing), seed.clone(), Arc::clone(&shared));
            move |clock| Proxy::new(shard, clock, routing, seed, shared)
        };
        let (shard_ends, shards) =
            trunkline_net::spawn(bound, owners, maker, NetLimits::default(), epoch)?;
        let trunkline_net::Handles {
            commands,
            questions,
            events,
            read,
            stats,
        } = shard_ends;
        let slow_side = tokio::spawn(control.run(
            questions,
            events,
            answering(commands.clone()),
            snapshotting(commands.clone(), routing),
            returning(read),
            move || counts(&stats),
        ));
        handle.listening();
        info!(
            version = env!("CARGO_PKG_VERSION"),
            node = %settings.node,
            listening = %listening.join(" "),
            admin = admin.map_or("off".into(), |addr| addr.to_string()),
            workers,
            "started"
        );
        Ok(Service {
            settings,
            control_file,
            control: handle,
            commands,
            shards,
            slow_side,
            admin,
        })
    }

    /// What it knows of its candidates and its last calls.
    pub fn view(&self) -> &View {
        self.control.view()
    }

    /// Serves until SIGTERM or SIGINT, reloading at SIGHUP.
    pub async fn until_signalled(mut self, config: &Path) -> ExitCode {
        let signals = (
            signal(SignalKind::hangup()),
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        );
        let (Ok(mut hangup), Ok(mut terminate), Ok(mut interrupt)) = signals else {
            error!("cannot listen for signals");
            return ExitCode::FAILURE;
        };
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload(config).await,
                _ = terminate.recv() => break info!("SIGTERM: draining"),
                _ = interrupt.recv() => break info!("SIGINT: draining; once more ends at once"),
                _ = a_shard_ends(&self.commands) => {
                    error!("a data path thread ended by itself; ending, so that a supervisor starts anew");
                    return ExitCode::FAILURE;
                }
                _ = &mut self.slow_side => {
                    error!("the control task ended by itself; ending, so that a supervisor starts anew");
                    return ExitCode::FAILURE;
                }
            }
        }
        let patience = self.control_file.drain_timeout;
        tokio::select! {
            whole = self.drain(patience) => info!(whole, "ended"),
            _ = interrupt.recv() => info!("ended at once"),
        }
        ExitCode::SUCCESS
    }

    /// A bad file changes nothing and says why (BEHAVIOUR 10).
    pub async fn reload(&mut self, config: &Path) {
        let loaded = match trunkline_config::load(config) {
            Ok(loaded) => loaded,
            Err(report) => {
                for fault in report.diagnostics.iter() {
                    error!(
                        file = %config.display(), line = fault.line, column = fault.column,
                        "reload refused, the old configuration stays: {}; {}", fault.message, fault.remedy
                    );
                }
                return;
            }
        };
        warn_of(config, &loaded.warnings);
        for section in needs_restart(&self.settings, &self.control_file, &loaded) {
            warn!("{section} has changed, which takes effect only after a restart");
        }
        // Sockets stay as they are, so what names them must too.
        let settings = Settings {
            listeners: self.settings.listeners.clone(),
            ..(*loaded.settings).clone()
        };
        if loaded.settings.listeners.len() != self.settings.listeners.len() {
            error!(
                "reload refused, the old configuration stays: the number of listeners changed; restart instead"
            );
            return;
        }
        self.settings = Arc::new(settings);
        if self.control.reload(Arc::clone(&self.settings)).await {
            info!(trunks = self.settings.trunks.len(), "reloaded");
        }
    }

    /// Takes no new calls and waits until what runs has ended, but no longer than `patience`.
    /// `true`: everything ended by itself.
    pub async fn drain(self, patience: Duration) -> bool {
        self.control.draining();
        tell_all(&self.commands, &Command::Drain).await;
        let shards = self.shards;
        let ended = tokio::task::spawn_blocking(move || shards.join());
        tokio::pin!(ended);
        let whole = tokio::time::timeout(patience, &mut ended).await.is_ok();
        if !whole {
            tell_all(&self.commands, &Command::Stop).await;
            let _ = ended.await;
        }
        drop(self.commands);
        // What was told last is counted and logged before we go.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.slow_side).await;
        whole
    }
}

/// What a reload cannot change, by the names of the file.
fn needs_restart(settings: &Settings, control: &ControlFile, loaded: &Loaded) -> Vec<&'static str> {
    let fresh = &loaded.control;
    [
        (
            "[[listen]]",
            settings.listeners != loaded.settings.listeners,
        ),
        ("[admin]", control.admin != fresh.admin),
        (
            "[dns]",
            (&control.dns_servers, control.dns_timeout) != (&fresh.dns_servers, fresh.dns_timeout),
        ),
        (
            "[log]",
            (control.log_format, control.log_level) != (fresh.log_format, fresh.log_level),
        ),
        (
            "[node]",
            (&control.state_dir, &control.secret, control.workers)
                != (&fresh.state_dir, &fresh.secret, fresh.workers),
        ),
    ]
    .into_iter()
    .filter_map(|(section, changed)| changed.then_some(section))
    .collect()
}

/// How many data path threads `node.workers` means: 0 is one for each core that this process may
/// use.
fn workers(wanted: usize) -> u8 {
    let workers = match wanted {
        0 => thread::available_parallelism().map_or(1, usize::from),
        wanted => wanted,
    };
    u8::try_from(workers).unwrap_or(u8::MAX)
}

/// Says the same to all shards. One that has ended by now does not hear it, which is as good.
async fn tell_all(shards: &[mpsc::Sender<Command>], command: &Command) {
    for shard in shards {
        let _ = shard.send(command.clone()).await;
    }
}

/// Comes when any shard does not listen any more.
async fn a_shard_ends(shards: &[mpsc::Sender<Command>]) {
    let mut ends: Vec<_> = shards
        .iter()
        .map(|shard| Box::pin(shard.closed()))
        .collect();
    std::future::poll_fn(|cx| {
        let ended = ends.iter_mut().any(|end| end.as_mut().poll(cx).is_ready());
        if ended {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

/// Sends answers to the shard that asked, without making the slow side wait.
fn answering(
    shards: Vec<mpsc::Sender<Command>>,
) -> impl Fn(AskId, trunkline_proxy::Answer) + Send + Sync + 'static {
    move |ask, answer| {
        if let Some(shard) = shards.get(usize::from(ask.shard().0)) {
            post(shard, Command::Answer { ask, answer });
        }
    }
}

/// Sends snapshots to all shards, and has the last hold of each: taking one apart takes milliseconds, for which a
/// shard has no time.
fn snapshotting(
    shards: Vec<mpsc::Sender<Command>>,
    first: Arc<Routing>,
) -> impl Fn(Arc<Routing>) + Send {
    let held = Mutex::new(vec![first]);
    move |routing| {
        for shard in &shards {
            post(shard, Command::Routing(Arc::clone(&routing)));
        }
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|old| Arc::strong_count(old) > 1);
        held.push(routing);
    }
}

fn returning(shards: Vec<SyncSender<Batch>>) -> impl Fn(Batch) + Send {
    move |batch| {
        if let Some(shard) = shards.get(usize::from(batch.shard.0)) {
            // It has enough of them, or is gone.
            let _ = shard.try_send(batch);
        }
    }
}

/// A full channel means a shard far behind; what it must know waits for it beside this task.
fn post(commands: &mpsc::Sender<Command>, command: Command) {
    if let Err(mpsc::error::TrySendError::Full(command)) = commands.try_send(command) {
        let commands = commands.clone();
        tokio::spawn(async move {
            let _ = commands.send(command).await;
        });
    }
}

/// Summed over all shards.
fn counts(shards: &[Arc<NetStats>]) -> NetCounts {
    let sum = |count: fn(&NetStats) -> &Count| shards.iter().map(|stats| count(stats).get()).sum();
    NetCounts {
        datagrams_in: sum(|stats| &stats.datagrams_in),
        datagrams_fenced: sum(|stats| &stats.datagrams_fenced),
        datagrams_overflowed: sum(|stats| &stats.datagrams_overflowed),
        datagrams_out: sum(|stats| &stats.datagrams_out),
        bytes_in: sum(|stats| &stats.bytes_in),
        bytes_out: sum(|stats| &stats.bytes_out),
        sends_dropped: sum(|stats| &stats.sends_dropped),
        connections: sum(|stats| &stats.connections),
        connections_refused: sum(|stats| &stats.connections_refused),
        connections_evicted: sum(|stats| &stats.connections_evicted),
        events_dropped: sum(|stats| &stats.events_dropped),
        posts: sum(|stats| &stats.posts),
        posts_dropped: sum(|stats| &stats.posts_dropped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[[listen]]\nprotocol = \"udp\"\naddress = \"127.0.0.1:5060\"\n\
                        [[trunk]]\nname = \"a\"\nallow = [\"127.0.0.2\"]\n\
                        origination.targets = [\"sip:127.0.0.3\"]\n";

    #[test]
    fn a_snapshot_is_taken_apart_by_the_slow_side_once_no_shard_has_it() {
        let loaded = trunkline_config::parse(FILE, Path::new("t.toml"), &trunkline_config::System);
        let settings = loaded.expect("it has no fault").settings;
        let routing = || Arc::new(Routing::new(Arc::clone(&settings), Vec::new()));
        let (commands, mut shard) = mpsc::channel(8);
        let first = routing();
        let (of_shard, watched) = (Arc::clone(&first), Arc::downgrade(&first));
        let send = snapshotting(vec![commands], first);
        send(routing());
        drop(of_shard);
        assert!(watched.upgrade().is_some(), "not by the shard");
        send(routing());
        assert!(watched.upgrade().is_none(), "and not never");
        for _ in 0..2 {
            assert!(matches!(shard.try_recv(), Ok(Command::Routing(_))));
        }
    }
}
