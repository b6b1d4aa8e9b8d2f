//! Plays a script: lets the peers speak, and holds what Trunkline says against the lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use trunkline_proxy::{
    Hop, Input, Settings,
    event::{HealthState, Peer},
    health::{Evidence, News},
    hop::ListenerId,
    question::HttpRequest,
};

use super::{
    actor::{Actor, label_of},
    compare::{fits, http_fits, http_summary, summary},
    print::{answer_text, line},
    script::{Action, Config, Declared, NameChange, Script, Wire},
    stage::{Output, Stage},
};
use crate::{
    address::Address,
    names::{Names, listener_for},
    settings,
    text::Text,
    ua::{Identity, respond},
};

/// How far an expectation may be from its time.
const TOLERANCE: Duration = Duration::from_millis(1);
/// How long a script's loose ends may take: Timer C, and then everything that lingers.
const PATIENCE: Duration = Duration::from_secs(900);

/// Where configurations that scripts name are.
pub struct Library {
    folder: PathBuf,
}

impl Library {
    /// The files of this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Library {
        Library {
            folder: folder.into(),
        }
    }

    fn settings(&self, config: &Config) -> Result<Arc<Settings>, String> {
        match config {
            Config::File(file) => {
                let path = self.folder.join(file);
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("{}: {error}", path.display()))?;
                settings::from_toml(&text, &path)
            }
            Config::Inline(text) => settings::from_toml(text, Path::new("inline.toml")),
        }
    }
}

/// Why a script did not come true: every line that is wrong, and the ladder as it was.
#[derive(Debug, thiserror::Error)]
pub struct Failure {
    broken: Vec<String>,
    ladder: Vec<(char, String)>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for broken in &self.broken {
            writeln!(f, "{broken}")?;
        }
        writeln!(f, "what happened (- was expected, + was not):")?;
        self.ladder
            .iter()
            .try_for_each(|(mark, line)| writeln!(f, "{mark} {line}"))
    }
}

/// Plays a script; on success, the ladder as it was.
///
/// # Errors
/// Every line that did not come true.
pub fn run(script: &Script, library: &Library) -> Result<Vec<String>, Failure> {
    let settings = library.settings(&script.config).map_err(|error| Failure {
        broken: vec![error],
        ladder: Vec::new(),
    })?;
    let mut names = Names::default();
    for (name, change) in &script.names {
        apply(&mut names, name, change);
    }
    let mut play = Play::new(script, Stage::new(settings, names, script.seed));
    for step in &script.steps {
        play.reach(step.at);
        if let Err(what) = play.act(&step.action, library) {
            play.broken.push(format!("line {}: {what}", step.line));
            play.ladder.push(('-', step.to_string()));
        }
    }
    play.finish();
    if play.broken.is_empty() {
        Ok(play.ladder.into_iter().map(|(_, line)| line).collect())
    } else {
        Err(Failure {
            broken: play.broken,
            ladder: play.ladder,
        })
    }
}

fn apply(names: &mut Names, name: &str, change: &NameChange) {
    match change {
        NameChange::Records(records) => names.set(name, records.clone()),
        NameChange::Fails => names.fail(name),
    }
}

/// Something Trunkline sent that no line has told yet.
struct Untold {
    at: Duration,
    to: String,
    /// Its place in the ladder.
    line: usize,
    said: Said,
}

enum Said {
    Sip { bytes: Vec<u8>, text: Option<Text> },
    Http(Box<HttpRequest>),
}

struct Play<'s> {
    script: &'s Script,
    stage: Stage,
    actors: BTreeMap<Address, Actor>,
    names: BTreeMap<String, Address>,
    untold: Vec<Untold>,
    seen: BTreeSet<(Address, Vec<u8>)>,
    batches: u32,
    /// The first attempt of each call of the batches, and how many there were to whom.
    first_attempts: BTreeMap<String, Address>,
    /// What was sent in calls of the last batch, each once.
    counts: Vec<(Address, Said)>,
    ladder: Vec<(char, String)>,
    broken: Vec<String>,
}

impl<'s> Play<'s> {
    fn new(script: &'s Script, mut stage: Stage) -> Self {
        let mut actors = BTreeMap::new();
        let mut names = BTreeMap::new();
        for declared in &script.declared {
            let Declared::Peer {
                name,
                at,
                says,
                listener,
                ignores_record_route,
                ignores_probes,
                options,
                answers,
                hangs,
            } = declared
            else {
                continue;
            };
            let identity = Identity {
                name: name.clone(),
                says: says.unwrap_or(*at),
                ignores_record_route: *ignores_record_route,
            };
            let mut actor = Actor::new(identity);
            actor.listener.clone_from(listener);
            actor.ignores_probes = *ignores_probes;
            actor.options = options.unwrap_or(200);
            actor.answers = *answers;
            if *hangs {
                stage.hang(*at);
            }
            actors.insert(*at, actor);
            names.insert(name.clone(), *at);
        }
        Play {
            script,
            stage,
            actors,
            names,
            untold: Vec::new(),
            seen: BTreeSet::new(),
            batches: 0,
            first_attempts: BTreeMap::new(),
            counts: Vec::new(),
            ladder: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Lets time pass up to here, and complains about what was sent before and never told.
    fn reach(&mut self, at: Duration) {
        while self.stage.step(at) {
            self.listen();
        }
        self.complain(at.saturating_sub(TOLERANCE));
    }

    fn complain(&mut self, before: Duration) {
        let (old, young) = std::mem::take(&mut self.untold)
            .into_iter()
            .partition(|one| one.at < before);
        self.untold = young;
        let old: Vec<Untold> = old;
        for untold in old {
            if let Some(line) = self.ladder.get_mut(untold.line) {
                line.0 = '+';
                self.broken
                    .push(format!("not expected: {}", line.1.trim_start()));
            }
        }
    }

    fn act(&mut self, action: &Action, library: &Library) -> Result<(), String> {
        match action {
            Action::Send { from, message } => self.send(from, message),
            Action::Expect { to, message } => match message.times {
                Some(times) => self.count(to, message, times),
                None => self.expect(to, message),
            },
            Action::Lost { peer, why } => {
                let (address, listener) = self.locate(peer)?;
                self.note("net", &format!("{} {peer}", why.word().to_uppercase()));
                self.stage.lose(address, listener, *why);
                self.listen();
                Ok(())
            }
            Action::HttpAnswer(answer) => {
                self.note("webhook", &answer_text(answer));
                let asked = self.stage.answer(answer.clone());
                self.listen();
                if asked {
                    Ok(())
                } else {
                    Err("Trunkline asks the webhook nothing now".into())
                }
            }
            Action::HttpExpect {
                method,
                url,
                with,
                without,
            } => {
                let what = |said: &Said| match said {
                    Said::Http(request) => http_fits(request, method, url, with, without),
                    Said::Sip { .. } => Err(String::new()),
                };
                self.tell("webhook", what)
            }
            Action::Names(name, change) => {
                apply(&mut self.stage.names, name, change);
                self.reload(Arc::clone(self.stage.settings()));
                Ok(())
            }
            Action::Shard { peer, is } => {
                let (address, listener) = self.locate(peer)?;
                let peer = Peer {
                    transport: address.transport(),
                    addr: address.socket,
                    listener,
                };
                let evidence = match is {
                    HealthState::Up => Evidence::Alive,
                    HealthState::Suspect => Evidence::Silent,
                    HealthState::Down => Evidence::Failed("said another shard"),
                    HealthState::Paused => Evidence::Pause(Duration::from_secs(60)),
                };
                // It takes some failures to be down; what is paused stays so.
                for _ in 0..=u16::MAX {
                    self.input(Input::PeerHealth(News { peer, evidence }));
                    let mut known = self.stage.proxy().peers();
                    if *is != HealthState::Down
                        || known.all(|(known, was)| {
                            known != peer || matches!(was, HealthState::Down | HealthState::Paused)
                        })
                    {
                        break;
                    }
                }
                Ok(())
            }
            Action::Target {
                trunk,
                target,
                drained,
            } => {
                self.stage.shared.drain(trunk, target, *drained);
                Ok(())
            }
            Action::Drain => {
                self.input(Input::Drain);
                Ok(())
            }
            Action::Restart => {
                self.stage.restart();
                Ok(())
            }
            Action::Drill {
                trunk,
                number,
                seconds,
            } => {
                self.stage.drill(trunk, number, *seconds)?;
                self.listen();
                Ok(())
            }
            Action::Reload(file) => {
                let settings = library.settings(&Config::File(file.clone()))?;
                self.reload(settings);
                Ok(())
            }
            Action::Health { peer, is } => {
                let (address, _) = self.locate(peer)?;
                let known = self.stage.proxy().peers().find(|(known, _)| {
                    (known.addr, known.transport) == (address.socket, address.transport())
                });
                match known {
                    Some((_, state)) if state == *is => Ok(()),
                    Some((_, state)) => {
                        Err(format!("{peer} is {}, not {}", state.word(), is.word()))
                    }
                    None => Err(format!("Trunkline does not know {peer}")),
                }
            }
            Action::Calls(calls) => self.calls(*calls),
            Action::Share(shares) => self.share(shares),
            Action::Quiet => {
                self.complain(self.stage.now() + TOLERANCE);
                Ok(())
            }
        }
    }

    fn note(&mut self, from: &str, what: &str) {
        self.ladder
            .push((' ', line(self.stage.now(), from, "trunkline", what)));
    }

    fn input(&mut self, input: Input<'_>) {
        self.stage.input(input);
        self.listen();
    }

    fn reload(&mut self, settings: Arc<Settings>) {
        self.stage.reload(settings);
        self.listen();
    }

    // Speaking

    fn send(&mut self, from: &str, message: &Wire) -> Result<(), String> {
        let (address, listener) = self.locate(from)?;
        let hop = self.stage.hop(address, listener);
        let speaker = match &message.speaks_for {
            Some(whom) => self.locate(whom)?.0,
            None => address,
        };
        let batch = message.times.is_some();
        if batch {
            self.batches += 1;
            self.counts.clear();
        }
        for nth in 0..message.times.unwrap_or(1) {
            let label = match (&message.call, batch) {
                (_, true) => Some(format!("batch-{}-{nth}", self.batches)),
                (call, false) => call.clone(),
            };
            let bytes = self.actor(speaker).say(message, label.as_deref())?;
            if nth == 0 {
                self.note(from, &message.to_string());
            }
            self.input(Input::Message {
                from: hop,
                bytes: &bytes,
            });
        }
        Ok(())
    }

    /// Where somebody is, and which listener hears him.
    fn locate(&self, name: &str) -> Result<(Address, ListenerId), String> {
        let address = self
            .names
            .get(name)
            .copied()
            .or_else(|| Address::parse(name))
            .ok_or_else(|| {
                format!("{name} is neither declared nor an address, or nothing was sent there yet")
            })?;
        let listeners = &self.stage.settings().listeners;
        let wished = self
            .actors
            .get(&address)
            .and_then(|actor| actor.listener.as_deref());
        let named = wished.and_then(|wished| {
            let at = listeners
                .iter()
                .position(|listener| listener.name.as_deref() == Some(wished))?;
            Some(ListenerId(at as u16))
        });
        let ipv4 = address.socket.is_ipv4();
        let listener = listener_for(listeners, address.transport(), ipv4, named);
        Ok((
            address,
            listener.ok_or_else(|| format!("no listener speaks with {name}"))?,
        ))
    }

    fn actor(&mut self, address: Address) -> &mut Actor {
        let name = self.name(address);
        let fresh = || {
            let name = name.replace([':', '[', ']'], "-");
            Actor::new(Identity {
                name,
                says: address,
                ignores_record_route: false,
            })
        };
        self.actors.entry(address).or_insert_with(fresh)
    }

    fn name(&self, address: Address) -> String {
        let known = self.names.iter().find(|(_, at)| **at == address);
        known.map_or_else(|| address.to_string(), |(name, _)| name.clone())
    }

    // Listening

    /// Takes in everything that Trunkline has sent since.
    fn listen(&mut self) {
        while let Some((at, output)) = self.stage.outputs.pop_front() {
            match output {
                Output::Sip { to, bytes } => self.hear(at, &to, bytes),
                Output::Http(request) => {
                    let what = http_summary(&request);
                    self.record(at, "webhook".into(), &what, Said::Http(request));
                }
            }
        }
    }

    fn hear(&mut self, at: Duration, to: &Hop, bytes: Vec<u8>) {
        let address = Address {
            stream: to.transport.is_reliable(),
            socket: to.remote,
        };
        let text = Text::read(&bytes);
        let probe = text
            .as_ref()
            .filter(|text| text.method() == Some("OPTIONS") && text.values("Via").len() == 1);
        if let Some(probe) = probe
            && !self.script.probes_shown
        {
            let actor = self.actors.get(&address);
            let ignored = actor.and_then(|actor| actor.ignores_probes);
            if ignored.is_none_or(|from| at < from) {
                let code = actor.map_or(200, |actor| actor.options);
                let answer = respond(probe, code).write();
                let from = self.stage.hop(address, to.listener);
                self.stage.input(Input::Message {
                    from,
                    bytes: &answer,
                });
            }
            return;
        }
        if let Some(text) = &text
            && self.counted(text, &bytes, address, to.listener)
        {
            return;
        }
        self.bind(address);
        if let Some(text) = &text {
            self.actor(address).hear(text);
        }
        let again = !self.seen.insert((address, bytes.clone()));
        if again && !self.script.retransmissions_shown {
            return;
        }
        let what = text
            .as_ref()
            .map_or_else(|| "something that is not SIP".into(), summary);
        let said = Said::Sip { bytes, text };
        self.record(at, self.name(address), &what, said);
    }

    fn record(&mut self, at: Duration, to: String, what: &str, said: Said) {
        self.ladder.push((' ', line(at, "trunkline", &to, what)));
        self.untold.push(Untold {
            at,
            to,
            line: self.ladder.len() - 1,
            said,
        });
    }

    /// Whether this belongs to a batch, whose calls are counted and not told.
    fn counted(
        &mut self,
        text: &Text,
        bytes: &[u8],
        address: Address,
        listener: ListenerId,
    ) -> bool {
        let Some(label) = text
            .get("Call-ID")
            .map(label_of)
            .filter(|label| label.starts_with("batch-"))
        else {
            return false;
        };
        if text.method() == Some("INVITE") {
            self.first_attempts
                .entry(label.to_string())
                .or_insert(address);
        }
        let last = label.starts_with(&format!("batch-{}-", self.batches));
        if last && self.seen.insert((address, bytes.to_vec())) {
            self.counts.push((
                address,
                Said::Sip {
                    bytes: bytes.to_vec(),
                    text: Some(text.clone()),
                },
            ));
        }
        let actor = self.actor(address);
        actor.hear(text);
        if let Some(answer) = actor.play_along(text) {
            let from = self.stage.hop(address, listener);
            self.stage.input(Input::Message {
                from,
                bytes: &answer,
            });
        }
        true
    }

    /// Gives the address the next name of its `some` line when it has none yet.
    fn bind(&mut self, address: Address) {
        for declared in &self.script.declared {
            let Declared::Some { names, at } = declared else {
                continue;
            };
            if at.contains(&address)
                && !self.names.values().any(|known| *known == address)
                && let Some(free) = names.iter().find(|name| !self.names.contains_key(*name))
            {
                self.names.insert(free.clone(), address);
            }
        }
    }

    // Comparing

    fn expect(&mut self, to: &str, message: &Wire) -> Result<(), String> {
        self.tell(to, |said| match said {
            Said::Sip { bytes, text } => fits(message, bytes, text.as_ref()),
            Said::Http(_) => Err(String::new()),
        })
    }

    /// How many different messages of the last batch were like this.
    fn count(&mut self, to: &str, message: &Wire, times: u32) -> Result<(), String> {
        let (address, _) = self.locate(to)?;
        let like = |said: &&(Address, Said)| match said {
            (at, Said::Sip { bytes, text }) => {
                *at == address && fits(message, bytes, text.as_ref()).is_ok()
            }
            (_, Said::Http(_)) => false,
        };
        match self.counts.iter().filter(like).count() {
            found if found == times as usize => Ok(()),
            found => Err(format!(
                "Trunkline sent {found} of these to {to} in the last batch, not {times}"
            )),
        }
    }

    /// Finds what was sent to `to` and is like this, and counts it as told.
    fn tell(&mut self, to: &str, like: impl Fn(&Said) -> Result<(), String>) -> Result<(), String> {
        // Due within the tolerance, though not yet sent: let it happen.
        if !self
            .untold
            .iter()
            .any(|one| one.to == to && like(&one.said).is_ok())
        {
            let end = self.stage.now() + TOLERANCE;
            while self.stage.next().is_some_and(|next| next <= end) && self.stage.step(end) {
                self.listen();
            }
        }
        let mut near_miss = None;
        for at in 0..self.untold.len() {
            let one = &self.untold[at];
            if one.to != to {
                continue;
            }
            match like(&one.said) {
                Ok(()) => {
                    self.untold.remove(at);
                    return Ok(());
                }
                Err(why) if !why.is_empty() => near_miss = near_miss.or(Some(why)),
                Err(_) => {}
            }
        }
        Err(near_miss.unwrap_or_else(|| format!("Trunkline did not send this to {to}")))
    }

    fn calls(&self, calls: u32) -> Result<(), String> {
        match self.stage.proxy().load().calls_active {
            active if active == calls => Ok(()),
            active => Err(format!(
                "{active} established calls are remembered, not {calls}"
            )),
        }
    }

    /// Four standard deviations of a binomial: one false alarm in sixteen thousand.
    fn share(&self, shares: &[(String, f64)]) -> Result<(), String> {
        let prefix = format!("batch-{}-", self.batches);
        let tried: Vec<Address> = self
            .first_attempts
            .iter()
            .filter(|(label, _)| label.starts_with(&prefix))
            .map(|(_, address)| *address)
            .collect();
        let total = tried.len() as f64;
        for (name, percent) in shares {
            let (address, _) = self.locate(name)?;
            let got = tried.iter().filter(|tried| **tried == address).count() as f64;
            let share = percent / 100.0;
            let allowed = 4.0 * (total * share * (1.0 - share)).sqrt();
            if (got - total * share).abs() > allowed || total == 0.0 {
                return Err(format!(
                    "{name} got {got} of {total} calls, not {percent} % within {allowed:.0}"
                ));
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if self.script.rest_empty {
            let end = self.stage.now() + PATIENCE;
            while !self.stage.is_at_rest() && self.stage.step(end) {
                self.listen();
            }
            if !self.stage.is_at_rest() {
                let load = self.stage.proxy().load();
                self.broken
                    .push(format!("after {PATIENCE:?} more, work is left: {load:?}"));
            }
        }
        if let Some(Err(what)) = self.script.rest_calls.map(|calls| self.calls(calls)) {
            self.broken.push(format!("at rest, {what}"));
        }
        self.complain(Duration::MAX);
    }
}
