//! The command line. `swaptide run -c swaptide.toml` is everything in one process.

mod cli;

use std::process::ExitCode;

/// Gives memory back when clients leave (ADR 23).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
