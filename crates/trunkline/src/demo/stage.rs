//! What every scene uses: calls that are counted, text that is printed, promises that are held.

use std::{collections::BTreeMap, fmt::Write as _, io, io::Write as _, net::SocketAddr};

use tokio::task::{JoinError, JoinSet};
use trunkline_control::view::CallShown;

use super::{
    cast::{PBXS, label_of},
    ladder::ladder,
    phone::{Call, CallError, Line},
    world::World,
};

/// Calls under way at once when there are many.
const AT_ONCE: usize = 25;

/// Why a scene stopped.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Trunkline, or this demo, did something else than was promised.
    #[error("expected {expected}\n   but {found}")]
    Unmet {
        /// The promise.
        expected: String,
        /// What happened.
        found: String,
    },
    /// A participant could not be brought back.
    #[error("cannot bring a phone back: {0}")]
    Phone(#[from] io::Error),
}

/// The calls of all scenes.
#[derive(Copy, Clone, Default, Debug)]
pub struct Counts {
    /// Placed.
    pub placed: u32,
    /// Answered.
    pub answered: u32,
    /// Calls that met somebody dead on their way and were answered all the same.
    pub rescued: u32,
}

/// Where scenes play.
pub struct Stage {
    /// The world.
    pub world: World,
    /// So far.
    pub counts: Counts,
}

/// Prints. A reader who has gone away is no reason to stop.
pub fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Holds a promise.
///
/// # Errors
/// What was expected and what was found instead.
pub fn expect(kept: bool, expected: &str, found: impl FnOnce() -> String) -> Result<(), Trouble> {
    if kept {
        Ok(())
    } else {
        Err(Trouble::Unmet {
            expected: expected.into(),
            found: found(),
        })
    }
}

/// Who took a call, for comparison and for print.
pub fn taker(answered_by: Option<SocketAddr>) -> String {
    answered_by.map_or_else(|| "nobody known".into(), label_of)
}

/// A call that was answered, and what Trunkline recorded of it.
pub struct Answered {
    /// The call.
    pub call: Call,
    /// Who took it.
    pub by: String,
    /// Trunkline's record of it.
    pub record: CallShown,
}

impl Stage {
    /// Places a call that must be answered.
    ///
    /// # Errors
    /// When it is not.
    pub async fn call(&mut self, from: &Line, number: &str) -> Result<Answered, Trouble> {
        let call_id = self.world.call_id();
        let result = from.call(number, call_id.clone()).await;
        self.answered(call_id, result).await
    }

    async fn answered(
        &mut self,
        call_id: String,
        result: Result<Call, CallError>,
    ) -> Result<Answered, Trouble> {
        self.counts.placed += 1;
        let record = self.world.record(&call_id).await;
        let call = match result {
            Ok(call) => call,
            Err(error) => {
                let tried = record.map(|record| tried(&record)).unwrap_or_default();
                let found = format!("{error} (call {call_id}, tried: {tried})");
                return Err(Trouble::Unmet {
                    expected: "the call to be answered".into(),
                    found,
                });
            }
        };
        self.counts.answered += 1;
        let Some(record) = record else {
            let found = format!("there was none of call {call_id}");
            return Err(Trouble::Unmet {
                expected: "Trunkline to have a record of the call".into(),
                found,
            });
        };
        self.counts.rescued += u32::from(record.attempts.len() > 1);
        Ok(Answered {
            by: taker(call.answered_by),
            call,
            record,
        })
    }

    /// Places some calls at the same moment; all must be answered.
    ///
    /// # Errors
    /// When one is not.
    pub async fn calls_at_once(
        &mut self,
        from: &Line,
        number: &str,
        count: usize,
    ) -> Result<Vec<Answered>, Trouble> {
        let mut running = JoinSet::new();
        for _ in 0..count {
            let (phone, number, call_id) = (from.clone(), number.to_owned(), self.world.call_id());
            running.spawn(async move { (phone.call(&number, call_id.clone()).await, call_id) });
        }
        let mut answered = Vec::with_capacity(count);
        while let Some(ended) = running.join_next().await {
            let (result, call_id) = ended.map_err(cut_short)?;
            answered.push(self.answered(call_id, result).await?);
        }
        Ok(answered)
    }

    /// Places many calls, a few at a time, hangs each up, and counts who took them.
    ///
    /// # Errors
    /// When one is not answered.
    pub async fn many(
        &mut self,
        from: &Line,
        number: &str,
        count: u32,
    ) -> Result<BTreeMap<String, u32>, Trouble> {
        let mut taken = BTreeMap::new();
        let mut running = JoinSet::new();
        let mut left = count;
        loop {
            while left > 0 && running.len() < AT_ONCE {
                left -= 1;
                self.counts.placed += 1;
                let (phone, number) = (from.clone(), number.to_owned());
                let call_id = self.world.call_id();
                running.spawn(async move {
                    let call = phone.call(&number, call_id).await?;
                    let by = taker(call.answered_by);
                    phone.hang_up(call).await;
                    Ok::<_, CallError>(by)
                });
            }
            let Some(ended) = running.join_next().await else {
                break;
            };
            match ended.map_err(cut_short)? {
                Ok(by) => *taken.entry(by).or_default() += 1,
                Err(error) => {
                    let expected = format!("all {count} calls to be answered");
                    let found = error.to_string();
                    return Err(Trouble::Unmet { expected, found });
                }
            }
            self.counts.answered += 1;
        }
        Ok(taken)
    }

    /// Hangs up at the caller's; the other side must say yes.
    ///
    /// # Errors
    /// When it does not.
    pub async fn hang_up(&self, from: &Line, call: Call) -> Result<(), Trouble> {
        let ended = from.hang_up(call).await;
        expect(ended, "the other side to answer the BYE", || {
            "it did not within 4 s".into()
        })
    }

    /// Prints the ladder of a call.
    pub fn ladder(&self, caller: &str, record: &CallShown) {
        let seen = self.world.tape.of(&record.call_id);
        say(&ladder(caller, &seen, &record.attempts));
    }
}

/// A task of ours has failed: a mistake of the demo's own.
fn cut_short(error: JoinError) -> Trouble {
    Trouble::Unmet {
        expected: "the demo's own phones to work".into(),
        found: error.to_string(),
    }
}

/// How a call went, for a complaint: "dublin-1=silent dublin-2=200".
pub fn tried(record: &CallShown) -> String {
    let attempts = record.attempts.iter().map(|attempt| {
        let addr = attempt
            .peer
            .split_once(':')
            .and_then(|(_, addr)| addr.parse().ok());
        format!(
            "{}={}",
            addr.map_or_else(|| attempt.peer.clone(), label_of),
            attempt.outcome
        )
    });
    attempts.collect::<Vec<_>>().join(" ")
}

/// Who took how many calls, beside the share that was configured.
pub fn table(taken: &BTreeMap<String, u32>) -> String {
    let total: u32 = taken.values().sum();
    let mut text = format!(
        "  {:<10} {:>8} {:>6} {:>6} {:>6}\n",
        "", "priority", "weight", "calls", "share"
    );
    for target in PBXS {
        let calls = taken.get(target.role.label).copied().unwrap_or(0);
        let share = f64::from(calls) * 100.0 / f64::from(total.max(1));
        let bar = "#".repeat((share / 2.5).round() as usize);
        let row = format!(
            "  {:<10} {:>8} {:>6} {calls:>6} {share:>5.0}%  {bar}",
            target.role.label, target.priority, target.weight
        );
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_pbx_with_its_share() {
        let taken = BTreeMap::from([("pbx-1".into(), 30), ("pbx-2".into(), 10)]);
        let text = table(&taken);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            format!(
                "  pbx-1            10     60     30    75%  {}",
                "#".repeat(30)
            )
        );
        assert_eq!(lines[3], "  pbx-3            10     20      0     0%");
        assert_eq!(lines.len(), 5);
    }
}
