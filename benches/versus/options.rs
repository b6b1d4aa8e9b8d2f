//! What can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::Parser;
use trunkline_benches::load::{Arrivals, Plan};

use crate::server::{Site, System};

/// Trunkline, Kamailio and a bare relay under the same load on loopback, in turn, in one run
#[derive(Parser, Clone, Debug)]
#[command(name = "versus")]
pub struct Options {
    /// Calls a second to measure at; 500, 2000 and 5000 unless a mode says otherwise
    #[arg(long, value_delimiter = ',')]
    pub rates: Vec<f64>,

    /// Instead of costs: the highest rate on its cores that each system carries with fewer than
    /// 0.1 % of calls in which anything was sent twice
    #[arg(long, group = "mode")]
    pub highest: bool,

    /// Instead of costs: twice the highest rate is offered; what is accepted, what is refused, how fast
    #[arg(long, group = "mode")]
    pub overload: bool,

    /// Instead of costs: beside calls at a quarter of the highest rate, five times as many datagrams
    /// of a stranger as the highest rate has calls
    #[arg(long, group = "mode")]
    pub flood: bool,

    /// Instead of costs: latencies in so many seconds at half of Kamailio's highest rate
    #[arg(long, group = "mode", value_name = "SECONDS")]
    pub soak: Option<f64>,

    /// With --soak: memory, descriptors and threads go here as CSV, and it fails when they grow
    #[arg(long, value_name = "FILE", requires = "soak")]
    pub samples: Option<PathBuf>,

    /// With --samples: so many seconds from one to the next
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub every: f64,

    /// Trunkline over TCP beside itself over UDP: short for --only trunkline,trunkline-tcp
    #[arg(long, conflicts_with = "only")]
    pub tcp: bool,

    /// The highest rate, if it is known; otherwise --overload, --flood and --soak search for it
    #[arg(long, value_name = "CALLS")]
    pub capacity: Option<f64>,

    /// Latencies as a picture, too
    #[arg(long)]
    pub histogram: bool,

    /// Systems, in the order in which they take turns; all that the mode makes sense for
    #[arg(long, value_delimiter = ',', value_enum)]
    pub only: Vec<System>,

    /// How often each system has its turn
    #[arg(long, default_value_t = 3)]
    pub passes: usize,

    /// Seconds that are measured
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,

    /// Seconds of load before that. Kamailio deletes a transaction 5 s after its end, so 6 s have
    /// everything in it that a call costs
    #[arg(long, default_value_t = 6.0)]
    pub warm: f64,

    /// Calls at equal distances or by chance
    #[arg(long, value_enum, default_value_t = Arrivals::Random)]
    pub arrivals: Arrivals,

    /// The load never sleeps, so servers never have to wake it (on a network nobody is woken by sending).
    /// Not with --realtime, of which the system takes 5 % back from a thread that never sleeps
    #[arg(long, conflicts_with = "realtime")]
    pub spin: bool,

    /// Server and load come before everything else on the machine, always (a real-time policy). For
    /// latencies on a machine that has other work; not for rates at which a core is busy, since the
    /// system then takes 5 % of the time back
    #[arg(long)]
    pub realtime: bool,

    /// Shards of Trunkline, UDP workers of Kamailio; servers then have as many cores, from 0
    #[arg(long, default_value_t = 1)]
    pub workers: usize,

    /// The load's core
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,

    /// Trunkline's binary
    #[arg(long)]
    pub trunkline: Option<PathBuf>,

    /// Another one, for `--only baseline,trunkline`
    #[arg(long)]
    pub baseline: Option<PathBuf>,

    /// Kamailio's configuration; by default the one in benches/versus
    #[arg(long)]
    pub kamailio: Option<PathBuf>,

    /// Put before the server's command, for example "perf record -g -o /tmp/perf.data"
    #[arg(long, default_value = "")]
    pub wrap: String,

    /// Leave configurations and logs of the servers
    #[arg(long)]
    pub keep: bool,

    /// Where results go as JSON
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl Options {
    /// The systems: those that were asked for, or these.
    pub fn systems(&self, usual: &[System]) -> Vec<System> {
        match (self.only.is_empty(), self.tcp) {
            (_, true) => vec![System::Trunkline, System::TrunklineTcp],
            (true, false) => usual.to_vec(),
            (false, false) => self.only.clone(),
        }
    }

    /// The rates: those that were asked for, or these.
    pub fn rates(&self, usual: &[f64]) -> Vec<f64> {
        if self.rates.is_empty() {
            usual.to_vec()
        } else {
            self.rates.clone()
        }
    }

    /// How servers are run.
    pub fn site(&self) -> Result<Site, Box<dyn std::error::Error>> {
        let own = std::env::current_exe()?;
        let beside = own.with_file_name("trunkline");
        let trunkline = self.trunkline.clone().unwrap_or(beside);
        let systems = self.systems(&[System::Trunkline]);
        let wanted = [System::Trunkline, System::TrunklineTcp];
        if !trunkline.exists() && systems.iter().any(|it| wanted.contains(it)) {
            let trunkline = trunkline.display();
            return Err(
                format!("there is no {trunkline}: build it, or say --trunkline FILE").into(),
            );
        }
        let configuration = concat!(env!("CARGO_MANIFEST_DIR"), "/versus/kamailio.cfg");
        let kamailio = self.kamailio.clone();
        Ok(Site {
            trunkline,
            baseline: self.baseline.clone(),
            kamailio: kamailio.unwrap_or_else(|| configuration.into()),
            workers: self.workers.max(1),
            cores: match self.workers {
                0 | 1 => "0".into(),
                more => format!("0-{}", more - 1),
            },
            wrapper: self.wrap.split_whitespace().map(str::to_owned).collect(),
            keep: self.keep,
        })
    }

    /// One rate.
    pub fn plan(&self, rate: f64) -> Plan {
        Plan {
            rate,
            warm: Duration::from_secs_f64(self.warm),
            measure: Duration::from_secs_f64(self.seconds),
            arrivals: self.arrivals,
            spin: self.spin,
            flood: 0.0,
        }
    }
}
