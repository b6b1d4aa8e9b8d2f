//! What a ladder script says, as data.

use std::time::Duration;

use trunkline_proxy::{HopLoss, event::HealthState, question::Answer};

use crate::{address::Address, names::Record};

/// One script.
#[derive(Clone, PartialEq, Debug)]
pub struct Script {
    /// The comment lines at its head: the promise, and where it is made.
    pub promise: Vec<String>,
    /// Which configuration Trunkline runs with.
    pub config: Config,
    /// Who there is besides Trunkline.
    pub declared: Vec<Declared>,
    /// What DNS says at the start.
    pub names: Vec<(String, NameChange)>,
    /// Whether messages that are sent again are lines of their own.
    pub retransmissions_shown: bool,
    /// Whether Trunkline's own OPTIONS are lines of their own; otherwise they are answered with
    /// 200 by all but those who ignore probes.
    pub probes_shown: bool,
    /// Seeds the proxy's own chance.
    pub seed: u64,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// Whether all work must be over at the end.
    pub rest_empty: bool,
    /// How many established calls must be remembered at the end.
    pub rest_calls: Option<u32>,
}

/// Where a script's configuration is.
#[derive(Clone, PartialEq, Debug)]
pub enum Config {
    /// A file in the ladders' `configs` folder.
    File(String),
    /// Written in the script itself.
    Inline(String),
}

/// Somebody with a name.
#[derive(Clone, PartialEq, Debug)]
pub enum Declared {
    /// `peer NAME = ADDRESS ...`
    Peer {
        /// Its name.
        name: String,
        /// Where its messages come from and go to.
        at: Address,
        /// What it believes its address to be (behind NAT).
        says: Option<Address>,
        /// The listener it speaks to, by name; otherwise the first that fits.
        listener: Option<String>,
        /// Whether it acts as if Record-Route did not exist.
        ignores_record_route: bool,
        /// From when on it leaves OPTIONS unanswered.
        ignores_probes: Option<Duration>,
        /// What it answers OPTIONS with; 200 otherwise.
        options: Option<u16>,
        /// What it answers the calls of a batch with, at once; otherwise nothing.
        answers: Option<u16>,
        /// Whether a stream to it is never opened, and nobody says so.
        hangs: bool,
    },
    /// `some NAME NAME = ADDRESS ADDRESS`: names for addresses in the order in which Trunkline
    /// happens to try them.
    Some {
        /// The names.
        names: Vec<String>,
        /// As many addresses.
        at: Vec<Address>,
    },
}

/// How DNS changes.
#[derive(Clone, PartialEq, Debug)]
pub enum NameChange {
    /// These records from now on; none: no such name.
    Records(Vec<Record>),
    /// Lookups fail from now on.
    Fails,
}

/// One line with a time.
#[derive(Clone, PartialEq, Debug)]
pub struct Step {
    /// Where in the file, from 1.
    pub line: usize,
    /// When, from the start.
    pub at: Duration,
    /// What.
    pub action: Action,
}

/// What happens or must have happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// A peer sends Trunkline a message.
    Send {
        /// Who.
        from: String,
        /// What.
        message: Wire,
    },
    /// Trunkline must have sent a message.
    Expect {
        /// To whom.
        to: String,
        /// What.
        message: Wire,
    },
    /// The network says that a peer cannot be reached.
    Lost {
        /// Who.
        peer: String,
        /// How.
        why: HopLoss,
    },
    /// The webhook answers the question that waits longest.
    HttpAnswer(Answer),
    /// Trunkline must have asked the webhook.
    HttpExpect {
        /// `GET` or `POST`.
        method: String,
        /// The whole URL.
        url: String,
        /// `name=value` of a parameter or header, or a part of it.
        with: Vec<String>,
        /// What must not be there.
        without: Vec<String>,
    },
    /// DNS changes.
    Names(String, NameChange),
    /// Another shard tells what it learned.
    Shard {
        /// About whom.
        peer: String,
        /// What.
        is: HealthState,
    },
    /// An operator takes a target out, or returns it.
    Target {
        /// Of which trunk.
        trunk: String,
        /// As the configuration writes it.
        target: String,
        /// Whether it is taken out.
        drained: bool,
    },
    /// Trunkline is told to drain.
    Drain,
    /// Trunkline stops and starts again with the same cluster secret.
    Restart,
    /// Trunkline gets another configuration file.
    Reload(String),
    /// Calls of a trunk from or to a number behave as if every PBX were down.
    Drill {
        /// The trunk's name.
        trunk: String,
        /// The number, or how it begins.
        number: String,
        /// For so long.
        seconds: u64,
    },
    /// A candidate must be in this state.
    Health {
        /// Which.
        peer: String,
        /// The state.
        is: HealthState,
    },
    /// So many established calls must be remembered.
    Calls(u32),
    /// The first attempts of the last batch must have spread like this: name and percent.
    Share(Vec<(String, f64)>),
    /// Nothing may have been sent up to here that no line has told.
    Quiet,
}

/// A message, as far as a script tells it.
#[derive(Clone, PartialEq, Debug)]
pub struct Wire {
    /// Request, response, or bytes.
    pub kind: Kind,
    /// Which call; `None`: `a` for a request, the one spoken of last for a response, any for an
    /// expectation.
    pub call: Option<String>,
    /// Sent: `Name: value` headers to put in. Expected: bytes that must be there.
    pub with: Vec<Vec<u8>>,
    /// Sent: names of headers to leave out. Expected: bytes that must not be there.
    pub without: Vec<Vec<u8>>,
    /// Sent: the body. Expected: exactly this body.
    pub body: Option<Vec<u8>>,
    /// Sent: the same bytes once more.
    pub again: bool,
    /// Sent: not a request of its own but the one it heard, sent on as a proxy does.
    pub returned: bool,
    /// Sent: from its own address, but what this peer would say.
    pub speaks_for: Option<String>,
    /// Sent: so many calls at once, counted instead of told. Expected: so many different ones in
    /// the last such batch.
    pub times: Option<u32>,
}

/// The kind of a message.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// `METHOD [uri]`
    Request {
        /// The method.
        method: String,
        /// The Request-URI, where it matters.
        uri: Option<String>,
    },
    /// `CODE [METHOD]`
    Response {
        /// The code.
        code: u16,
        /// The method that it answers, where that is not plain.
        about: Option<String>,
    },
    /// `raw "bytes"`
    Raw(Vec<u8>),
}
