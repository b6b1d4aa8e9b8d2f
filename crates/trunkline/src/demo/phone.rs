//! A small SIP endpoint on one UDP socket: answers calls, places calls, and can be broken.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket, sync::mpsc, task::JoinHandle, time::timeout};
use trunkline_sip::{Limits, Message};

use super::{
    message::{self, Dialog, text},
    tape::{Tape, Way},
};

/// RFC 3261 T1.
const T1: Duration = Duration::from_millis(500);
/// RFC 3261 T2.
const T2: Duration = Duration::from_secs(4);
/// How long a phone rings before it is picked up.
const RING: Duration = Duration::from_millis(200);
/// A caller's own patience.
const PATIENCE: Duration = Duration::from_secs(32);

/// A call that was not set up.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// A final response.
    #[error("the caller got {0}")]
    Refused(u16),
    /// None in 32 s.
    #[error("the caller got no final answer in 32 s")]
    Unanswered,
    /// A 2xx that no dialog can be made of.
    #[error("the caller got an answer without Contact")]
    NotADialog,
    /// The caller's own socket.
    #[error("the caller cannot send: {0}")]
    Socket(#[from] io::Error),
}

/// A call that was answered.
pub struct Call {
    /// Its name on the wire.
    pub call_id: String,
    /// Who answered, by its Contact.
    pub answered_by: Option<SocketAddr>,
    /// From the INVITE to the first ring.
    pub rang_after: Duration,
    dialog: Dialog,
}

/// An endpoint. Closed when dropped.
pub struct Phone {
    line: Line,
    reader: Option<JoinHandle<()>>,
}

/// What places calls from a phone, and ends them. Cheap to clone.
#[derive(Clone)]
pub struct Line(Arc<Shared>);

struct Shared {
    label: &'static str,
    addr: SocketAddr,
    trunkline: SocketAddr,
    tape: Tape,
    state: Mutex<State>,
    probes: AtomicU64,
}

#[derive(Default)]
struct State {
    /// `None`: dead. The system answers for it, with ICMP.
    socket: Option<Arc<UdpSocket>>,
    silent: bool,
    /// Our requests that wait for responses, by branch.
    waiting: HashMap<String, mpsc::UnboundedSender<Vec<u8>>>,
    /// What acknowledged our calls' answers, by Call-ID: for answers that come again.
    acks: HashMap<String, Vec<u8>>,
    /// Calls that came in, by Call-ID.
    taken: HashMap<String, Taken>,
}

/// A call that came in.
struct Taken {
    branch: String,
    /// The response to send again when the INVITE comes again.
    last: Vec<u8>,
    progress: Progress,
    dialog: Option<Dialog>,
}

#[derive(Copy, Clone, PartialEq, Eq)]
enum Progress {
    Ringing,
    Answered,
    Acknowledged,
    Over,
}

impl Drop for Phone {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl Phone {
    /// One that answers every call.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn open(
        label: &'static str,
        addr: SocketAddr,
        trunkline: SocketAddr,
        tape: Tape,
    ) -> io::Result<Phone> {
        let socket = bind(label, addr).await?;
        let shared = Arc::new(Shared {
            label,
            addr: socket.local_addr()?,
            trunkline,
            tape,
            state: Mutex::default(),
            probes: AtomicU64::new(0),
        });
        let mut phone = Phone {
            line: Line(shared),
            reader: None,
        };
        phone.answer_on(socket);
        Ok(phone)
    }

    /// Receives, and says nothing to anything: a machine that hangs, or a network that drops.
    pub fn fall_silent(&self) {
        self.line.0.state().silent = true;
    }

    /// Closes the socket: whoever sends there is told by the system.
    pub async fn die(&mut self) {
        self.line.0.state().socket = None;
        if let Some(reader) = self.reader.take() {
            reader.abort();
            // The socket is closed only once the task that reads it is gone.
            let _ = reader.await;
        }
    }

    /// Back to answering.
    ///
    /// # Errors
    /// When somebody else has taken the address meanwhile.
    pub async fn revive(&mut self) -> io::Result<()> {
        self.line.0.state().silent = false;
        if self.reader.is_none() {
            let socket = bind(self.line.label(), self.line.0.addr).await?;
            self.answer_on(socket);
        }
        Ok(())
    }

    fn answer_on(&mut self, socket: UdpSocket) {
        let socket = Arc::new(socket);
        let shared = Arc::clone(&self.line.0);
        shared.state().socket = Some(Arc::clone(&socket));
        self.reader = Some(tokio::spawn(read(shared, socket)));
    }

    /// To place calls with.
    pub fn line(&self) -> Line {
        self.line.clone()
    }

    /// How many OPTIONS came.
    pub fn probes(&self) -> u64 {
        self.line.0.probes.load(Ordering::Relaxed)
    }
}

impl Line {
    /// What the phone is called.
    pub fn label(&self) -> &'static str {
        self.0.label
    }

    /// Places a call through Trunkline and acknowledges its answer.
    ///
    /// # Errors
    /// When there is none.
    pub async fn call(&self, number: &str, call_id: String) -> Result<Call, CallError> {
        let shared = &self.0;
        let (invite, branch) = message::invite(number, &call_id, shared.addr, shared.trunkline);
        let began = Instant::now();
        let mut responses = shared.begin(branch.clone());
        let mut rang_after = None;
        let ringing = |_: &Message<'_>| {
            rang_after.get_or_insert_with(|| began.elapsed());
        };
        let last = timeout(
            PATIENCE,
            shared.transact(&invite, &mut responses, PATIENCE, ringing),
        )
        .await;
        shared.state().waiting.remove(&branch);
        let last = last.map_err(|_| CallError::Unanswered)??;
        let answer = parse(&last).ok_or(CallError::NotADialog)?;
        match answer.code() {
            Some(200..300) => {
                let dialog = Dialog::of_caller(&answer).ok_or(CallError::NotADialog)?;
                let ack = dialog.ack(shared.addr);
                shared.state().acks.insert(call_id.clone(), ack.clone());
                shared.send(&ack, shared.trunkline).await?;
                let rang_after = rang_after.unwrap_or_else(|| began.elapsed());
                Ok(Call {
                    call_id,
                    answered_by: dialog.peer(),
                    rang_after,
                    dialog,
                })
            }
            code => {
                let ack =
                    parse(&invite).and_then(|invite| message::ack_of_failure(&invite, &answer));
                if let Some(ack) = ack {
                    shared.send(&ack, shared.trunkline).await?;
                }
                Err(CallError::Refused(code.unwrap_or(0)))
            }
        }
    }

    /// Ends a call that this phone placed. True when the other side said yes.
    pub async fn hang_up(&self, call: Call) -> bool {
        self.0.state().acks.remove(&call.call_id);
        self.0.bye(call.dialog).await
    }

    /// Ends a call that this phone took. True when the other side said yes.
    pub async fn hang_up_taken(&self, call_id: &str) -> bool {
        let dialog = self
            .0
            .state()
            .taken
            .get_mut(call_id)
            .and_then(|taken| taken.dialog.take());
        match dialog {
            Some(dialog) => self.0.bye(dialog).await,
            None => false,
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, branch: String) -> mpsc::UnboundedReceiver<Vec<u8>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().waiting.insert(branch, sender);
        receiver
    }

    /// Sends a request until something answers, and waits for its final response; the caller
    /// limits how long. `interim` sees the responses between 100 and that.
    async fn transact(
        &self,
        request: &[u8],
        responses: &mut mpsc::UnboundedReceiver<Vec<u8>>,
        longest_gap: Duration,
        mut interim: impl FnMut(&Message<'_>),
    ) -> io::Result<Vec<u8>> {
        let mut gap = T1;
        let mut answered = false;
        self.send(request, self.trunkline).await?;
        loop {
            let wait = if answered { PATIENCE } else { gap };
            match timeout(wait, responses.recv()).await {
                Ok(Some(bytes)) => {
                    answered = true;
                    if let Some(message) = parse(&bytes) {
                        match message.code() {
                            Some(100) | None => {}
                            Some(101..200) => interim(&message),
                            Some(_) => {
                                drop(message);
                                return Ok(bytes);
                            }
                        }
                    }
                }
                // The sender lives in `waiting` for as long as we do.
                Ok(None) => return Err(io::ErrorKind::NotConnected.into()),
                Err(_) if answered => {}
                Err(_) => {
                    gap = (gap * 2).min(longest_gap);
                    self.send(request, self.trunkline).await?;
                }
            }
        }
    }

    async fn bye(&self, mut dialog: Dialog) -> bool {
        let (bye, branch) = dialog.bye(self.addr);
        let mut responses = self.begin(branch.clone());
        let done = timeout(T2, self.transact(&bye, &mut responses, T2, |_| {})).await;
        self.state().waiting.remove(&branch);
        match done {
            Ok(Ok(last)) => parse(&last)
                .and_then(|message| message.code())
                .is_some_and(|code| code / 100 == 2),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let Some(socket) = self.state().socket.clone() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        self.note(bytes, Way::In);
        socket.send_to(bytes, to).await.map(drop)
    }

    fn note(&self, bytes: &[u8], way: Way) {
        if let Some(message) = parse(bytes)
            && let Ok(call_id) = message.call_id()
            && message
                .cseq()
                .is_ok_and(|cseq| cseq.method.as_bytes() != b"OPTIONS")
        {
            self.tape.add(
                self.label,
                way,
                message::what(&message),
                &text(call_id),
                bytes,
            );
        }
    }

    /// A response finds its transaction; an answer that comes again is acknowledged again.
    async fn on_response(&self, bytes: &[u8], response: &Message<'_>) {
        let branch = response
            .top_via()
            .ok()
            .and_then(|via| via.branch())
            .map(text)
            .unwrap_or_default();
        if let Some(waiting) = self.state().waiting.get(&branch) {
            // Whoever gave up waiting does not miss it.
            let _ = waiting.send(bytes.to_vec());
            return;
        }
        let call_id = response.call_id().map(text).unwrap_or_default();
        let ack = self.state().acks.get(&call_id).cloned();
        if let (Some(ack), Some(200..300)) = (ack, response.code()) {
            let _ = self.send(&ack, self.trunkline).await;
        }
    }

    async fn on_request(self: &Arc<Self>, request: &Message<'_>, from: SocketAddr) -> Option<()> {
        let call_id = text(request.call_id().ok()?);
        let branch = text(request.top_via().ok()?.branch()?);
        let reply = |code, contact| message::response(request, code, "callee", contact);
        match request.method()?.as_bytes() {
            b"INVITE" if request.to_tag().is_none() => {
                self.on_invite(request, from, call_id, branch).await?;
            }
            b"INVITE" => self.send(&reply(200, Some(self.addr))?, from).await.ok()?,
            b"ACK" => self.on_ack(&call_id),
            b"CANCEL" => {
                self.send(&reply(200, None)?, from).await.ok()?;
                self.on_cancel(&call_id);
            }
            b"BYE" => {
                {
                    let mut state = self.state();
                    state.taken.remove(&call_id);
                    state.acks.remove(&call_id);
                }
                self.send(&reply(200, None)?, from).await.ok()?;
            }
            _ => self.send(&reply(200, None)?, from).await.ok()?,
        }
        Some(())
    }

    async fn on_invite(
        self: &Arc<Self>,
        invite: &Message<'_>,
        from: SocketAddr,
        call_id: String,
        branch: String,
    ) -> Option<()> {
        let again = match self.state().taken.get(&call_id) {
            Some(taken) if taken.branch == branch => Some(taken.last.clone()),
            Some(_) | None => None,
        };
        if let Some(last) = again {
            return self.send(&last, from).await.ok();
        }
        let tag = message::unique();
        let ringing = message::response(invite, 180, &tag, Some(self.addr))?;
        let answer = message::response(invite, 200, &tag, Some(self.addr))?;
        let refused = message::response(invite, 487, &tag, None)?;
        let taken = Taken {
            branch,
            last: ringing.clone(),
            progress: Progress::Ringing,
            dialog: Dialog::of_called(invite, &tag),
        };
        self.state().taken.insert(call_id.clone(), taken);
        self.send(&ringing, from).await.ok()?;
        let shared = Arc::clone(self);
        tokio::spawn(async move { shared.pick_up(call_id, answer, refused, from).await });
        Some(())
    }

    /// Answers after the ringing, and again until that is acknowledged (RFC 3261 §13.3.1.4).
    async fn pick_up(&self, call_id: String, answer: Vec<u8>, refused: Vec<u8>, to: SocketAddr) {
        tokio::time::sleep(RING).await;
        let mut gap = T1;
        let mut spent = Duration::ZERO;
        while spent < T1 * 64 {
            let send = match self.state().taken.get_mut(&call_id) {
                Some(taken) => match taken.progress {
                    Progress::Ringing | Progress::Answered => {
                        taken.progress = Progress::Answered;
                        taken.last = answer.clone();
                        &answer
                    }
                    Progress::Over => {
                        taken.last = refused.clone();
                        &refused
                    }
                    Progress::Acknowledged => return,
                },
                None => return,
            };
            if self.send(send, to).await.is_err() {
                return;
            }
            tokio::time::sleep(gap).await;
            spent += gap;
            gap = (gap * 2).min(T2);
        }
        // Nobody wants it any more.
        self.state().taken.remove(&call_id);
    }

    fn on_ack(&self, call_id: &str) {
        let mut state = self.state();
        match state.taken.get_mut(call_id) {
            // The ACK of a 487 is the last of that call.
            Some(taken) if taken.progress == Progress::Over => {
                state.taken.remove(call_id);
            }
            Some(taken) => taken.progress = Progress::Acknowledged,
            None => {}
        }
    }

    /// A call that rings is over; [`pick_up`](Self::pick_up) says so to the caller.
    fn on_cancel(&self, call_id: &str) {
        if let Some(taken) = self.state().taken.get_mut(call_id)
            && taken.progress == Progress::Ringing
        {
            taken.progress = Progress::Over;
        }
    }
}

/// An error says whose address it is; its kind stays.
async fn bind(label: &str, addr: SocketAddr) -> io::Result<UdpSocket> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{label} at {addr}: {error}"));
    UdpSocket::bind(addr).await.map_err(named)
}

async fn read(shared: Arc<Shared>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; 65_535];
    loop {
        // An error here is an ICMP report about somebody who went away.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let bytes = &buffer[..length];
        let Some(message) = parse(bytes) else {
            continue;
        };
        shared.note(bytes, Way::Out);
        if shared.state().silent {
            continue;
        }
        if message.is_request() {
            if message
                .method()
                .is_some_and(|method| method.as_bytes() == b"OPTIONS")
            {
                shared.probes.fetch_add(1, Ordering::Relaxed);
            }
            // `None`: not a request one can answer.
            let _ = shared.on_request(&message, from).await;
        } else {
            shared.on_response(bytes, &message).await;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Message<'_>> {
    Message::parse(bytes, &Limits::default()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: [u8; 4] = [127, 0, 0, 1];

    async fn phones() -> (Phone, Phone, Tape) {
        let tape = Tape::new();
        let nobody = (ANY, 9).into();
        let called = Phone::open("called", (ANY, 0).into(), nobody, tape.clone())
            .await
            .unwrap();
        let to = called.line.0.addr;
        let caller = Phone::open("caller", (ANY, 0).into(), to, tape.clone())
            .await
            .unwrap();
        (caller, called, tape)
    }

    fn told(tape: &Tape, call_id: &str, who: &str) -> Vec<String> {
        let seen = tape.of(call_id);
        seen.into_iter()
            .filter(|seen| seen.who == who)
            .map(|seen| seen.what)
            .collect()
    }

    #[tokio::test]
    async fn a_call_rings_is_answered_and_ends() {
        let (caller, called, tape) = phones().await;
        let call = caller.line().call("+1555", "c1".into()).await.unwrap();
        assert_eq!(call.answered_by, Some(called.line.0.addr));
        assert!(caller.line().hang_up(call).await);
        let expected = [
            "INVITE",
            "180 Ringing",
            "200 OK",
            "ACK",
            "BYE",
            "200 OK (BYE)",
        ];
        assert_eq!(told(&tape, "c1", "caller"), expected);
        assert_eq!(told(&tape, "c1", "called"), expected);
        assert!(called.line.0.state().taken.is_empty());
    }

    #[tokio::test]
    async fn the_silent_hear_and_the_dead_do_not_and_both_come_back() {
        let (caller, mut called, tape) = phones().await;
        called.fall_silent();
        let line = caller.line();
        let silent = tokio::spawn(async move { line.call("+1555", "c1".into()).await });
        while told(&tape, "c1", "called").len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(told(&tape, "c1", "called"), ["INVITE", "INVITE"]);
        called.revive().await.unwrap();
        assert!(silent.await.unwrap().is_ok(), "a later copy is answered");

        called.die().await;
        let free = std::net::UdpSocket::bind(called.line.0.addr);
        assert!(free.is_ok(), "its address is free");
        assert!(called.revive().await.is_err(), "somebody else has it");
        drop(free);
        called.revive().await.unwrap();
        assert!(caller.line().call("+1555", "c2".into()).await.is_ok());
    }
}
