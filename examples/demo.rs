//! The product in front of a simulated drive, in one process: nothing to configure, nothing leaves this machine.
//!
//! `cargo run --release --example demo`, then open the page that it prints. The simulator keeps the drive's limits: its
//! calls a second, its connections, its links of 15 minutes. `SLUICE__SERVER__LISTEN` moves it to another port.

use std::io::Write;
use std::time::Duration;

use drive_sim::Sim;
use sluice::app::{App, Listeners};
use sluice::clock::Clock;
use sluice::config::{self, Config};
use sluice::logs::{self, LogFormat};
use sluice::transport::Listener;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let environment = config::environment();
    let filter = environment.get("SLUICE_LOG").map_or("warn", String::as_str);
    let lines = logs::start(LogFormat::Text, filter)?;

    let drive = Sim::builder().tree(drive_sim::demo_tree()).start().await?;
    let state = tempfile::tempdir()?;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:8470\"]\nadmin_listen = \"\"\nstate_dir = \"{}\"\n\
         [access]\nguest = true\n\
         [[mount]]\npath = \"/aliyun\"\ndriver = \"aliyundrive_open\"\n[mount.options]\napi_base = \"{}\"\ndrive_type = \"resource\"\n\
         refresh_token = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n",
        state.path().display(),
        drive.api_base(),
        drive.refresh_token(),
        drive.client_id(),
        drive.client_secret(),
    );
    let settings = Config::parse(&text, "demo", environment.into_iter())?;
    let app = App::build(&settings, Clock::new())?;
    let mut public = Vec::new();
    for address in &settings.server.listen {
        public.push(Listener::from(TcpListener::bind(address).await?));
    }
    let base = public.first().ok_or("no address to listen on")?.url()?;
    app.prepare(Duration::from_secs(2)).await;

    let film = "/aliyun/films/Test%20Card%20%282026%29/Test%20Card%20%282026%29.mp4";
    writeln!(
        std::io::stdout(),
        "listening on {base}\n\n\
         a simulated drive is mounted at /aliyun; open one of these:\n\
         \x20 the page                   {base}/\n\
         \x20 a film, as fits the player {base}/d{film}\n\
         \x20 the same, always proxied   {base}/p{film}\n\
         \x20 the same as HLS            {base}/hls{film}/master.m3u8\n\n\
         stop with Ctrl-C",
    )?;
    let stop = CancellationToken::new();
    let run = app.run(Listeners { public, admin: None }, stop.clone());
    tokio::pin!(run);
    tokio::select! {
        () = &mut run => {}
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            // A paused film in a browser would hold the end up.
            let _ = tokio::time::timeout(Duration::from_secs(3), run).await;
        }
    }
    lines.flush();
    Ok(())
}
