//! The program: arguments, logs, and the exit code.

mod cli;
mod logs;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Args::parse().run()
}
