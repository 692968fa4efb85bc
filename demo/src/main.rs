//! `swaptide-demo`: what `cargo xtask demo` ends up running.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the demo is made for the person at the terminal")]

mod app;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match app::Args::parse(std::env::args().skip(1)) {
        Ok(args) if args.help => {
            print!("{}", app::HELP);
            ExitCode::SUCCESS
        }
        Ok(args) => app::run(args).await,
        Err(problem) => {
            eprintln!("demo: {problem}");
            ExitCode::FAILURE
        }
    }
}
