//! The `tarn` binary: `tarn dev` runs a whole cluster in one process; the other commands talk to a
//! running one.

mod addresses;
mod cli;
mod folder;
mod logging;
mod process;
mod roles;
mod settings;

use std::process::ExitCode;

/// ADR 6: what was used once goes back to the machine, so that `memory.budget` means something.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run()
}
