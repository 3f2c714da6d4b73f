//! A body survives what the drive does to it, byte for byte, or is visibly cut.

use std::time::Duration;

use drive_sim::{Content, Endpoint, Fault};

use crate::support::{Rig, Setup};

const LEN: u64 = 3_000_000;
const FILM: &str = "/p/ali/film.mkv";

async fn rig() -> Rig {
    // Without a cache, so that every byte comes from the drive.
    let rest =
        "[proxy]\nstall_timeout = \"200ms\"\nhold = \"2s\"\n[cache]\nblock_memory = \"0B\"\n".to_owned();
    Rig::with(Setup { rest, ..Setup::default() }, |drive| {
        drive.file("/film.mkv", Content::Virtual { len: LEN, seed: 5 })
    })
    .await
}

async fn whole(rig: &Rig) -> Vec<u8> {
    let reply = rig.get(FILM).send().await;
    assert_eq!(reply.status, 200);
    reply.body
}

fn expected() -> Vec<u8> {
    drive_sim::content::bytes(5, 0, usize::try_from(LEN).unwrap()).to_vec()
}

#[tokio::test]
async fn a_body_goes_on_at_the_next_byte_after_every_kind_of_break() {
    for fault in [
        Fault::Reset { after: 1_000_001 },
        Fault::ShortBody { after: 777_777 },
        Fault::Stall { after: 500_000, for_: Duration::from_secs(60) },
        Fault::BadGateway,
        Fault::SlowDown,
        Fault::WrongContentRange,
        Fault::DropConnection,
        Fault::Status(
            403,
            "<Error><Code>AccessDenied</Code><Message>Request has expired.</Message></Error>".to_owned(),
        ),
    ] {
        let rig = rig().await;
        let name = format!("{fault:?}");
        rig.sim.fault(Endpoint::Content, fault, 1);
        assert!(whole(&rig).await == expected(), "{name}");
    }
}

#[tokio::test]
async fn five_resets_in_one_body_are_survived_with_one_link() {
    let rig = rig().await;
    rig.sim.fault(Endpoint::Content, Fault::Reset { after: 400_000 }, 5);
    assert!(whole(&rig).await == expected());
    assert_eq!(rig.sim.counts().links, 1);
}

#[tokio::test]
async fn a_link_that_expires_in_the_middle_is_replaced() {
    let rig = rig().await;
    rig.sim.fault(Endpoint::Content, Fault::Reset { after: 1_000_000 }, 1);
    let mut response = rig.get(FILM).open().await;
    let mut body = response.chunk().await.unwrap().unwrap().to_vec();
    rig.sim.advance(Duration::from_secs(2000));
    while let Some(piece) = response.chunk().await.unwrap() {
        body.extend_from_slice(&piece);
    }
    assert!(body == expected());
}

#[tokio::test]
async fn a_connection_too_many_is_waited_for_not_passed_on() {
    let rig = rig().await;
    let denied =
        "<Error><Code>RequestDeniedByCallback</Code><Message>reason: ExceedMaxConcurrency</Message></Error>";
    rig.sim.fault(Endpoint::Content, Fault::Status(403, denied.to_owned()), 3);
    assert!(whole(&rig).await == expected());
    // A new link does not help, so none was asked for.
    assert_eq!(rig.sim.counts().links, 1);
}

#[tokio::test]
async fn five_viewers_of_one_account_stay_within_its_connections() {
    let rig = rig().await;
    for reply in futures_util::future::join_all((0..5).map(|_| rig.get(FILM).send())).await {
        assert!(reply.body == expected());
    }
    let counts = rig.sim.counts();
    assert!(counts.peak_bodies <= 3, "{}", counts.peak_bodies);
    assert_eq!(counts.denied_concurrency, 0);
}

#[tokio::test]
async fn a_drive_that_stays_sick_is_an_error_before_the_first_byte_and_a_cut_after_it() {
    let rig = rig().await;
    rig.sim.fault(Endpoint::Content, Fault::BadGateway, 1000);
    let reply = rig.get(FILM).send().await;
    assert_eq!(reply.status, 502);
    assert!(!reply.text().contains("Bad Gateway"), "upstream text: {}", reply.text());

    rig.sim.clear_faults();
    rig.sim.fault(Endpoint::Content, Fault::ShortBody { after: 100_000 }, 1);
    let mut response = rig.get(FILM).open().await;
    assert_eq!(response.status(), 200);
    rig.sim.fault(Endpoint::Content, Fault::BadGateway, 1000);
    let mut got = 0;
    let end = loop {
        match response.chunk().await {
            Ok(Some(piece)) => got += piece.len() as u64,
            end => break end,
        }
    };
    assert!(end.is_err(), "a body that is not whole must not end cleanly");
    assert!(got < LEN);
}

#[tokio::test]
async fn a_whole_in_place_of_a_part_is_never_passed_on() {
    let rig = rig().await;
    rig.sim.fault(Endpoint::Content, Fault::WholeInsteadOfPart, 1);
    let reply = rig.get(FILM).range("bytes=1000000-1000099").send().await;
    assert_eq!(reply.status, 206);
    assert_eq!(reply.body, drive_sim::content::bytes(5, 1_000_000, 100));
    rig.sim.fault(Endpoint::Content, Fault::WholeInsteadOfPart, 1000);
    assert_eq!(rig.get(FILM).range("bytes=1000000-1000099").send().await.status, 502);
}

#[tokio::test]
async fn a_viewer_who_leaves_frees_the_connection() {
    let rig = rig().await;
    for _ in 0..10 {
        let mut response = rig.get(FILM).open().await;
        response.chunk().await.unwrap();
    }
    assert!(whole(&rig).await == expected());
}

#[tokio::test]
async fn a_drive_that_answers_well_and_then_gives_nothing_is_an_error_after_hold() {
    for fault in [Fault::ShortBody { after: 0 }, Fault::Stall { after: 0, for_: Duration::from_secs(600) }] {
        let rig = rig().await;
        let name = format!("{fault:?}");
        rig.sim.fault(Endpoint::Content, fault, 100_000);
        let asked = rig.get(FILM).try_send();
        let answer = tokio::time::timeout(Duration::from_secs(20), asked).await;
        let answer = answer.unwrap_or_else(|_| panic!("{name}: it goes on for ever")).unwrap();
        assert_eq!(answer.status, 502, "{name}");
        // Not a storm: the pauses grow.
        assert!(rig.sim.counts().content <= 20, "{name}: {}", rig.sim.counts().content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_who_leaves_two_connections_leaves_no_wrong_bytes_in_the_cache() {
    const READ: usize = 8_000_000;
    for more in [100_000_u64, 400_000, 800_000] {
        let rig = Rig::start(|drive| {
            drive
                .file("/film.mkv", Content::Virtual { len: 100_000_000, seed: 5 })
                .settings(|settings| settings.bytes_per_second = 2e6)
        })
        .await;
        let mut response = rig.get(FILM).open().await;
        // One that takes all it gets of a slow drive is given a second connection; then it leaves.
        let (mut got, mut enough) = (0, u64::MAX);
        while got < enough && got < READ as u64 {
            got += response.chunk().await.unwrap().unwrap().len() as u64;
            if enough == u64::MAX && rig.sim.counts().peak_bodies == 2 {
                enough = got + more;
            }
        }
        drop(response);
        rig.sim.settings(|settings| settings.bytes_per_second = f64::INFINITY);
        while rig.sim.counts().live_bodies > 0 {
            // Paces the asking; the condition decides.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let again = rig.get(FILM).range(&format!("bytes=0-{}", READ - 1)).send().await;
        assert!(again.body == drive_sim::content::bytes(5, 0, READ), "after {got} bytes");
    }
}
