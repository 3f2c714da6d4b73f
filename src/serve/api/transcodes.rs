//! `fs/other`: what a drive makes of a film, in the form of the drive's own answer, with addresses of ours that do not expire.

use serde::Serialize;

use super::{Form, Refused, success};
use crate::access::rules::Sight;
use crate::driver::{Preview, VariantState};
use crate::http::{Request, Response};
use crate::resolve::Want;
use crate::secret::SignedUrl;
use crate::serve::Site;
use crate::serve::addresses::Route;

#[derive(Serialize)]
struct Transcodes<'a> {
    domain_id: &'static str,
    drive_id: &'static str,
    file_id: &'a str,
    video_preview_play_info: PlayInfo<'a>,
}

#[derive(Serialize)]
struct PlayInfo<'a> {
    category: &'static str,
    meta: Meta,
    live_transcoding_task_list: Vec<Quality>,
    live_transcoding_subtitle_task_list: Vec<Track<'a>>,
}

#[derive(Serialize)]
struct Meta {
    /// In seconds.
    duration: f64,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct Quality {
    template_id: String,
    template_name: String,
    template_width: u32,
    template_height: u32,
    status: &'static str,
    stage: &'static str,
    url: String,
}

#[derive(Serialize)]
struct Track<'a> {
    language: &'a str,
    status: &'static str,
    url: String,
}

impl Site {
    pub(super) async fn other(
        &self,
        request: &Request,
        form: &Form,
        sight: Sight,
    ) -> Result<Response, Refused> {
        if form.text("method")? != "video_preview" {
            return Err(Refused::Said(500, "not support"));
        }
        let query = request.uri().query().unwrap_or_default();
        let is_raw = form.flag("raw") || query.split('&').any(|pair| pair == "raw=true");
        if is_raw && !sight.visitor.is_administrator() {
            return Err(Refused::Said(403, "You are not an admin"));
        }
        let (path, _) = self.at(request, form, sight).await?;
        let found = self.find(&path, Want::Preview { failed: None }).await?;
        let file_id = found.entry.id.clone();
        let preview = found.into_preview()?;
        let origin = self.asked_origin(request);
        let ours = |below: &str| self.0.addresses.whole(&origin, Route::Hls, &path, below);
        let address = |theirs: &SignedUrl, below: &str| match is_raw {
            true => theirs.expose().to_owned(),
            false => ours(below),
        };
        Ok(success(told(file_id.as_str(), &preview, address)))
    }
}

fn told<'a>(
    file_id: &'a str,
    preview: &'a Preview,
    address: impl Fn(&SignedUrl, &str) -> String,
) -> Transcodes<'a> {
    let best = preview.variants.iter().max_by_key(|variant| variant.height);
    let qualities = preview.variants.iter().map(|variant| {
        let (status, stage, url) = match &variant.state {
            VariantState::Failed => ("failed", "stage_all", String::new()),
            VariantState::Preparing => ("running", "stage_all", String::new()),
            VariantState::Ready(url) => {
                ("finished", "stage_all", address(url, &format!("/{}/index.m3u8", variant.id)))
            }
            // The drive says so with an address that is not there.
            VariantState::Withheld => ("finished", "stage_all", String::new()),
        };
        Quality {
            template_id: variant.id.to_ascii_uppercase(),
            template_name: String::new(),
            template_width: variant.width,
            template_height: variant.height,
            status,
            stage,
            url,
        }
    });
    let tracks = preview.subtitles.iter().map(|track| Track {
        language: language(&track.language),
        status: "finished",
        url: address(&track.url, &format!("/subtitles/{0}/{0}.vtt", track.language)),
    });
    Transcodes {
        domain_id: "",
        drive_id: "",
        file_id,
        video_preview_play_info: PlayInfo {
            category: "live_transcoding",
            meta: Meta {
                duration: preview.duration.as_secs_f64(),
                width: best.map_or(0, |variant| variant.width),
                height: best.map_or(0, |variant| variant.height),
            },
            live_transcoding_task_list: qualities.collect(),
            live_transcoding_subtitle_task_list: tracks.collect(),
        },
    }
}

/// A language as the drive writes it.
fn language(tag: &str) -> &str {
    match tag {
        "zh" => "chi",
        "en" => "eng",
        "ja" => "jpn",
        other => other,
    }
}
