//! The checks when everything is over.

use trunkline_proxy::event::Load;

use super::Witness;

impl Witness {
    /// How many timers may be armed at rest: a probe under way has two of its own, and the sweep of
    /// the calls' memory has one.
    pub fn timers_allowed(&self) -> u32 {
        (1 + 2 * self.promised.hosts.len() as u32) * self.promised.shards
    }

    pub(super) fn check_rest(&mut self, loads: &[Load]) {
        for served in self.served.values() {
            // RFC 4320: only an INVITE and what we answer ourselves may count on a final response.
            let owed = matches!(served.method.as_str(), "INVITE" | "CANCEL");
            if owed && served.done.is_none() {
                let what = format!(
                    "{} of {} at {:?} got none",
                    served.method, served.call_id, served.at
                );
                return self.break_("one final response", what);
            }
        }
        for (call_id, story) in &self.stories {
            let ringing = story.attempts.iter().find(|attempt| {
                attempt.heard && attempt.done.is_none() && !attempt.cancelled && !attempt.lost
            });
            if let Some(ringing) = ringing {
                let what = format!("{call_id} at {}", ringing.to);
                return self.break_("nobody is left ringing", what);
            }
        }
        let sum = |of: fn(&Load) -> u32| loads.iter().map(of).sum::<u32>();
        let (contexts, setup) = (sum(|load| load.contexts), sum(|load| load.calls_in_setup));
        if (contexts, setup) != (0, 0) {
            return self.break_(
                "nothing is left",
                format!("{contexts} contexts, {setup} calls in setup"),
            );
        }
        let established = self
            .stories
            .values()
            .filter(|story| story.told.is_some_and(|(code, _)| code < 300) && !story.ended);
        let (remembered, established) = (sum(|load| load.calls_active), established.count() as u32);
        // A hostile neighbour may place calls and never end them; that is between it and its carrier.
        if remembered > established && !self.promised.has_neighbour {
            let what = format!("{remembered} calls are remembered, {established} were not ended");
            return self.break_("nothing is left", what);
        }
        let timers = sum(|load| load.timers);
        if remembered == 0 && timers > self.timers_allowed() {
            self.break_("nothing is left", format!("{timers} timers"));
        }
    }
}
