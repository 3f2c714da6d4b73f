//! Third-party token servers, in the dialects of AList and OpenList (fact sheet §1.6).

use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, Response, request::Parts};
use serde_json::{Value, json};

use super::{fields, oauth};
use crate::{
    answers::{self, Refusal},
    body::SimBody,
    drive::{Drive, Inner},
    settings::TokenServerMode,
    sign,
    tokens::{App, Pair},
};

/// Answers a call to either dialect.
pub(super) fn answer(drive: &Drive, head: &Parts, peer: IpAddr, body: &Bytes) -> Response<SimBody> {
    let query = head.uri.query().unwrap_or_default();
    match (&head.method, head.uri.path()) {
        (&Method::POST, "/alist/ali_open/token") => alist_token(drive, &fields(head, body), peer),
        (&Method::GET, "/alist/ali_open/limit") => {
            let inner = drive.lock();
            let minutes = inner.settings.token_window.as_secs() / 60;
            answers::json(200, &json!({"minutes": minutes, "max": inner.settings.token_limit}))
        }
        (&Method::POST, "/alist/ali_open/qr") => {
            answers::json(200, &oauth::open(drive, &drive.third_party.id, None))
        }
        (&Method::GET, "/alicloud/renewapi") => openlist_renew(drive, query, peer),
        (&Method::GET, "/alicloud/requests") => {
            let opened = oauth::open(drive, &drive.third_party.id, None);
            answers::json(200, &json!({"text": opened["qrCodeUrl"], "sid": opened["sid"]}))
        }
        (&Method::GET, "/alicloud/callback") => openlist_callback(drive, query, peer),
        (_, path) => answers::spring(404, "Not Found", path, drive.clock.now_ms()),
    }
}

/// Why an exchange failed.
enum Failed {
    Down(String),
    TooMany,
    Upstream(Refusal),
}

/// Exchanges as `app`, within the limit per address.
fn exchange(drive: &Drive, app: &App, mut fields: Value, peer: IpAddr) -> Result<Pair, Failed> {
    let mut inner = drive.lock();
    if let TokenServerMode::Failing(text) = &inner.settings.token_server {
        return Err(Failed::Down(text.clone()));
    }
    if !within_limit(&mut inner, peer, drive.clock.now_ms()) {
        inner.counts.rate_limited += 1;
        return Err(Failed::TooMany);
    }
    fields["client_id"] = json!(app.id);
    fields["client_secret"] = json!(app.secret);
    oauth::exchange(drive, &mut inner, app, &fields).map_err(Failed::Upstream)
}

/// Counts an exchange, unless the window is full.
fn within_limit(inner: &mut Inner, peer: IpAddr, now_ms: u64) -> bool {
    let window_ms = u64::try_from(inner.settings.token_window.as_millis()).unwrap_or(u64::MAX);
    let limit = usize::try_from(inner.settings.token_limit).unwrap_or(usize::MAX);
    let times = inner.exchanges.entry(peer).or_default();
    while times.front().is_some_and(|time| now_ms >= time.saturating_add(window_ms)) {
        times.pop_front();
    }
    if times.len() >= limit {
        return false;
    }
    times.push_back(now_ms);
    true
}

fn alist_token(drive: &Drive, fields: &Value, peer: IpAddr) -> Response<SimBody> {
    if !fields.is_object() {
        return Refusal::bad_request("the body has no fields").response();
    }
    match exchange(drive, &drive.third_party, fields.clone(), peer) {
        Ok(pair) => answers::json(200, &pair.json()),
        Err(Failed::Down(text)) => failed(500, &text),
        Err(Failed::TooMany) => {
            let text = "Too Many Requests";
            answers::json(429, &json!({"code": text, "message": text, "error": text}))
        }
        Err(Failed::Upstream(refusal)) => refusal.response(),
    }
}

fn openlist_renew(drive: &Drive, query: &str, peer: IpAddr) -> Response<SimBody> {
    let param = |name| sign::param(query, name).unwrap_or_default();
    let token = param("refresh_ui");
    if token.split('.').count() != 3 {
        return failed(400, "refresh token is not valid");
    }
    let app = if param("server_use") == "false" {
        App { id: param("client_uid"), secret: param("client_key") }
    } else {
        drive.third_party.clone()
    };
    let known = [&drive.own, &drive.third_party].into_iter().find(|known| known.id == app.id);
    if known.is_none_or(|known| known.secret != app.secret) {
        return failed(500, "the app does not exist");
    }
    let fields = json!({"grant_type": "refresh_token", "refresh_token": token});
    openlist(exchange(drive, &app, fields, peer), 500)
}

fn openlist_callback(drive: &Drive, query: &str, peer: IpAddr) -> Response<SimBody> {
    let (status, code) = oauth::poll(drive, &sign::param(query, "code").unwrap_or_default());
    let Some(code) = code else { return failed(401, &format!("Login failed:{status}")) };
    let fields = json!({"grant_type": "authorization_code", "code": code});
    openlist(exchange(drive, &drive.third_party, fields, peer), 403)
}

/// OpenList's answer; `status` is that of upstream errors.
fn openlist(exchanged: Result<Pair, Failed>, status: u16) -> Response<SimBody> {
    match exchanged {
        Ok(pair) => answers::json(200, &json!({"refresh_token": pair.refresh, "access_token": pair.access})),
        Err(Failed::Down(text)) => failed(500, &text),
        Err(Failed::TooMany) => failed(500, "Too Many Requests"),
        Err(Failed::Upstream(refusal)) if status == 403 => {
            failed(403, &format!("{}: {}", refusal.code, refusal.message))
        }
        Err(Failed::Upstream(refusal)) => failed(500, &refusal.message),
    }
}

/// `{"text": …}`, or `{}` where there is nothing to say.
fn failed(status: u16, text: &str) -> Response<SimBody> {
    answers::json(status, &if text.is_empty() { json!({}) } else { json!({"text": text}) })
}
