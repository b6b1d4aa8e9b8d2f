//! The promises, checked on everything that goes into Trunkline and comes out of it.
//!
//! The witness stands at Trunkline's border, so that what the wires lose does not matter: it
//! compares what was delivered with what was sent. Its checks:
//!
//! | check | holds when |
//! | --- | --- |
//! | one final response | a request is never answered twice, and an INVITE or CANCEL always once |
//! | prompt | an INVITE gets a 100 or a final in the same step |
//! | answers arrive | a 2xx goes to a caller who waits; else its callee is hung up |
//! | nobody is left ringing | what rang ends in a final response or a CANCEL |
//! | four seconds | silence moves a call on exactly at `response_timeout`, not before, not after |
//! | in order | no candidate is tried while one of an earlier edge or a better priority is left |
//! | every candidate | a caller hears that everything failed only when everything was tried, or most further attempts have failed |
//! | failures are acknowledged | a failure of an attempt gets its ACK in the same step |
//! | dialogs are routed | what a side of an established call says reaches the other, after a restart too |
//! | both or none | at rest nobody is in a call that the other side is not in (the world asks the peers) |
//! | hop by hop | Max-Forwards one less, Via one more, everything else as it came |
//! | no relay | nothing is sent to anybody but candidates and those who spoke |
//! | nothing is left | at rest every table is empty |
//! | no numbers in words | no telephone number in what is logged |

mod forwarded;
mod rest;
mod step;
mod story;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
    time::Duration,
};

use trunkline_proxy::{
    Event, Question, Settings,
    event::{HealthState, Load, Peer},
};

use crate::{address::Address, names::Names, text::Text, world::Plan};
use story::{Established, Served, Story};

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which check.
    pub check: &'static str,
    /// When.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {:.3} s, \"{}\": {}",
            self.at.as_secs_f64(),
            self.check,
            self.what
        )
    }
}

/// What was put into Trunkline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A message; the text only from those who mean well.
    Message {
        /// Who.
        from: Address,
        /// What.
        text: Option<Text>,
    },
    /// A hop was lost.
    Lost(Address),
    /// The slow side answered.
    Answer,
    /// A snapshot.
    Routing,
    /// Another shard's news.
    Health,
    /// No new calls.
    Drain,
    /// A timer.
    Deadline,
}

/// One message that Trunkline sent.
struct Sent {
    to: Address,
    text: Text,
    /// The same bytes went there before.
    again: bool,
}

/// What Trunkline does with one input.
struct Step {
    now: Duration,
    seen: Seen,
    sent: Vec<Sent>,
    /// The request that was put in is no copy.
    fresh: bool,
    /// Whether the webhook was asked about a call.
    asked: Vec<String>,
    /// A call was told that `retry_budget` is used up.
    withheld: bool,
}

/// What the configuration promises.
struct Promised {
    settings: Arc<Settings>,
    hosts: BTreeSet<Address>,
    strangers: BTreeSet<Address>,
    shards: u32,
    /// Somebody who is allowed and means harm.
    has_neighbour: bool,
}

impl Promised {
    /// Whether the configuration lets somebody at this address speak.
    fn is_allowed(&self, at: Address) -> bool {
        let trunks = self.settings.trunks.iter().flat_map(|trunk| &trunk.allow);
        trunks
            .chain(&self.settings.pbx_allow)
            .any(|net| net.contains(&at.socket.ip()))
    }
}

/// See the module's text.
pub struct Witness {
    promised: Promised,
    stories: BTreeMap<String, Story>,
    served: BTreeMap<String, Served>,
    known_bytes: BTreeSet<(Address, u64)>,
    /// Calls whose ACK went through.
    established: BTreeMap<String, Established>,
    draining: bool,
    /// The memory of calls is gone: only tokens are left.
    restarted: bool,
    /// How often what happened, so that a test can tell what worlds do not show.
    sights: BTreeMap<&'static str, u32>,
    step: Step,
    broken: Option<Broken>,
}

type Verdict = Result<(), Broken>;

impl Witness {
    /// For a world that begins.
    pub fn new(settings: &Arc<Settings>, plan: &Plan) -> Self {
        let allowed = |allowed: bool| {
            let hosts = plan
                .hosts
                .iter()
                .filter(move |host| host.is_allowed() == allowed);
            hosts.map(|host| host.at).collect()
        };
        Witness {
            promised: Promised {
                settings: Arc::clone(settings),
                shards: u32::from(plan.shards),
                hosts: allowed(true),
                strangers: allowed(false),
                has_neighbour: plan
                    .hosts
                    .iter()
                    .any(|host| host.is_allowed() && host.manner.is_none()),
            },
            stories: BTreeMap::new(),
            served: BTreeMap::new(),
            known_bytes: BTreeSet::new(),
            established: BTreeMap::new(),
            draining: false,
            restarted: false,
            sights: BTreeMap::new(),
            step: Step::new(Duration::ZERO, Seen::Deadline),
            broken: None,
        }
    }

    /// Trunkline died and was started again: what was in setup is lost, established calls are not.
    pub fn restarted(&mut self) {
        self.stories.clear();
        self.served.clear();
        self.draining = false;
        self.restarted = true;
    }

    /// Something is put into Trunkline.
    pub fn begin(&mut self, now: Duration, seen: Seen) {
        self.step = Step::new(now, seen);
    }

    /// Trunkline sends.
    pub fn sent(&mut self, to: Address, bytes: &[u8], text: Option<Text>) {
        let Some(text) = text else {
            self.break_(
                "no relay",
                format!(
                    "what goes to {to} is not SIP: {}",
                    String::from_utf8_lossy(bytes)
                ),
            );
            return;
        };
        let again = !self.known_bytes.insert((to, hash(bytes)));
        self.step.sent.push(Sent { to, text, again });
    }

    /// Trunkline asks.
    pub fn asked(&mut self, question: &Question) {
        if let Question::Http(request) = question {
            let call_id = request.form.iter().find(|(name, _)| name == "SipCallId");
            self.step
                .asked
                .extend(call_id.map(|(_, call_id)| call_id.clone()));
        }
    }

    /// Trunkline tells.
    pub fn told(&mut self, event: &Event) {
        let sight = match event {
            Event::AttemptEnded { outcome, .. } => Some(outcome.word()),
            Event::LateAnswer { used: true, .. } => Some("late answer used"),
            Event::LateAnswer { used: false, .. } => Some("late answer hung up"),
            Event::Recovery { step, .. } => Some(*step),
            Event::RetryWithheld { .. } => {
                self.step.withheld = true;
                Some("attempt withheld")
            }
            Event::Rejected { why, .. } | Event::Dropped { why, .. } => Some(*why),
            Event::Health { is, .. } => Some(is.word()),
            _ => None,
        };
        if let Some(sight) = sight {
            *self.sights.entry(sight).or_default() += 1;
        }
        if let Event::Recovery { detail, .. } = event
            && detail.contains("+1555")
        {
            self.break_(
                "no numbers in words",
                format!("a recovery event says: {detail}"),
            );
        }
    }

    /// That was all of this step.
    ///
    /// # Errors
    /// The first promise it broke.
    pub fn end(&mut self, names: &Names, peers: &dyn Fn() -> Vec<(Peer, HealthState)>) -> Verdict {
        self.check_step(names, peers);
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Everybody has gone to bed.
    ///
    /// # Errors
    /// The first promise that was broken by then.
    pub fn at_rest(&mut self, now: Duration, loads: &[Load]) -> Verdict {
        self.step = Step::new(now, Seen::Deadline);
        self.check_rest(loads);
        self.broken.take().map_or(Ok(()), Err)
    }

    /// Each call, in the order of their names: whom it tried and what the caller was told.
    pub fn stories(&self) -> Vec<String> {
        self.stories
            .iter()
            .map(|(call_id, story)| format!("{call_id}: {story}"))
            .collect()
    }

    /// How often what happened.
    pub const fn sights(&self) -> &BTreeMap<&'static str, u32> {
        &self.sights
    }

    fn break_(&mut self, check: &'static str, what: String) {
        let at = self.step.now;
        self.broken.get_or_insert(Broken { check, at, what });
    }
}

impl Step {
    const fn new(now: Duration, seen: Seen) -> Self {
        Step {
            now,
            seen,
            sent: Vec::new(),
            fresh: false,
            asked: Vec::new(),
            withheld: false,
        }
    }
}

/// Enough to tell a copy from a new message.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
