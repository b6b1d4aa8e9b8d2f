//! How long a shard is away when the configuration is loaded again or an answer of DNS changes: one
//! [`Input::Routing`].
//!
//! ```text
//! cargo bench -p trunkline-benches --bench pause -- [ROUNDS]
//! ```
//!
//! Reloads change half of the addresses, answers of DNS those of one place. Calls are in setup meanwhile. Everything that
//! a shard has to do waits for it: a pause should be a few milliseconds at most.

use std::{fmt::Write, net::SocketAddr, sync::Arc, time::Duration};

use trunkline_benches::{carrier_hop, peers::Scene, routing_of, world::World};
use trunkline_proxy::{Input, Routing};

/// Calls that are in setup.
const CALLS: u64 = 1000;

fn main() {
    // Cargo says `--bench`.
    let rounds = std::env::args().find_map(|word| word.parse().ok());
    let rounds = rounds.unwrap_or(20).max(1);
    println!("median and longest of {rounds}, microseconds\n");
    println!("trunks  targets of each        reload              DNS");
    for (trunks, targets) in [(1, 3), (1, 300), (1, 3000), (100, 3), (1000, 3)] {
        let mut stage = Stage::new(routing_of(&config(trunks, targets, 0)));
        let reloads = (1..=rounds).map(|turn| routing_of(&config(trunks, targets, turn)));
        let reloads = stage.swaps(reloads.collect());
        let answers = (1..=rounds).map(|turn| with_another_answer(&stage.now, turn));
        let answers = stage.swaps(answers.collect());
        println!("{trunks:>6} {targets:>16} {reloads:>17} {answers:>17}");
    }
}

/// A proxy with calls.
struct Stage {
    world: World,
    now: Arc<Routing>,
}

impl Stage {
    fn new(now: Arc<Routing>) -> Stage {
        let mut world = World::new(Arc::clone(&now));
        for number in 0..CALLS {
            world.put(false, carrier_hop(), &Scene::default().invite(number));
        }
        Stage { world, now }
    }

    /// The median and the longest pause of these changes, one after the other. Whoever made them takes them apart,
    /// as in the product.
    fn swaps(&mut self, snapshots: Vec<Arc<Routing>>) -> String {
        let swap = |routing: &Arc<Routing>| {
            let before = self.world.inside;
            let input = Input::Routing(Arc::clone(routing));
            self.world.handle(true, input);
            self.world.inside - before
        };
        let mut pauses: Vec<Duration> = snapshots.iter().map(swap).collect();
        self.now.clone_from(&snapshots[snapshots.len() - 1]);
        pauses.sort();
        let micros = |at: usize| pauses[at].as_secs_f64() * 1e6;
        format!(
            "{:.0} {:>7.0}",
            micros(pauses.len() / 2),
            micros(pauses.len() - 1)
        )
    }
}

/// The same file; its first place is somewhere else in every turn.
fn with_another_answer(routing: &Routing, turn: u64) -> Arc<Routing> {
    let mut places = routing.places().to_vec();
    let mut first = (*places[0]).clone();
    for candidate in &mut first.candidates {
        candidate.addr = SocketAddr::from(([10, 99, 0, turn as u8], 5060));
    }
    places[0] = Arc::new(first);
    Arc::new(Routing::new(Arc::clone(routing.settings()), places))
}

/// Half of the targets have another address in every other turn.
fn config(trunks: u64, targets: u64, turn: u64) -> String {
    let mut config = "[health]\nprobe_interval = \"off\"\ntarget_probe_interval = \"off\"\n\
                      [[listen]]\nprotocol = \"udp\"\naddress = \"203.0.113.5:5060\"\n"
        .to_owned();
    for trunk in 0..trunks {
        // The first is the one that calls come by.
        let allow = match trunk {
            0 => "54.172.60.0/30".to_owned(),
            _ => format!("55.0.{}.{}", trunk / 250, trunk % 250 + 1),
        };
        let _ = write!(
            config,
            "[[trunk]]\nname = \"t{trunk}\"\nallow = [\"{allow}\"]\norigination.targets = ["
        );
        for target in 0..targets {
            let at = trunk * targets + target;
            let net = if at.is_multiple_of(2) {
                1
            } else {
                10 + turn % 2
            };
            let (high, low) = (at / 250, at % 250 + 1);
            let _ = write!(config, "\"sip:10.{net}.{high}.{low}\", ");
        }
        config.push_str("]\n");
    }
    config
}
