//! What a seed draws: who there is, how they behave, who calls whom, and what goes wrong.

use std::{fmt::Write as _, time::Duration};

use crate::{
    address::Address,
    chance::Chance,
    names::Record,
    peer::{CallPlan, Manner},
    wire::Quality,
};

/// One world, before it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// How many shards Trunkline has.
    pub shards: u8,
    /// Its configuration, as a user would write it.
    pub config: String,
    /// What DNS says at first.
    pub names: Vec<(String, Vec<Record>)>,
    /// Who there is.
    pub hosts: Vec<Host>,
    /// How good the wires are.
    pub quality: Quality,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// What the webhook answers, one after the other.
    pub webhook: Vec<Webhook>,
}

/// One peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Host {
    /// Its name in traces.
    pub name: String,
    /// Where it is.
    pub at: Address,
    /// Whether it means well, and if so how it takes calls.
    pub manner: Option<Manner>,
    /// Whether it acts as if Record-Route did not exist.
    pub ignores_record_route: bool,
    /// The calls it places.
    pub calls: Vec<CallPlan>,
}

impl Host {
    /// Whether the configuration allows its address to speak.
    pub fn is_allowed(&self) -> bool {
        self.name != STRANGER
    }
}

/// Something that goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nobody is at this address any more; whether the network says so.
    Dies(Address, bool),
    /// Somebody is there again.
    Returns(Address),
    /// DNS says something else.
    Names(String, Vec<Record>),
    /// Lookups of this name fail.
    NamesFail(String),
    /// Trunkline is told to drain.
    Drain,
    /// The same file is loaded again.
    Reload,
    /// The process dies and is started again.
    Restart,
}

/// What the webhook does with one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Webhook {
    /// Answers after so long.
    Says(Duration, u16, &'static str),
    /// Cannot be reached.
    Unreachable,
    /// Never answers.
    Hangs,
}

/// The one whom nobody allowed.
const STRANGER: &str = "stranger";

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn address(text: &str) -> Address {
    // Written by the code below, so it parses; any address will do if not.
    Address::parse(text).unwrap_or(Address {
        stream: false,
        socket: ([192, 0, 2, 250], 5060).into(),
    })
}

impl Plan {
    /// The world of this seed.
    pub fn draw(seed: u64) -> Plan {
        let mut chance = Chance::new(seed);
        let mut plan = Plan {
            seed,
            shards: if chance.percent(60) {
                1
            } else {
                chance.between(2, 8) as u8
            },
            config: String::new(),
            names: Vec::new(),
            hosts: Vec::new(),
            quality: quality(&mut chance),
            faults: Vec::new(),
            webhook: Vec::new(),
        };
        let edges = plan.draw_carriers(&mut chance);
        let targets = plan.draw_pbxs(&mut chance);
        plan.draw_config(&edges, &targets, &mut chance);
        plan.draw_strangers(&mut chance);
        plan.draw_calls(&mut chance);
        plan.draw_faults(&mut chance);
        plan
    }

    /// A world in which nothing goes wrong by chance: who answers how is all that was drawn.
    pub fn calm(seed: u64, shards: u8) -> Plan {
        let mut plan = Plan::draw(seed);
        plan.shards = shards;
        plan.quality = Quality {
            loss: 0,
            doubled: 0,
            delay: (5, 5),
        };
        plan.faults.clear();
        plan.hosts.retain(|host| host.manner.is_some());
        for host in &mut plan.hosts {
            host.manner = host.manner.take().map(calmed);
        }
        plan
    }

    /// Edges with their addresses; returns how the configuration names them.
    fn draw_carriers(&mut self, chance: &mut Chance) -> Vec<String> {
        let mut edges = Vec::new();
        let mut nth = 0;
        for edge in 1..=chance.between(1, 3) {
            let name = format!("edge{edge}.test");
            let stream = chance.percent(25);
            let mut records = Vec::new();
            for _ in 0..chance.between(1, 3) {
                nth += 1;
                let at = address(&format!(
                    "{}192.0.2.{nth}",
                    if stream { "tcp:" } else { "" }
                ));
                records.push(Record {
                    address: at,
                    priority: 0,
                    weight: 0,
                });
                self.add_host(format!("edge{edge}-{nth}"), at, chance);
            }
            edges.push(format!(
                "sip:{name}{}",
                if stream { ";transport=tcp" } else { "" }
            ));
            self.names.push((name, records));
        }
        edges
    }

    fn draw_pbxs(&mut self, chance: &mut Chance) -> Vec<String> {
        (1..=chance.between(1, 3))
            .map(|nth| {
                let stream = chance.percent(25);
                let at = address(&format!("{}10.0.1.{nth}", if stream { "tcp:" } else { "" }));
                self.add_host(format!("pbx{nth}"), at, chance);
                let param = if stream { ";transport=tcp" } else { "" };
                let (priority, weight) = (chance.between(1, 2) * 10, chance.between(0, 60));
                format!("{{ uri = \"sip:10.0.1.{nth}{param}\", priority = {priority}, weight = {weight} }}")
            })
            .collect()
    }

    fn add_host(&mut self, name: String, at: Address, chance: &mut Chance) {
        let manner = Some(draw_manner(chance));
        let ignores_record_route = chance.percent(20);
        self.hosts.push(Host {
            name,
            at,
            manner,
            ignores_record_route,
            calls: Vec::new(),
        });
    }

    fn draw_config(&mut self, edges: &[String], targets: &[String], chance: &mut Chance) {
        let quoted: Vec<String> = edges.iter().map(|edge| format!("\"{edge}\"")).collect();
        let mut config = String::new();
        for protocol in ["udp", "tcp"] {
            let _ = write!(
                config,
                "[[listen]]\nprotocol = \"{protocol}\"\naddress = \"203.0.113.10:5060\"\n\n"
            );
        }
        let mut pick = |of: &[&'static str]| chance.pick(of).copied().unwrap_or("");
        let timers = format!(
            "response_timeout = \"{}\"\nsetup_budget = \"{}\"\nmax_attempts = {}\nexhausted = \"{}\"\n\
             progress_timeout = \"{}\"\nanswer_timeout = \"{}\"\n",
            pick(&["4s", "4s", "2s"]),
            pick(&["28s", "28s", "10s"]),
            pick(&["9", "9", "2"]),
            pick(&["503", "503", "best"]),
            pick(&["off", "off", "5s"]),
            pick(&["3m", "40s"]),
        );
        let health = format!(
            "[health]\nprobe_interval = \"{}\"\ntarget_probe_interval = \"{}\"\nsuspect_after = \"{}\"\nfail_after = {}\n",
            pick(&["off", "30s", "10s"]),
            pick(&["off", "5s"]),
            pick(&["off", "1s"]),
            pick(&["1", "2", "3"]),
        );
        let policy = pick(&["weighted", "weighted", "least_calls", "hash"]);
        let _ = write!(
            config,
            "[pbx]\nallow = [\"10.0.1.0/24\"]\n\n[[trunk]]\nname = \"acme\"\nallow = [\"192.0.2.0/24\"]\n\n\
             [trunk.termination]\nedges = [{}]\n{timers}\n\
             [trunk.origination]\npolicy = \"{policy}\"\ntargets = [{}]\n{timers}\n",
            quoted.join(", "),
            targets.join(", "),
        );
        if chance.percent(25) {
            config.push_str(
                "[trunk.disaster_recovery]\nurl = \"https://dr.example.net/a\"\n\
                 fallback_url = \"https://dr.example.org/b\"\ntimeout = \"3s\"\n\n",
            );
            self.draw_webhook(chance);
        }
        self.config = config + &health;
    }

    fn draw_webhook(&mut self, chance: &mut Chance) {
        self.add_host("duty".into(), address("198.51.100.20"), chance);
        self.webhook = (0..12)
            .map(|_| {
                let after = ms(chance.between(1, 1500));
                match chance.below(8) {
                    0 => Webhook::Unreachable,
                    1 => Webhook::Hangs,
                    2 => Webhook::Says(after, 500, "oops"),
                    3 => Webhook::Says(after, 200, "<Response><Dial"),
                    4 => Webhook::Says(after, 200, "<Response><Reject reason='busy'/></Response>"),
                    5 => Webhook::Says(after, 200, "<Response><Pause length='1'/><Redirect>/c</Redirect></Response>"),
                    _ => Webhook::Says(
                        after,
                        200,
                        "<Response><Dial timeout='10'><Sip>sip:duty@198.51.100.20</Sip></Dial></Response>",
                    ),
                }
            })
            .collect();
    }

    /// Peers that mean harm: strangers, and some from inside the carrier's own range.
    fn draw_strangers(&mut self, chance: &mut Chance) {
        for (percent, name, at) in [
            (30, STRANGER, "198.51.100.66"),
            (20, "neighbour", "192.0.2.200"),
        ] {
            if chance.percent(percent) {
                self.hosts.push(Host {
                    name: name.into(),
                    at: address(at),
                    manner: None,
                    ignores_record_route: false,
                    calls: Vec::new(),
                });
            }
        }
    }

    fn draw_calls(&mut self, chance: &mut Chance) {
        let callers: Vec<usize> = (0..self.hosts.len())
            .filter(|at| self.hosts[*at].manner.is_some() && self.hosts[*at].name != "duty")
            .collect();
        for nth in 0..chance.between(1, 12) {
            let Some(&who) = chance.pick(&callers) else {
                return;
            };
            let plan = CallPlan {
                at: ms(chance.between(0, 20_000)),
                call_id: format!("call-{nth}"),
                uri: format!("sip:+1555010{nth:04}@203.0.113.10"),
                cancel_after: chance.percent(20).then(|| ms(chance.between(50, 12_000))),
                talk: chance.percent(60).then(|| ms(chance.between(50, 20_000))),
                speaks: chance.percent(25).then(|| {
                    (
                        ms(chance.between(30, 3000)),
                        *chance
                            .pick(&["INVITE", "INFO", "UPDATE"])
                            .unwrap_or(&"INFO"),
                    )
                }),
            };
            self.hosts[who].calls.push(plan);
        }
    }

    fn draw_faults(&mut self, chance: &mut Chance) {
        for host in self.hosts.iter().filter(|host| host.manner.is_some()) {
            if chance.percent(15) {
                let from = chance.between(0, 25_000);
                self.faults
                    .push((ms(from), Fault::Dies(host.at, chance.percent(50))));
                if chance.percent(60) {
                    self.faults.push((
                        ms(from + chance.between(500, 30_000)),
                        Fault::Returns(host.at),
                    ));
                }
            }
        }
        for (name, records) in &self.names {
            let at = ms(chance.between(0, 20_000));
            match chance.below(10) {
                0 => self.faults.push((at, Fault::NamesFail(name.clone()))),
                1 => self
                    .faults
                    .push((at, Fault::Names(name.clone(), records[..1].to_vec()))),
                2 => self
                    .faults
                    .push((at, Fault::Names(name.clone(), Vec::new()))),
                _ => {}
            }
        }
        if chance.percent(10) {
            self.faults
                .push((ms(chance.between(0, 25_000)), Fault::Drain));
        }
        if chance.percent(10) {
            let at = ms(chance.between(0, 25_000));
            self.faults.push((at, Fault::Restart));
        }
        if chance.percent(20) {
            self.faults
                .push((ms(chance.between(0, 25_000)), Fault::Reload));
        }
    }
}

fn quality(chance: &mut Chance) -> Quality {
    let (loss, doubled) = if chance.percent(50) {
        (0, 0)
    } else {
        (chance.between(1, 20), chance.between(0, 10))
    };
    let slowest = *chance.pick(&[1, 20, 60, 300]).unwrap_or(&20);
    Quality {
        loss,
        doubled,
        delay: (1, slowest),
    }
}

/// The same, without anything that tells on a candidate's health: silence, lateness, 503.
fn calmed(manner: Manner) -> Manner {
    match manner {
        Manner::Answers {
            first: (_, ..2000), ..
        } => manner,
        Manner::Refuses { code, after, .. } if code != 503 => Manner::Refuses {
            code,
            after: (after.0, 1500),
            retry_after: None,
        },
        Manner::Answers { .. }
        | Manner::Refuses { .. }
        | Manner::Silent
        | Manner::Flapping(_)
        | Manner::OnlyTrying => Manner::Refuses {
            code: 500,
            after: (10, 1500),
            retry_after: None,
        },
    }
}

fn draw_manner(chance: &mut Chance) -> Manner {
    let answers = |first, rings| Manner::Answers {
        first,
        rings,
        answer: (50, 6000),
        talk: (100, 15_000),
    };
    match chance.below(20) {
        0..8 => answers((20, 800), true),
        8..10 => answers((20, 3000), false),
        10 => answers((2200, 9000), true),
        11 => answers((4200, 9000), false),
        12..15 => {
            let code = *chance
                .pick(&[403, 404, 480, 486, 487, 500, 503, 503, 603, 302])
                .unwrap_or(&486);
            let retry_after = chance.percent(50).then(|| chance.between(1, 90) as u32);
            Manner::Refuses {
                code,
                after: (10, 6000),
                retry_after,
            }
        }
        15 => Manner::OnlyTrying,
        16..18 => Manner::Silent,
        _ => Manner::Flapping(chance.between(800, 8000)),
    }
}
