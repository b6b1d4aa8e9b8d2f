//! Whether a call costs the same in a small and in a large configuration, and beside few and many calls.
//!
//! ```text
//! cargo bench -p trunkline-benches --bench flat -- [--time] [WORD...]
//! ```
//!
//! Instructions of a whole call (INVITE, 180, 200, ACK, BYE, 200) inside the proxy, by callgrind. With
//! `--time`, processor time instead: the smallest and the largest size of each, in turn, so that what else the
//! machine does hits both; caches count there, and the largest sizes are larger. Fails where what should be
//! flat is not, by more than 10 % (of instructions; times are only told). `WORD` picks by name.

use std::{fmt::Write, process::ExitCode, time::Duration};

use trunkline_benches::{
    callgrind::{self, count_myself},
    carrier_hop,
    peers::Scene,
    routing_of,
    world::World,
};
use trunkline_proxy::Hop;

/// Calls before those that count, and calls that count.
const WARM_UP: u64 = 100;
const COUNTED: u64 = 200;

/// What "flat" allows, in percent.
const ROOM: u64 = 10;

/// Pairs of rounds that `--time` takes the median of.
const PAIRS: usize = 31;

/// One thing that may grow.
struct Dimension {
    name: &'static str,
    what: &'static str,
    sizes: &'static [u64],
    /// For `--time`, where it is more than callgrind has the time for.
    largest: u64,
    stage: fn(u64) -> Stage,
}

const DIMENSIONS: &[Dimension] = &[
    Dimension {
        name: "targets",
        what: "targets of one trunk, by weight",
        sizes: &[3, 30, 300, 3000],
        largest: 3000,
        stage: |size| Stage::targets(size, "weighted"),
    },
    Dimension {
        name: "trunks",
        what: "trunks, each with its carrier and three targets",
        sizes: &[1, 10, 100, 1000],
        largest: 1000,
        stage: |size| Stage::trunks(size, false),
    },
    Dimension {
        name: "shared",
        what: "trunks of one carrier, told apart by number",
        sizes: &[1, 10, 100, 1000],
        largest: 1000,
        stage: |size| Stage::trunks(size, true),
    },
    Dimension {
        name: "routes",
        what: "outbound: routes, each to a trunk of its own",
        sizes: &[1, 10, 100, 1000],
        largest: 1000,
        stage: |size| Stage::outbound(size, true),
    },
    Dimension {
        name: "no_routes",
        what: "outbound: trunks, and no route that tells",
        sizes: &[1, 10, 100, 1000],
        largest: 1000,
        stage: |size| Stage::outbound(size, false),
    },
    Dimension {
        name: "networks",
        what: "networks in an allow list, of many lengths",
        sizes: &[1, 10, 100, 1000, 5000],
        largest: 5000,
        stage: Stage::networks,
    },
    Dimension {
        name: "active",
        what: "calls active meanwhile",
        sizes: &[100, 1000, 10_000],
        largest: 200_000,
        stage: Stage::active,
    },
    Dimension {
        name: "least_calls",
        what: "targets of one trunk, by fewest calls",
        sizes: &[3, 30, 300, 3000],
        largest: 3000,
        stage: |size| Stage::targets(size, "least_calls"),
    },
    Dimension {
        name: "hash",
        what: "targets of one trunk, by hash",
        sizes: &[3, 30, 300, 3000],
        largest: 3000,
        stage: |size| Stage::targets(size, "hash"),
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    if let [play, name, size] = &words[..]
        && play == "--play"
    {
        let dimension = DIMENSIONS.iter().find(|it| it.name == *name);
        let dimension = dimension.expect("this program asks itself for what it has");
        let mut stage = (dimension.stage)(size.parse().expect("a size"));
        stage.calls(false, WARM_UP);
        stage.calls(true, COUNTED);
        return ExitCode::SUCCESS;
    }
    let time = words.iter().any(|word| word == "--time");
    let wanted: Vec<&String> = words.iter().filter(|word| *word != "--time").collect();
    if wanted.iter().any(|word| word.starts_with('-')) {
        eprintln!("usage: flat [--time] [WORD...]");
        return ExitCode::FAILURE;
    }
    if !time && !callgrind::is_there() {
        eprintln!("NOT COUNTED: there is no valgrind; install the package of that name");
        return ExitCode::FAILURE;
    }
    let mut well = true;
    for dimension in DIMENSIONS {
        let name = dimension.name;
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        if time {
            dimension.time();
            continue;
        }
        match dimension.count() {
            Ok(flat) => well &= flat,
            Err(fault) => {
                eprintln!("{fault}");
                return ExitCode::FAILURE;
            }
        }
    }
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Dimension {
    /// Instructions for each size; whether it is as flat as it should be.
    fn count(&self) -> Result<bool, String> {
        println!("{}: {}", self.name, self.what);
        let mut first = None;
        let mut well = true;
        for size in self.sizes {
            let name = format!("{}.{size}", self.name);
            let sum = count_myself(&name, &["--play", self.name, &size.to_string()])?;
            let call = sum / COUNTED;
            let base = *first.get_or_insert(call);
            let grown = call * 100 > base * (100 + ROOM);
            let verdict = if grown { "  FAILED: not flat" } else { "" };
            well &= !grown;
            let percent = (call as f64 / base as f64 - 1.0) * 100.0;
            println!("  {size:>7} {call:>9} instructions a call {percent:>+7.1} %{verdict}");
        }
        Ok(well)
    }

    /// Times of the smallest and the largest, in pairs.
    fn time(&self) {
        let mut small = (self.stage)(self.sizes[0]);
        let mut large = (self.stage)(self.largest);
        let round = |stage: &mut Stage| stage.calls(true, COUNTED);
        round(&mut small);
        round(&mut large);
        let mut ratios = Vec::new();
        let mut inside = Duration::ZERO;
        for _ in 0..PAIRS {
            let one = round(&mut small);
            let other = round(&mut large);
            ratios.push(other.as_secs_f64() / one.as_secs_f64());
            inside += other;
        }
        ratios.sort_by(f64::total_cmp);
        let percent = |at: usize| (ratios[at] - 1.0) * 100.0;
        println!(
            "{:<12} {:>4} to {:>6}: {:>+6.1} % (a quarter below {:+.1} %, a quarter above {:+.1} %); {:.1} us a call",
            self.name,
            self.sizes[0],
            self.largest,
            percent(PAIRS / 2),
            percent(PAIRS / 4),
            percent(PAIRS * 3 / 4),
            inside.as_secs_f64() * 1e6 / (PAIRS as u64 * COUNTED) as f64
        );
    }
}

/// A world and who calls in it, by turns.
struct Stage {
    world: World,
    callers: Vec<(Hop, Scene)>,
    placed: u64,
}

const HEAD: &str = "[health]\nprobe_interval = \"off\"\ntarget_probe_interval = \"off\"\n\
                    [[listen]]\nprotocol = \"udp\"\naddress = \"203.0.113.5:5060\"\n";

/// Callers that take turns: enough that none finds everything as it left it.
const CALLERS: u64 = 100;

impl Stage {
    fn new(config: &str, callers: Vec<(Hop, Scene)>) -> Stage {
        Stage {
            world: World::new(routing_of(config)),
            callers,
            placed: 0,
        }
    }

    fn targets(size: u64, policy: &str) -> Stage {
        let mut config = format!(
            "{HEAD}[[trunk]]\nname = \"only\"\nallow = [\"54.172.60.0/30\"]\n\
             origination.policy = \"{policy}\"\norigination.targets = [\n"
        );
        for at in 0..size {
            let weight = 10 + at % 50;
            let _ = writeln!(
                config,
                "{{ uri = \"sip:{}\", weight = {weight} }},",
                target(at)
            );
        }
        config.push_str("]\n");
        Stage::new(&config, vec![(carrier_hop(), Scene::default())])
    }

    fn trunks(size: u64, shared: bool) -> Stage {
        let mut config = HEAD.to_owned();
        for at in 0..size {
            let carrier = if shared {
                address(54, 0)
            } else {
                address(54, at)
            };
            let _ = write!(
                config,
                "[[trunk]]\nname = \"t{at}\"\nallow = [\"{carrier}\"]\nnumbers = [\"{}\"]\n\
                 origination.targets = [\"sip:{}\", \"sip:{}\", \"sip:{}\"]\n",
                number(at),
                target(3 * at),
                target(3 * at + 1),
                target(3 * at + 2)
            );
        }
        let callers = spread(size).map(|at| {
            let carrier = if shared {
                address(54, 0)
            } else {
                address(54, at)
            };
            caller(&carrier, &number(at))
        });
        Stage::new(&config, callers.collect())
    }

    fn outbound(size: u64, routes: bool) -> Stage {
        let mut config = format!("{HEAD}[pbx]\nallow = [\"{}\"]\n", address(54, 0));
        for at in 0..size {
            let _ = write!(
                config,
                "[[trunk]]\nname = \"t{at}\"\nallow = [\"{}\"]\ntermination.edges = [\"{}\"]\n",
                address(55, at),
                target(at)
            );
            if routes {
                let _ = write!(
                    config,
                    "[[route]]\nmatch = \"{}*\"\ntrunks = [\"t{at}\"]\n",
                    number(at)
                );
            }
        }
        let callers = spread(size).map(|at| caller(&address(54, 0), &number(at)));
        Stage::new(&config, callers.collect())
    }

    fn networks(size: u64) -> Stage {
        let mut config = format!("{HEAD}[[trunk]]\nname = \"only\"\nallow = [\"54.172.60.0/30\"");
        for at in 1..size {
            // From /12 to /32, and IPv6 among them.
            let length = 12 + at % 21;
            let _ = match at % 7 {
                0 => write!(config, ", \"2001:db8:{at:x}::/{}\"", 48 + at % 60),
                _ => {
                    let bits = (u32::try_from(at).unwrap_or(0).wrapping_mul(2_654_435_761)) >> 4;
                    let bits =
                        (0x6000_0000 | bits) & !(u32::MAX.checked_shr(length as u32).unwrap_or(0));
                    write!(config, ", \"{}/{length}\"", std::net::Ipv4Addr::from(bits))
                }
            };
        }
        config.push_str(
            "]\norigination.targets = [\"sip:10.0.2.1\", \"sip:10.0.2.2\", \"sip:10.0.2.3\"]\n",
        );
        Stage::new(&config, vec![(carrier_hop(), Scene::default())])
    }

    fn active(size: u64) -> Stage {
        let mut stage = Stage::targets(3, "weighted");
        let (carrier, scene) = stage.callers[0].clone();
        for number in 0..size {
            stage
                .world
                .set_up(false, carrier, &scene, (1 << 30) + number);
            // What lingers after an answer is gone long before so many calls have come.
            if number % 1000 == 999 {
                let later = stage.world.now + Duration::from_secs(40);
                stage.world.pass(false, later);
            }
        }
        stage
    }

    /// Places calls; the time that the proxy took for them.
    fn calls(&mut self, counts: bool, calls: u64) -> Duration {
        let before = self.world.inside;
        for _ in 0..calls {
            let (carrier, scene) = &self.callers[self.placed as usize % self.callers.len()];
            self.world.call(counts, *carrier, scene, self.placed);
            self.placed += 1;
        }
        let spent = self.world.inside - before;
        let rest = self.world.now + Duration::from_secs(40);
        self.world.pass(false, rest);
        spent
    }
}

/// The trunks that callers use: some of all, evenly.
fn spread(size: u64) -> impl Iterator<Item = u64> {
    let callers = size.min(CALLERS);
    (0..callers).map(move |at| at * size / callers)
}

fn caller(carrier: &str, number: &str) -> (Hop, Scene) {
    let remote = format!("{carrier}:5060").parse().expect("an address");
    let scene = Scene {
        caller: format!("{carrier}:5060"),
        number: number.into(),
        ..Scene::default()
    };
    let hop = Hop {
        remote,
        ..carrier_hop()
    };
    (hop, scene)
}

fn number(at: u64) -> String {
    format!("+1555{at:07}")
}

fn target(at: u64) -> String {
    address(10, at + 256)
}

fn address(first: u8, at: u64) -> String {
    format!(
        "{first}.{}.{}.{}",
        at >> 15,
        (at >> 7) & 0xff,
        1 + (at & 0x7f)
    )
}
