//! What callers and callees do with each message.

use std::net::SocketAddr;

use super::{
    calls::{Awaited, Calls, Stage},
    line::{Line, Out, Role},
    message::{self, CallerScript, Kind, Method},
    score::Score,
};

/// Both sides of all calls. The first lines of the load are the callers', one script for each.
pub struct Peers {
    pub scripts: Vec<CallerScript>,
    /// The callees' addresses.
    pub targets: Vec<SocketAddr>,
    pub transport: &'static str,
    /// Is what is not answered sent again?
    pub repeats: bool,
    pub calls: Calls,
    pub score: Score,
}

/// How a message came in.
#[derive(Copy, Clone)]
pub struct Visit {
    /// Over which line, and whose that is.
    pub line: usize,
    pub role: Role,
    /// Nanoseconds of the load's clock.
    pub now: u64,
    /// In the measured time?
    pub counting: bool,
}

impl Peers {
    /// Calls.
    pub fn place(&mut self, lines: &mut [Line], now: u64, counted: bool) {
        let number = self.calls.open(now, counted);
        if counted {
            self.score.placed += 1;
            self.score.open += 1;
        }
        let caller = self.caller_of(number);
        let script = &self.scripts[caller];
        lines[caller]
            .out()
            .message(|out| script.invite(number, out));
        self.await_answer(now, number, Awaited::Response);
    }

    /// Something is sent again unless it is answered.
    fn await_answer(&mut self, now: u64, number: u64, awaited: Awaited) {
        if self.repeats {
            self.calls.wait_for(now, number, awaited);
        }
    }

    /// The line and the script of a call.
    fn caller_of(&self, number: u64) -> usize {
        (number % self.scripts.len() as u64) as usize
    }

    /// Sends again what was not answered, or gives up.
    pub fn overdue(&mut self, lines: &mut [Line], number: u64, awaited: Awaited, again: bool) {
        let caller = self.caller_of(number);
        let Some(call) = self.calls.get(number) else {
            return;
        };
        call.repeated = true;
        if !again {
            if awaited != Awaited::Ack {
                self.finish(number, Ending::Lost);
            }
            return;
        }
        let script = &self.scripts[caller];
        match awaited {
            Awaited::Response => lines[caller]
                .out()
                .message(|out| script.invite(number, out)),
            Awaited::End => {
                let out = lines[caller].out();
                out.message(|out| script.bye(number, &call.contact, &call.routes, out));
            }
            Awaited::Ack => {
                if let Some(line) = lines.get_mut(call.callee) {
                    line.out()
                        .message(|out| out.extend_from_slice(&call.answer));
                }
            }
        }
    }

    /// One message; answers to it go back over the same line.
    pub fn handle(&mut self, visit: Visit, bytes: &[u8], out: &mut Out) {
        let Some(seen) = message::read(bytes) else {
            return;
        };
        match (visit.role, seen.kind, seen.call) {
            (Role::Caller, Kind::Response(code, Method::Invite), Some(call)) => {
                self.progress(visit, call, code, bytes, out);
            }
            (Role::Caller, Kind::Response(200.., Method::Bye), Some(call)) => {
                if visit.counting && self.calls.get(call).is_some() {
                    self.score.ended += 1;
                }
                self.finish(call, Ending::Done);
            }
            (Role::Callee(target), Kind::Request(method), call) => {
                self.serve(visit, self.targets[target], method, call, bytes, out);
            }
            // Provisional answers to a BYE, and what nobody here has asked for.
            (Role::Caller, Kind::Response(..) | Kind::Request(_), _)
            | (Role::Callee(_), Kind::Response(..), _) => {}
        }
    }

    /// The caller hears of its INVITE.
    fn progress(&mut self, visit: Visit, number: u64, code: u16, bytes: &[u8], out: &mut Out) {
        let now = visit.now;
        let caller = self.caller_of(number);
        let script = &self.scripts[caller];
        let Some(call) = self.calls.get(number) else {
            // The ACK of a refusal was lost: the same again.
            if code >= 300 {
                out.message(|out| script.ack_failure(number, bytes, out));
            }
            return;
        };
        if call.stage == Stage::Calling {
            call.stage = Stage::Proceeding;
        }
        match code {
            0..180 => {}
            180..200 => {
                if call.counted && !call.rang {
                    self.score.ringing.record(now - call.placed);
                }
                call.rang = true;
            }
            200..300 => {
                let first = call.stage != Stage::Ending;
                if first {
                    call.stage = Stage::Ending;
                    message::routes(bytes, &mut call.routes);
                    message::contact(bytes, &mut call.contact);
                } else {
                    call.repeated = true;
                }
                out.message(|out| script.ack(number, &call.contact, &call.routes, out));
                if first {
                    out.message(|out| script.bye(number, &call.contact, &call.routes, out));
                    self.await_answer(now, number, Awaited::End);
                }
            }
            300.. => {
                out.message(|out| script.ack_failure(number, bytes, out));
                if call.counted {
                    self.score.refusing.record(now - call.placed);
                }
                if visit.counting {
                    self.score.turned_away += 1;
                }
                self.finish(number, Ending::Refused(code));
            }
        }
    }

    /// The callee is asked for something.
    fn serve(
        &mut self,
        visit: Visit,
        own: SocketAddr,
        method: Method,
        number: Option<u64>,
        bytes: &[u8],
        out: &mut Out,
    ) {
        let transport = self.transport;
        let call = number.and_then(|number| self.calls.get(number));
        match (method, call) {
            (Method::Invite, Some(call)) => {
                call.repeated |= call.invited;
                call.invited = true;
                call.callee = visit.line;
                call.answer.clear();
                message::answer(bytes, "200 OK", own, transport, &mut call.answer);
                out.message(|out| message::answer(bytes, "180 Ringing", own, transport, out));
                out.message(|out| out.extend_from_slice(&call.answer));
                if let Some(number) = number {
                    self.await_answer(visit.now, number, Awaited::Ack);
                }
            }
            // Of a call that is over.
            (Method::Invite, None) => {}
            (Method::Ack, call) => {
                if let Some(call) = call {
                    call.acked = true;
                }
            }
            (Method::Bye, call) => {
                if let Some(call) = call {
                    call.repeated |= call.byed;
                    call.byed = true;
                }
                out.message(|out| message::answer(bytes, "200 OK", own, transport, out));
            }
            (Method::Other, _) => {
                out.message(|out| message::answer(bytes, "200 OK", own, transport, out));
            }
        }
    }

    fn finish(&mut self, number: u64, ending: Ending) {
        let Some(call) = self.calls.get(number) else {
            return;
        };
        if call.counted {
            let score = &mut self.score;
            score.open -= 1;
            score.repeated += u64::from(call.repeated && ending != Ending::Lost);
            match ending {
                Ending::Done => score.done += 1,
                Ending::Refused(code) => *score.refused.entry(code).or_default() += 1,
                Ending::Lost => score.lost += 1,
            }
        }
        self.calls.close(number);
    }
}

/// How a call is over.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Ending {
    Done,
    Refused(u16),
    Lost,
}
