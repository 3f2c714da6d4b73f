//! The integration tests: one binary, one file a subject, against the real thing on loopback.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod access;
mod account;
mod bad_input;
mod budget;
mod calls;
mod certificate;
mod crowd;
mod delivery;
mod driver_contract;
mod firefox;
mod hls;
mod hls_players;
mod hostile;
mod http2;
mod layering;
mod listing;
mod names;
mod outage;
mod page;
mod players;
mod probing;
mod process;
mod program;
mod restarts;
mod rfc8216;
mod screenings;
mod sharing;
mod soak;
mod support;
mod survival;
mod tls;
mod tokens;
mod traversal;
mod unix_socket;
