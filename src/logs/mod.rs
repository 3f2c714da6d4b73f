//! Log lines: which of them are written, how they look, which request they belong to, and how they get to stderr.

mod event;
mod lines;
mod request;

use std::io;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::event::EventWriter;
pub use self::lines::Lines;
pub use self::request::{RequestId, current_request, sync_working_for, working_for};

/// How a line looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LogFormat {
    /// One object a line.
    Json,
    /// For people.
    Text,
}

/// Starts logging, of what `filter` lets pass. Whoever ends the process flushes the lines before.
///
/// # Errors
/// What the system says where no thread can be started.
pub fn start(format: LogFormat, filter: &str) -> io::Result<Lines> {
    let lines = Lines::start()?;
    tracing_subscriber::registry()
        .with(EnvFilter::builder().parse_lossy(filter))
        .with(EventWriter::new(format, lines.clone()))
        .init();
    Ok(lines)
}
