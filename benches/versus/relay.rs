//! The floor: a process that passes datagrams on and reads none of them. What the caller sends goes
//! to the callees in turn, what they send to the caller, and what a stranger sends to nobody. One
//! socket, one blocking loop.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
};

use socket2::SockRef;

/// What a process of ours is started with to be a relay.
pub const WORD: &str = "be-a-relay";

/// Runs until it is killed. The arguments are its own address, the caller's and the callees'.
pub fn run(addresses: &[String]) -> io::Result<()> {
    let addresses: Result<Vec<SocketAddr>, _> =
        addresses.iter().map(|address| address.parse()).collect();
    let addresses = addresses.map_err(io::Error::other)?;
    let [own, caller, callees @ ..] = addresses.as_slice() else {
        return Err(io::Error::other("want own address, caller's and callees'"));
    };
    let socket = UdpSocket::bind(own)?;
    SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    let mut turn = callees.iter().cycle();
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors are those of ICMP, about datagrams before: nobody to tell here.
        let Ok((length, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let to = if from == *caller {
            turn.next()
        } else {
            callees.contains(&from).then_some(caller)
        };
        if let Some(to) = to {
            let _ = socket.send_to(&buffer[..length], to);
        }
    }
}
