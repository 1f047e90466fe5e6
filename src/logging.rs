//! Logs go to standard error, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LoggingSettings};

/// Starts logging. A level that cannot be read is an error of the settings.
pub(crate) fn start(logging: &LoggingSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&logging.level)
        .map_err(|error| format!("{:?} is not a filter: {error}", logging.level))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would be told on standard error, which nobody reads by then, and that panics.
        .log_internal_errors(false);
    // Colors are for eyes: in a file or a pipe they are noise.
    let builder = if std::io::stderr().is_terminal() {
        builder
    } else {
        builder.with_ansi(false)
    };
    let started = match logging.format {
        LogFormat::Human => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| error.to_string())
}
