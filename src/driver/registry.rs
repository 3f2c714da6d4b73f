//! The drivers there are: one line each.

use std::sync::Arc;

use crate::driver::{Unopened, aliyundrive_open, local};
use crate::section::Section;

/// A driver by its name in the configuration.
#[derive(Debug)]
pub struct Registration {
    /// The value of `driver = "…"`.
    pub name: &'static str,
    /// Reads `[mount.options]`. Faults go to the section, all of them.
    pub read: fn(&mut Section<'_>) -> Arc<dyn Unopened>,
}

/// Every driver.
pub const DRIVERS: &[Registration] = &[aliyundrive_open::REGISTRATION, local::REGISTRATION];
