//! The messages of an attempt: its request, its CANCEL and its ACK, each derived from the original
//! request whenever it is sent.

use std::time::Duration;

use smallvec::SmallVec;
use trunkline_sip::{Malformed, Message};

use super::{Attempt, Context, TokenBytes};
use crate::{
    Event, UDP_SAFE_BYTES,
    engine::{Alarm, Engine, Ring, Turn},
    forward::{self, NewUri, RecordRoute, RequestPlan, Sent, Strict, UriText, ViaPlan},
    in_dialog::max_forwards,
    recovery::DialTarget,
    table::Slot,
    token::{DialogToken, Party},
    transaction::{LINGER, client},
    walk::{Addressed, request_address},
};

/// The header that names the caller to a callee that trusts us.
const ASSERTED: &str = "P-Asserted-Identity";
/// Headers that would name another caller beside it: many who read these read them first.
const IDENTITIES: [&str; 3] = [ASSERTED, "P-Preferred-Identity", "Remote-Party-ID"];

impl Context {
    /// Sends the attempt's request, for the first time or again: the same bytes.
    pub(super) fn transmit(&mut self, number: usize, request: &Message<'_>, turn: &mut Turn<'_>) {
        self.attempts[number].sends = self.attempts[number].sends.saturating_add(1);
        let first = self.attempts[number].sends == 1;
        let attempt = &self.attempts[number];
        let connect = self
            .walk
            .attempts(&self.snapshot, attempt.trunk)
            .map(|limits| limits.connect_timeout);
        let mut size = 0;
        let engine = &*turn.engine;
        turn.out.send(
            attempt.hop,
            connect.unwrap_or(Duration::from_secs(2)),
            |out| {
                let start = out.len();
                self.write_request(engine, number, request, out);
                size = out.len() - start;
            },
        );
        if first && size > UDP_SAFE_BYTES && !self.attempts[number].hop.transport.is_reliable() {
            turn.tell(Event::OversizedDatagram);
        }
    }

    fn write_request(
        &self,
        engine: &Engine,
        number: usize,
        request: &Message<'_>,
        out: &mut Vec<u8>,
    ) {
        let attempt = &self.attempts[number];
        let listener = attempt.hop.listener;
        let token = self.token(engine, number, request);
        let incoming = RecordRoute {
            face: self.snapshot.face(self.from.listener),
            token: token.as_deref(),
        };
        let outgoing = RecordRoute {
            face: self.snapshot.face(listener),
            token: None,
        };
        let both = [outgoing, incoming];
        let mut plan = self.plan(number, request);
        // RFC 5658: where the two sides differ, each finds its own side of us at the top.
        plan.record_route = match token {
            None => &[],
            Some(_) if listener == self.from.listener => &both[1..],
            Some(_) => &both,
        };
        // The request passed its checks when it came in; one that fails here was never forwarded.
        let _ = match self.adds_lines() {
            false => forward::request(request, &plan, out),
            true => self.write_with_lines(number, request, plan, out),
        };
    }

    /// Whether the request may get lines that others do not.
    fn adds_lines(&self) -> bool {
        let dialog = self.in_dialog.as_ref();
        self.recovering.is_some() || dialog.is_some_and(|dialog| !dialog.routes().is_empty())
    }

    /// Writes the request with the Routes that an endpoint left out, and with what a webhook had us
    /// add.
    #[cold]
    fn write_with_lines(
        &self,
        number: usize,
        request: &Message<'_>,
        plan: RequestPlan<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let dialled = self.dialled(number);
        let identity = dialled.and_then(|target| self.identity(number, target));
        let mut lines: SmallVec<[(&str, &[u8]); 2]> = self
            .in_dialog
            .iter()
            .flat_map(|dialog| dialog.routes())
            .map(|route| ("Route", &route[..]))
            .collect();
        lines.extend(
            dialled
                .iter()
                .flat_map(|target| &target.headers)
                .map(|(name, value)| (name.as_str(), value.as_bytes())),
        );
        lines.extend(identity.iter().map(|value| (ASSERTED, value.as_bytes())));
        let plan = RequestPlan {
            append: &lines,
            drop: if identity.is_some() { &IDENTITIES } else { &[] },
            ..plan
        };
        forward::request(request, &plan, out)
    }

    /// Our Via in every message of an attempt.
    #[inline]
    pub fn via<'p>(&'p self, attempt: &'p Attempt) -> ViaPlan<'p> {
        ViaPlan {
            face: self.snapshot.face(attempt.hop.listener),
            branch: attempt.branch.as_ref(),
            alias: false,
        }
    }

    /// What every message of the attempt has in common.
    #[inline(always)]
    fn plan<'p>(&'p self, number: usize, request: &Message<'_>) -> RequestPlan<'p> {
        let attempt = &self.attempts[number];
        RequestPlan {
            request_uri: self.request_uri(number),
            drop_routes: usize::from(self.drop_routes),
            received: Some(self.from.remote),
            via: self.via(attempt),
            record_route: &[],
            max_forwards: max_forwards(request),
            strict: self
                .in_dialog
                .as_ref()
                .map_or(Strict::None, |dialog| dialog.strict),
            content_length: attempt.hop.transport.is_reliable(),
            append: &[],
            drop: &[],
        }
    }

    /// What a webhook had us dial with this attempt.
    fn dialled(&self, number: usize) -> Option<&DialTarget> {
        let recovering = self.recovering.as_deref()?;
        (number >= self.walk_from)
            .then(|| recovering.target())
            .flatten()
    }

    /// The identity that a Dial's `callerId` asks for (RFC 3325). From stays: it is part of the
    /// dialog's name to endpoints that go by RFC 2543.
    fn identity(&self, number: usize, target: &DialTarget) -> Option<String> {
        let user = target.caller_id.as_deref()?;
        let listener = self.attempts[number].hop.listener;
        let host = &self.snapshot.face(listener).authority;
        Some(format!("<sip:{user}@{host}>"))
    }

    /// The attempt's Request-URI.
    fn request_uri(&self, number: usize) -> NewUri<'_> {
        let attempt = &self.attempts[number];
        if !attempt.request_uri.is_empty() {
            return NewUri::Is(&attempt.request_uri);
        }
        let address = request_address(&self.snapshot, attempt.trunk, attempt.addressed);
        address.map_or(NewUri::Kept, NewUri::To)
    }

    /// The dialog token of the attempt's Record-Route; `None` for requests that make no dialog.
    fn token(&self, engine: &Engine, number: usize, request: &Message<'_>) -> Option<TokenBytes> {
        use trunkline_sip::Method;
        if let Some(dialog) = &self.in_dialog {
            return dialog.token().cloned();
        }
        if !matches!(
            request.method()?,
            Method::Invite | Method::Subscribe | Method::Refer
        ) {
            return None;
        }
        Some(TokenBytes::from_slice(
            engine
                .tokens
                .write(&self.dialog_token(engine, number, request))
                .as_ref(),
        ))
    }

    fn dialog_token(&self, engine: &Engine, number: usize, request: &Message<'_>) -> DialogToken {
        let attempt = &self.attempts[number];
        DialogToken {
            trunk: self.snapshot.trunk_hash(attempt.trunk),
            direction: self.walk.direction(),
            caller_tag: engine
                .tokens
                .name_hash(request.from_tag().unwrap_or_default()),
            target: match attempt.addressed {
                Addressed::Edge(at) | Addressed::Target(at) => at,
                Addressed::Fixed => u16::MAX,
            },
            started: engine.unix(self.began),
            caller: Party {
                transport: self.from.transport,
                addr: self.from.remote,
            },
            callee: Party {
                transport: attempt.hop.transport,
                addr: attempt.hop.remote,
            },
        }
    }

    /// Runs `write` with what the attempt's request was sent as.
    fn with_sent(&self, number: usize, request: &Message<'_>, write: impl FnOnce(&Sent<'_>)) {
        let plan = self.plan(number, request);
        let mut room = UriText::new();
        let request_uri = plan
            .request_uri
            .text(request, &mut room)
            .or(request.request_uri())
            .unwrap_or_default();
        write(&Sent {
            request_uri,
            drop_routes: plan.drop_routes,
            strict: plan.strict,
            via: plan.via,
        });
    }

    /// Sends (or repeats) the attempt's CANCEL (RFC 3261 §9.1).
    pub(super) fn send_cancel(&mut self, slot: Slot, number: usize, turn: &mut Turn<'_>) {
        let attempt = &mut self.attempts[number];
        attempt.cancels = attempt.cancels.saturating_add(1);
        // Remembered for 64*T1 after its last message (BEHAVIOUR 5): an answer to this one counts.
        attempt.linger_at = attempt.linger_at.max(turn.now + LINGER);
        let (cancels, reliable) = (attempt.cancels, attempt.hop.transport.is_reliable());
        let reason = match self.caller {
            super::Caller::Answered(code) if (200..300).contains(&code) => {
                Some("SIP;cause=200;text=\"Call completed elsewhere\"")
            }
            super::Caller::Answered(_) | super::Caller::Waiting => None,
        };
        self.with_request(|context, request| {
            let out = &mut *turn.out;
            context.with_sent(number, request, |sent| {
                out.send(
                    context.attempts[number].hop,
                    Duration::from_secs(2),
                    |bytes| {
                        forward::cancel(request, sent, reason, bytes);
                    },
                );
            });
        });
        if !reliable {
            let after = client::timer_e(client::State::Trying, cancels);
            turn.arm(
                after,
                Alarm::Context(slot, Ring::Cancel(number as u8, cancels)),
            );
        }
    }

    /// The ACK to a failure (RFC 3261 §17.1.1.3).
    pub(super) fn send_ack(&mut self, number: usize, response: &Message<'_>, turn: &mut Turn<'_>) {
        self.with_request(|context, request| {
            let out = &mut *turn.out;
            context.with_sent(number, request, |sent| {
                out.send(
                    context.attempts[number].hop,
                    Duration::from_secs(2),
                    |bytes| {
                        forward::ack_failure(request, sent, response, bytes);
                    },
                );
            });
        });
    }
}
