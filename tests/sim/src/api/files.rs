//! Single files by id and by path (fact sheet §3.3).

use serde_json::json;

use super::{Answer, Call, item, text};
use crate::{
    answers::Refusal,
    drive::Inner,
    nodes::{Missing, Node, Nodes},
    settings::DriveKind,
};

/// `openFile/get`.
pub(super) fn get(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let (kind, node) = named(call, &inner)?;
    let wanted = item::Wanted::parse(call.text("fields"));
    Ok(item::json_of(call.drive, inner.nodes(kind), kind, node, wanted))
}

/// `openFile/get_by_path`: exact and case-sensitive.
pub(super) fn get_by_path(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let kind = call.drive_kind(&inner)?;
    let path = call.text("file_path");
    if !path.starts_with('/') {
        return Err(Refusal::bad_request("file_path must start with /"));
    }
    let node = inner.nodes(kind).at_path(path).ok_or_else(|| missing(Missing::Gone))?;
    let wanted = item::Wanted::parse(call.text("fields"));
    Ok(item::json_of(call.drive, inner.nodes(kind), kind, node, wanted))
}

/// `openFile/batch/get`: what is not there is left out.
pub(super) fn batch_get(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let list = call.body["file_list"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() || list.len() > 100 {
        return Err(Refusal::bad_request("file_list must hold 1 to 100 files"));
    }
    let mut items = Vec::new();
    for entry in list {
        let kind = call.drive_named(&inner, text(entry, "drive_id"))?;
        if let Ok(node) = inner.nodes(kind).find(text(entry, "file_id")) {
            let wanted = item::Wanted::parse("");
            items.push(item::json_of(call.drive, inner.nodes(kind), kind, node, wanted));
        }
    }
    Ok(json!({"items": items}))
}

/// The node that `drive_id` and `file_id` name.
pub(super) fn named<'a>(call: &Call<'_>, inner: &'a Inner) -> Result<(DriveKind, &'a Node), Refusal> {
    let kind = call.drive_kind(inner)?;
    Ok((kind, find(inner.nodes(kind), call.text("file_id"))?))
}

pub(super) fn find<'a>(nodes: &'a Nodes, id: &str) -> Result<&'a Node, Refusal> {
    if id.is_empty() {
        return Err(Refusal::bad_request("The input parameter file_id is missing"));
    }
    nodes.find(id).map_err(missing)
}

fn missing(missing: Missing) -> Refusal {
    match missing {
        Missing::Gone => {
            Refusal::new(404, "NotFound.File", "The resource file cannot be found. file not exist")
        }
        Missing::Trashed => {
            Refusal::new(403, "ForbiddenFileInTheRecycleBin", "the file is in the recycle bin")
        }
    }
}
