//! Where log lines go and how they look.

use trunkline_config::{LogFormat, LogLevel};

/// Sets the log up for the whole process; a second call changes nothing.
pub fn start(format: LogFormat, level: LogLevel) {
    let filter = tracing_subscriber::EnvFilter::new(format!(
        "{level},hyper=warn,hyper_util=warn,hickory_proto=warn,hickory_resolver=warn,hickory_net=warn,rustls=warn",
        level = level.word()
    ));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false);
    // Errors mean that a log is already there.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
