//! The preview host: playlists signed line by line, segments that take their time, subtitles (fact sheet §5.2, §9.21–22).

use std::{fmt::Write, sync::Arc};

use bytes::Bytes;
use http::{Response, request::Parts};
use tokio::time::{Instant, sleep_until};

use crate::{
    answers,
    body::SimBody,
    cdn::{self, Stored},
    content::Content,
    drive::Drive,
    faults::Endpoint,
    samples::{FIRST_SUBTITLE, RENDITIONS, Rendition, SUBTITLES},
    settings::Settings,
    sign,
};

/// Answers a request whose signature is right.
pub(crate) async fn answer(
    drive: &Arc<Drive>,
    settings: &Settings,
    endpoint: Endpoint,
    head: &Parts,
) -> Response<SimBody> {
    let Some(named) = Named::parse(head.uri.path()) else { return cdn::no_such_key() };
    match endpoint {
        Endpoint::Playlist => playlist(drive, settings, &named, head),
        Endpoint::Segment => segment(drive, settings, &named, head).await,
        _ => subtitle(settings, &named, head),
    }
}

/// A path below `/lt/`: `<content hash>_<size>__sha1_bj29_<milliseconds in hex>/<folder>/<name>`.
struct Named<'a> {
    hash: &'a str,
    duration_ms: u64,
    folder: &'a str,
    name: &'a str,
}

impl<'a> Named<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        let mut parts = path.strip_prefix("/lt/")?.splitn(3, '/');
        let (film, folder, name) = (parts.next()?, parts.next()?, parts.next()?);
        let (hash, _) = film.split_once('_')?;
        let (_, duration) = film.rsplit_once('_')?;
        Some(Self { hash, duration_ms: u64::from_str_radix(duration, 16).ok()?, folder, name })
    }

    fn rendition(&self) -> Option<&'static Rendition> {
        RENDITIONS.iter().find(|rendition| rendition.template == self.folder)
    }
}

fn playlist(drive: &Drive, settings: &Settings, named: &Named<'_>, head: &Parts) -> Response<SimBody> {
    if named.rendition().is_none() || named.name != "media.m3u8" {
        return cdn::no_such_key();
    }
    let query = head.uri.query().unwrap_or_default();
    // What `x-oss-process=hls/sign,params_…` asks for: these parameters, as they are, on every line.
    let kept: Vec<(&str, String)> = KEPT
        .into_iter()
        .filter_map(|name| sign::param(query, name).map(|value| (name, sign::encode(&value))))
        .collect();
    let folder = head.uri.path().trim_end_matches("media.m3u8");
    let mut text =
        String::from("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:10\n");
    let all = named.duration_ms.div_ceil(SEGMENT_MS);
    let listed = settings.listed_segments.map_or(all, |most| most.min(all));
    for n in 0..listed {
        let ms = (named.duration_ms - n * SEGMENT_MS).min(SEGMENT_MS);
        let url = sign::signed(&drive.key, &format!("{folder}media-{n}.ts"), &kept);
        let line = url.trim_start_matches(folder);
        // Writing to a string cannot fail.
        let _ = write!(text, "#EXTINF:{}.{:03},\n{line}\n", ms / 1000, ms % 1000);
    }
    if listed == all {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    let body = SimBody::full(text).paced(settings.preview_bytes_per_second);
    let mut response = answers::body(200, settings.playlist_type.as_str(), body);
    answers::storage_headers(&mut response, &answers::request_id());
    response
}

async fn segment(
    drive: &Arc<Drive>,
    settings: &Settings,
    named: &Named<'_>,
    head: &Parts,
) -> Response<SimBody> {
    let index = named.name.strip_prefix("media-").and_then(|name| name.strip_suffix(".ts"));
    let (Some(rendition), Some(index)) = (named.rendition(), index.and_then(|n| n.parse::<usize>().ok()))
    else {
        return cdn::no_such_key();
    };
    if index as u64 >= named.duration_ms.div_ceil(SEGMENT_MS) {
        return cdn::no_such_key();
    }
    if index >= PREPARED && !settings.transcode_delay.is_zero() {
        let key = (named.hash.to_owned(), named.folder.to_owned(), index);
        let ready = Instant::now() + settings.transcode_delay;
        let ready = *drive.lock().transcoded.entry(key).or_insert(ready);
        sleep_until(ready).await;
    }
    let bytes = Bytes::from_static(rendition.segments[index % rendition.segments.len()]);
    let version = format!("{:032X}", index * 16 + rendition.template.len());
    cdn::object(
        head,
        settings,
        &Stored::new(Content::Bytes(bytes), "video/MP2T", &version),
        settings.preview_bytes_per_second,
    )
}

fn subtitle(settings: &Settings, named: &Named<'_>, head: &Parts) -> Response<SimBody> {
    let number = named.name.strip_prefix("subtitle_").and_then(|name| name.strip_suffix(".vtt"));
    let track = number.and_then(|n| n.parse::<usize>().ok()?.checked_sub(FIRST_SUBTITLE));
    match track.and_then(|track| SUBTITLES.get(track)) {
        Some((language, text)) if named.folder == "subtitle" => {
            let version = format!("{:0>32}", language.to_uppercase());
            let content = Content::Bytes(Bytes::from_static(text));
            cdn::object(
                head,
                settings,
                &Stored::new(content, "text/vtt", &version),
                settings.preview_bytes_per_second,
            )
        }
        _ => cdn::no_such_key(),
    }
}

/// Parameters that segment lines carry (§5.2).
const KEPT: [&str; 8] =
    ["di", "dr", "f", "u", "pds-params", "security-token", "x-oss-expires", "x-oss-access-key-id"];

/// Ten seconds.
const SEGMENT_MS: u64 = 10_000;

/// Segments prepared after upload: the first 30 s (§5.1).
const PREPARED: usize = 3;
