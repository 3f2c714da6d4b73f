//! What the drive's codes mean. The only place that knows them.
//!
//! Codes are stable, texts are not, and statuses differ between observers: so the code decides and the status
//! is the fallback. Source: §8.3 of the fact sheet.

use std::time::Duration;

use http::StatusCode;

use crate::error::{Error, ErrorKind};

/// What a call that did not succeed comes to.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It will not get better by asking again.
    Final(Error),
    /// The drive wants fewer calls; after this delay.
    Throttled(Duration),
    /// The access token is no longer good.
    Token(Error),
    /// It may work the next time.
    Transient(Error),
}

/// Reads an answer that is a failure by its status or by a `code` in its body; the drive also sends codes
/// with 2xx. `retry_after` is the `x-retry-after` header, in milliseconds.
pub(super) fn refusal(
    operation: &'static str,
    status: StatusCode,
    code: &str,
    retry_after: Option<&str>,
) -> Refusal {
    // Upstream text: no more of it than a code has.
    let short: String = code.chars().take(64).collect();
    let error = |kind| Error::new(kind, operation).with("status", status.as_u16()).with("code", &short);
    let is_final = |kind, words| Refusal::Final(error(kind).saying(words));
    match code {
        "A403JE" | "AccessTokenExpired" | "AccessTokenInvalid" | "I400JD" => {
            Refusal::Token(error(ErrorKind::Unavailable).saying(LOG_IN))
        }
        "RefreshTokenExpired" | "RefreshTokenInvalid" => is_final(ErrorKind::Unavailable, LOG_IN),
        "AppNotExists" | "InvalidClientId" | "InvalidClientSecret" | "InvalidCode" | "InvalidGrantType" => {
            is_final(
                ErrorKind::Unavailable,
                "the drive does not accept client_id or client_secret; check the configuration",
            )
        }
        "PermissionDenied" => {
            is_final(ErrorKind::Unavailable, "the app's grant was revoked or lacks a scope; log in again")
        }
        "ForbiddenDriveNotValid" | "UserNotAllowedAccessDrive" => is_final(
            ErrorKind::Unavailable,
            "this drive was not ticked when access was granted; log in again and tick it, or change drive_type",
        ),
        "ForbiddenDriveLocked" => {
            is_final(ErrorKind::Unavailable, "the drive is frozen; see the vendor's own app")
        }
        "UserNotAllowedAccessResource" => is_final(
            ErrorKind::Unavailable,
            "the drive has frozen this account or file; see the vendor's own app",
        ),
        "ExceedCapacityForbidden" | "QuotaExhausted.Drive" => is_final(
            ErrorKind::Unavailable,
            "the account is over its storage space; the drive refuses until some is freed",
        ),
        "FeatureTemporaryDisabled" => {
            is_final(ErrorKind::Unavailable, "the drive has switched this feature off for the moment")
        }
        "ForbiddenFileInTheRecycleBin" => {
            is_final(ErrorKind::Denied, "the file is in the drive's recycle bin")
        }
        "FileShareNotAllowed" | "ForbiddenNoPermission.File" => {
            is_final(ErrorKind::Denied, "the drive does not let this account read the file")
        }
        "InvalidResource.FileTypeFolder" => is_final(ErrorKind::NotAFile, "this is a folder, not a file"),
        "NotFound.File" | "NotFound.FileId" => is_final(ErrorKind::NotFound, "not found"),
        "InvalidParameter.Limit" | "InvalidParameter.Marker" => Refusal::Final(error(ErrorKind::Invalid)),
        "NotFound.VideoPreviewInfo" | "NotFound.View" => {
            is_final(ErrorKind::Unsupported, "the drive cannot transcode this file; play the original")
        }
        "VideoPreviewWaitAndRetry" => Refusal::Final(
            error(ErrorKind::Overload)
                .saying("the drive is preparing this video, try again shortly")
                .retry_after(PREPARING),
        ),
        "TooManyRequests" | "Too Many Requests" => Refusal::Throttled(throttle_delay(retry_after)),
        _ if status == StatusCode::TOO_MANY_REQUESTS => Refusal::Throttled(throttle_delay(retry_after)),
        _ if status == StatusCode::UNAUTHORIZED => {
            Refusal::Token(error(ErrorKind::Unavailable).saying(LOG_IN))
        }
        _ if status == StatusCode::FORBIDDEN => Refusal::Final(error(ErrorKind::Denied)),
        _ if status.is_server_error() => Refusal::Transient(error(ErrorKind::Upstream)),
        // A bare 404 is an unknown path of the API, not an absent file.
        _ => Refusal::Final(error(ErrorKind::Upstream)),
    }
}

/// The delay the drive asks for: `x-retry-after` in milliseconds, clamped to a minute; a second where it names
/// none.
fn throttle_delay(retry_after: Option<&str>) -> Duration {
    let millis = retry_after.and_then(|text| text.trim().parse::<u64>().ok());
    millis.map_or(Duration::from_secs(1), Duration::from_millis).min(Duration::from_secs(60))
}

/// What to say where no token works any more.
pub(super) const LOG_IN: &str =
    "the drive no longer accepts the login; log in again: sluice login MOUNT, or the page at /account/MOUNT";
/// Chosen: transcoding starts within seconds; clients that obey come back a few times.
const PREPARING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: &str) -> ErrorKind {
        match refusal("test", StatusCode::from_u16(status).unwrap(), code, None) {
            Refusal::Final(error) | Refusal::Token(error) | Refusal::Transient(error) => error.kind(),
            Refusal::Throttled(_) => ErrorKind::RateLimit,
        }
    }

    #[test]
    fn only_an_absent_file_is_not_found() {
        assert_eq!(kind(404, "NotFound.File"), ErrorKind::NotFound);
        assert_eq!(kind(400, "NotFound.FileId"), ErrorKind::NotFound);
        for (status, code) in [
            (404, ""),
            (403, "ForbiddenFileInTheRecycleBin"),
            (403, "UserNotAllowedAccessResource"),
            (403, "UserNotAllowedAccessDrive"),
            (403, "ExceedCapacityForbidden"),
            (400, "InvalidResource.FileTypeFolder"),
            (429, "TooManyRequests"),
            (502, ""),
            (401, "RefreshTokenInvalid"),
        ] {
            assert_ne!(kind(status, code), ErrorKind::NotFound, "{status} {code}");
        }
    }

    #[test]
    fn the_delay_is_in_milliseconds_and_clamped() {
        let delay = |value| match refusal("test", StatusCode::TOO_MANY_REQUESTS, "", value) {
            Refusal::Throttled(delay) => delay.as_millis(),
            _ => panic!("not throttled"),
        };
        assert_eq!(delay(Some("3300")), 3300);
        assert_eq!(delay(Some("999999999")), 60_000);
        assert_eq!(delay(Some("soon")), 1000);
        assert_eq!(delay(None), 1000);
    }

    #[test]
    fn a_code_in_a_success_is_a_refusal_all_the_same() {
        assert_eq!(kind(202, "VideoPreviewWaitAndRetry"), ErrorKind::Overload);
    }
}
