//! An idle shard uses no processor. Alone in its file: it looks for the shard's thread by name.

mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use support::{PATIENCE, Said, World, hop, udp_peer};
use trunkline_net::NetLimits;
use trunkline_proxy::HopLoss;
use trunkline_sip::Transport;

/// Whatever it did before: answered, met an ICMP error, accepted a connection, got half a message.
#[test]
fn an_idle_shard_uses_no_processor() {
    let gone = udp_peer("127.0.0.1:0").local_addr().expect("bound");
    let listeners = [
        (Transport::Udp, "127.0.0.1:0"),
        (Transport::Tcp, "127.0.0.1:0"),
    ];
    let world = World::new(&listeners, NetLimits::default(), move |said, out| {
        if let Said::Message(_, bytes) = said {
            let to = hop(Transport::Udp, 0, gone);
            out.send(to, PATIENCE, |arena| arena.extend_from_slice(bytes));
        }
    });
    let mut stream = TcpStream::connect(world.addrs[1]).expect("the listener accepts");
    stream.write_all(b"\r\n\r\n").expect("written");
    stream.read_exact(&mut [0; 2]).expect("a pong");
    stream.write_all(b"OPTIONS sip:").expect("written");
    udp_peer("127.0.0.1:0")
        .send_to(b"to nobody", world.addrs[0])
        .expect("sent");
    assert!(matches!(world.hear(), Said::Message(..)));
    assert!(matches!(world.hear(), Said::Lost(_, HopLoss::Unreachable)));

    assert!(world.silent_for(Duration::from_millis(100)));
    let before = shard_switches();
    assert!(world.silent_for(Duration::from_millis(500)));
    let woken = shard_switches() - before;
    assert!(woken <= 1, "woken {woken} times for nothing");
}

/// How often the shard's thread has gone to sleep by itself.
fn shard_switches() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc is there");
    let status = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
        .find(|status| status.starts_with("Name:\tshard-0\n"))
        .expect("the shard lives");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
        .expect("the system counts")
}
