//! From the walked file to [`Settings`]: one module for each kind of table.

mod attempts;
mod health;
mod listen;
mod node;
mod place;
mod recovery;
mod route;
mod sources;
mod trunk;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use trunkline_proxy::{
    Settings,
    settings::{Access, Capacity, Listener, UnknownSource},
};

use crate::{
    control::ControlFile,
    environment::Environment,
    source::Span,
    walk::{Section, Value},
};

pub(crate) use self::{
    attempts::{Walk, attempts_that_fit},
    place::Places,
    sources::Allowed,
};

/// What all readers share.
pub(crate) struct Context<'e> {
    /// The machine.
    pub environment: &'e dyn Environment,
    /// Relative file names start here.
    pub folder: &'e Path,
    /// `node.presets_dir`.
    pub presets: Option<PathBuf>,
    /// All listeners, for `from` and for what can be reached at all.
    pub listeners: Vec<Listener>,
    /// `[health]`.
    pub health: health::Defaults,
    /// Everything that must be resolved.
    pub places: Places,
}

impl Context<'_> {
    /// Where a file that the configuration names is.
    pub fn resolve(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Where things stand in the file, for what can only be judged once all is read.
#[derive(Default)]
pub(crate) struct Notes {
    /// `pbx.allow`.
    pub pbx_allow: Vec<Allowed>,
    /// Of each trunk.
    pub trunks: Vec<TrunkNotes>,
    /// Of each route: its header, and its key.
    pub routes: Vec<(Span, String)>,
}

/// Where a trunk's parts stand.
pub(crate) struct TrunkNotes {
    /// Its header.
    pub at: Span,
    /// Its key.
    pub path: String,
    /// `allow`, presets expanded.
    pub allow: Vec<Allowed>,
    /// The carrier of a preset, and after how long without any answer of ours it tries elsewhere.
    pub gives_up: Option<(String, Duration)>,
    /// `[trunk.termination]`.
    pub termination: Option<DirectionNotes>,
    /// `[trunk.origination]`.
    pub origination: Option<DirectionNotes>,
}

/// Where one direction's parts stand, and what is tried.
pub(crate) struct DirectionNotes {
    /// Its header.
    pub at: Span,
    /// The candidates in order.
    pub walk: Walk,
    /// Where its own timers and health stand.
    written: Vec<(&'static str, Span)>,
}

impl DirectionNotes {
    fn new(section: &Section<'_>, walk: Walk) -> Self {
        const TIMERS: [&str; 3] = ["response_timeout", "setup_budget", "max_attempts"];
        const HEALTH: [&str; 4] = [
            "probe_interval",
            "probe_timeout",
            "suspect_after",
            "fail_after",
        ];
        let timers = TIMERS.map(|name| (name, section.written(name)));
        let health = HEALTH.map(|name| (name, section.written_in("health", name)));
        let written = timers
            .into_iter()
            .chain(health)
            .filter_map(|(name, value)| Some((name, value?.at)))
            .collect();
        DirectionNotes {
            at: section.at.clone(),
            walk,
            written,
        }
    }

    /// Where this direction says it, if it does.
    pub fn written(&self, name: &str) -> Option<Span> {
        let found = self.written.iter().find(|(known, _)| *known == name);
        found.map(|(_, at)| at.clone())
    }
}

/// Reads the whole file. What is faulty is noted and replaced by something harmless.
pub(crate) fn file(
    root: &Section<'_>,
    folder: &Path,
    environment: &dyn Environment,
) -> (Settings, ControlFile, Notes) {
    let node = node::read(root, folder, environment);
    let mut context = Context {
        environment,
        folder,
        presets: node.presets,
        listeners: listen::read(root, environment),
        health: health::defaults(root),
        places: Places::default(),
    };
    note_admin_in_the_way(root, &node.control, &context.listeners);
    let pbx_allow = match root.section("pbx") {
        Some(pbx) => sources::read(&pbx, &context, false).allowed,
        None => Vec::new(),
    };
    let (trunks, trunk_notes) = trunk::read(root, &mut context);
    let (routes, route_notes) = route::read(root, &trunks);
    let settings = Settings {
        node: node.control.name.as_str().into(),
        listeners: context.listeners,
        access: access(root),
        pbx_allow: pbx_allow.iter().map(|allowed| allowed.net).collect(),
        trunks,
        routes,
        places: context.places.into_all(),
        drain_timeout: node.control.drain_timeout,
        capacity: Capacity::default(),
    };
    let notes = Notes {
        pbx_allow,
        trunks: trunk_notes,
        routes: route_notes,
    };
    (settings, node.control, notes)
}

/// One TCP port cannot be bound twice.
fn note_admin_in_the_way(root: &Section<'_>, control: &ControlFile, listeners: &[Listener]) {
    let Some(admin) = control.admin else { return };
    let taken = listeners
        .iter()
        .find(|listener| listener.transport.is_reliable() && listen::collide(listener.bind, admin));
    let value = root
        .section("admin")
        .and_then(|section| section.written("address"));
    if let (Some(taken), Some(value)) = (taken, value) {
        let protocol = taken.transport.param();
        let message = format!(
            "address = \"{admin}\" is taken by the {protocol} listener {}",
            taken.bind
        );
        value.fault(message, "give one of them another port");
    }
}

fn access(root: &Section<'_>) -> Access {
    let section = root.section_or_empty("access");
    Access {
        unknown_source: match section.word("unknown_source") {
            "reject" => UnknownSource::Reject,
            _ => UnknownSource::Drop,
        },
        rate: section.number_u32("rate"),
    }
}

/// Whether a name can stand in logs and metrics. A fault when not.
fn fit_name(value: &Value<'_>, name: &str) -> bool {
    const NAME_BYTES_MAX: usize = 64;
    let fit = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '"');
    if !fit {
        let message = format!(
            "{} = {:?} is no usable name",
            value.name(),
            crate::walk::shorten(name)
        );
        value.fault(
            message,
            format!("write 1 to {NAME_BYTES_MAX} bytes without spaces and quotes"),
        );
    }
    fit
}
