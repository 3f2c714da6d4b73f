//! The user, the drives and the space (fact sheet §1.5, §2).

use serde_json::json;

use super::{Answer, Call};
use crate::settings::{DriveKind, Vip};

/// `POST /adrive/v1.0/user/getDriveInfo`.
pub(super) fn drive_info(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let settings = &inner.settings;
    let mut answer = json!({
        "user_id": call.drive.user_id,
        "name": "user",
        "avatar": "https://img.aliyundrive.com/avatar/x",
        "default_drive_id": settings.default_drive.id(),
    });
    if !settings.omit_resource_drive {
        answer["resource_drive_id"] = json!(DriveKind::Resource.id());
    }
    if !settings.omit_backup_drive {
        answer["backup_drive_id"] = json!(DriveKind::Backup.id());
    }
    Ok(answer)
}

/// `POST /adrive/v1.0/user/getSpaceInfo`.
pub(super) fn space_info(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let total = 8_796_093_022_208;
    let used = if inner.settings.over_capacity {
        total + 1_073_741_824
    } else {
        inner.resource.used() + inner.backup.used()
    };
    Ok(json!({"personal_space_info": {"used_size": used, "total_size": total}}))
}

/// `POST …/v1.0/user/getVipInfo`.
pub(super) fn vip_info(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let expire = call.drive.clock.now_s() + 30 * 86_400;
    let (identity, level) = match inner.settings.vip {
        Vip::Member => ("member", ""),
        Vip::Svip => ("svip", "8TB"),
        Vip::Vip => ("vip", "6TB"),
    };
    let package = inner.settings.package;
    Ok(json!({
        "identity": identity,
        "level": level,
        "expire": if inner.settings.vip == Vip::Member { 0 } else { expire },
        "thirdPartyVip": package,
        "thirdPartyVipExpire": if package { expire } else { 0 },
    }))
}

/// `GET /oauth/users/info`.
pub(super) fn info(call: &Call<'_>) -> Answer {
    Ok(json!({
        "id": call.drive.user_id,
        "name": "user",
        "avatar": "https://img.aliyundrive.com/avatar/x",
        "phone": null,
    }))
}

/// `GET /oauth/users/scopes`.
pub(super) fn scopes(call: &Call<'_>) -> Answer {
    let scopes = [json!({"scope": "user:base"}), json!({"scope": "file:all:read"})];
    Ok(json!({"id": call.drive.user_id, "scopes": scopes}))
}
