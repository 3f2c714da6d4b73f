//! A loopback simulator of the Aliyun Drive open API: the API with its token servers on one port, downloads and
//! previews on another.
//!
//! It follows the project's fact sheet of the drive, section by section, and no client of it: docs that name a
//! section (§) mean that sheet. It shares no code with the product.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use drive_sim::{Content, Endpoint, Fault, Sample, Sim};
//!
//! let sim = Sim::builder()
//!     .file("films/film.mp4", Content::Sample(Sample::Mp4))
//!     .file("films/long.mkv", Content::Virtual { len: 100_000_000_000, seed: 1 })
//!     .settings(|settings| settings.package = true)
//!     .start()
//!     .await?;
//! sim.fault(Endpoint::Content, Fault::Reset { after: 4096 }, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Not simulated yet: uploads and changes to the tree over HTTP. They answer 404 as unknown paths do; tests
//! change the tree by [`Sim`]'s methods.

mod answers;
mod api;
mod body;
mod buckets;
mod cdn;
mod clock;
pub mod content;
mod counts;
mod drive;
mod faults;
mod hls;
mod logins;
mod meddling;
mod nodes;
mod range;
mod samples;
mod secret;
mod server;
mod settings;
mod sign;
mod sim;
mod tokens;
mod tree;

pub use self::{
    content::Content,
    counts::{Counts, Listener, Seen},
    faults::{Endpoint, Fault},
    samples::Sample,
    settings::{
        AppLevel, DriveKind, MultiRange, PlaylistType, Preview, PreviewEnd, RangeMode, Rates, RetryAfter,
        Settings, TokenError, TokenServerMode, Vip,
    },
    sim::{Builder, Sim},
    tree::{Tree, demo_tree},
};

#[cfg(test)]
mod tests;
