//! Programs that the tests start, and the one under test.

use std::{
    env,
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::Duration,
};

use crate::{
    Lab,
    wait::{LIMIT, within},
};

/// The top folder of the project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in a folder")
}

/// The program under test, built as the tests are: `TRUNKLINE` names another one, such as a
/// release build.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("TRUNKLINE") {
        Some(named) => root().join(named),
        None => build(),
    })
}

/// Cargo makes no program for the tests of another package, so it is asked to. Where it was made
/// before, this takes a moment.
fn build() -> PathBuf {
    // target/<profile>/deps/<this test>
    let test = env::current_exe().expect("this test has a path");
    let profile_folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests are in target/*/deps");
    let target_folder = profile_folder.parent().expect("profiles are in target");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells a test about its package would make build scripts run again, and again
    // after it.
    let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_"];
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| told.iter().any(|told| name.starts_with(told)))
        {
            cargo.env_remove(name);
        }
    }
    let status = cargo
        .args([
            "build",
            "--quiet",
            "--package",
            "trunkline",
            "--profile",
            profile,
            "--target-dir",
        ])
        .arg(target_folder)
        .current_dir(root())
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cargo could not build trunkline");
    profile_folder.join("trunkline")
}

/// Runs the program under test with arguments, to its end.
///
/// # Panics
/// When it does not end.
pub fn trunkline(lab: &Lab, args: &[&str]) -> Finished {
    let mut command = Command::new(binary());
    command.args(args).current_dir(lab.folder());
    let mut program =
        Program::start(args[0], command, lab.folder()).expect("trunkline can be started");
    program.finish(LIMIT)
}

/// Sends a signal ("TERM", "HUP", ...) to one process.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, name: &str) {
    // A shell always knows `kill`; this package may not make system calls itself.
    let told = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .status()
        .expect("sh can be started");
    assert!(told.success(), "process {pid} did not take SIG{name}");
}

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// All it wrote to standard output.
    pub out: String,
    /// All it wrote to standard error.
    pub err: String,
}

/// A program that runs; it ends with this handle.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Program {
    /// Starts a program whose output goes to files in `folder`.
    ///
    /// # Errors
    /// When it is not there, most of all.
    pub fn start(name: &str, mut command: Command, folder: &Path) -> io::Result<Program> {
        let (out, err) = (
            folder.join(format!("{name}.out")),
            folder.join(format!("{name}.err")),
        );
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&out)?)
            .stderr(File::create(&err)?)
            .spawn()?;
        Ok(Program {
            name: name.to_owned(),
            child,
            out,
            err,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote so far, both streams.
    pub fn said(&self) -> String {
        read(&self.out) + &read(&self.err)
    }

    /// What it wrote to standard output so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<i32> {
        self.child
            .try_wait()
            .expect("a child can be asked")
            .map(code)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that takes longer than `limit`.
    pub fn finish(&mut self, limit: Duration) -> Finished {
        let what = format!("{} ended", self.name);
        let status = within(limit, &what, || {
            self.child.try_wait().expect("a child can be asked")
        });
        Finished {
            code: code(status),
            out: read(&self.out),
            err: read(&self.err),
        }
    }

    /// Ends it now, without a chance to say good-bye.
    pub fn kill(&mut self) {
        // One that has ended already is as dead as it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// What a file holds; nothing when it is not there.
pub(crate) fn read(file: &Path) -> String {
    std::fs::read(file)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
