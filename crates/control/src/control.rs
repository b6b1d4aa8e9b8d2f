//! The control task: answers the shards' questions, listens to what they tell, and sends them
//! new snapshots.

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use trunkline_proxy::{
    Event, Question, Routing, Settings, event::Batch, question::Answer, routing::Freshness,
    settings::Place,
};

use crate::{
    admin::{Admin, AdminError, DrillDesk, Pages},
    call_line::{CallLines, LineFormat},
    dr::{
        Schedule,
        drills::Drills,
        rehearsal::{self, Report},
    },
    fences::Fences,
    http::HttpClient,
    log::{is_only_counted, log},
    lookups::{Lookups, Next},
    metrics::{Metrics, NetCounts, Scrape},
    resolve::{Keeper, Lookup, LookupResult, News, Pace, Resolver, ResolverError},
    view::View,
};

/// A lookup for a call may take so many DNS timeouts: NAPTR, SRV, addresses, and one to spare.
const LOOKUP_TIMEOUTS: u32 = 4;
/// Lookups for calls under way at once; more of them wait.
const LOOKUPS_MAX: usize = 64;
/// Answers of finished questions that may wait to be counted.
const FINISHED_MAX: usize = 1024;
/// Batches of events, each what a shard told within 50 ms at most, taken before anything else gets its
/// turn.
const BATCHES_A_TURN: usize = 4;
/// Events recorded before whoever else waits for this core has it: some 20 µs.
const EVENTS_AT_A_STRETCH: usize = 64;

/// What the slow side needs to know beside the [`Settings`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlSettings {
    /// `admin.address`; `None`: no admin server.
    pub admin: Option<SocketAddr>,
    /// `dns.servers`; empty: the system's.
    pub dns_servers: Vec<SocketAddr>,
    /// `dns.timeout`, for one question.
    pub dns_timeout: Duration,
    /// When names are asked for again.
    pub pace: Pace,
    /// `log.format`, for the lines of calls.
    pub line_format: LineFormat,
}

impl Default for ControlSettings {
    fn default() -> Self {
        ControlSettings {
            admin: None,
            dns_servers: Vec::new(),
            dns_timeout: Duration::from_secs(2),
            pace: Pace::default(),
            line_format: LineFormat::default(),
        }
    }
}

/// Why the slow side cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The admin address.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// DNS.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// TLS for webhooks.
    #[error("cannot set up TLS for webhooks: {0}")]
    Tls(#[from] rustls::Error),
}

/// The slow side, started and not yet running.
pub struct Control {
    settings: ControlSettings,
    strangers: Resolver,
    http: HttpClient,
    keeper: Keeper,
    metrics: Metrics,
    view: Arc<View>,
    routing: Arc<Routing>,
    admin: Option<Admin>,
    drills: Arc<Drills>,
    commands: mpsc::Receiver<Command>,
    command: mpsc::Sender<Command>,
}

/// Steers a running [`Control`] from elsewhere in the process. Cheap to clone.
#[derive(Clone)]
pub struct ControlHandle {
    view: Arc<View>,
    command: mpsc::Sender<Command>,
}

pub(crate) enum Command {
    Reload(Arc<Settings>),
    /// A drill began or ended: the shards must know.
    Drills,
}

/// Reports of scheduled tests that may wait to be counted.
const REPORTS_MAX: usize = 16;

impl ControlHandle {
    /// The listeners are open: `/readyz` may say so.
    pub fn listening(&self) {
        self.view.listening();
    }

    /// A drain has begun: `/readyz` says so from now on.
    pub fn draining(&self) {
        self.view.draining();
    }

    /// Takes new settings; a snapshot made from them follows as soon as their new names are
    /// known, and at most two DNS timeouts later. False when the control task is gone.
    pub async fn reload(&self, settings: Arc<Settings>) -> bool {
        self.command.send(Command::Reload(settings)).await.is_ok()
    }

    /// What an operator may ask.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }
}

/// A question that was answered.
enum Finished {
    Http { answer: Answer, took: Duration },
    Lookup { place: Place, lookup: Lookup },
}

impl Control {
    /// Binds the admin server and resolves what the settings name: literal addresses at once, and
    /// names for at most two DNS timeouts. Gives the first snapshot.
    ///
    /// # Errors
    /// When the admin address cannot be bound, or DNS, TLS or metrics cannot be set up. Names
    /// that do not resolve are no error: they show in `/targets`, and are tried again.
    pub async fn new(
        settings: ControlSettings,
        routed: Arc<Settings>,
    ) -> Result<(Self, Arc<Routing>), ControlError> {
        let admin = match settings.admin {
            Some(addr) => Some(Admin::bind(addr).await?),
            None => None,
        };
        let resolver = Resolver::new(&settings.dns_servers, settings.dns_timeout)?;
        // Names out of messages have their own limits: whoever sends us slow ones must not keep
        // the configured ones from being refreshed.
        let strangers = Resolver::new(&settings.dns_servers, settings.dns_timeout)?;
        let http = HttpClient::new(resolver.clone())?;
        let mut metrics = Metrics::new();
        metrics.name_trunks(&routed);
        let patience = settings.dns_timeout * 2;
        let (keeper, routing) = Keeper::start(routed, resolver, patience, settings.pace).await;
        let view = Arc::new(View::new());
        view.set_routing(routing.clone());
        view.set_places(keeper.status());
        let (command, commands) = mpsc::channel(8);
        let control = Control {
            settings,
            strangers,
            http,
            keeper,
            metrics,
            view,
            routing: routing.clone(),
            admin,
            drills: Arc::default(),
            commands,
            command,
        };
        Ok((control, routing))
    }

    /// The admin server's address, when there is one.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::addr)
    }

    /// For the rest of the process.
    pub fn handle(&self) -> ControlHandle {
        ControlHandle {
            view: self.view.clone(),
            command: self.command.clone(),
        }
    }

    /// Runs until both `questions` and `events` are closed. `K` names a question of a shard; the
    /// answer goes to `answers` with the same name. Every new snapshot goes to `snapshots`, every batch of
    /// events to `read` once all was taken from it; `net` gives the sockets' own counters when somebody
    /// scrapes.
    ///
    /// No callback may block: they are called from the control task and its helpers.
    pub async fn run<K: Copy + Send + 'static>(
        self,
        mut questions: mpsc::Receiver<(K, Box<Question>)>,
        mut events: mpsc::Receiver<Batch>,
        answers: impl Fn(K, Answer) + Send + Sync + 'static,
        snapshots: impl Fn(Arc<Routing>) + Send,
        read: impl Fn(Batch) + Send,
        net: impl Fn() -> NetCounts + Send + Sync + 'static,
    ) {
        let (finish, mut finished) = mpsc::channel(FINISHED_MAX);
        let admin = self.admin.map(|admin| {
            let scrape = Scrape::new(&self.metrics, self.view.clone(), Arc::new(net));
            let drills = DrillDesk {
                drills: self.drills.clone(),
                view: self.view.clone(),
                // The handles that steer us must not keep us alive.
                command: self.command.downgrade(),
            };
            AdminTask(tokio::spawn(admin.serve(Pages {
                view: self.view.clone(),
                scrape,
                drills,
            })))
        });
        let (report, mut reports) = mpsc::channel(REPORTS_MAX);
        let schedule = Schedule::start(
            self.view.clone(),
            self.http.clone(),
            self.strangers.clone(),
            report,
        );
        let mut desk = Desk {
            strangers: self.strangers,
            http: self.http,
            keeper: self.keeper,
            metrics: self.metrics,
            view: self.view,
            routing: self.routing,
            drills: self.drills,
            patience: self.settings.dns_timeout * 2,
            lookups: Lookups::new(),
            lookup_permits: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            answers: Arc::new(answers),
            finish,
            call_lines: CallLines::new(self.settings.line_format),
            fences: Fences::default(),
        };
        let mut commands = self.commands;
        // The handles that steer us must not keep us alive.
        drop(self.command);
        let mut batches = Vec::with_capacity(BATCHES_A_TURN);
        let (mut asking, mut telling) = (true, true);
        while asking || telling {
            tokio::select! {
                question = questions.recv(), if asking => match question {
                    Some((key, question)) => desk.question(key, *question),
                    None => asking = false,
                },
                count = events.recv_many(&mut batches, BATCHES_A_TURN), if telling => {
                    telling = count > 0;
                    for mut batch in batches.drain(..) {
                        desk.events(&mut batch.events);
                        read(batch);
                    }
                    desk.call_lines.flush(&mut std::io::stdout().lock());
                }
                news = desk.keeper.next() => desk.news(news, &snapshots),
                Some(done) = finished.recv() => desk.finished(done),
                Some(command) = commands.recv() => desk.command(command, &snapshots).await,
                Some(report) = reports.recv() => desk.report(&report),
            }
        }
        drop((admin, schedule));
    }
}

/// The admin server ends with the control task.
struct AdminTask(JoinHandle<()>);

impl Drop for AdminTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the control task works with.
struct Desk<K, A> {
    strangers: Resolver,
    http: HttpClient,
    keeper: Keeper,
    metrics: Metrics,
    view: Arc<View>,
    routing: Arc<Routing>,
    drills: Arc<Drills>,
    patience: Duration,
    lookups: Lookups<K>,
    lookup_permits: Arc<Semaphore>,
    answers: Arc<A>,
    finish: mpsc::Sender<Finished>,
    call_lines: CallLines,
    fences: Fences,
}

impl<K, A> Desk<K, A>
where
    K: Copy + Send + 'static,
    A: Fn(K, Answer) + Send + Sync + 'static,
{
    fn question(&mut self, key: K, question: Question) {
        match question {
            Question::Http(request) => {
                let (http, answers, finish) =
                    (self.http.clone(), self.answers.clone(), self.finish.clone());
                tokio::spawn(async move {
                    let began = Instant::now();
                    let answer = http.exchange(&request).await;
                    let took = began.elapsed();
                    answers(key, answer.clone());
                    // Only the count is lost when the control task is gone.
                    let _ = finish.send(Finished::Http { answer, took }).await;
                });
            }
            Question::Resolve(place) => self.resolve(key, place),
        }
    }

    fn resolve(&mut self, key: K, place: Place) {
        if let Some(resolved) = self.keeper.known(&place) {
            let answer = match resolved.freshness {
                Freshness::Unknown => Answer::ResolveFailed,
                Freshness::Fresh | Freshness::Stale | Freshness::Absent => Answer::Resolved {
                    candidates: resolved.candidates.clone(),
                    // The keeper knows more soon; nobody else should remember this.
                    ttl: Duration::ZERO,
                },
            };
            return (self.answers)(key, answer);
        }
        match self.lookups.ask(Instant::now(), key, &place) {
            Next::Answer(answer) => (self.answers)(key, answer),
            Next::Wait => {}
            Next::Ask => {
                let (resolver, finish) = (self.strangers.clone(), self.finish.clone());
                let patience = self.patience * LOOKUP_TIMEOUTS / 2;
                let (permits, settings) =
                    (self.lookup_permits.clone(), self.routing.settings().clone());
                tokio::spawn(async move {
                    let _permit = permits.acquire_owned().await;
                    let looking = resolver.place(&place, &settings.listeners);
                    let lookup = tokio::time::timeout(patience, looking)
                        .await
                        .unwrap_or_else(|_| {
                            Lookup::Failed(format!("{}: not known within {patience:?}", place.host))
                        });
                    let _ = finish.send(Finished::Lookup { place, lookup }).await;
                });
            }
        }
    }

    fn finished(&mut self, finished: Finished) {
        match finished {
            Finished::Http { answer, took } => self.metrics.record_webhook(&answer, took),
            Finished::Lookup { place, lookup } => {
                self.metrics.record_lookup(LookupResult::of(&lookup));
                if let Lookup::Failed(why) = &lookup {
                    tracing::warn!(name = %crate::mask::printable(&place.host), why, "DNS fails");
                }
                let (answer, askers) = self.lookups.answered(Instant::now(), &place, lookup);
                for asker in askers {
                    (self.answers)(asker, answer.clone());
                }
            }
        }
    }

    fn events(&mut self, events: &mut [Event]) {
        let now = SystemTime::now();
        for stretch in events.chunks_mut(EVENTS_AT_A_STRETCH) {
            for event in &mut *stretch {
                self.event(event, now);
            }
            if stretch.len() == EVENTS_AT_A_STRETCH {
                // A shard may share our core, and its packets should not wait for our books.
                thread::yield_now();
            }
        }
    }

    /// Takes what is to be kept of it.
    fn event(&mut self, event: &mut Event, now: SystemTime) {
        self.metrics.record(event);
        if is_only_counted(event) {
            return;
        }
        log(event, self.routing.settings(), &mut self.call_lines);
        self.drills.record(event, self.routing.settings());
        if let Event::Fence(fence) = event {
            let settings = self.routing.settings();
            self.fences.record(fence, settings);
            self.view.set_fences(self.fences.shown(settings));
        }
        self.view.record(event, now);
    }

    fn news(&mut self, news: News, snapshots: &impl Fn(Arc<Routing>)) {
        let routing = match news {
            News::Asked(result) => {
                self.metrics.record_lookup(result);
                None
            }
            News::Changed(result, routing) => {
                self.metrics.record_lookup(result);
                Some(routing)
            }
            News::Settled(routing) => {
                self.metrics.name_trunks(routing.settings());
                self.lookups.forget();
                Some(routing)
            }
        };
        if let Some(routing) = routing {
            self.routing = routing.clone();
            self.view.set_routing(routing);
            snapshots(self.snapshot());
        }
        // Until then, places are numbered as in settings that nobody works with yet.
        if !self.keeper.is_settling() {
            self.view.set_places(self.keeper.status());
        }
    }

    async fn command(&mut self, command: Command, snapshots: &impl Fn(Arc<Routing>)) {
        match command {
            Command::Reload(settings) => self.keeper.replace(settings, self.patience).await,
            Command::Drills => snapshots(self.snapshot()),
        }
    }

    /// The newest snapshot with the drills that run now.
    fn snapshot(&self) -> Arc<Routing> {
        let drills = self.drills.running(self.routing.settings(), Instant::now());
        if drills.is_empty() {
            return Arc::clone(&self.routing);
        }
        Arc::new(self.routing.with_drills(drills))
    }

    /// A scheduled test of a webhook has come to its end.
    fn report(&mut self, report: &Report) {
        rehearsal::log(report);
        self.metrics.record_check(report);
    }
}
