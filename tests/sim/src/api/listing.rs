//! Folders page by page, in a stable order that bears changes between pages (fact sheet §3.1, §9.9).

use std::cmp::Ordering;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::{Answer, Call, files, item};
use crate::{answers::Refusal, nodes::Node};

/// `openFile/list`.
pub(super) fn list(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    let kind = call.drive_kind(&inner)?;
    let most = if inner.settings.list_limit_strict { 100 } else { 200 };
    let limit = limit(&call.body, 50, most)?;
    let parent = call.text("parent_file_id");
    if parent.is_empty() {
        return Err(Refusal::bad_request("The input parameter parent_file_id is missing"));
    }
    let nodes = inner.nodes(kind);
    let folder = files::find(nodes, parent)?;
    if !folder.is_folder() {
        return Err(Refusal::new(404, "NotFound.File", "parent_file_id is not a folder"));
    }
    let order = Order::parse(call.text("order_by"), call.text("order_direction"))?;
    let filter = Filter::parse(call.text("type"), call.text("category"))?;
    let after = marker(call.text("marker"))?;
    let mut found: Vec<&Node> = nodes.children(folder).filter(|node| filter.admits(node)).collect();
    found.sort_by(|a, b| order.compare(&Key::of(a), &Key::of(b)));
    let start = after
        .map_or(0, |after| found.partition_point(|node| order.compare(&Key::of(node), &after.key()).is_le()));
    let page = &found[start..(start + limit).min(found.len())];
    let next = match page.last() {
        Some(last) if start + limit < found.len() => Marker::of(last).encode(),
        _ => String::new(),
    };
    let wanted = item::Wanted::parse(call.text("fields"));
    let items: Vec<Value> =
        page.iter().map(|node| item::json_of(call.drive, nodes, kind, node, wanted)).collect();
    Ok(json!({"items": items, "next_marker": next}))
}

/// `openFile/starredList`: nothing is ever starred here.
pub(super) fn starred(call: &Call<'_>) -> Answer {
    let inner = call.drive.lock();
    call.drive_kind(&inner)?;
    limit(&call.body, 50, 100)?;
    Ok(json!({"items": [], "next_marker": ""}))
}

/// `limit`, within 1 to `most`.
pub(super) fn limit(body: &Value, default: usize, most: usize) -> Result<usize, Refusal> {
    if body["limit"].is_null() {
        return Ok(default);
    }
    let asked = body["limit"].as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0);
    if (1..=most).contains(&asked) {
        return Ok(asked);
    }
    let message = format!("The input parameter limit is not valid. limit must be between 1 and {most}");
    Err(Refusal::new(400, "InvalidParameter.Limit", message))
}

/// What nodes are ordered by; the rest of the key breaks ties.
#[derive(Clone, Copy)]
enum By {
    Created,
    Name,
    NameEnhanced,
    Size,
    Updated,
}

/// `order_by` and `order_direction`. Without them the newest comes first (chosen; the sheet names no default).
pub(super) struct Order {
    by: By,
    descending: bool,
}

impl Order {
    pub(super) fn parse(by: &str, direction: &str) -> Result<Self, Refusal> {
        let (by, descends) = match by {
            "" | "created_at" => (By::Created, true),
            "name" => (By::Name, false),
            "name_enhanced" => (By::NameEnhanced, false),
            "size" => (By::Size, false),
            "updated_at" => (By::Updated, true),
            other => return Err(Refusal::bad_request(format!("order_by {other} is not valid"))),
        };
        let descending = match direction.to_ascii_uppercase().as_str() {
            "" => descends,
            "ASC" => false,
            "DESC" => true,
            other => return Err(Refusal::bad_request(format!("order_direction {other} is not valid"))),
        };
        Ok(Self { by, descending })
    }

    pub(super) fn compare(&self, a: &Key<'_>, b: &Key<'_>) -> Ordering {
        let by = match self.by {
            By::Created => a.created_ms.cmp(&b.created_ms),
            By::Name => a.name.cmp(b.name),
            By::NameEnhanced => natural(a.name, b.name),
            By::Size => a.size.cmp(&b.size),
            By::Updated => a.updated_ms.cmp(&b.updated_ms),
        };
        let ascending = by.then(a.serial.cmp(&b.serial));
        if self.descending { ascending.reverse() } else { ascending }
    }
}

/// What an order looks at.
pub(super) struct Key<'a> {
    name: &'a str,
    size: u64,
    created_ms: u64,
    updated_ms: u64,
    serial: u64,
}

impl<'a> Key<'a> {
    pub(super) fn of(node: &'a Node) -> Self {
        Self {
            name: &node.name,
            size: node.size(),
            created_ms: node.created_ms,
            updated_ms: node.updated_ms,
            serial: node.serial,
        }
    }
}

/// The last item of a page: where the next page begins, even when that item is gone by then.
struct Marker {
    name: String,
    numbers: [u64; 4],
}

impl Marker {
    fn of(node: &Node) -> Self {
        let numbers = [node.size(), node.created_ms, node.updated_ms, node.serial];
        Self { name: node.name.clone(), numbers }
    }

    fn key(&self) -> Key<'_> {
        let [size, created_ms, updated_ms, serial] = self.numbers;
        Key { name: &self.name, size, created_ms, updated_ms, serial }
    }

    fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(json!([self.name, self.numbers]).to_string().as_bytes())
    }
}

/// Reads a marker; garbage is refused.
fn marker(text: &str) -> Result<Option<Marker>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let read = || {
        let value: Value = serde_json::from_slice(&BASE64URL_NOPAD.decode(text.as_bytes()).ok()?).ok()?;
        let number = |at: usize| value[1][at].as_u64();
        let numbers = [number(0)?, number(1)?, number(2)?, number(3)?];
        Some(Marker { name: value[0].as_str()?.to_owned(), numbers })
    };
    let garbage = || Refusal::new(400, "InvalidParameter.Marker", "The input parameter marker is not valid");
    read().map(Some).ok_or_else(garbage)
}

/// `type` and `category`.
struct Filter<'a> {
    files: bool,
    folders: bool,
    categories: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    fn parse(kind: &str, categories: &'a str) -> Result<Self, Refusal> {
        let (files, folders) = match kind {
            "" | "all" => (true, true),
            "file" => (true, false),
            "folder" => (false, true),
            other => return Err(Refusal::bad_request(format!("type {other} is not valid"))),
        };
        let categories = categories.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        Ok(Self { files, folders, categories })
    }

    /// A category leaves folders out, unless folders alone are wanted.
    fn admits(&self, node: &Node) -> bool {
        if node.is_folder() {
            return self.folders && (!self.files || self.categories.is_empty());
        }
        let category = item::category(&node.extension());
        self.files && (self.categories.is_empty() || self.categories.contains(&category))
    }
}

/// Compares runs of digits as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (run_a, run_b) = (digits(a), digits(b));
        if !run_a.is_empty() && !run_b.is_empty() {
            let (x, y) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            let by = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
            if by.is_ne() {
                return by;
            }
            (a, b) = (&a[run_a.len()..], &b[run_b.len()..]);
            continue;
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

fn digits(text: &str) -> &str {
    &text[..text.bytes().take_while(u8::is_ascii_digit).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_compare_as_numbers() {
        let mut names = ["E10", "E9", "E09b", "E1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["E1", "E9", "E09b", "E10"]);
    }

    #[test]
    fn garbage_markers_are_refused() {
        assert!(marker("").unwrap().is_none());
        assert_eq!(marker("garbage").err().map(|refusal| refusal.status), Some(400));
    }
}
