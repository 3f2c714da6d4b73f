//! Download links: lifetimes, anatomy, and who gets none (fact sheet §4.1–4.2, §9.11).

use data_encoding::BASE64;
use serde_json::{Value, json};

use super::{Answer, Call, files};
use crate::{
    answers::Refusal,
    clock::timestamp,
    drive::Drive,
    nodes::{File, Node},
    secret::random_hex,
    settings::DriveKind,
    sign,
};

/// `openFile/getDownloadUrl`.
pub(super) fn download_url(call: &Call<'_>) -> Answer {
    let mut inner = call.drive.lock();
    let (kind, node) = files::named(call, &inner)?;
    let Some(file) = node.file() else {
        return Err(Refusal::new(400, "InvalidResource.FileTypeFolder", "a folder has no download url"));
    };
    if inner.settings.frozen_account || node.punish == ILLEGAL {
        return Err(refused_for_violation());
    }
    let expires_s = call.drive.clock.now_s() + inner.settings.link_life_s(call.number("expire_sec"));
    let url = |name: &str| link(call, kind, node, file, name, expires_s);
    let mut answer = json!({
        "url": url(&node.name),
        "expiration": timestamp(expires_s * 1000),
        "method": "GET",
        "size": file.content.len(),
        "file_id": node.id,
        "content_hash": file.hash,
        "content_hash_name": "sha1",
    });
    if node.extension() == "livp" {
        answer["url"] = json!("");
        answer["streamsUrl"] = json!({"jpeg": url("photo.jpeg"), "mov": url("video.mov")});
    }
    if !inner.settings.package {
        answer["description"] = json!("当前用户不是三方权益包会员，下载速度可能受限");
    }
    let (path, _) = inner.nodes(kind).path(node);
    inner.counts.links += 1;
    *inner.counts.links_by_file.entry(path).or_default() += 1;
    Ok(answer)
}

/// The refusal of frozen accounts and files.
pub(super) fn refused_for_violation() -> Refusal {
    Refusal::new(403, "UserNotAllowedAccessResource", "user not allowed access resource for violation")
}

/// The parameters that every signed URL of this user carries (§4.2, §5.2).
pub(crate) fn common_params(drive: &Drive, app: &str, dr: &str, f: &str) -> [(&'static str, String); 7] {
    [
        ("di", "bj29".to_owned()),
        ("dr", dr.to_owned()),
        ("f", f.to_owned()),
        ("u", drive.user_id.clone()),
        ("pds-params", sign::encode(&json!({"ap": app}).to_string())),
        ("security-token", sign::encode(&format!("CAIS{}", random_hex(24)))),
        ("x-oss-access-key-id", format!("STS.{}", random_hex(8))),
    ]
}

fn link(call: &Call<'_>, kind: DriveKind, node: &Node, file: &File, name: &str, expires_s: u64) -> String {
    let path = format!("/{}%2F{}%2F{}%2F{}", &node.id[..8], kind.id(), node.id, file.version);
    let callback = json!({
        "callbackUrl": "http://bj29.api-hp.aliyunpds.com/v2/file/download_callback",
        "callbackBody": "httpHeader.range=${httpHeader.range}&bucket=${bucket}&object=${object}&domain_id=${x:domain_id}\
            &user_id=${x:user_id}&drive_id=${x:drive_id}&file_id=${x:file_id}&pds_params=${x:pds_params}&version=${x:version}",
        "callbackBodyType": "application/x-www-form-urlencoded",
        "callbackStage": "before-execute",
        "callbackFailureAction": "ignore",
    });
    let var = json!({
        "x:domain_id": "bj29",
        "x:user_id": call.drive.user_id,
        "x:drive_id": kind.id(),
        "x:file_id": node.id,
        "x:version": "v3",
    });
    let base64 = |value: &Value| sign::encode(&BASE64.encode(value.to_string().as_bytes()));
    let disposition = sign::encode(&format!("attachment; filename*=UTF-8''{}", sign::encode(name)));
    let mut params = vec![("callback", base64(&callback)), ("callback-var", base64(&var))];
    params.extend(common_params(call.drive, &call.app, kind.id(), &node.id));
    params.push(("response-content-disposition", disposition));
    params.push(("x-oss-expires", expires_s.to_string()));
    format!("{}{}", call.drive.content_base, sign::signed(&call.drive.key, &path, &params))
}

/// `punish_flag` of files that have no download (§3.2).
const ILLEGAL: u32 = 103;
