//! The calls in work: which there are, what each waits for, and when to send again.

use std::collections::VecDeque;

/// When a message over UDP is sent again, counted from the time before (RFC 3261 §17.1.1.2: T1
/// doubles); after the last of these the call is lost.
const AGAIN_AFTER: [u64; 4] = [500_000_000, 1_000_000_000, 2_000_000_000, 4_000_000_000];

/// How many bits of a call's number are its slot; the others tell one after the other in it apart.
const SLOT_BITS: u32 = 24;

/// What somebody waits for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Awaited {
    /// The caller, for anything at all to its INVITE.
    Response,
    /// The callee, for the ACK of its 200.
    Ack,
    /// The caller, for the answer to its BYE.
    End,
}

/// How far a call is, as the caller sees it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Nothing came back.
    Calling,
    /// Something did.
    Proceeding,
    /// Answered; ACK and BYE are on their way.
    Ending,
}

/// One call.
pub struct Call {
    number: u64,
    live: bool,
    pub stage: Stage,
    /// Nanoseconds of the load's clock.
    pub placed: u64,
    /// In the time that is measured?
    pub counted: bool,
    /// Was anything of it sent twice, by whomever?
    pub repeated: bool,
    pub rang: bool,
    /// What the callee has had.
    pub invited: bool,
    pub acked: bool,
    pub byed: bool,
    /// The callee's line, and its 200 while there is no ACK.
    pub callee: usize,
    pub answer: Vec<u8>,
    pub contact: Vec<u8>,
    pub routes: Vec<u8>,
}

/// All of them.
#[derive(Default)]
pub struct Calls {
    slots: Vec<Call>,
    free: Vec<usize>,
    due: [VecDeque<(u64, u64, Awaited)>; AGAIN_AFTER.len()],
}

impl Calls {
    /// A new one; its number.
    pub fn open(&mut self, placed: u64, counted: bool) -> u64 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Call::none(self.slots.len() as u64));
            self.slots.len() - 1
        });
        let call = &mut self.slots[slot];
        let buffers = [&mut call.answer, &mut call.contact, &mut call.routes];
        let [answer, contact, routes] = buffers.map(std::mem::take);
        *call = Call {
            number: call.number + (1 << SLOT_BITS),
            live: true,
            placed,
            counted,
            answer,
            contact,
            routes,
            ..Call::none(0)
        };
        call.answer.clear();
        call.number
    }

    /// The call with this number, unless it is over.
    pub fn get(&mut self, number: u64) -> Option<&mut Call> {
        let slot = self.slots.get_mut(slot_of(number))?;
        (slot.live && slot.number == number).then_some(slot)
    }

    /// It is over.
    pub fn close(&mut self, number: u64) {
        if let Some(call) = self.get(number) {
            call.live = false;
            self.free.push(slot_of(number));
        }
    }

    /// Ends all of them; their late messages mean nothing from now on.
    pub fn forget(&mut self) {
        self.due.iter_mut().for_each(VecDeque::clear);
        for slot in 0..self.slots.len() {
            self.close(self.slots[slot].number);
        }
    }

    /// Somebody has sent something and waits for the answer.
    pub fn wait_for(&mut self, now: u64, number: u64, awaited: Awaited) {
        self.due[0].push_back((now + AGAIN_AFTER[0], number, awaited));
    }

    /// The next wait that was too long. `Some((.., true))`: send again, the next wait is begun;
    /// `Some((.., false))`: it was the last. Waits that came to an end are passed over.
    pub fn overdue(&mut self, now: u64) -> Option<(u64, Awaited, bool)> {
        for level in 0..self.due.len() {
            while let Some(&(deadline, number, awaited)) = self.due[level].front() {
                if deadline > now {
                    break;
                }
                self.due[level].pop_front();
                if !self.is_waiting(number, awaited) {
                    continue;
                }
                let again = level + 1 < self.due.len();
                if again {
                    let deadline = now + AGAIN_AFTER[level + 1];
                    self.due[level + 1].push_back((deadline, number, awaited));
                }
                return Some((number, awaited, again));
            }
        }
        None
    }

    /// When [`Calls::overdue`] should be asked again.
    pub fn next_deadline(&self) -> Option<u64> {
        let first = self.due.iter().filter_map(VecDeque::front);
        first.map(|(deadline, ..)| *deadline).min()
    }

    fn is_waiting(&mut self, number: u64, awaited: Awaited) -> bool {
        self.get(number).is_some_and(|call| match awaited {
            Awaited::Response => call.stage == Stage::Calling,
            Awaited::Ack => !call.acked && !call.byed,
            Awaited::End => true,
        })
    }
}

impl Call {
    fn none(number: u64) -> Call {
        Call {
            number,
            live: false,
            stage: Stage::Calling,
            placed: 0,
            counted: false,
            repeated: false,
            rang: false,
            invited: false,
            acked: false,
            byed: false,
            callee: 0,
            answer: Vec::new(),
            contact: Vec::new(),
            routes: Vec::new(),
        }
    }
}

fn slot_of(number: u64) -> usize {
    (number & ((1 << SLOT_BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_number_means_one_call_only() {
        let mut calls = Calls::default();
        let first = calls.open(0, true);
        calls.close(first);
        let second = calls.open(0, true);
        assert_eq!(slot_of(first), slot_of(second));
        assert!(calls.get(first).is_none() && calls.get(second).is_some());
        calls.forget();
        assert!(calls.get(second).is_none());
    }

    #[test]
    fn what_is_not_answered_is_sent_again_at_doubling_intervals_and_then_lost() {
        let mut calls = Calls::default();
        let number = calls.open(0, true);
        calls.wait_for(0, number, Awaited::Response);
        let mut seen = Vec::new();
        for now in (0..=10 * SECOND).step_by(SECOND as usize / 10) {
            while let Some((_, _, again)) = calls.overdue(now) {
                seen.push((now * 10 / SECOND, again));
            }
        }
        assert_eq!(seen, [(5, true), (15, true), (35, true), (75, false)]);
    }

    #[test]
    fn what_was_answered_is_not_sent_again() {
        let mut calls = Calls::default();
        let number = calls.open(0, true);
        calls.wait_for(0, number, Awaited::Response);
        calls.get(number).unwrap().stage = Stage::Proceeding;
        assert_eq!(calls.overdue(SECOND), None);
        assert_eq!(calls.next_deadline(), None);
    }
}
