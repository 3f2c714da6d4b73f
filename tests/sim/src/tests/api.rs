//! Tokens, rates, pages, and the ways a call is refused.

use std::time::Duration;

use serde_json::json;

use super::{User, get, refresh, send, unlimited, virtual_file};
use crate::{
    Content, DriveKind, Endpoint, Fault, Rates, RetryAfter, Sample, Sim, TokenError, TokenServerMode, content,
};

#[tokio::test]
async fn refresh_tokens_rotate_and_work_once() {
    let sim = unlimited().start().await.unwrap();
    let first = sim.refresh_token();
    let reply = refresh(&sim, &first).await;
    assert_eq!((reply.status, &reply.json()["expires_in"]), (200, &json!(7200)));
    assert_eq!(reply.json()["refresh_token"], sim.refresh_token());
    let again = refresh(&sim, &first).await;
    assert_eq!((again.status, again.code().as_str()), (401, "RefreshTokenInvalid"));
    sim.advance(Duration::from_secs(7_776_000));
    assert_eq!(refresh(&sim, &sim.refresh_token()).await.code(), "RefreshTokenExpired");
    assert_eq!((sim.counts().refreshes, sim.counts().access_token), (1, 3));
}

#[tokio::test]
async fn a_lost_answer_still_rotates() {
    let sim = unlimited().start().await.unwrap();
    sim.fault(Endpoint::AccessToken, Fault::LoseAnswer, 1);
    let (first, url) = (sim.refresh_token(), format!("{}/oauth/access_token", sim.api_base()));
    let form = format!(
        "client_id={}&client_secret={}&grant_type=refresh_token&refresh_token={first}",
        sim.client_id(),
        sim.client_secret()
    );
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    assert!(send("POST", &url, &kind, &form).await.is_err());
    assert_ne!(sim.refresh_token(), first);
    assert_eq!(refresh(&sim, &first).await.code(), "RefreshTokenInvalid");
}

#[tokio::test]
async fn tokens_of_the_token_server_are_foreign_to_the_own_app() {
    let sim = unlimited().start().await.unwrap();
    assert_eq!(refresh(&sim, &sim.token_server_refresh_token()).await.code(), "InvalidClientId");
    let url = format!("{}/alist/ali_open/token", sim.api_base());
    let body = |token: &str| {
        json!({"client_id": "", "client_secret": "", "grant_type": "refresh_token", "refresh_token": token})
            .to_string()
    };
    let kind = [("Content-Type", "application/json")];
    for _ in 0..9 {
        let reply = send("POST", &url, &kind, &body(&sim.token_server_refresh_token())).await.unwrap();
        assert_eq!(reply.json()["token_type"], "Bearer");
    }
    let renew =
        |token: &str| format!("{}/alicloud/renewapi?refresh_ui={token}&server_use=true", sim.api_base());
    let reply = get(&renew(&sim.token_server_refresh_token()), &[]).await;
    assert_eq!(reply.json()["refresh_token"], sim.token_server_refresh_token());
    let over = send("POST", &url, &kind, &body(&sim.token_server_refresh_token())).await.unwrap();
    assert_eq!((over.status, over.code().as_str()), (429, "Too Many Requests"));
    sim.advance(Duration::from_secs(3600));
    assert_eq!(get(&renew(&sim.token_server_refresh_token()), &[]).await.status, 200);
    sim.settings(|settings| settings.token_server = TokenServerMode::Failing("down".to_owned()));
    let failed = get(&renew(&sim.token_server_refresh_token()), &[]).await;
    assert_eq!((failed.status, failed.json()), (500, json!({"text": "down"})));
    let limit = get(&format!("{}/alist/ali_open/limit", sim.api_base()), &[]).await;
    assert_eq!(limit.json(), json!({"minutes": 60, "max": 10}));
}

#[tokio::test]
async fn logging_in_by_qr_ends_in_a_code_for_tokens() {
    let sim = unlimited().start().await.unwrap();
    let base = sim.api_base();
    let body =
        json!({"client_id": sim.client_id(), "client_secret": sim.client_secret(), "scopes": ["user:base"]});
    let url = format!("{base}/oauth/authorize/qrcode");
    let opened = send("POST", &url, &[], &body.to_string()).await.unwrap().json();
    let image = get(opened["qrCodeUrl"].as_str().unwrap(), &[]).await;
    assert_eq!(image.header("content-type").unwrap(), "image/png");
    let status = format!("{}/status", opened["qrCodeUrl"].as_str().unwrap());
    assert_eq!(get(&status, &[]).await.json(), json!({"status": "WaitLogin"}));
    sim.approve_qr();
    let code = get(&status, &[]).await.json()["authCode"].clone();
    let body = json!({"client_id": sim.client_id(), "client_secret": sim.client_secret(),
        "grant_type": "authorization_code", "code": code});
    let url = format!("{base}/oauth/access_token");
    let pair = send("POST", &url, &[], &body.to_string()).await.unwrap();
    assert_eq!(pair.json()["refresh_token"], sim.refresh_token());
    assert_eq!(send("POST", &url, &[], &body.to_string()).await.unwrap().code(), "InvalidCode");
}

#[tokio::test]
async fn bad_and_old_access_tokens_are_refused_by_name() {
    let user = User::new(unlimited().start().await.unwrap()).await;
    let call = async || user.call("/adrive/v1.0/user/getDriveInfo", json!({})).await;
    assert_eq!(call().await.json()["resource_drive_id"], "222000222");
    user.sim.expire_access_tokens();
    assert_eq!((call().await.status, call().await.code().as_str()), (401, "AccessTokenExpired"));
    user.sim.revoke_access_tokens();
    assert_eq!(call().await.code(), "AccessTokenInvalid");
    user.sim.settings(|settings| settings.token_error = TokenError::I400Jd);
    assert_eq!((call().await.status, call().await.code().as_str()), (400, "I400JD"));
}

#[tokio::test]
async fn a_call_needs_a_user_agent_a_known_path_and_json() {
    let user = User::new(unlimited().start().await.unwrap()).await;
    let bearer = format!("Bearer {}", user.access);
    let (auth, url) = (("Authorization", bearer.as_str()), user.sim.api_base());
    let drive_info = format!("{url}/adrive/v1.0/user/getDriveInfo");
    assert_eq!(send("POST", &drive_info, &[auth], "").await.unwrap().status, 500);
    assert_eq!(send("POST", &drive_info, &[auth, ("user-agent", "t")], "").await.unwrap().status, 200);
    assert_eq!(send("POST", &drive_info, &[auth, ("user-agent", "t")], "{}").await.unwrap().status, 400);
    let unknown = user.file_call("create", json!({})).await;
    assert_eq!((unknown.status, &unknown.json()["path"]), (404, &json!("/adrive/v1.0/openFile/create")));
}

#[tokio::test]
async fn too_fast_is_429_with_milliseconds() {
    let sim = Sim::builder().file("/a", virtual_file(1)).start().await.unwrap();
    sim.settings(|settings| settings.retry_after = RetryAfter::Exact);
    let user = User::new(sim).await;
    let id = user.sim.file_id("/a").unwrap();
    assert_eq!(user.file_call("getDownloadUrl", json!({"file_id": id})).await.status, 200);
    let refused = user.file_call("getDownloadUrl", json!({"file_id": id})).await;
    assert_eq!((refused.status, refused.code().as_str()), (429, "TooManyRequests"));
    let ms: u64 = refused.header("x-retry-after").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&ms));
    user.sim.settings(|settings| settings.rates = Rates::OFF);
    assert_eq!(user.file_call("getDownloadUrl", json!({"file_id": id})).await.status, 200);
    let counts = user.sim.counts();
    assert_eq!((counts.rate_limited, counts.links, counts.links_by_file["/a"]), (1, 2, 2));
}

#[tokio::test]
async fn a_folder_of_12000_is_60_pages_that_bear_changes_between() {
    let mut sim = unlimited();
    for n in 0..12_000 {
        sim = sim.file(&format!("/big/{n:05}.mkv"), virtual_file(n));
    }
    let user = User::new(sim.start().await.unwrap()).await;
    let folder = user.sim.file_id("/big").unwrap();
    let (mut marker, mut names, mut pages) = (json!(""), Vec::new(), 0);
    while pages == 0 || marker != "" {
        let body = json!({"parent_file_id": folder, "limit": 200, "marker": marker, "order_by": "name"});
        let page = user.file_call("list", body).await.json();
        names.extend(
            page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        marker = page["next_marker"].clone();
        pages += 1;
        if pages == 1 {
            // The item the marker stands on goes, and one comes before it: no page loses or repeats anything.
            user.sim.remove("/big/00199.mkv");
            user.sim.add_file("/big/00000a.mkv", virtual_file(1));
        }
    }
    assert_eq!((pages, names.len()), (60, 12_000));
    assert!(names.is_sorted() && names.last().unwrap() == "11999.mkv");
}

#[tokio::test]
async fn limits_and_markers_are_checked() {
    let mut sim = unlimited();
    for n in 0..60 {
        sim = sim.folder(&format!("/{n:02}"));
    }
    let user = User::new(sim.start().await.unwrap()).await;
    let list = async |limit, marker: &str| {
        user.file_call("list", json!({"parent_file_id": "root", "limit": limit, "marker": marker})).await
    };
    let page = list(json!(null), "").await.json();
    assert_eq!(page["items"].as_array().unwrap().len(), 50);
    let folder = &page["items"][0];
    assert_eq!((&folder["size"], &folder["category"]), (&json!(null), &json!(null)));
    assert_eq!(list(json!(201), "").await.code(), "InvalidParameter.Limit");
    assert_eq!(list(json!(200), "garbage").await.status, 400);
    user.sim.settings(|settings| settings.list_limit_strict = true);
    assert_eq!(list(json!(101), "").await.code(), "InvalidParameter.Limit");
}

#[tokio::test]
async fn what_is_gone_trashed_or_elsewhere_is_told_apart() {
    let user = User::new(unlimited().file("/a/b.mkv", virtual_file(1)).start().await.unwrap()).await;
    let id = user.sim.file_id("/a/b.mkv").unwrap();
    user.sim.rename("/a/b.mkv", "C.mkv");
    let found = user.file_call("get_by_path", json!({"file_path": "/a/C.mkv"})).await.json();
    assert_eq!(
        (&found["file_id"], &found["video_media_metadata"]["duration"]),
        (&json!(id), &json!("1.000000"))
    );
    assert_eq!(user.file_call("get_by_path", json!({"file_path": "/a/c.mkv"})).await.code(), "NotFound.File");
    user.sim.trash("/a");
    assert_eq!(user.file_call("get", json!({"file_id": id})).await.code(), "ForbiddenFileInTheRecycleBin");
    let elsewhere = |id: &str| json!({"drive_id": id, "parent_file_id": "root"});
    let list = "/adrive/v1.0/openFile/list";
    assert_eq!(user.call(list, elsewhere("333")).await.code(), "UserNotAllowedAccessDrive");
    assert_eq!(user.call(list, elsewhere("x")).await.code(), "ForbiddenDriveNotValid");
    assert_eq!(user.call(list, elsewhere(DriveKind::Backup.id())).await.json()["items"], json!([]));
    user.sim.settings(|settings| settings.omit_resource_drive = true);
    assert_eq!(user.file_call("get", json!({"file_id": id})).await.code(), "UserNotAllowedAccessDrive");
}

#[tokio::test]
async fn search_finds_by_conditions() {
    let sim = unlimited().tree(crate::demo_tree()).start().await.unwrap();
    let user = User::new(sim).await;
    let search = async |query: &str| {
        let body = json!({"query": query, "order_by": "name ASC", "return_total_count": true});
        user.file_call("search", body).await.json()
    };
    let found = search("name match 's01e' and category = 'video'").await;
    assert_eq!((&found["total_count"], found["items"].as_array().unwrap().len()), (&json!(6), 6));
    assert_eq!(search("file_extension in ['nfo', 'txt']").await["total_count"], 2);
    assert_eq!(search("nonsense").await["code"], "InvalidParameter.Query");
}

#[tokio::test]
async fn the_user_is_described_as_set() {
    let user = User::new(unlimited().file("/a", virtual_file(5)).start().await.unwrap()).await;
    user.sim.settings(|settings| settings.package = true);
    for path in ["/v1.0/user/getVipInfo", "/business/v1.0/user/getVipInfo"] {
        assert_eq!(user.call(path, json!({})).await.json()["thirdPartyVip"], true);
    }
    let space = user.call("/adrive/v1.0/user/getSpaceInfo", json!({})).await.json();
    assert_eq!(space["personal_space_info"]["used_size"], 5);
    let bearer = format!("Bearer {}", user.access);
    let url = format!("{}/oauth/users/info", user.sim.api_base());
    let info = get(&url, &[("Authorization", &bearer), ("User-Agent", "t")]).await;
    assert_eq!(info.json()["id"], user.sim.user_id());
    assert_eq!(user.sim.counts().vip_info, 2);
}

#[tokio::test]
async fn batch_get_leaves_out_what_is_missing() {
    let sample = Content::Sample(Sample::Mp4);
    let user = User::new(unlimited().file("/a.mp4", sample).start().await.unwrap()).await;
    let entry = |id: &str| json!({"drive_id": "222000222", "file_id": id});
    let body = json!({"file_list": [entry(&user.sim.file_id("/a.mp4").unwrap()), entry("x")]});
    let items = user.file_call("batch/get", body).await.json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1);
    assert_eq!(items[0]["content_hash"], content::sha1_hex(&Sample::Mp4.bytes()));
}
