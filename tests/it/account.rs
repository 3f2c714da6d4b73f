//! What is known of an account, where it is told, and a login on its page.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault, Sim};
use http_body_util::BodyExt;
use sluice::app::App;
use sluice::clock::Clock;
use sluice::config::Config;
use sluice::transport::BoxHttp;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::browser::Browser;
use crate::support::{Ask, FFMPEG, Rig, Setup, configuration, installed};

/// The product without listeners: both its services are asked directly.
struct Program {
    app: App,
    clock: Clock,
    configuration: String,
    sim: Sim,
    state: TempDir,
}

/// The product as another process would be, on the same state folder.
fn build(text: &str, state: &TempDir, clock: &Clock) -> App {
    let environment = [("SLUICE__SERVER__STATE_DIR".to_owned(), state.path().display().to_string())];
    let config = Config::parse(text, "test.toml", environment.into_iter()).unwrap();
    App::build(&config, clock.clone()).unwrap()
}

impl Program {
    async fn start() -> Self {
        let film = Content::Virtual { len: 1 << 30, seed: 1 };
        let sim = Sim::builder().file("/a.mkv", film).start().await.unwrap();
        let (state, clock) = (TempDir::new().unwrap(), Clock::new());
        let configuration = configuration(&sim, &Setup::default());
        Self { app: build(&configuration, &state, &clock), clock, configuration, sim, state }
    }

    /// What the operator's tools are told.
    async fn admin(&self, path: &str) -> (u16, String) {
        answer(&self.app.admin, http::Request::get(path)).await
    }

    /// The one line of readiness, which is given.
    async fn ready(&self) -> String {
        let (status, line) = self.admin("/readyz").await;
        assert_eq!(status, 200, "{line}");
        line
    }

    /// The answer to who asks for the film and follows redirects.
    async fn film(&self) -> u16 {
        answer(&self.app.service, http::Request::get("/d/ali/a.mkv").header("user-agent", FFMPEG)).await.0
    }

    /// Lets time pass, for the drive and for us.
    fn pass(&self, time: Duration) {
        self.sim.advance(time);
        self.clock.advance(time);
    }
}

/// The status and the text of an answer.
async fn answer(service: &BoxHttp, request: http::request::Builder) -> (u16, String) {
    let response = service.clone().oneshot(request.body(()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

const MINUTES: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn readiness_and_metrics_tell_the_account_and_ask_for_it_every_ten_minutes_at_most() {
    let program = Program::start().await;
    for _ in 0..100 {
        assert_eq!(program.ready().await, "/ali: ready; no third-party package; 1.0 GiB of 8.0 TiB used\n");
    }
    let (_, metrics) = program.admin("/metrics").await;
    for line in [
        "sluice_account_package{driver=\"aliyundrive_open\",mount=\"0\"} 0",
        "sluice_account_space_used_bytes{driver=\"aliyundrive_open\",mount=\"0\"} 1073741824",
        "sluice_account_space_total_bytes{driver=\"aliyundrive_open\",mount=\"0\"} 8796093022208",
        "sluice_account_call_interval_seconds{driver=\"aliyundrive_open\",mount=\"0\",class=\"link\"} 1.1",
        "sluice_account_calls_waiting{driver=\"aliyundrive_open\",mount=\"0\",class=\"list\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("sluice_account_refused{"), "{metrics}");
    assert!(!metrics.contains("/ali"), "no label carries a path: {metrics}");
    let counts = program.sim.counts();
    assert_eq!((counts.vip_info, counts.space_info), (1, 1));

    program.sim.settings(|settings| (settings.package, settings.over_capacity) = (true, true));
    program.pass(9 * MINUTES);
    assert!(program.ready().await.contains("no third-party package"));
    program.pass(2 * MINUTES);
    let line = program.ready().await;
    assert!(line.starts_with("/ali: ready; third-party package until 20"), "{line}");
    assert!(line.contains("; over its storage space: 8.0 TiB of 8.0 TiB used"), "{line}");
    let counts = program.sim.counts();
    assert_eq!((counts.vip_info, counts.space_info, counts.rate_limited), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_account_is_told_until_the_drive_gives_a_link_again() {
    let program = Program::start().await;
    program.sim.settings(|settings| settings.frozen_account = true);
    assert_eq!(program.film().await, 503);
    let line = program.ready().await;
    let words = "; the last attempt to get a link was refused: the drive has frozen this account or file";
    assert!(line.starts_with("/ali: ready; ") && line.contains(words), "{line}");
    let (_, metrics) = program.admin("/metrics").await;
    let gauge =
        "sluice_account_refused{driver=\"aliyundrive_open\",mount=\"0\",endpoint=\"getDownloadUrl\"} 1";
    assert!(metrics.contains(gauge), "{metrics}");

    program.sim.settings(|settings| settings.frozen_account = false);
    assert_eq!(program.film().await, 302);
    let line = program.ready().await;
    assert!(!line.contains("refused"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_that_cannot_be_had_cost_no_readiness_and_are_not_asked_for_at_every_probe() {
    let program = Program::start().await;
    let refusal = Fault::Code { status: 403, code: "PermissionDenied".to_owned(), message: String::new() };
    program.sim.fault(Endpoint::VipInfo, refusal, 1);
    for _ in 0..20 {
        let line = program.ready().await;
        let refused = "; 1.0 GiB of 8.0 TiB used; the last attempt to ask for the package was refused: ";
        assert!(line.starts_with(&format!("/ali: ready{refused}")), "{line}");
    }
    assert_eq!(program.sim.counts().vip_info, 1);
    // A while later it is tried again; this drive knows the call by its older path alone.
    program.pass(2 * MINUTES);
    program.sim.fault(Endpoint::VipInfo, Fault::Status(404, "Not Found".to_owned()), 1);
    assert!(program.ready().await.starts_with("/ali: ready; no third-party package; "));
    assert_eq!(program.sim.counts().vip_info, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_of_a_player_asks_for_facts() {
    let program = Program::start().await;
    program.app.prepare(Duration::from_secs(8)).await;
    assert_eq!(program.film().await, 302);
    let counts = program.sim.counts();
    assert_eq!((counts.vip_info, counts.space_info), (0, 0));
}

const PAGE: &str = "/account/ali";

/// As the administrator.
fn known(ask: Ask<'_>) -> Ask<'_> {
    ask.header("authorization", "Bearer test-token")
}

async fn closed(change: impl FnOnce(&mut drive_sim::Settings)) -> Rig {
    let setup = Setup { closed: true, ..Setup::default() };
    let film = Content::Virtual { len: 1000, seed: 1 };
    Rig::with(setup, |drive| drive.file("/a.mkv", film).settings(change)).await
}

/// Looks at the page until it says so.
async fn until(rig: &Rig, words: &str) -> String {
    loop {
        let page = known(rig.get(PAGE)).send().await;
        assert_eq!(page.status, 200);
        if page.text().contains(words) {
            return page.text().to_owned();
        }
    }
}

async fn begin(rig: &Rig) {
    let begun = known(rig.site.ask("POST", PAGE)).header("origin", &rig.site.base).send().await;
    assert_eq!((begun.status, begun.header("location")), (303, PAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_an_account_is_for_administrators_alone() {
    let rig = closed(|_| {}).await;
    assert_eq!(rig.get(PAGE).send().await.status, 401);
    assert_eq!(rig.site.ask("POST", PAGE).send().await.status, 401);
    let open = Rig::start(|drive| drive.folder("/films")).await;
    assert_eq!(open.get(PAGE).send().await.status, 401, "a guest sees no account");
    let link = |text: &str| text.contains("href=\"/account/ali\"");
    assert!(!link(open.get("/browse/ali/").send().await.text()));
    assert!(link(known(open.get("/browse/ali/")).send().await.text()));
    assert!(!link(known(open.get("/browse/ali/films/")).send().await.text()));

    let page = known(rig.get(PAGE)).send().await;
    assert_eq!(page.status, 200);
    let text = page.text();
    for part in [
        "<li>the login is good</li>",
        "<li>no third-party package<span>",
        "<li>1000 B of 8.0 TiB used</li>",
        "<li>calls a second at present: link 0.9, list 3.0, other 7.",
        "<form method=\"post\">",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains("http-equiv=\"refresh\"") && !text.contains("<script"), "{text}");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action 'self'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.header("cache-control"), "no-store");
    let folder = known(rig.get("/browse/ali/")).send().await;
    assert!(folder.header("content-security-policy").contains("form-action 'none'"));
    for nothing in ["/account/ali/films", "/account/", "/account/elsewhere", "/account"] {
        assert_eq!(known(rig.get(nothing)).send().await.status, 404, "{nothing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_site_begins_no_login() {
    let rig = closed(|_| {}).await;
    let host = rig.site.base.strip_prefix("http://").unwrap();
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
        ("origin", "null"),
        ("origin", "https://evil.example.org"),
        ("origin", &format!("http://{host}.evil.example.org")),
    ] {
        let reply = known(rig.site.ask("POST", PAGE)).header(name, value).send().await;
        assert_eq!(reply.status, 403, "{name}: {value}");
    }
    let mixed = known(rig.site.ask("POST", PAGE))
        .header("origin", &rig.site.base)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(mixed.send().await.status, 403);
    assert!(!known(rig.get(PAGE)).send().await.text().contains("refresh"));
    assert_eq!(rig.sim.counts().of(Endpoint::QrCode), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_on_the_page_serves_at_once_and_with_the_drive_that_was_ticked() {
    // At the first login the resource drive was not ticked, so the other one is mounted, which is empty.
    let rig = closed(|settings| settings.omit_resource_drive = true).await;
    rig.sim.settings(|settings| settings.omit_resource_drive = false);
    begin(&rig).await;
    let first = until(&rig, "<svg").await;
    assert!(first.contains("http-equiv=\"refresh\"") && !first.contains("<form"), "{first}");
    let address = |page: &str| {
        let at = page.find("https://www.aliyundrive.com/o/oauth/authorize?sid=").unwrap();
        page[at..].split('"').next().unwrap().to_owned()
    };
    // Whoever presses the button again joins the one that is under way.
    begin(&rig).await;
    assert_eq!(rig.sim.counts().of(Endpoint::QrCode), 1);

    // A code that grows old is followed by another.
    rig.sim.advance(Duration::from_secs(181));
    let expired = address(&first);
    let mut page = first;
    while address(&page) == expired {
        page = until(&rig, "<svg").await;
    }
    rig.sim.scan_qr();
    until(&rig, "The code was scanned").await;
    rig.sim.approve_qr();
    let done = until(&rig, "The login succeeded").await;
    assert!(done.contains("<form") && !done.contains("refresh"), "{done}");
    assert_eq!(rig.sim.counts().of(Endpoint::QrCode), 2);

    let token = |seen: &drive_sim::Seen| seen.headers["authorization"].to_str().unwrap().to_owned();
    let before = rig.sim.requests().iter().find(|seen| seen.endpoint == Endpoint::DriveInfo).map(token);
    assert_eq!(known(rig.site.ask("HEAD", "/d/ali/a.mkv")).send().await.status, 200);
    let after = rig.sim.requests().iter().rfind(|seen| seen.endpoint == Endpoint::GetByPath).map(token);
    assert!(before.is_some() && after.is_some() && before != after, "the new token is in use");
    assert_eq!((rig.sim.counts().drive_info, rig.sim.counts().rate_limited), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_revives_a_mount_whose_login_had_ended_and_a_failed_one_says_why() {
    let rig = closed(|_| {}).await;
    rig.sim.expire_access_tokens();
    rig.sim.fault(Endpoint::AccessToken, Fault::LoseAnswer, 1);
    let film = || known(rig.site.ask("HEAD", "/d/ali/a.mkv"));
    assert_eq!(film().send().await.status, 502);
    assert_eq!(film().send().await.status, 503);
    until(&rig, "<li>the drive no longer accepts the login").await;

    let refusal = Fault::Code { status: 400, code: "AppNotExists".to_owned(), message: String::new() };
    rig.sim.fault(Endpoint::QrCode, refusal, 1);
    begin(&rig).await;
    let page = until(&rig, "The login failed: ").await;
    assert!(page.contains("does not accept client_id or client_secret"), "{page}");
    assert_eq!(film().send().await.status, 503);

    rig.sim.settings(|settings| settings.qr_approves_after = Some(1));
    begin(&rig).await;
    until(&rig, "The login succeeded").await;
    assert_eq!(film().send().await.status, 200);
    until(&rig, "<li>the login is good</li>").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_another_process_made_to_another_account_brings_that_ones_drives() {
    let program = Program::start().await;
    // The drive with the films is not there for the first user.
    program.sim.settings(|settings| settings.omit_resource_drive = true);
    assert_eq!(program.film().await, 404);
    let other = build(&program.configuration, &program.state, &program.clock).service;
    let ask = |method| {
        http::Request::builder().method(method).uri(PAGE).header("authorization", "Bearer test-token")
    };
    assert_eq!(answer(&other, ask("GET")).await.0, 200);
    program.sim.expire_access_tokens();
    program.sim.settings(|settings| {
        settings.omit_resource_drive = false;
        settings.foreign_sub = true;
        settings.qr_approves_after = Some(1);
    });
    assert_eq!(answer(&other, ask("POST")).await.0, 303);
    while !answer(&other, ask("GET")).await.1.contains("The login succeeded") {}

    // The first call finds out that the former login has ended, and whose the present one is.
    let absence = Duration::from_secs(31);
    program.pass(absence);
    program.film().await;
    program.pass(absence);
    assert_eq!(program.film().await, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_logs_in_with_one_button_and_no_script() {
    if !installed("chromedriver") || !installed("chromium") {
        return;
    }
    let rig = closed(|_| {}).await;
    let browser = Browser::start().await;
    let page = rig.site.base.replace("http://", "http://anyone:test-token@");
    browser.open(&format!("{page}/browse/ali/")).await;
    browser.eval("document.querySelector('.facts a').click()").await;
    browser.until("document.querySelector('button') !== null").await;
    browser.screenshot("account.png").await;
    browser.eval("document.querySelector('button').click()").await;
    // Each of these is another page, to which the one before has led by itself.
    browser.until("document.querySelector('svg path') !== null").await;
    browser.screenshot("login.png").await;
    rig.sim.scan_qr();
    browser
        .until("document.body !== null && document.body.textContent.includes('The code was scanned')")
        .await;
    rig.sim.approve_qr();
    browser
        .until("document.body !== null && document.body.textContent.includes('The login succeeded')")
        .await;
    browser.quit().await;
    assert_eq!((rig.sim.counts().of(Endpoint::QrCode), rig.sim.counts().rate_limited), (1, 0));
}
