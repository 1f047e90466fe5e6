//! The `tarn` binary: `tarn dev` runs a whole cluster in one process; the other commands talk to a
//! running one.

mod addresses;
mod cli;
mod folder;
mod logging;
mod roles;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
