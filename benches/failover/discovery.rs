//! How long after one shard knows that a peer is down the others know it as well: real threads, real
//! mailboxes, measured from outside by the INVITEs with which each moves its waiting calls on.

use std::{collections::BTreeMap, time::Duration};

use trunkline_sim::fleet::{Change, Fate, Scenario};

use crate::live::{Invited, Place};

const DEATHS: u64 = 30;
const FIRST: Duration = Duration::from_secs(2);
const EVERY: Duration = Duration::from_secs(3);
/// It is dead for so long: known after 0.8 s.
const DEAD: Duration = Duration::from_millis(1500);

/// Prints the distribution.
///
/// # Errors
/// What kept it from running.
pub fn run(shards: u8) -> Result<(), String> {
    let place = Place::new(shards, 2).map_err(|error| error.to_string())?;
    let (trunkline, peers) = (place.trunkline(), place.addresses());
    let (dying, well) = (peers[1], peers[2]);
    let config = format!(
        "[[listen]]\nprotocol = \"udp\"\naddress = \"{trunkline}\"\n[[trunk]]\nname = \"in\"\n\
         allow = [\"127.0.0.1\"]\n[trunk.origination]\ntargets = [\"sip:{}\", \"sip:{}\"]\n\
         [health]\ntarget_probe_interval = \"500ms\"\nprobe_timeout = \"300ms\"\n\
         suspect_after = \"500ms\"\nslow_start = \"0s\"\n",
        dying.socket, well.socket
    );
    let changes = (0..DEATHS).flat_map(|nth| {
        let at = FIRST + EVERY * nth as u32;
        [
            (at, Change::Peer(dying, Fate::Silent)),
            (at + DEAD, Change::Peer(dying, Fate::Well)),
        ]
    });
    let scenario = Scenario {
        config,
        names: Vec::new(),
        caller: peers[0],
        uri: format!("sip:+15550100@{trunkline}"),
        calls: (
            Duration::ZERO,
            FIRST + EVERY * DEATHS as u32,
            Duration::from_millis(4),
        ),
        rings: (Duration::from_millis(20), Duration::from_millis(30)),
        talks: Duration::from_secs(1),
        changes: changes.collect(),
    };
    let (_, invited) = place.run(&scenario)?;
    let mut first: BTreeMap<u64, Invited> = BTreeMap::new();
    // By death and shard: when the first call moved.
    let mut moved: BTreeMap<u64, BTreeMap<u8, Duration>> = BTreeMap::new();
    let mut calls = 0;
    for invited in &invited {
        let before = first.entry(invited.call).or_insert(*invited);
        let since = invited.at.saturating_sub(FIRST);
        let death = (since.as_nanos() / EVERY.as_nanos()) as u64;
        if before.to == dying && invited.to == well {
            calls += 1;
            let by_shard = moved.entry(death).or_default();
            by_shard.entry(invited.shard.0).or_insert(invited.at);
        }
    }
    let mut spreads: Vec<Duration> = moved
        .values()
        .filter(|by_shard| by_shard.len() == usize::from(shards))
        .filter_map(|by_shard| Some(*by_shard.values().max()? - *by_shard.values().min()?))
        .collect();
    spreads.sort_unstable();
    let at = |share: f64| {
        let last = spreads.len().saturating_sub(1);
        spreads
            .get((last as f64 * share).round() as usize)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{shards} shards, {} deaths, {calls} calls moved: from the first shard's first moved call to the last shard's:\n\
         median {:?}, nine of ten within {:?}, longest {:?}",
        spreads.len(),
        at(0.5),
        at(0.9),
        at(1.0)
    );
    Ok(())
}
