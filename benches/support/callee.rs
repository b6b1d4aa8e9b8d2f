//! Answers every call: 180 and 200 to an INVITE at once, 200 to a BYE.

use std::{
    io::Write,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use trunkline_sip::{Limits, Message, Method, Name, Transport};

use super::line::Line;

/// A callee at work.
pub struct Callee {
    /// Where it listens.
    pub address: SocketAddr,
    /// Ends when told to stop.
    pub thread: JoinHandle<()>,
}

/// Starts one at 127.0.0.2.
pub fn callee(transport: Transport, stop: Arc<AtomicBool>) -> Callee {
    if transport == Transport::Udp {
        let socket = UdpSocket::bind("127.0.0.2:0").expect("loopback can be bound");
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout can be set");
        let buffer = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        buffer.expect("a buffer can be set");
        let address = socket.local_addr().expect("bound");
        Callee {
            address,
            thread: thread::spawn(move || datagrams(&socket, address, &stop)),
        }
    } else {
        let listener = TcpListener::bind("127.0.0.2:0").expect("loopback can be bound");
        let address = listener.local_addr().expect("bound");
        Callee {
            address,
            thread: thread::spawn(move || streams(&listener, address, &stop)),
        }
    }
}

fn datagrams(socket: &UdpSocket, own: SocketAddr, stop: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    let mut answer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        respond(&buffer[..length], own, "udp", &mut answer, |answer| {
            let _ = socket.send_to(answer, from);
        });
    }
}

/// One connection is enough: the shard has one for each peer.
fn streams(listener: &TcpListener, own: SocketAddr, stop: &AtomicBool) {
    listener
        .set_nonblocking(true)
        .expect("an option can be set");
    let mut answer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(Duration::from_millis(1));
            continue;
        };
        stream.set_nonblocking(false).expect("an option can be set");
        let line = Line::tcp(stream);
        line.listen(stop, |bytes| {
            respond(bytes, own, "tcp", &mut answer, |answer| line.send(answer))
        });
    }
}

fn respond(
    bytes: &[u8],
    own: SocketAddr,
    transport: &str,
    answer: &mut Vec<u8>,
    mut send: impl FnMut(&[u8]),
) {
    let Ok(request) = Message::parse(bytes, &Limits::default()) else {
        return;
    };
    let statuses: &[&str] = match request.method() {
        Some(Method::Invite) => &["180 Ringing", "200 OK"],
        Some(Method::Bye) => &["200 OK"],
        _ => return,
    };
    for status in statuses {
        answer.clear();
        write(&request, status, own, transport, answer);
        send(answer);
    }
}

fn write(request: &Message<'_>, status: &str, own: SocketAddr, transport: &str, out: &mut Vec<u8>) {
    let mut line = |text: std::fmt::Arguments<'_>| out.write_fmt(text).expect("memory takes it");
    line(format_args!("SIP/2.0 {status}\r\n"));
    for header in request.headers() {
        let tag = if header.name == Name::To && request.to_tag().is_none() {
            ";tag=callee"
        } else {
            ""
        };
        if matches!(
            header.name,
            Name::Via | Name::RecordRoute | Name::From | Name::To | Name::CallId | Name::CSeq
        ) {
            line(format_args!(
                "{}: {}{tag}\r\n",
                header.name.canonical(),
                String::from_utf8_lossy(header.value)
            ));
        }
    }
    line(format_args!(
        "Contact: <sip:{own};transport={transport}>\r\nContent-Length: 0\r\n\r\n"
    ));
}
