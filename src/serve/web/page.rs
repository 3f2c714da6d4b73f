//! The pages as HTML. Every text that comes from a drive passes through [`Escaped`].
//!
//! The rows of a folder are written as Kodi's reader of HTTP directories takes them: the address relative and equal
//! to the text once decoded, the time and the exact size in cells aligned to the right.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::SystemTime;

use crate::driver::Entry;
use crate::http::conditional::http_date;
use crate::mount::Mount;
use crate::path::{VirtualPath, encode_component};
use crate::section::HumanSize;
use crate::serve::addresses::{Addresses, Route};
use crate::serve::media_type::{self, Kind};
use crate::serve::telling::Telling;

/// A folder, written piece by piece, since a large one is told as the drive lists it.
pub(super) struct FolderPage {
    pub(super) path: VirtualPath,
    /// In front of our routes.
    pub(super) prefix: String,
    /// In front of a child's name: nothing, where the page's address ends in a slash of its own.
    pub(super) base: &'static str,
    /// Whether the drive does not answer, and this is what it said before.
    pub(super) is_stale: bool,
    /// Whether the folder is a mount, and whoever asks may see its account.
    pub(super) account: bool,
    /// Whether any entry was told yet.
    pub(super) has_any: bool,
}

/// A row of a listing.
pub(in crate::serve) struct Row<'a> {
    pub(in crate::serve) entry: &'a Entry,
    /// In front of the name in the address.
    pub(in crate::serve) base: &'static str,
    /// Behind it; a query.
    pub(in crate::serve) query: &'a str,
}

/// A text that stands in HTML, in an element or a quoted attribute.
pub(in crate::serve) struct Escaped<'a>(pub(in crate::serve) &'a str);

// === impl FolderPage ===

impl Telling for FolderPage {
    /// What comes before the rows.
    fn opening(&mut self) -> String {
        written(|f| {
            head(f, &self.prefix, self.path.name().unwrap_or("Films"), "")?;
            crumbs(f, &self.prefix, &self.path, true)?;
            if self.is_stale {
                f.write_str(
                    "<p role=\"status\">The drive does not answer; this is what it listed before.</p>\n",
                )?;
            }
            f.write_str("<table><tbody>\n")
        })
    }

    /// Rows: folders first, among those that the drive lists together.
    fn rows(&mut self, entries: &[Entry]) -> String {
        self.has_any |= !entries.is_empty();
        let (folders, files): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.is_folder());
        written(|f| folders.iter().chain(&files).try_for_each(|entry| self.row(f, entry)))
    }

    /// What comes after them.
    fn closing(&mut self) -> String {
        written(|f| {
            f.write_str("</tbody></table>\n")?;
            if !self.has_any {
                f.write_str("<p class=\"empty\">This folder is empty.</p>\n")?;
            }
            if self.account {
                let address = account_address(&self.path);
                writeln!(f, "<p class=\"facts\"><a href=\"{}{address}\">Account</a></p>", self.prefix)?;
            }
            foot(f)
        })
    }
}

impl FolderPage {
    fn row(&self, f: &mut Formatter<'_>, entry: &Entry) -> fmt::Result {
        let class = match (entry.is_folder(), media_type::kind_of(&entry.name)) {
            (true, _) => "folder",
            (false, Kind::Video) => "video",
            (false, Kind::Audio) => "audio",
            (false, Kind::Image) => "image",
            (false, Kind::Other) => "other",
        };
        Row { entry, base: self.base, query: "" }.write(f, class)
    }
}

// === impl Row ===

impl Row<'_> {
    /// Writes it, of this class.
    pub(in crate::serve) fn write(&self, f: &mut Formatter<'_>, class: &str) -> fmt::Result {
        let Self { entry, base, query } = self;
        let slash = if entry.is_folder() { "/" } else { "" };
        let (address, name) = (encode_component(&entry.name), Escaped(&entry.name));
        f.write_str("<tr")?;
        if !class.is_empty() {
            write!(f, " class=\"{class}\"")?;
        }
        write!(f, "><td><a href=\"{base}{address}{slash}{query}\">{name}{slash}</a></td>")?;
        write!(f, "<td align=\"right\">{} </td>", Minute(entry.modified))?;
        if entry.is_folder() {
            f.write_str("<td align=\"right\">- </td></tr>\n")
        } else {
            writeln!(f, "<td align=\"right\" title=\"{}\">{} </td></tr>", HumanSize(entry.len), entry.len)
        }
    }
}

/// A file: a player for a film or a song, the picture, or a way to download it.
pub(super) fn file(
    path: &VirtualPath,
    entry: &Entry,
    mount: &Option<Arc<Mount>>,
    addresses: &Addresses,
) -> String {
    let name = path.name().unwrap_or_default();
    let direct = addresses.local(Route::Content, path, "");
    let transcodes = mount.as_ref().is_some_and(|mount| mount.driver.info().preview);
    written(|f| {
        head(f, addresses.prefix(), name, "")?;
        crumbs(f, addresses.prefix(), path, false)?;
        let source = Escaped(&direct);
        match media_type::kind_of(name) {
            Kind::Video => {
                writeln!(
                    f,
                    "<video id=\"player\" controls playsinline preload=\"metadata\" aria-label=\"{}\" src=\"{source}\"></video>",
                    Escaped(name)
                )?;
                f.write_str(
                    "<p id=\"coming\" role=\"status\" hidden><span></span> <button>Play now</button> \
                     <button class=\"quiet\">Stay here</button></p>\n\
                     <p class=\"choices\"><label>Quality <select id=\"quality\" disabled>",
                )?;
                write!(f, "<option value=\"{source}\">Original</option>")?;
                if transcodes {
                    let master = addresses.local(Route::Hls, path, "/master.m3u8");
                    write!(f, "<option value=\"{}\" data-hls>Automatic</option>", Escaped(&master))?;
                }
                f.write_str(
                    "</select></label> <label>Subtitles <select id=\"subtitles\" disabled>\
                     <option value=\"\">Off</option></select></label> \
                     <button id=\"restart\" class=\"quiet\" hidden>From the beginning</button> \
                     <button id=\"next\" class=\"quiet\" hidden>Next</button> <span id=\"message\" role=\"status\"></span></p>\n",
                )?;
            }
            Kind::Audio => {
                writeln!(f, "<audio id=\"player\" controls preload=\"metadata\" src=\"{source}\"></audio>")?;
                f.write_str(
                    "<p class=\"choices\"><button id=\"restart\" class=\"quiet\" hidden>From the beginning</button> \
                     <span id=\"message\" role=\"status\"></span></p>\n",
                )?;
            }
            Kind::Image => {
                writeln!(f, "<p><img class=\"picture\" src=\"{source}\" alt=\"{}\"></p>", Escaped(name))?
            }
            Kind::Other => {}
        }
        let separator = if direct.contains('?') { '&' } else { '?' };
        writeln!(
            f,
            "<p class=\"facts\">{} · {} · <a href=\"{source}\">Address for other players</a> · \
             <a href=\"{source}{separator}download\">Download</a></p>",
            HumanSize(entry.len),
            Minute(entry.modified),
        )?;
        if matches!(media_type::kind_of(name), Kind::Video | Kind::Audio) {
            f.write_str(KEYS)?;
        }
        writeln!(f, "<script type=\"module\" src=\"{}/assets/page.js\"></script>", addresses.prefix())?;
        foot(f)
    })
}

/// The keys, for whoever looks for them.
const KEYS: &str = "<details class=\"facts\"><summary>Keys</summary><p>\
    <kbd>space</kbd> <kbd>k</kbd> play and pause · <kbd>←</kbd> <kbd>→</kbd> five seconds · <kbd>j</kbd> <kbd>l</kbd> ten · \
    <kbd>0</kbd>–<kbd>9</kbd> tenths of the film · <kbd>↑</kbd> <kbd>↓</kbd> <kbd>m</kbd> sound · <kbd>f</kbd> full screen · \
    <kbd>c</kbd> subtitles · <kbd>n</kbd> next</p></details>\n";

/// What `write` writes.
pub(in crate::serve) fn written(write: impl Fn(&mut Formatter<'_>) -> fmt::Result) -> String {
    struct Written<F>(F);
    impl<F: Fn(&mut Formatter<'_>) -> fmt::Result> Display for Written<F> {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }
    Written(write).to_string()
}

/// The beginning of a page; `more` stands in its head, as HTML.
pub(super) fn head(f: &mut Formatter<'_>, prefix: &str, title: &str, more: &str) -> fmt::Result {
    writeln!(
        f,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} · Sluice</title>\n\
         <link rel=\"stylesheet\" href=\"{prefix}/assets/page.css\">\n\
         <link rel=\"icon\" href=\"{prefix}/assets/icon.svg\">{more}\n</head><body>",
        Escaped(title)
    )
}

pub(super) fn foot(f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("</body></html>\n")
}

/// The way from the root to here. Absolute addresses, so that a reader of directories sees no children in them.
pub(super) fn crumbs(
    f: &mut Formatter<'_>,
    prefix: &str,
    path: &VirtualPath,
    is_folder: bool,
) -> fmt::Result {
    write!(f, "<header><nav><a class=\"home\" href=\"{prefix}/\">Sluice</a>")?;
    let depth = path.components().count();
    let mut at = VirtualPath::root();
    for (number, name) in path.components().enumerate() {
        let Ok(next) = at.join(name) else { break };
        at = next;
        let address = if is_folder || number + 1 < depth {
            folder_address(&at)
        } else {
            format!("/browse{}", at.encoded())
        };
        write!(f, " <span>/</span> <a href=\"{prefix}{}\">{}</a>", Escaped(&address), Escaped(name))?;
    }
    f.write_str("</nav></header>\n<main>\n")
}

/// Where a mount's account is shown. Needs no escaping, as no encoded path does.
pub(super) fn account_address(mount: &VirtualPath) -> String {
    format!("/account{}", mount.encoded())
}

pub(super) fn folder_address(path: &VirtualPath) -> String {
    if path.is_root() { "/browse/".to_owned() } else { format!("/browse{}/", path.encoded()) }
}

// === impl Escaped ===

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// `2026-11-21 10:11`, in UTC.
struct Minute(Option<SystemTime>);

impl Display for Minute {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // An HTTP date has just the years that the form can carry.
        let Some(time) = self.0.filter(|time| http_date(*time).is_some()) else { return f.write_str("-") };
        let text = humantime::format_rfc3339_seconds(time).to_string();
        match (text.get(..10), text.get(11..16)) {
            (Some(day), Some(minute)) => write!(f, "{day} {minute}"),
            _ => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{EntryId, EntryKind};

    #[test]
    fn a_name_is_text_and_nothing_else() {
        let name = "<script>alert(\"1\")</script> & 'more'.mkv";
        let mut entry = Entry::folder(EntryId::new("1"), name);
        (entry.kind, entry.len) = (EntryKind::File, 1536);
        let path = VirtualPath::root();
        let prefix = String::new();
        let mut page = FolderPage { path, prefix, base: "", is_stale: false, account: false, has_any: false };
        let page = page.rows(&[entry]);
        assert!(!page.contains("<script>alert"));
        assert!(
            page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;more&#39;.mkv</a>")
        );
        assert!(
            page.contains("href=\"%3Cscript%3Ealert%28%221%22%29%3C%2Fscript%3E%20%26%20%27more%27.mkv\"")
        );
        assert!(page.contains("title=\"1.5 KiB\">1536 </td>"));
    }

    #[test]
    fn times_read_well() {
        let time = humantime::parse_rfc3339("2026-11-21T10:11:12Z").unwrap();
        assert_eq!(Minute(Some(time)).to_string(), "2026-11-21 10:11");
        let old = std::time::UNIX_EPOCH - std::time::Duration::from_secs(1);
        assert_eq!(Minute(Some(old)).to_string(), "-");
    }
}
