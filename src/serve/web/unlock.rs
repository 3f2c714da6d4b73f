//! The page that asks for the password of a part of the tree.

use std::fmt::{self, Display, Formatter};

use http::{HeaderValue, Method, StatusCode, header};
use url::form_urlencoded;

use super::page::{crumbs, foot, head};
use super::{page_answer, see_other, wants_page};
use crate::access::rules::PROOF;
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Request, Response, Upload};
use crate::path::VirtualPath;
use crate::serve::content::set;
use crate::serve::target::Target;
use crate::serve::{Site, place};

struct LockedPage<'a> {
    path: &'a VirtualPath,
    prefix: &'a str,
    was_wrong: bool,
}

impl Site {
    /// Asks for the password of the rule of this number; where it is right, the browser shows a proof of that from then on, in a cookie that no
    /// script can read.
    pub(super) async fn unlock(&self, request: &Request, target: &Target, number: usize) -> Result<Response> {
        let is_post = *request.method() == Method::POST;
        if !is_post && !wants_page(request.headers()) {
            return Err(denied("this part of the tree opens with its password"));
        }
        if is_post {
            if !self.comes_from_our_page(request.headers()) {
                return Err(denied("this was sent from elsewhere"));
            }
            let body = match request.extensions().get::<Upload>() {
                Some(upload) => upload.read().await?,
                None => Vec::new(),
            };
            let mut fields = form_urlencoded::parse(&body);
            let password = fields.find(|(key, _)| key == "password").map(|(_, value)| value.into_owned());
            let proof =
                self.0.admission.open_lock(number, &password.unwrap_or_default(), place(request)).await?;
            if let Some(proof) = proof {
                let mut response = see_other(&self.browse_address(&target.path));
                let secure = if self.is_https(request) { "; Secure" } else { "" };
                let cookie = format!(
                    "{PROOF}{number}={proof}; Path={}/; Max-Age={LIFE_S}; HttpOnly; SameSite=Lax{secure}",
                    self.0.addresses.prefix()
                );
                set(response.headers_mut(), header::SET_COOKIE, &cookie);
                return Ok(response);
            }
        }
        let page = LockedPage { path: &target.path, prefix: self.0.addresses.prefix(), was_wrong: is_post };
        let mut response = page_answer(page.to_string(), POLICY);
        *response.status_mut() = StatusCode::FORBIDDEN;
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        Ok(response)
    }
}

impl Display for LockedPage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        head(f, self.prefix, "Password", "")?;
        crumbs(f, self.prefix, self.path, true)?;
        f.write_str("<h1>This folder has a password</h1>\n")?;
        if self.was_wrong {
            f.write_str("<p role=\"alert\">That was not the password.</p>\n")?;
        }
        f.write_str(
            "<form method=\"post\"><label>Password <input type=\"password\" name=\"password\" required autofocus \
             autocomplete=\"current-password\"></label> <button>Open</button></form>\n",
        )?;
        foot(f)
    }
}

fn denied(words: &'static str) -> Error {
    Error::new(ErrorKind::Denied, "open a part of the tree").saying(words)
}

/// As the page of a folder, but with a form, which may be sent to us alone.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
/// A month, in seconds. Chosen.
const LIFE_S: u32 = 30 * 24 * 3600;
