//! The gate: who passes and who does not.

use data_encoding::BASE64;
use tower::{ServiceExt, service_fn};

use super::*;
use crate::access::rules::Rule;
use crate::access::{PasswordHash, Permissions, Settings, User};
use crate::clock::Clock;
use crate::http::Body;
use crate::secret::Secret;
use crate::sign::Signer;

/// Of `secret`.
const HASH: &str =
    "$argon2id$v=19$m=8,t=1,p=1$ylQCvdga7pGQLZiv8M0LlA$a/UPej0sBb3alukV4r/SGHNmqtjhGL1fT+WQZlVt4M0";

fn path(text: &str) -> VirtualPath {
    VirtualPath::parse(text).unwrap()
}

fn settings(guest: bool, sign_all: bool) -> Settings {
    let user = |name: &str, root: &str, admin| {
        let hash = PasswordHash::parse(HASH).unwrap();
        let may = Permissions { read: true, write: false, admin };
        Arc::new(User { name: name.into(), hash, root: path(root), may })
    };
    let rule = |at: &str| Rule {
        path: path(at),
        password: None,
        hide: Vec::new(),
        users: Vec::new(),
        recursive: true,
    };
    Settings {
        guest,
        sign_all,
        users: vec![user("anna", "/d", false), user("root", "/", true)],
        rules: vec![
            Rule { password: Some(Secret::new("sesame")), ..rule("/d/cave") },
            Rule { hide: vec!["*.nfo".to_owned()], ..rule("/") },
        ],
        ..Settings::default()
    }
}

async fn answer(settings: &Settings, request: http::request::Builder) -> Response {
    let classify = |request: &mut Request| match request.uri().path() {
        "/account/a" => Requirement::Administrator,
        "/assets/x" => Requirement::Nothing,
        "/api/x" => Requirement::Anyone,
        at if at.starts_with("/d/") => {
            Requirement::Signature { path: path(at), sign: request.uri().query().map(str::to_owned) }
        }
        at => Requirement::Login(Some(path(at.strip_prefix("/browse").unwrap_or(at)))),
    };
    let state = tempfile::tempdir().unwrap();
    let token = Secret::new("test-token");
    let admission = Admission::new(settings, token, state.path(), Clock::new()).unwrap();
    let inner = service_fn(|request: Request| async move {
        assert!(request.extensions().get::<Sight>().is_some());
        Ok::<_, Error>(Response::new(Body::empty()))
    });
    let service = AuthenticateLayer::new(admission, Arc::new(classify)).layer(inner);
    service.oneshot(request.body(()).unwrap()).await.unwrap()
}

async fn status(guest: bool, sign_all: bool, request: http::request::Builder) -> u16 {
    answer(&settings(guest, sign_all), request).await.status().as_u16()
}

fn get(uri: &str) -> http::request::Builder {
    http::Request::get(uri)
}

fn basic(uri: &str, pair: &str) -> http::request::Builder {
    get(uri).header("authorization", format!("Basic {}", BASE64.encode(pair.as_bytes())))
}

#[tokio::test]
async fn nothing_passes_without_a_reason() {
    let sign = Signer::new(&Secret::new("test-token")).sign(&path("/d/a"), 0);
    assert_eq!(status(false, true, get("/browse/")).await, 401);
    assert_eq!(status(false, true, get("/d/a")).await, 401);
    assert_eq!(status(false, true, get("/d/a?wrong:0")).await, 401);
    assert_eq!(status(false, true, get(&format!("/d/a?{sign}"))).await, 200);
    assert_eq!(status(false, true, get(&format!("/d/b?{sign}"))).await, 401);
    assert_eq!(status(false, false, get("/d/a")).await, 200);
    assert_eq!(status(false, false, get("/browse/")).await, 401);
    assert_eq!(status(true, true, get("/d/a")).await, 200);
    assert_eq!(status(false, true, get("/assets/x")).await, 200);
    // What looks at its paths itself lets a stranger come as far.
    assert_eq!(status(false, true, get("/api/x")).await, 200);
    // Neither guests nor signatures open an account.
    assert_eq!(status(true, false, get("/account/a")).await, 401);
    assert_eq!(status(true, false, get(&format!("/account/a?{sign}"))).await, 401);
    assert_eq!(status(true, false, http::Request::post("/account/a")).await, 401);
}

#[tokio::test]
async fn the_token_is_taken_in_three_forms() {
    let authorized = |value: &str| get("/browse/").header("authorization", value);
    let pair = format!("Basic {}", BASE64.encode(b"anyone:test-token"));
    for value in ["test-token", "Bearer test-token", "bearer test-token", &pair] {
        assert_eq!(status(false, true, authorized(value)).await, 200, "{value}");
    }
    for value in ["", "test-toke", "Bearer x", "Basic !", "Digest test-token", "Basic dGVzdC10b2tlbg=="] {
        assert_eq!(status(false, true, authorized(value)).await, 401, "{value}");
    }
}

#[tokio::test]
async fn users_pass_within_their_tree_and_administrators_everywhere() {
    for (request, answer) in [
        (basic("/d/a", "anna:secret"), 200),
        (basic("/browse/d/a", "anna:secret"), 200),
        (basic("/browse/", "anna:secret"), 403),
        (basic("/browse/e", "anna:secret"), 403),
        (basic("/account/a", "anna:secret"), 403),
        (basic("/account/a", "root:secret"), 200),
        (basic("/browse/e", "root:secret"), 200),
        (basic("/d/a", "anna:wrong"), 401),
        (basic("/d/a", "eve:secret"), 401),
        (basic("/d/a.nfo", "anna:secret"), 404),
        (basic("/d/a.nfo", "root:secret"), 200),
        (basic("/d/cave/a", "anna:secret"), 403),
        (basic("/browse/d/cave", "anna:secret"), 200),
    ] {
        let said = format!("{request:?}");
        assert_eq!(status(false, true, request).await, answer, "{said}");
    }
}

#[tokio::test]
async fn rules_hold_for_guests_and_where_no_signature_is_needed() {
    let sign = Signer::new(&Secret::new("test-token")).sign(&path("/d/cave/a"), 0);
    for (guest, sign_all) in [(true, true), (true, false), (false, false)] {
        let locked = if guest { 403 } else { 401 };
        assert_eq!(status(guest, sign_all, get("/d/cave/a")).await, locked);
        assert_eq!(status(guest, sign_all, get("/d/a.nfo")).await, 404);
        assert_eq!(status(guest, sign_all, get(&format!("/d/cave/a?{sign}"))).await, 200);
    }
    let rules = settings(true, true);
    let state = tempfile::tempdir().unwrap();
    let admission = Admission::new(&rules, Secret::new("test-token"), state.path(), Clock::new()).unwrap();
    let proof = admission.rules().proof_for(0, "sesame").unwrap();
    let with = |cookie: String| get("/d/cave/a").header("cookie", cookie);
    assert_eq!(status(true, true, with(format!("a=b; {PROOF}0={proof}; c=d"))).await, 200);
    assert_eq!(status(true, true, with(format!("{PROOF}0={}", &proof[1..]))).await, 403);
}

#[tokio::test]
async fn media_are_never_answered_too_many() {
    let often = || Some(Refusal::TooOften(Duration::from_secs(3)));
    assert_eq!(unknown(often(), true).status(), 401);
    let response = unknown(often(), false);
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (429, &HeaderValue::from(3))
    );
    assert_eq!(unknown(Some(Refusal::Busy), true).status(), 503);
}

#[tokio::test(start_paused = true)]
async fn whoever_tries_tokens_waits_and_the_right_one_passes() {
    let state = tempfile::tempdir().unwrap();
    let token = Secret::new("test-token");
    let admission = Admission::new(&settings(false, true), token, state.path(), Clock::new()).unwrap();
    let inner = service_fn(|_: Request| async { Ok::<_, Error>(Response::new(Body::empty())) });
    let login: Classify = Arc::new(|_| Requirement::Login(None));
    let gate = AuthenticateLayer::new(admission, login).layer(inner);
    let ask = async |token: &str| {
        let request = get("/").header("authorization", token).body(()).unwrap();
        gate.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    let began = tokio::time::Instant::now();
    let mut last = 0;
    for guess in 0..30 {
        last = ask(&format!("guess-{guess}")).await;
    }
    assert_eq!((last, began.elapsed()), (429, GUESSING * 21));
    let began = tokio::time::Instant::now();
    assert_eq!((ask("test-token").await, began.elapsed()), (200, Duration::ZERO));
}

#[tokio::test]
async fn only_pages_take_more_than_reading() {
    let account = |method| {
        http::Request::builder().method(method).uri("/account/a").header("authorization", "test-token")
    };
    for (method, answer) in [("GET", 200), ("HEAD", 200), ("POST", 200), ("PUT", 405), ("OPTIONS", 405)] {
        assert_eq!(status(false, true, account(method)).await, answer, "{method}");
    }
    assert_eq!(status(true, true, http::Request::post("/d/a")).await, 405);
    assert_eq!(status(false, true, http::Request::post("/d/a")).await, 401);
}
