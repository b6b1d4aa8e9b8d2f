//! A small authoritative DNS server for the demo and the tests, on UDP and TCP of one address.
//!
//! Its zone and its faults change while it runs, which is what makes it worth having: a name can
//! lose an address, answer SERVFAIL or fall silent in the middle of a call. Not meant for a
//! network: it answers anyone, for every name, and keeps a list of what it was asked.

use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hickory_proto::{
    op::{Message, OpCode, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, NAPTR, SOA, SRV},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

/// What a UDP answer may hold when the question does not say more (RFC 1035 §4.2.1).
const UDP_BYTES_MIN: usize = 512;
/// CNAMEs followed for one question.
const CNAMES_MAX: usize = 8;
/// Questions remembered; older ones are forgotten.
const ASKED_MAX: usize = 10_000;

/// What goes wrong with the answers for one name.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The answer is SERVFAIL.
    ServFail,
    /// There is no answer.
    Silence,
    /// The answer is not DNS.
    Garbage,
    /// The answer is another question's: a wrong id and a wrong name.
    Foreign,
    /// Over UDP the answer is cut to nothing, so that the asker has to come back over TCP.
    Truncate,
    /// Cut like [`Fault::Truncate`], and TCP connections for it are closed without an answer.
    TruncateWithoutTcp,
    /// The name does not exist, whatever the zone says.
    NxDomain,
}

/// One question that was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// Lower case, without the final dot.
    pub name: String,
    /// "A", "SRV", ...
    pub kind: String,
    /// Whether it came over TCP.
    pub tcp: bool,
}

#[derive(Default)]
struct Zone {
    records: HashMap<Name, Vec<Record>>,
    faults: HashMap<Name, Fault>,
    fault_for_all: Option<Fault>,
    negative_ttl: u32,
    asked: Vec<Asked>,
}

/// The server; it stops when this is dropped.
pub struct TestDns {
    addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for TestDns {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl TestDns {
    /// Starts one. Port 0 takes a free port, the same for UDP and TCP.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(addr: SocketAddr) -> io::Result<TestDns> {
        let (udp, tcp) = bind_both(addr).await?;
        let addr = udp.local_addr()?;
        let zone = Arc::new(Mutex::new(Zone {
            negative_ttl: 60,
            ..Zone::default()
        }));
        let tasks = [
            tokio::spawn(serve_udp(udp, zone.clone())),
            tokio::spawn(serve_tcp(tcp, zone.clone())),
        ];
        Ok(TestDns { addr, zone, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Gives a name these IPv4 addresses instead of the ones it had.
    pub fn a(&self, name: &str, ttl: u32, addresses: &[Ipv4Addr]) {
        self.replace(
            name,
            ttl,
            RecordType::A,
            addresses.iter().map(|ip| RData::A(A(*ip))),
        );
    }

    /// Gives a name these IPv6 addresses instead of the ones it had.
    pub fn aaaa(&self, name: &str, ttl: u32, addresses: &[Ipv6Addr]) {
        self.replace(
            name,
            ttl,
            RecordType::AAAA,
            addresses.iter().map(|ip| RData::AAAA(AAAA(*ip))),
        );
    }

    /// Gives a name these services (priority, weight, port, target) instead of the ones it had.
    pub fn srv(&self, name: &str, ttl: u32, services: &[(u16, u16, u16, &str)]) {
        let data = services.iter().map(|(priority, weight, port, target)| {
            RData::SRV(SRV::new(*priority, *weight, *port, key(target)))
        });
        self.replace(name, ttl, RecordType::SRV, data);
    }

    /// Gives a name these rules (order, preference, service, replacement), all with flag "s".
    pub fn naptr(&self, name: &str, ttl: u32, rules: &[(u16, u16, &str, &str)]) {
        let data = rules
            .iter()
            .map(|(order, preference, service, replacement)| {
                RData::NAPTR(NAPTR::new(
                    *order,
                    *preference,
                    b"s".as_slice().into(),
                    service.as_bytes().into(),
                    b"".as_slice().into(),
                    key(replacement),
                ))
            });
        self.replace(name, ttl, RecordType::NAPTR, data);
    }

    /// Makes a name another word for `target`.
    pub fn cname(&self, name: &str, ttl: u32, target: &str) {
        let data = [RData::CNAME(CNAME(key(target)))].into_iter();
        self.replace(name, ttl, RecordType::CNAME, data);
    }

    /// Forgets a name: NXDOMAIN from now on.
    pub fn remove(&self, name: &str) {
        self.zone().records.remove(&key(name));
    }

    /// Makes the answers for one name go wrong, or right again with `None`.
    pub fn fault(&self, name: &str, fault: Option<Fault>) {
        match fault {
            Some(fault) => self.zone().faults.insert(key(name), fault),
            None => self.zone().faults.remove(&key(name)),
        };
    }

    /// Makes all answers go wrong, or right again with `None`.
    pub fn fault_all(&self, fault: Option<Fault>) {
        self.zone().fault_for_all = fault;
    }

    /// For how long "no such name" may be believed, in seconds; 60 at the start.
    pub fn negative_ttl(&self, seconds: u32) {
        self.zone().negative_ttl = seconds;
    }

    /// What was asked so far, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.zone().asked.clone()
    }

    fn replace(&self, name: &str, ttl: u32, kind: RecordType, data: impl Iterator<Item = RData>) {
        let name = key(name);
        let mut zone = self.zone();
        let records = zone.records.entry(name.clone()).or_default();
        records.retain(|record| record.record_type() != kind);
        records.extend(data.map(|data| Record::from_rdata(name.clone(), ttl, data)));
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        lock(&self.zone)
    }
}

/// A zone that a panicking test left behind is still a zone.
fn lock(zone: &Mutex<Zone>) -> MutexGuard<'_, Zone> {
    zone.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A name as the zone keeps it. A name that is not one becomes the root, which has no records.
fn key(name: &str) -> Name {
    let mut name = Name::from_ascii(name)
        .unwrap_or_else(|_| Name::root())
        .to_lowercase();
    name.set_fqdn(true);
    name
}

/// UDP and TCP share no port space, so a free UDP port may be taken for TCP: try again then.
async fn bind_both(addr: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = 0;
    loop {
        let tcp = TcpListener::bind(addr).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if addr.port() != 0 || tries == 20 => return Err(error),
            Err(_) => tries += 1,
        }
    }
}

async fn serve_udp(socket: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut buffer = vec![0; 4096];
    loop {
        // An error here is an ICMP report about an asker that went away; the next one matters.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(answer) = answer(&zone, &buffer[..length], false) else {
            continue;
        };
        let _gone = socket.send_to(&answer, from).await;
    }
}

async fn serve_tcp(listener: TcpListener, zone: Arc<Mutex<Zone>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        tokio::spawn(serve_connection(stream, zone.clone()));
    }
}

/// Until the asker closes, breaks off, or hits a fault.
async fn serve_connection(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) -> Option<()> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.ok()?;
        let answer = answer(&zone, &question, true)?;
        stream
            .write_u16(u16::try_from(answer.len()).ok()?)
            .await
            .ok()?;
        stream.write_all(&answer).await.ok()?;
    }
}

/// The bytes to send back; `None` is silence.
fn answer(zone: &Mutex<Zone>, bytes: &[u8], tcp: bool) -> Option<Vec<u8>> {
    let question = Message::from_vec(bytes).ok()?;
    let query = question.queries.first()?;
    let (name, kind) = (query.name().to_lowercase(), query.query_type());
    let mut zone = lock(zone);
    if zone.asked.len() == ASKED_MAX {
        zone.asked.remove(0);
    }
    let spoken = name.to_ascii().trim_end_matches('.').to_owned();
    zone.asked.push(Asked {
        name: spoken,
        kind: kind.to_string(),
        tcp,
    });

    let fault = zone.faults.get(&name).copied().or(zone.fault_for_all);
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_query(query.clone());
    match fault {
        None => fill(&zone, &name, kind, &mut reply),
        Some(Fault::ServFail) => reply.metadata.response_code = ResponseCode::ServFail,
        Some(Fault::Silence) => return None,
        Some(Fault::Garbage) => return Some(b"\xff\xff this is no DNS message".to_vec()),
        Some(Fault::Foreign) => {
            reply.metadata.id = question.metadata.id.wrapping_add(1);
            reply.queries.clear();
            reply.add_answer(Record::from_rdata(
                key("somebody.else"),
                600,
                RData::A(A(Ipv4Addr::new(192, 0, 2, 66))),
            ));
        }
        Some(Fault::TruncateWithoutTcp) if tcp => return None,
        Some(Fault::Truncate | Fault::TruncateWithoutTcp) if !tcp => {
            reply.metadata.truncation = true;
        }
        Some(Fault::Truncate | Fault::TruncateWithoutTcp) => fill(&zone, &name, kind, &mut reply),
        Some(Fault::NxDomain) => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            say_how_long(&zone, &mut reply);
        }
    }
    let bytes = reply.to_vec().ok()?;
    let room = if tcp {
        usize::from(u16::MAX)
    } else {
        usize::from(question.max_payload()).max(UDP_BYTES_MIN)
    };
    if bytes.len() <= room {
        Some(bytes)
    } else {
        reply.truncate().to_vec().ok()
    }
}

/// Answers from the zone, CNAMEs followed.
fn fill(zone: &Zone, name: &Name, kind: RecordType, reply: &mut Message) {
    let mut at = name.clone();
    for _ in 0..CNAMES_MAX {
        let Some(records) = zone.records.get(&at) else {
            reply.metadata.response_code = ResponseCode::NXDomain;
            break;
        };
        let found = records
            .iter()
            .filter(|record| record.record_type() == kind)
            .cloned();
        reply.answers.extend(found);
        let next = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if kind != RecordType::CNAME => Some((record, target.0.clone())),
            _ => None,
        });
        let Some((record, target)) = next else { break };
        reply.add_answer(record.clone());
        at = target.to_lowercase();
    }
    if !reply
        .answers
        .iter()
        .any(|record| record.record_type() == kind)
    {
        say_how_long(zone, reply);
    }
}

/// The SOA that gives "nothing" its TTL (RFC 2308).
fn say_how_long(zone: &Zone, reply: &mut Message) {
    let ttl = zone.negative_ttl;
    let soa = SOA::new(key("ns.test"), key("admin.test"), 1, 3600, 600, 86400, ttl);
    reply.add_authority(Record::from_rdata(key("test"), ttl, RData::SOA(soa)));
}
