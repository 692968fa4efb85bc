//! The command line. `swaptide run -c swaptide.toml` is everything in one process.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
