//! `sluice login`: a QR code in the terminal, and the consent waited for.

use std::fmt::Write as _;
use std::io::IsTerminal;

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use sluice::app;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::driver::{Calls, LoginStep};
use sluice::path::VirtualPath;
use tokio_util::task::TaskTracker;

use super::{Failure, print};

pub(super) async fn run(mount: &str, config: &Config) -> Result<(), Failure> {
    let failed = |error: &sluice::error::Error| Failure::Run(error.to_string());
    let wanted = VirtualPath::parse(mount).map_err(|error| Failure::Usage(error.words().to_owned()))?;
    let mounts = app::mounts(config, &Clock::new(), &Calls::new(), &TaskTracker::new())
        .map_err(|error| failed(&error))?;
    let mount = mounts.iter().find(|mount| mount.path == wanted).ok_or_else(|| {
        let known: Vec<String> = mounts.iter().map(|mount| mount.path.to_string()).collect();
        Failure::Run(format!("there is no mount at {wanted}; there are: {}", known.join(", ")))
    })?;
    mount.driver.log_in(Box::new(show)).await.map_err(|error| Failure::Run(error.words().to_owned()))?;
    print(&format!("logged in; the token of {wanted} is kept in {}", config.state_dir.display()))
}

/// The address as a code and as text: who cannot scan can open it.
fn show(step: LoginStep<'_>) {
    // It comes with every look; the app itself says what to do next.
    let LoginStep::Open(address) = step else { return };
    let mut text = String::new();
    if let Ok(code) = QrCode::new(address) {
        let code = code.render::<Dense1x2>().build();
        for line in code.lines() {
            // Black on white whatever the terminal's own colours are, since scanners want it so.
            let _ = match std::io::stdout().is_terminal() {
                true => writeln!(text, "\x1b[30;107m{line}\x1b[0m"),
                false => writeln!(text, "{line}"),
            };
        }
    }
    let _ = print(&format!(
        "{text}\nscan this with the drive's app within three minutes, or open\n{address}\n\nwaiting for the consent; Ctrl-C gives up"
    ));
}
