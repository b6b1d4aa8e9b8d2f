//! The keys of this process, and the one that outlives it.

use std::{
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use trunkline_config::ControlFile;
use trunkline_proxy::Seed;

/// Why there is no secret to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The state directory.
    #[error("state_dir {path}: {source}; create it, or name one that this user may write to")]
    StateDir {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The secret in it.
    #[error("secret {path}: {source}; it must hold 32 hexadecimal digits, readable by this user")]
    Secret {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is none yet, and none can be kept.
    #[error(
        "secret {path} cannot be written: {source}; make room, let this user write there, or name a secret_file"
    )]
    Unkept {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system's randomness.
    #[error("no randomness from the system: {0}")]
    Random(io::Error),
}

/// The seed of this process. The cluster's key comes from `secret_file`, else from `state_dir`,
/// where it is made once: dialogs that began before a restart are still known after it.
pub fn seed(control: &ControlFile) -> Result<Seed, SecretError> {
    let cluster = match &control.secret {
        Some(secret) => trunkline_proxy::token::key_of(&secret.0),
        None => kept(&control.state_dir)?,
    };
    Ok(Seed {
        cluster,
        process: random()?,
    })
}

/// Fresh random bytes.
pub fn random() -> Result<[u8; 16], SecretError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(SecretError::Random)?;
    Ok(bytes)
}

fn kept(state_dir: &Path) -> Result<[u8; 16], SecretError> {
    fs::create_dir_all(state_dir).map_err(|source| SecretError::StateDir {
        path: state_dir.to_path_buf(),
        source,
    })?;
    let path = state_dir.join("dialog.secret");
    let failed = |source| SecretError::Secret {
        path: path.clone(),
        source,
    };
    match fs::read_to_string(&path) {
        Ok(text) => parse(text.trim()).ok_or_else(|| failed(io::ErrorKind::InvalidData.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let bytes = random()?;
            write(&path, &bytes).map_err(|source| SecretError::Unkept {
                path: path.clone(),
                source,
            })?;
            Ok(bytes)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Written beside and renamed, so that a crash leaves a whole file or none.
fn write(path: &Path, bytes: &[u8; 16]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let beside = path.with_extension("new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

fn parse(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_kept_from_others() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = std::env::temp_dir().join(format!("trunkline-secret-{}", std::process::id()));
        let first = kept(&dir).unwrap();
        assert_eq!(kept(&dir).unwrap(), first);
        let mode = fs::metadata(dir.join("dialog.secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(dir.join("dialog.secret"), "short").unwrap();
        let error = kept(&dir).unwrap_err().to_string();
        assert!(
            error.contains("dialog.secret") && error.contains("32 hexadecimal digits"),
            "{error}"
        );
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_secret_that_cannot_be_written_says_where_and_what_to_do() {
        let dir = std::env::temp_dir().join(format!("trunkline-unkept-{}", std::process::id()));
        // Where the file would be written first, a folder stands: as final as a full disk.
        fs::create_dir_all(dir.join("dialog.new")).unwrap();
        let error = kept(&dir).unwrap_err().to_string();
        assert!(error.contains("dialog.secret cannot be written"), "{error}");
        assert!(error.contains("make room"), "{error}");
        assert!(!dir.join("dialog.secret").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
