//! `check_every`: tests of webhooks that nobody has to remember.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, interval},
};

use super::rehearsal::{self, Report};
use crate::{HttpClient, Resolver, view::View};

/// How often it is looked whether a test is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The tests that come by themselves; they end when this is dropped.
pub(crate) struct Schedule(JoinHandle<()>);

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Schedule {
    /// Begins. The first test of a trunk is soon after its settings are there, so that a mistake
    /// shows at once and not a day later.
    pub fn start(
        view: Arc<View>,
        http: HttpClient,
        resolver: Resolver,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        Schedule(tokio::spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            let mut last: HashMap<Box<str>, Instant> = HashMap::new();
            loop {
                looks.tick().await;
                let Some(settings) = view.settings() else {
                    continue;
                };
                let trunks = &settings.trunks;
                last.retain(|name, _| trunks.iter().any(|trunk| trunk.name == *name));
                for trunk in trunks {
                    let Some(recovery) = &trunk.recovery else {
                        continue;
                    };
                    let Some(every) = recovery.check_every else {
                        continue;
                    };
                    if last
                        .get(&trunk.name)
                        .is_some_and(|last| last.elapsed() < every)
                    {
                        continue;
                    }
                    last.insert(trunk.name.clone(), Instant::now());
                    let report =
                        rehearsal::trunk_report(&settings, recovery, &http, &resolver).await;
                    if reports.send(report).await.is_err() {
                        return;
                    }
                }
            }
        }))
    }
}
