use super::*;

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const AWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

/// One that has been idle for a while, alone at its address.
const IDLE: Snapshot = Snapshot {
    network: http::Place::NOWHERE,
    neighbours: 1,
    idle: Duration::from_secs(30),
    is_new: false,
    is_waiting: false,
    bytes_per_second: 0,
};

fn chosen<const N: usize>(crowd: [Snapshot; N]) -> Option<usize> {
    let all = least_useful(crowd.into_iter(), usize::MAX);
    let one = least_useful(crowd.into_iter(), 1);
    assert_eq!(all.first(), one.first());
    one.first().copied()
}

async fn pass(time: Duration) {
    tokio::time::advance(time).await;
}

/// Whether its place was given to another.
async fn is_cut(place: &Place) -> bool {
    tokio::time::timeout(Duration::ZERO, place.taken_away()).await.is_ok()
}

#[test]
fn the_address_with_the_most_connections_makes_way() {
    let other = http::Place::of(AWAY);
    let many = Snapshot { network: other, neighbours: 3, bytes_per_second: 1000, ..IDLE };
    assert_eq!(chosen([IDLE, many, IDLE]), Some(1));
    // Unless all of them watch films.
    let films = Snapshot { network: other, neighbours: 3, bytes_per_second: 125_000, ..IDLE };
    assert_eq!(chosen([films, films, films, IDLE]), Some(3));
}

#[test]
fn whoever_takes_least_makes_way_and_of_equals_who_has_done_nothing_for_longest() {
    let slow = Snapshot { bytes_per_second: 1, ..IDLE };
    let older = Snapshot { idle: Duration::from_secs(40), ..IDLE };
    assert_eq!(chosen([slow, IDLE, older, IDLE]), Some(2));
    let reader = Snapshot { bytes_per_second: 15_000, ..IDLE };
    assert_eq!(chosen([reader, slow]), Some(1));
}

#[test]
fn whoever_waits_for_us_goes_last_and_before_them_whoever_has_just_come() {
    let waiting = Snapshot { is_waiting: true, ..IDLE };
    let new = Snapshot { is_new: true, ..IDLE };
    let answered = Snapshot { idle: Duration::from_millis(1), ..IDLE };
    assert_eq!(chosen([waiting, new, answered, IDLE]), Some(3));
    assert_eq!(chosen([waiting, new, answered]), Some(2));
    assert_eq!(chosen([waiting, new]), Some(1));
    assert_eq!(chosen([waiting]), Some(0));
}

#[test]
fn whoever_takes_at_the_pace_of_music_is_not_cut() {
    let listener = Snapshot { bytes_per_second: PACE, ..IDLE };
    assert_eq!(chosen([listener]), None);
    assert_eq!(chosen([Snapshot { bytes_per_second: PACE - 1, ..IDLE }]), Some(0));
    assert_eq!(chosen([]), None);
}

#[tokio::test(start_paused = true)]
async fn a_full_crowd_cuts_the_idle_one_and_keeps_the_viewer() {
    let crowd = Crowd::new(2);
    let viewer = crowd.enter(HOME).unwrap();
    let idle = crowd.enter(HOME).unwrap();
    viewer.member().took(2 << 20);
    pass(Duration::from_secs(2)).await;
    let third = crowd.enter(AWAY).unwrap();
    assert_eq!((is_cut(&viewer).await, is_cut(&idle).await, crowd.count()), (false, true, 2));
    // Its place is another's already.
    drop(idle);
    assert_eq!(crowd.count(), 2);
    drop((viewer, third));
    assert_eq!(crowd.count(), 0);
    assert!(crowd.0.room().networks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_refused_where_all_watch_films() {
    let crowd = Crowd::new(1);
    let viewer = crowd.enter(HOME).unwrap();
    for _ in 0..100 {
        viewer.member().took(2 << 20);
        pass(Duration::from_secs(1)).await;
        assert!(crowd.enter(AWAY).is_none());
    }
    // A viewer that pauses is one until its bytes are forgotten.
    pass(Duration::from_secs(10)).await;
    assert!(crowd.enter(AWAY).is_some());
    assert!(is_cut(&viewer).await);
}

#[tokio::test(start_paused = true)]
async fn what_fits_into_buffers_is_no_use() {
    let crowd = Crowd::new(10);
    let reader = crowd.enter(HOME).unwrap();
    let pace = || reader.member().snapshot(Instant::now()).bytes_per_second;
    reader.member().took(1 << 20);
    pass(Duration::from_secs(2)).await;
    assert_eq!(pace(), 0);
    for _ in 0..30 {
        reader.member().took(1);
        pass(Duration::from_secs(1)).await;
    }
    assert!(pace() <= 1);
    for _ in 0..20 {
        reader.member().took(125_000);
        pass(Duration::from_secs(1)).await;
        // While it has only begun, what it took is spread over the seconds before.
        assert!(pace() < 130_000);
    }
    assert!((100_000..130_000).contains(&pace()), "{}", pace());
    pass(Duration::from_secs(10)).await;
    assert_eq!(pace(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_in_time_is_noticed_and_one_that_did_is_not() {
    let crowd = Crowd::new(10);
    let (silent, asking) = (crowd.enter(HOME).unwrap(), crowd.enter(HOME).unwrap());
    drop(asking.member().waits());
    let started = Instant::now();
    silent.dawdled().await;
    assert_eq!(started.elapsed(), FIRST_HEAD);
    assert!(tokio::time::timeout(FIRST_HEAD * 10, asking.dawdled()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn requests_beside_others_take_a_place_each_and_share_what_is_taken() {
    let crowd = Crowd::new(3);
    let viewer = crowd.enter(HOME).unwrap();
    let first = viewer.member().begins().unwrap();
    let (second, third) = (viewer.member().begins().unwrap(), viewer.member().begins().unwrap());
    assert!(viewer.member().begins().is_none());
    viewer.member().took(2 << 20);
    pass(Duration::from_secs(2)).await;
    assert_eq!(viewer.member().snapshot(Instant::now()).bytes_per_second, (1 << 19) / 3);
    // Where several are done the others have all of it.
    drop((first, third));
    assert_eq!(viewer.member().snapshot(Instant::now()).bytes_per_second, 1 << 19);
    let _another = crowd.enter(AWAY).unwrap();
    assert!(viewer.member().begins().is_none());
    drop((second, viewer));
    assert_eq!(crowd.0.taken.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_takes_nothing_stalls_unless_it_waits_for_us() {
    const LIMIT: Duration = Duration::from_secs(60);
    let crowd = Crowd::new(1);
    let place = crowd.enter(HOME).unwrap();
    let member = place.member();
    let started = Instant::now();
    tokio::select! {
        () = member.stalls(LIMIT) => {}
        () = async {
            for _ in 0..11 {
                tokio::time::sleep(LIMIT / 2 - Duration::from_secs(1)).await;
                member.took(2000);
            }
            let waiting = member.waits();
            tokio::time::sleep(LIMIT * 3).await;
            drop(waiting);
            loop {
                // Pings.
                tokio::time::sleep(LIMIT / 3).await;
                member.took(40);
            }
        } => {}
    }
    assert!((LIMIT * 8..LIMIT * 11).contains(&started.elapsed()), "{:?}", started.elapsed());
}

#[test]
fn the_machines_of_one_ipv6_network_count_as_one_and_mapped_ones_as_ipv4() {
    let network = |text: &str| http::Place::of(text.parse().unwrap());
    assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
    assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_chosen_and_has_begun_to_watch_stays() {
    let crowd = Crowd::new(64);
    let mut places: Vec<_> = (0..64).map(|_| crowd.enter(HOME).unwrap()).collect();
    pass(Duration::from_secs(2)).await;
    // Two of 64 are chosen at a time.
    places.push(crowd.enter(AWAY).unwrap());
    let next = Arc::clone(crowd.0.room().next.last().unwrap());
    next.took(2 << 20);
    places.push(crowd.enter(AWAY).unwrap());
    assert!(crowd.0.room().seats(&next));
    assert_eq!(crowd.count(), 64);
}

#[test]
fn the_limit_of_open_files_leaves_room_for_what_answers_need() {
    assert!((FEWEST..=MOST).contains(&by_open_files()));
}
