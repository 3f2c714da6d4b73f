//! The open API: which path is which call, and what every call must bring (fact sheet §0, §9.7–8).

mod files;
pub(crate) mod item;
mod links;
mod listing;
mod oauth;
mod preview;
mod search;
mod token_server;
mod user;

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{
    Method, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
    request::Parts,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    answers::{self, Refusal},
    body::SimBody,
    buckets::Class,
    drive::{Drive, Inner},
    faults::Endpoint,
    secret::random_below,
    settings::{DriveKind, RetryAfter, TokenError},
    sign,
    tokens::BadAccess,
};

/// What a path is for.
pub(crate) fn endpoint(path: &str) -> Endpoint {
    match path {
        "/oauth/access_token" => Endpoint::AccessToken,
        "/oauth/authorize" | "/oauth/authorize/qrcode" => Endpoint::QrCode,
        "/oauth/users/info" => Endpoint::UserInfo,
        "/oauth/users/scopes" => Endpoint::Scopes,
        "/adrive/v1.0/user/getDriveInfo" => Endpoint::DriveInfo,
        "/adrive/v1.0/user/getSpaceInfo" => Endpoint::SpaceInfo,
        "/v1.0/user/getVipInfo" | "/business/v1.0/user/getVipInfo" => Endpoint::VipInfo,
        "/adrive/v1.0/openFile/list" => Endpoint::List,
        "/adrive/v1.0/openFile/get" => Endpoint::Get,
        "/adrive/v1.0/openFile/get_by_path" => Endpoint::GetByPath,
        "/adrive/v1.0/openFile/batch/get" => Endpoint::BatchGet,
        "/adrive/v1.0/openFile/search" => Endpoint::Search,
        "/adrive/v1.0/openFile/starredList" => Endpoint::StarredList,
        "/adrive/v1.0/openFile/getDownloadUrl" => Endpoint::DownloadUrl,
        "/adrive/v1.0/openFile/getVideoPreviewPlayInfo" => Endpoint::PreviewInfo,
        "/adrive/v1.0/openFile/getVideoPreviewPlayMeta" => Endpoint::PreviewMeta,
        path if path.starts_with("/alist/ali_open/") || path.starts_with("/alicloud/") => {
            Endpoint::TokenServer
        }
        path if path.starts_with("/oauth/qrcode/") && path.ends_with("/status") => Endpoint::QrStatus,
        path if path.starts_with("/oauth/qrcode/") => Endpoint::QrImage,
        _ => Endpoint::UnknownApi,
    }
}

/// Answers a call.
pub(crate) fn answer(
    drive: &Drive,
    endpoint: Endpoint,
    head: &Parts,
    peer: IpAddr,
    body: &Bytes,
) -> Response<SimBody> {
    let path = head.uri.path();
    let spring = |status, error| answers::spring(status, error, path, drive.clock.now_ms());
    let get =
        matches!(endpoint, Endpoint::QrImage | Endpoint::QrStatus | Endpoint::Scopes | Endpoint::UserInfo)
            || path == "/oauth/authorize";
    let wanted = if get { Method::GET } else { Method::POST };
    match endpoint {
        Endpoint::UnknownApi => spring(404, "Not Found"),
        Endpoint::TokenServer => token_server::answer(drive, head, peer, body),
        _ if head.method != wanted => spring(405, "Method Not Allowed"),
        Endpoint::AccessToken => oauth::access_token(drive, &fields(head, body)),
        Endpoint::QrCode if get => oauth::authorize(drive, head.uri.query().unwrap_or_default()),
        Endpoint::QrCode => oauth::qr_code(drive, &fields(head, body)),
        Endpoint::QrImage => oauth::qr_image(drive, path),
        Endpoint::QrStatus => oauth::qr_status(drive, path),
        _ => match bearer_call(drive, endpoint, head, body) {
            Ok(value) => answers::json(200, &value),
            Err(refusal) => refusal.response(),
        },
    }
}

/// Who makes a call, and what with.
struct Call<'a> {
    drive: &'a Drive,
    /// The application the bearer token was given to.
    app: String,
    body: Value,
}

type Answer = Result<Value, Refusal>;

fn bearer_call(drive: &Drive, endpoint: Endpoint, head: &Parts, body: &Bytes) -> Answer {
    if !head.headers.contains_key(USER_AGENT) {
        return Err(Refusal::new(500, "InternalError", "java.lang.NullPointerException"));
    }
    let app = bearer(drive, head)?;
    let class = match endpoint {
        Endpoint::DownloadUrl => Class::Link,
        Endpoint::List => Class::List,
        _ => Class::Other,
    };
    throttle(&mut drive.lock(), &app, class)?;
    let body = json_body(head, body)?;
    let call = Call { drive, app, body };
    match endpoint {
        Endpoint::BatchGet => files::batch_get(&call),
        Endpoint::DownloadUrl => links::download_url(&call),
        Endpoint::DriveInfo => user::drive_info(&call),
        Endpoint::Get => files::get(&call),
        Endpoint::GetByPath => files::get_by_path(&call),
        Endpoint::List => listing::list(&call),
        Endpoint::PreviewInfo => preview::play_info(&call),
        Endpoint::PreviewMeta => preview::play_meta(&call),
        Endpoint::Scopes => user::scopes(&call),
        Endpoint::Search => search::search(&call),
        Endpoint::SpaceInfo => user::space_info(&call),
        Endpoint::StarredList => listing::starred(&call),
        Endpoint::UserInfo => user::info(&call),
        _ => user::vip_info(&call),
    }
}

/// The application behind the bearer token (§1.4, §9.4).
fn bearer(drive: &Drive, head: &Parts) -> Result<String, Refusal> {
    let token = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let mut inner = drive.lock();
    let bad = match inner.tokens.app_of(token, drive.clock.now_s()) {
        Ok(app) => return Ok(app),
        Err(bad) => bad,
    };
    inner.counts.unauthorized += 1;
    Err(match (inner.settings.token_error, bad) {
        (TokenError::A403Je, _) => Refusal::new(403, "A403JE", "token error"),
        (TokenError::I400Jd, _) => Refusal::new(400, "I400JD", "token error"),
        (TokenError::Named, BadAccess::Expired) => {
            Refusal::new(401, "AccessTokenExpired", "AccessToken is expired. ErrValidateTokenFailed")
        }
        (TokenError::Named, BadAccess::Invalid) => {
            Refusal::new(401, "AccessTokenInvalid", "AccessToken is invalid. ErrValidateTokenFailed")
        }
    })
}

/// Takes a place in the class's bucket (§8).
fn throttle(inner: &mut Inner, app: &str, class: Class) -> Result<(), Refusal> {
    let rates = inner.settings.rates;
    let Err(wait) = inner.buckets.take(app, class, &rates, Instant::now()) else { return Ok(()) };
    inner.counts.rate_limited += 1;
    let ms = match inner.settings.retry_after {
        RetryAfter::Exact => whole_ms(wait),
        RetryAfter::Random => 1 + random_below(1000),
    };
    let mut refusal = Refusal::new(429, "TooManyRequests", "请求过快，请等待 x-retry-after 毫秒后再请求");
    refusal.retry_after_ms = Some(ms);
    Err(refusal)
}

fn whole_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The JSON object of a call; calls without parameters may send nothing (§0).
fn json_body(head: &Parts, body: &Bytes) -> Result<Value, Refusal> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.to_ascii_lowercase().starts_with("application/json") {
        return Err(Refusal::bad_request("Content-Type must be application/json"));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(Value::Null) => Ok(json!({})),
        _ => Err(Refusal::bad_request("the body is not a JSON object")),
    }
}

/// The fields of an OAuth call, which may be JSON or a form (§1.4). Whatever is neither has none.
fn fields(head: &Parts, body: &Bytes) -> Value {
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        let text = String::from_utf8_lossy(body).replace('+', " ");
        let names = text.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
        let pairs = names.map(|name| (name.to_owned(), json!(sign::param(&text, name))));
        return Value::Object(pairs.collect());
    }
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

impl Call<'_> {
    /// A string field; empty when absent or null.
    fn text(&self, name: &str) -> &str {
        text(&self.body, name)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.body[name].as_u64()
    }

    /// The drive that a `drive_id` names, if the user ticked it (§2, §9.10).
    fn drive_named(&self, inner: &Inner, id: &str) -> Result<DriveKind, Refusal> {
        let settings = &inner.settings;
        let kind = match id {
            id if id == DriveKind::Backup.id() => DriveKind::Backup,
            id if id == DriveKind::Resource.id() => DriveKind::Resource,
            id if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(not_your_drive());
            }
            _ => {
                return Err(Refusal::new(403, "ForbiddenDriveNotValid", format!("drive {id} is not valid")));
            }
        };
        let omitted = match kind {
            DriveKind::Backup => settings.omit_backup_drive,
            DriveKind::Resource => settings.omit_resource_drive,
        };
        if omitted && kind != settings.default_drive { Err(not_your_drive()) } else { Ok(kind) }
    }

    /// The drive of this call.
    fn drive_kind(&self, inner: &Inner) -> Result<DriveKind, Refusal> {
        self.drive_named(inner, self.text("drive_id"))
    }
}

fn text<'a>(body: &'a Value, name: &str) -> &'a str {
    body[name].as_str().unwrap_or_default()
}

fn not_your_drive() -> Refusal {
    Refusal::new(403, "UserNotAllowedAccessDrive", "user not allowed access drive")
}
