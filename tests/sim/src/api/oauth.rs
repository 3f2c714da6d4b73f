//! Logging in and trading tokens (fact sheet §1.1–1.4).

use http::{HeaderValue, Response, header::LOCATION};
use serde_json::{Value, json};

use super::{text, throttle};
use crate::{
    answers::{self, Refusal},
    body::SimBody,
    buckets::Class,
    drive::{DRIVES, Drive, Inner},
    logins::Challenge,
    samples::QR_PNG,
    secret::random_hex,
    sign,
    tokens::{App, BadRefresh, Pair},
};

/// `POST /oauth/access_token`.
pub(super) fn access_token(drive: &Drive, fields: &Value) -> Response<SimBody> {
    let mut inner = drive.lock();
    let answer = app(drive, fields).and_then(|app| {
        throttle(&mut inner, &app.id, Class::Other)?;
        exchange(drive, &mut inner, app, fields)
    });
    respond(answer.map(|pair| pair.json()))
}

/// Trades a code or a refresh token for a pair, as the given application.
pub(super) fn exchange(drive: &Drive, inner: &mut Inner, app: &App, fields: &Value) -> Result<Pair, Refusal> {
    let now_ms = drive.clock.now_ms();
    let now_s = now_ms / 1000;
    let sub = if inner.settings.foreign_sub { random_hex(16) } else { drive.user_id.clone() };
    match text(fields, "grant_type") {
        "authorization_code" => {
            let invalid = || Refusal::new(400, "InvalidCode", "the code is not valid");
            let code = inner.logins.redeem(text(fields, "code"), now_ms).ok_or_else(invalid)?;
            let secret = text(fields, "client_secret");
            let pkce = secret.is_empty() && code.challenge.is_some();
            let proven = code.challenge.as_ref().is_some_and(|it| it.met_by(text(fields, "code_verifier")));
            if code.app != app.id || (pkce && !proven) {
                return Err(invalid());
            }
            if !pkce && secret != app.secret {
                return Err(wrong_secret());
            }
            Ok(inner.tokens.issue(&app.id, &sub, DRIVES, pkce, now_s))
        }
        "refresh_token" => {
            if text(fields, "client_secret") != app.secret {
                return Err(wrong_secret());
            }
            let token = text(fields, "refresh_token");
            if token.is_empty() {
                return Err(Refusal::bad_request("The input parameter refresh_token is missing"));
            }
            inner.tokens.spend(token, &app.id, now_s).map_err(|bad| match bad {
                BadRefresh::Expired => Refusal::new(401, "RefreshTokenExpired", "RefreshToken is expired"),
                BadRefresh::ForeignApp => Refusal::new(400, "InvalidClientId", "not this client's token"),
                BadRefresh::Invalid => Refusal::new(401, "RefreshTokenInvalid", "RefreshToken is invalid"),
            })?;
            inner.counts.refreshes += 1;
            Ok(inner.tokens.issue(&app.id, &sub, DRIVES, false, now_s))
        }
        _ => Err(Refusal::new(400, "InvalidGrantType", "grant_type is not valid")),
    }
}

/// `POST /oauth/authorize/qrcode`.
pub(super) fn qr_code(drive: &Drive, fields: &Value) -> Response<SimBody> {
    let answer = app(drive, fields).and_then(|app| {
        let secret = text(fields, "client_secret");
        let challenge = challenge(text(fields, "code_challenge"), text(fields, "code_challenge_method"));
        if challenge.is_none() && secret != app.secret {
            return Err(wrong_secret());
        }
        if fields["scopes"].as_array().is_none_or(Vec::is_empty) {
            return Err(Refusal::bad_request("The input parameter scopes is missing"));
        }
        Ok(open(drive, &app.id, challenge))
    });
    respond(answer)
}

/// A new QR session: `{"qrCodeUrl", "sid"}`.
pub(super) fn open(drive: &Drive, app: &str, challenge: Option<Challenge>) -> Value {
    let sid = drive.lock().logins.open(app, challenge, drive.clock.now_ms());
    json!({"qrCodeUrl": format!("{}/oauth/qrcode/{sid}", drive.api_base), "sid": sid})
}

/// `GET /oauth/qrcode/{sid}`: the image.
pub(super) fn qr_image(drive: &Drive, path: &str) -> Response<SimBody> {
    let sid = path.trim_start_matches("/oauth/qrcode/");
    if drive.lock().logins.knows(sid) {
        answers::plain(200, "image/png", QR_PNG)
    } else {
        answers::spring(404, "Not Found", path, drive.clock.now_ms())
    }
}

/// `GET /oauth/qrcode/{sid}/status`.
pub(super) fn qr_status(drive: &Drive, path: &str) -> Response<SimBody> {
    let sid = path.trim_start_matches("/oauth/qrcode/").trim_end_matches("/status");
    let (status, code) = poll(drive, sid);
    let mut answer = json!({"status": status});
    if let Some(code) = code {
        answer["authCode"] = json!(code);
    }
    answers::json(200, &answer)
}

/// Polls a QR session.
pub(super) fn poll(drive: &Drive, sid: &str) -> (&'static str, Option<String>) {
    let mut inner = drive.lock();
    let after = inner.settings.qr_approves_after;
    inner.logins.poll(sid, after, drive.clock.now_ms())
}

/// `GET /oauth/authorize`: the user consents at once, and the browser goes back with a code.
pub(super) fn authorize(drive: &Drive, query: &str) -> Response<SimBody> {
    let param = |name| sign::param(query, name).unwrap_or_default();
    let app = match app(drive, &json!({"client_id": param("client_id")})) {
        Ok(app) => app,
        Err(refusal) => return refusal.response(),
    };
    let challenge = challenge(&param("code_challenge"), &param("code_challenge_method"));
    let code = drive.lock().logins.code(&app.id, challenge, drive.clock.now_ms());
    let redirect = param("redirect_uri");
    let join = if redirect.contains('?') { '&' } else { '?' };
    let to = format!("{redirect}{join}code={code}&state={}", sign::encode(&param("state")));
    let mut response = answers::text(302, "");
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// The application a call names.
fn app<'a>(drive: &'a Drive, fields: &Value) -> Result<&'a App, Refusal> {
    let id = text(fields, "client_id");
    if id.is_empty() {
        return Err(Refusal::new(400, "InvalidClientId", "client_id is missing"));
    }
    [&drive.own, &drive.third_party]
        .into_iter()
        .find(|app| app.id == id)
        .ok_or_else(|| Refusal::new(400, "AppNotExists", "the app does not exist"))
}

fn challenge(text: &str, method: &str) -> Option<Challenge> {
    (!text.is_empty()).then(|| Challenge { text: text.to_owned(), hashed: method == "S256" })
}

fn wrong_secret() -> Refusal {
    Refusal::new(400, "InvalidClientSecret", "client_secret is not valid")
}

fn respond(answer: Result<Value, Refusal>) -> Response<SimBody> {
    match answer {
        Ok(value) => answers::json(200, &value),
        Err(refusal) => refusal.response(),
    }
}
