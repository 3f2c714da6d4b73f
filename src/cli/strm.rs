//! Exports a tree once, and says what came of it.

use std::path::Path;

use clap::ValueEnum;
use sluice::app::App;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::export::{self, Settings};
use sluice::path::VirtualPath;

use super::{Failure, print};

/// As [`export::SideFiles`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SideFiles {
    Copy,
    Link,
    None,
}

/// What is asked for.
pub(super) struct What<'a> {
    pub(super) path: &'a str,
    pub(super) out: &'a Path,
    pub(super) hls: bool,
    pub(super) side_files: Option<SideFiles>,
    pub(super) allow_delete: bool,
}

pub(super) async fn run(what: &What<'_>, config: &Config) -> Result<(), Failure> {
    let failed = |error: sluice::error::Error| Failure::Run(error.to_string());
    let path = VirtualPath::parse(what.path).map_err(|error| Failure::Usage(error.words().to_owned()))?;
    // The settings of the server's own export of the same tree hold here too, as far as they are not given.
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let is_it = |export: &&Settings| export.path == path && whole(&export.out) == whole(what.out);
    let known = config.exports.iter().find(is_it);
    let settings = Settings {
        path,
        out: what.out.to_owned(),
        hls: what.hls || known.is_some_and(|export| export.hls),
        side_files: match what.side_files {
            None => known.map_or(export::SideFiles::Copy, |export| export.side_files),
            Some(SideFiles::Copy) => export::SideFiles::Copy,
            Some(SideFiles::Link) => export::SideFiles::Link,
            Some(SideFiles::None) => export::SideFiles::None,
        },
        every: None,
        media_server: known.and_then(|export| export.media_server.clone()),
    };
    let app = App::build(config, Clock::new()).map_err(failed)?;
    let report = app.exporter.run(&settings, what.allow_delete).await.map_err(failed)?;
    app.close().await;
    for folder in &report.failed_folders {
        print(&format!("not listed, left as it was: {}", folder.escape_debug()))?;
    }
    for file in &report.failed_files {
        print(&format!("not written: {}", file.escape_debug()))?;
    }
    print(&report.to_string())?;
    match report.is_whole() {
        true => Ok(()),
        false => Err(Failure::Run(
            "the export is not whole; what could not be looked at was left as it was".to_owned(),
        )),
    }
}
