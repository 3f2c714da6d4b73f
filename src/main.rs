//! The program: arguments and the exit code.

mod cli;

use std::process::ExitCode;

use clap::Parser;

/// Gives memory back some ten seconds after it was used; glibc's own keeps what a crowd of viewers took.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::Args::parse().run()
}
