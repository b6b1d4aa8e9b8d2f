//! The systems under test: how each is configured, started and ended.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use trunkline_benches::{
    cpu,
    load::{Bound, Carrier, Load, Problem},
    sys,
};

use crate::relay;

/// Where servers listen.
const SERVER: [u8; 4] = [127, 0, 0, 3];
/// Where Trunkline is watched: not at the same address, for a port that is free now may be the one that the
/// server was given.
const ADMIN: [u8; 4] = [127, 0, 0, 4];
/// From start to the first call that goes through.
const START: Duration = Duration::from_secs(10);
/// From the signal to the end.
const STOP: Duration = Duration::from_secs(5);

/// What can be measured.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum System {
    /// The release binary with a configuration of its own, everything on
    Trunkline,
    /// The same over TCP
    TrunklineTcp,
    /// Another Trunkline, given by --baseline: to compare two builds
    Baseline,
    /// Kamailio with tm, rr and dispatcher
    Kamailio,
    /// Kamailio that keeps no transactions
    KamailioStateless,
    /// A process that passes datagrams on and reads none of them
    Relay,
}

impl System {
    /// For tables and options.
    pub fn name(self) -> &'static str {
        match self {
            System::Trunkline => "trunkline",
            System::TrunklineTcp => "trunkline-tcp",
            System::Baseline => "baseline",
            System::Kamailio => "kamailio",
            System::KamailioStateless => "kamailio-stateless",
            System::Relay => "relay",
        }
    }

    fn carrier(self) -> Carrier {
        match self {
            System::TrunklineTcp => Carrier::Tcp(4),
            System::Trunkline
            | System::Baseline
            | System::Kamailio
            | System::KamailioStateless
            | System::Relay => Carrier::Udp,
        }
    }
}

/// How servers are run.
#[derive(Clone, Debug)]
pub struct Site {
    /// Trunkline's binary, and another one.
    pub trunkline: PathBuf,
    pub baseline: Option<PathBuf>,
    /// Kamailio's configuration.
    pub kamailio: PathBuf,
    /// Trunkline's shards, Kamailio's UDP workers.
    pub workers: usize,
    /// The cores a server may use: "0", "0-1".
    pub cores: String,
    /// Put before a server's command, to look at it: `perf record -o FILE`.
    pub wrapper: Vec<String>,
    /// Leave configurations and logs where they are.
    pub keep: bool,
}

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("cannot start {program}: {source}; {remedy}")]
    Start {
        program: String,
        source: io::Error,
        remedy: &'static str,
    },
    #[error("{system}: {problem} (its log is {log})")]
    Silent {
        system: &'static str,
        problem: Problem,
        log: String,
    },
    #[error("--only baseline needs --baseline FILE, another trunkline binary")]
    NoBaseline,
    #[error("{0}")]
    Soak(String),
    #[error("loopback: {0}")]
    Loopback(#[from] io::Error),
}

/// A running server with the load that is connected to it.
pub struct Server {
    pub load: Load,
    child: Child,
    admin: Option<SocketAddr>,
    folder: PathBuf,
    keep: bool,
}

impl Server {
    /// Starts it and waits for a call to go through.
    pub fn start(system: System, site: &Site) -> Result<Server, Failure> {
        let bound = Bound::new(system.carrier())?;
        let address = free_address()?;
        let folder = std::env::temp_dir().join(format!(
            "trunkline-versus-{}-{}",
            std::process::id(),
            address.port()
        ));
        fs::create_dir_all(&folder)?;
        let log = folder.join("log");
        // Nobody is left when we are gone, however that came.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "taskset", "-c", &site.cores]);
        command.args(&site.wrapper).process_group(0);
        let admin = configure(&mut command, system, site, &bound, address, &folder)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::options().append(true).open(&log)?)
            .spawn()
            .map_err(|source| Failure::Start {
                program: "setpriv".into(),
                source,
                remedy: "install util-linux",
            })?;
        let waiting = Ended(Some((child, folder, site.keep)));
        let silent = |problem| Failure::Silent {
            system: system.name(),
            problem,
            log: log.display().to_string(),
        };
        if let Carrier::Tcp(_) = system.carrier() {
            await_listener(address)?;
        }
        let mut load = bound.connect(address)?;
        if let Err(problem) = load.knock(START) {
            waiting.keep();
            return Err(silent(problem));
        }
        let Some((child, folder, keep)) = waiting.take() else {
            return Err(silent(Problem::Silent(START)));
        };
        Ok(Server {
            load,
            child,
            admin,
            folder,
            keep,
        })
    }

    /// Where it is watched, if anywhere.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        clear(&self.folder, self.keep);
    }
}

/// A child that is ended unless somebody takes it over.
struct Ended(Option<(Child, PathBuf, bool)>);

impl Ended {
    fn take(mut self) -> Option<(Child, PathBuf, bool)> {
        self.0.take()
    }

    /// Ends it, and leaves its files.
    fn keep(mut self) {
        if let Some((_, _, keep)) = &mut self.0 {
            *keep = true;
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some((child, folder, keep)) = &mut self.0 {
            end(child);
            clear(folder, *keep);
        }
    }
}

fn clear(folder: &Path, keep: bool) {
    if keep {
        println!("kept: {}", folder.display());
    } else {
        let _ = fs::remove_dir_all(folder);
    }
}

fn end(child: &mut Child) {
    let group = child.id();
    sys::terminate(child);
    let until = Instant::now() + STOP;
    while cpu::runs(group) && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    // A wrapper may end before what it has started, and whatever is left of the group holds on to
    // what it has inherited. Before the child is waited for: until then the number is its own.
    sys::kill_group(group);
    let _ = child.wait();
}

/// Of a port that is free for UDP and TCP.
fn free_address() -> io::Result<SocketAddr> {
    let mut last = io::Error::other("no port is free");
    for _ in 0..20 {
        let udp = UdpSocket::bind(SocketAddr::from((SERVER, 0)))?;
        let address = udp.local_addr()?;
        match TcpListener::bind(address) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn await_listener(address: SocketAddr) -> Result<(), Failure> {
    let until = Instant::now() + START;
    loop {
        match std::net::TcpStream::connect(address) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Writes what the server reads, and completes the command. Where it is watched, if anywhere.
fn configure(
    command: &mut Command,
    system: System,
    site: &Site,
    bound: &Bound,
    address: SocketAddr,
    folder: &Path,
) -> Result<Option<SocketAddr>, Failure> {
    let targets = bound.targets()?;
    match system {
        System::Trunkline | System::TrunklineTcp | System::Baseline => {
            let file = folder.join("trunkline.toml");
            let transport = system.carrier().name();
            let admin = TcpListener::bind(SocketAddr::from((ADMIN, 0)))?.local_addr()?;
            let text = trunkline_toml(site.workers, address, admin, &targets, transport, folder);
            fs::write(&file, text)?;
            let binary = match (system, &site.baseline) {
                (System::Baseline, Some(binary)) => binary,
                (System::Baseline, None) => return Err(Failure::NoBaseline),
                _ => &site.trunkline,
            };
            command.arg(binary).arg("run").arg("--config").arg(file);
            return Ok(Some(admin));
        }
        System::Kamailio | System::KamailioStateless => {
            let list = folder.join("dispatcher.list");
            let lines: String = targets.iter().map(|it| format!("1 sip:{it}\n")).collect();
            fs::write(&list, lines)?;
            command
                .arg("kamailio")
                .arg("-f")
                .arg(&site.kamailio)
                // In the foreground, log to stderr; no TCP; addresses and sizes.
                .args(["-DD", "-E", "-T", "-m", "4096", "-M", "32"])
                // Its default allocator is for finding faults: it took 57 % of the time at 3000
                // calls/s. Of the two others this one is the faster by 4 %.
                .args(["-x", "tlsf"])
                .args(["-n", &site.workers.to_string()])
                .args(["-l", &format!("udp:{address}")])
                .arg("-A")
                .arg(format!("TARGETS=\"{}\"", list.display()))
                .arg("-Y")
                .arg(folder)
                .arg("-P")
                .arg(folder.join("pid"));
            if system == System::KamailioStateless {
                command.args(["-A", "STATELESS"]);
            }
        }
        System::Relay => {
            command
                .arg(std::env::current_exe()?)
                .arg(relay::WORD)
                .arg(address.to_string())
                .arg(bound.caller()?.to_string())
                .args(targets.iter().map(ToString::to_string));
        }
    }
    Ok(None)
}

/// Everything on that a site would have on: probes, admin and metrics, a log line for each call.
fn trunkline_toml(
    workers: usize,
    address: SocketAddr,
    admin: SocketAddr,
    targets: &[SocketAddr],
    transport: &str,
    folder: &Path,
) -> String {
    let targets: String = targets
        .iter()
        .map(|target| format!("  {{ uri = \"sip:{target};transport={transport}\" }},\n"))
        .collect();
    format!(
        r#"[node]
workers = {workers}
state_dir = "{folder}"
[[listen]]
protocol = "udp"
address = "{address}"
[[listen]]
protocol = "tcp"
address = "{address}"
[admin]
address = "{admin}"
[[trunk]]
name = "carrier"
allow = ["127.0.0.1"]
[trunk.origination]
targets = [
{targets}]
[log]
level = "info"
"#,
        folder = folder.display()
    )
}
