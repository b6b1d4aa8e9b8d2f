//! What happens to a server beside its calls: somebody scrapes its metrics, looks at its calls and has it load its
//! configuration again.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use trunkline_benches::sys;

/// From one visit to the next.
const EVERY: Duration = Duration::from_secs(5);
/// Every so many visits the configuration is loaded again.
const RELOAD_EVERY: u32 = 4;
/// What a visit may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Goes on until it is asked what it did.
pub struct Upkeep {
    stop: Sender<()>,
    thread: JoinHandle<Done>,
}

/// What was done.
#[derive(Copy, Clone, Default, Debug)]
pub struct Done {
    /// Pages read.
    pub pages: u32,
    /// Pages that did not come.
    pub failed: u32,
    /// Reloads asked for.
    pub reloads: u32,
}

impl Upkeep {
    /// Begins, for a process that is watched there.
    pub fn begin(process: u32, admin: SocketAddr) -> Upkeep {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut done = Done::default();
            for visit in 1.. {
                match stopped.recv_timeout(EVERY) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
                for page in ["/metrics", "/calls", "/targets"] {
                    match read(admin, page) {
                        Ok(()) => done.pages += 1,
                        Err(_) => done.failed += 1,
                    }
                }
                if visit % RELOAD_EVERY == 0 {
                    sys::hang_up(process);
                    done.reloads += 1;
                }
            }
            done
        });
        Upkeep { stop, thread }
    }

    /// Ends it.
    pub fn end(self) -> Done {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or_default()
    }
}

fn read(admin: SocketAddr, page: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {page} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 200 ") {
        Ok(())
    } else {
        Err(io::Error::other("no such page"))
    }
}
