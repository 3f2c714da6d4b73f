//! What the API tells of users, mounts and the site. Never a secret: what AList would put there is left empty.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::files::provider;
use crate::access::Visitor;
use crate::mount::Mode;
use crate::serve::Site;

/// A user.
#[derive(Serialize)]
pub(super) struct User {
    id: usize,
    username: String,
    /// Always empty.
    password: &'static str,
    base_path: String,
    /// 0 for most, 1 for guests, 2 for administrators.
    role: u8,
    disabled: bool,
    /// Bits of AList's.
    permission: u32,
    sso_id: &'static str,
    allow_ldap: bool,
    otp: bool,
}

/// A mount.
#[derive(Serialize)]
pub(super) struct Storage {
    id: usize,
    mount_path: String,
    order: usize,
    driver: String,
    cache_expiration: u64,
    status: &'static str,
    /// Of the driver's options: none.
    addition: &'static str,
    remark: &'static str,
    modified: String,
    disabled: bool,
    disable_index: bool,
    enable_sign: bool,
    order_by: &'static str,
    order_direction: &'static str,
    extract_folder: &'static str,
    web_proxy: bool,
    webdav_policy: &'static str,
    proxy_range: bool,
    down_proxy_url: &'static str,
}

/// One setting.
#[derive(Serialize)]
pub(super) struct Setting {
    key: &'static str,
    value: &'static str,
    help: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    options: &'static str,
    group: u8,
    flag: u8,
    index: usize,
}

/// All of something.
#[derive(Serialize)]
pub(super) struct All<T> {
    content: Vec<T>,
    total: usize,
}

// === impl User ===

impl User {
    /// `number` is that of a user with a name.
    fn of(visitor: &Visitor, number: usize) -> Self {
        let (id, name, role) = match visitor {
            Visitor::Administrator => (1, "admin", 2),
            Visitor::Guest | Visitor::Nobody | Visitor::Signed => (2, "guest", 1),
            Visitor::User(user) if user.may.admin => (number, &*user.name, 2),
            Visitor::Device(user) | Visitor::User(user) => (number, &*user.name, 0),
        };
        let permission =
            if visitor.is_administrator() { SEE_HIDDEN | NEED_NO_PASSWORD | WEBDAV } else { WEBDAV };
        Self {
            id,
            username: name.to_owned(),
            password: "",
            base_path: visitor.root().to_string(),
            role,
            disabled: false,
            permission,
            sso_id: "",
            allow_ldap: true,
            otp: false,
        }
    }
}

impl<T> All<T> {
    fn of(content: Vec<T>) -> Self {
        Self { total: content.len(), content }
    }
}

impl Site {
    /// `public/settings`: texts, whatever they are of.
    pub(super) fn settings(&self) -> BTreeMap<&'static str, &'static str> {
        SETTINGS.into_iter().chain([("search_index", self.search_index())]).collect()
    }

    /// `admin/setting/list`: the same, one by one.
    pub(super) fn settings_list(&self) -> Vec<Setting> {
        let settings = self.settings();
        let told = settings.into_iter().enumerate().map(|(index, (key, value))| Setting {
            key,
            value,
            help: "",
            kind: "string",
            options: "",
            group: 1,
            flag: 2,
            index,
        });
        told.collect()
    }

    /// `admin/storage/list`
    pub(super) fn storages(&self) -> All<Storage> {
        let told = self.0.mounts.iter().map(|mount| Storage {
            id: usize::from(mount.id.0) + 1,
            mount_path: mount.path.to_string(),
            order: usize::from(mount.id.0),
            driver: provider(Some(mount)),
            cache_expiration: 30,
            status: "work",
            addition: "{}",
            remark: "",
            modified: super::item::time(None),
            disabled: false,
            disable_index: false,
            enable_sign: false,
            order_by: "",
            order_direction: "",
            extract_folder: "",
            web_proxy: mount.policy.delivery == Mode::Proxy,
            webdav_policy: match mount.policy.dav_delivery {
                Mode::Redirect => "302_redirect",
                Mode::DownloadProxy => "use_proxy_url",
                Mode::Auto | Mode::Proxy => "native_proxy",
            },
            proxy_range: true,
            down_proxy_url: "",
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by_key(|storage| storage.id);
        All::of(told)
    }

    /// `admin/user/list`
    pub(super) fn users(&self) -> All<User> {
        let users = self.0.admission.users().iter();
        let told = users.map(|user| self.user(&Visitor::User(Arc::clone(user))));
        let guest = User { disabled: !self.0.admission.lets_guests_in(), ..self.user(&Visitor::Guest) };
        All::of([self.user(&Visitor::Administrator), guest].into_iter().chain(told).collect())
    }

    /// Who somebody is; users are numbered as the configuration has them.
    pub(super) fn user(&self, visitor: &Visitor) -> User {
        let is_it = |user: &Arc<crate::access::User>| visitor.name() == Some(&user.name);
        let number = self.0.admission.users().iter().position(is_it);
        User::of(visitor, number.unwrap_or(0) + FIRST_USER)
    }

    fn search_index(&self) -> &'static str {
        if self.0.search.is_there() { "database" } else { "none" }
    }
}

/// Behind the administrator and the guest.
const FIRST_USER: usize = 3;
/// AList's bits of what a user may, as far as there is any of it.
const SEE_HIDDEN: u32 = 1;
const NEED_NO_PASSWORD: u32 = 1 << 1;
const WEBDAV: u32 = 1 << 8;

/// Of AList's public settings those that programs were seen to read. The version is that of the AList whose ways these are: some tell the API's
/// version by its form, with nothing behind the third number.
const SETTINGS: [(&str, &str); 17] = [
    ("allow_indexed", "false"),
    ("allow_mounted", "true"),
    ("announcement", ""),
    ("audio_cover", ""),
    ("default_page_size", "30"),
    ("external_previews", "{}"),
    ("favicon", ""),
    ("forward_direct_link_params", "false"),
    ("iframe_previews", "{}"),
    ("ldap_login_enabled", "false"),
    ("logo", ""),
    ("package_download", "false"),
    ("pagination_type", "all"),
    ("site_title", "Sluice"),
    ("sso_login_enabled", "false"),
    ("version", "v3.45.0"),
    ("webauthn_login_enabled", "false"),
];
