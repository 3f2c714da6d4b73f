//! A folder below `/d`: the listing that programs walk through (Kodi, rclone, Infuse, wget), or its films as one playlist.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use http::{HeaderValue, Method, StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;

use super::addresses::{Addresses, Route};
use super::content::{DELIVERY, redirect, set};
use super::plan::{Delivery, Way};
use super::target::{Target, signature};
use super::telling::{Telling, tell};
use super::web::page::{Escaped, Row, written};
use super::{Site, media_type, sight};
use crate::access::Visitor;
use crate::access::rules::{Sight, Verdict};
use crate::driver::Entry;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response};
use crate::path::{VirtualPath, encode_component};
use crate::resolve::Want;

/// The listing, as bare as can be.
struct Index {
    title: String,
    /// Behind each address: nothing, or the signature by which the folder was opened.
    query: String,
}

/// The films below a folder, told while the folders are walked through.
struct Films {
    site: Site,
    sight: Sight,
    origin: String,
    /// The signature by which the folder was opened, where it covers what is below.
    query: Option<String>,
    /// Folders still to be walked, the next one last.
    folders: Vec<VirtualPath>,
    is_begun: bool,
    looked_at: usize,
}

impl Site {
    /// Answers `/d` for a folder.
    pub(super) async fn folder(&self, request: &Request, target: &Target) -> Result<Response> {
        let raw = request.uri().path();
        if !raw.ends_with('/') {
            // The addresses in a listing are relative to the folder.
            let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            let address =
                self.0.addresses.unsigned(&self.asked_origin(request), Route::Content, &target.path);
            let delivery = Delivery { way: Way::Redirect, reason: Some("folder") };
            return Ok(redirect(&format!("{address}/{query}"), delivery));
        }
        let sight = sight(request)?;
        let is_signed = matches!(sight.visitor, Visitor::Signed);
        // Whoever holds the signature of a folder is led on with it.
        let query = is_signed.then(|| signature_of(request)).flatten();
        if target.query.playlist {
            return self.films(request, target, sight, query).await;
        }
        let listing = self.find(&target.path, Want::Children { fresh: false }).await?.into_children()?;
        let listing = listing.seen_by(&sight, &target.path);
        let title = target.path.name().unwrap_or("Films").to_owned();
        let (body, length) = if *request.method() == Method::HEAD {
            (Body::empty(), None)
        } else {
            tell(&listing, Index { title, query: query.unwrap_or_default() }).await?
        };
        let mut response = answer_of(body, media_type::HTML, "proxy; reason=folder");
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(response)
    }

    /// The films below a folder, by folders, each with its own address. Told as they are found; where a folder cannot be listed the body is cut.
    async fn films(
        &self,
        request: &Request,
        target: &Target,
        sight: Sight,
        query: Option<String>,
    ) -> Result<Response> {
        let mut films = Films {
            site: self.clone(),
            sight,
            origin: self.asked_origin(request),
            query,
            folders: vec![target.path.clone()],
            is_begun: false,
            looked_at: 0,
        };
        // What fails at once is answered with what it is.
        let first = films.next().await?;
        let rest = stream::try_unfold(films, |mut films| async {
            Ok(films.next().await?.map(|piece| (piece, films)))
        });
        let pieces = stream::iter(first.map(Ok)).chain(rest).map_ok(|piece| Frame::data(piece.into()));
        let mut response = answer_of(Body::stream(StreamBody::new(pieces)), media_type::M3U, "playlist");
        let name = format!("{}.m3u8", target.path.name().unwrap_or("films"));
        let value = format!("inline; filename*=UTF-8''{}", encode_component(&name));
        set(response.headers_mut(), header::CONTENT_DISPOSITION, &value);
        Ok(response)
    }
}

// === impl Index ===

impl Telling for Index {
    fn opening(&mut self) -> String {
        format!(
            "<!doctype html>\n<html><head><meta charset=\"utf-8\"><title>{0}</title></head><body>\n\
             <table><tbody>\n",
            Escaped(&self.title)
        )
    }

    fn rows(&mut self, entries: &[Entry]) -> String {
        written(|f| {
            entries.iter().try_for_each(|entry| Row { entry, base: "", query: &self.query }.write(f, ""))
        })
    }

    fn closing(&mut self) -> String {
        "</tbody></table>\n</body></html>\n".to_owned()
    }
}

// === impl Films ===

impl Films {
    /// The films of the next folders; nothing once all were walked through.
    async fn next(&mut self) -> Result<Option<String>> {
        let mut text = String::new();
        if !std::mem::replace(&mut self.is_begun, true) {
            text.push_str("#EXTM3U\n");
        }
        while let Some(folder) = self.folders.pop() {
            let listing = self.site.find(&folder, Want::Children { fresh: false }).await?.into_children()?;
            let listing = listing.seen_by(&self.sight, &folder);
            let mut entries = Vec::new();
            let mut pages = Box::pin(listing.pages());
            while let Some(page) = pages.try_next().await? {
                self.looked_at += page.len();
                if self.looked_at > MOST_LOOKED_AT {
                    return Err(Error::new(ErrorKind::Overload, "make a playlist")
                        .saying("there is too much below this folder for one playlist"));
                }
                entries.extend(page.into_iter().filter(|entry| self.is_open(&folder, entry)));
            }
            entries.sort_by(|one, other| natural(&one.name, &other.name));
            for film in entries.iter().filter(|entry| !entry.is_folder() && media_type::is_film(&entry.name))
            {
                text += &self.film(&folder, film);
            }
            // The last is the next: so what is in a folder comes before what follows it.
            let folders = entries.iter().rev().filter(|entry| entry.is_folder());
            self.folders.extend(folders.filter_map(|entry| folder.join(&entry.name).ok()));
            if !text.is_empty() {
                return Ok(Some(text));
            }
        }
        Ok((!text.is_empty()).then_some(text))
    }

    /// What is locked is listed elsewhere; here it is neither walked through nor given an address, whose signature would open it.
    fn is_open(&self, folder: &VirtualPath, entry: &Entry) -> bool {
        folder.join(&entry.name).is_ok_and(|path| self.sight.of(&path) == Verdict::Allowed)
    }

    fn film(&self, folder: &VirtualPath, entry: &Entry) -> String {
        let Ok(path) = folder.join(&entry.name) else { return String::new() };
        let addresses: &Arc<Addresses> = &self.site.0.addresses;
        let address = match &self.query {
            Some(query) => addresses.unsigned(&self.origin, Route::Content, &path) + query,
            None => addresses.whole(&self.origin, Route::Content, &path, ""),
        };
        let seconds = entry.duration.map_or(-1, |duration| duration.as_secs() as i64);
        // A line is a line, whatever a name holds.
        let title: String = entry.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut text = String::new();
        let _ = write!(text, "#EXTINF:{seconds},{title}\n{address}\n");
        text
    }
}

/// The signature that a request came with, as a query.
fn signature_of(request: &Request) -> Option<String> {
    let sign = signature(request.uri().query()?)?;
    Some(format!("?sign={}", encode_component(&sign)))
}

fn answer_of(body: Body, media_type: &'static str, delivery: &'static str) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(DELIVERY, HeaderValue::from_static(delivery));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// As people sort: numbers by their value, so that the second episode comes before the tenth.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        match (digits(one), digits(other)) {
            (0, 0) => {}
            (of_one, of_other) if of_one > 0 && of_other > 0 => {
                let ((number, rest), (second, second_rest)) =
                    (one.split_at(of_one), other.split_at(of_other));
                let (number, second) = (number.trim_start_matches('0'), second.trim_start_matches('0'));
                let order = number.len().cmp(&second.len()).then_with(|| number.cmp(second));
                if order != Ordering::Equal {
                    return order;
                }
                (one, other) = (rest, second_rest);
                continue;
            }
            _ => {}
        }
        let (mut of_one, mut of_other) = (one.chars(), other.chars());
        match (of_one.next(), of_other.next()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let order = a.to_lowercase().cmp(b.to_lowercase());
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
        (one, other) = (of_one.as_str(), of_other.as_str());
    }
}

/// Entries below one folder; chosen: more than anybody makes one list of, and some minutes of listing.
const MOST_LOOKED_AT: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_as_people_sort_them() {
        let mut names = ["e10.mkv", "E2.mkv", "e1.mkv", "第10集", "第2集", "e02b", "e2"];
        names.sort_by(|one, other| natural(one, other));
        assert_eq!(names, ["e1.mkv", "e2", "E2.mkv", "e02b", "e10.mkv", "第2集", "第10集"]);
    }
}
