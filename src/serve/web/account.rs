//! The page of a mount's account: what is known of it, and a login by QR code. For administrators, without JavaScript.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use qrcode::{Color, QrCode};

use super::logins::Stage;
use super::page::{Escaped, account_address, crumbs, foot, head};
use super::{page_answer, see_other};
use crate::driver::{AccountFacts, Note};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Request, Response};
use crate::mount::Mount;
use crate::resolve::Want;
use crate::serve::target::Target;
use crate::serve::{Site, sight};

/// What is shown of an account.
struct AccountPage<'a> {
    mount: &'a Mount,
    prefix: &'a str,
    /// Whether the drive lets us in; none where that was not found out in time.
    login: Option<Result<()>>,
    facts: Option<AccountFacts>,
    stage: Option<Stage>,
}

/// A QR code as SVG, with the quiet zone that scanners want.
struct Code<'a>(&'a str);

impl Site {
    /// Answers `/account`: a GET shows the page, a POST begins a login.
    pub(in crate::serve) async fn account(&self, request: &Request, target: &Target) -> Result<Response> {
        if !sight(request)?.visitor.is_administrator() {
            // The gate has seen to that; this is the second lock on the door.
            return Err(Error::new(ErrorKind::Denied, OPERATION).saying("only for administrators"));
        }
        let found = self.find(&target.path, Want::Entry).await?;
        let mount = found.mount.filter(|mount| mount.path == target.path).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, OPERATION).saying("there is no mount at this address")
        })?;
        let prefix = self.0.addresses.prefix();
        if *request.method() == Method::POST {
            if !self.comes_from_our_page(request.headers()) {
                return Err(Error::new(ErrorKind::Denied, OPERATION).saying("this was sent from elsewhere"));
            }
            self.0.logins.begin(&mount);
            return Ok(see_other(&format!("{prefix}{}", account_address(&mount.path))));
        }
        let stage = self.0.logins.look(&mount);
        let asked = async {
            let login = mount.driver.authorize().await;
            if let Err(error) = mount.driver.look_up_account().await {
                tracing::debug!(mount = %mount.path, %error, "the drive does not say all about the account");
            }
            login
        };
        let login = tokio::time::timeout(PATIENCE, asked).await.ok();
        let page = AccountPage { mount: &mount, prefix, login, facts: mount.driver.account(), stage };
        let mut response = page_answer(page.to_string(), POLICY);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // With none at all, a browser would not say where the form was sent from.
        response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        Ok(response)
    }

    /// Whether a form was sent from a page of ours: a browser adds the password to those of other sites too, but says where
    /// they come from. Programs say nothing, and have no password but their own.
    pub(super) fn comes_from_our_page(&self, headers: &HeaderMap) -> bool {
        let text =
            |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        match (text(SEC_FETCH_SITE), text(header::ORIGIN)) {
            (Some(site), _) => site == "same-origin",
            (None, Some(origin)) => {
                self.0.addresses.is_own_origin(origin, text(header::HOST).unwrap_or_default())
            }
            (None, None) => true,
        }
    }
}

impl Display for AccountPage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_under_way = self.stage.as_ref().is_some_and(|stage| !stage.is_last());
        let more = if is_under_way { REFRESH } else { "" };
        head(f, self.prefix, "Account", more)?;
        crumbs(f, self.prefix, &self.mount.path, true)?;
        writeln!(f, "<h1>Account</h1>\n<ul>")?;
        let login = match &self.login {
            Some(Ok(())) => "the login is good",
            Some(Err(error)) => error.words(),
            None => "the drive has not answered yet whether the login is good",
        };
        writeln!(f, "<li>{}</li>", Escaped(login))?;
        for Note { text, advice } in self.facts.iter().flat_map(AccountFacts::notes) {
            write!(f, "<li>{}", Escaped(&text))?;
            if let Some(advice) = advice {
                write!(f, "<span>{}</span>", Escaped(advice))?;
            }
            f.write_str("</li>\n")?;
        }
        if let Some(budget) = self.facts.as_ref().and_then(AccountFacts::budget) {
            writeln!(f, "<li>{}</li>", Escaped(&budget))?;
        }
        f.write_str("</ul>\n<h2>Log in</h2>\n")?;
        match &self.stage {
            None => {}
            Some(Stage::Failed(words)) => writeln!(f, "<p>The login failed: {}</p>", Escaped(words))?,
            Some(Stage::Opened) => {
                f.write_str("<p>The code was scanned. Now consent in the drive's app.</p>\n")?;
            }
            Some(Stage::Starting) => f.write_str("<p>The drive is asked for a code …</p>\n")?,
            Some(Stage::Succeeded) => {
                f.write_str("<p>The login succeeded, and is used from now on.</p>\n")?
            }
            Some(Stage::Waiting(address)) => {
                let (address, open) = (address.expose(), "Or open it on this device");
                writeln!(f, "<p>Scan this code with the drive's app.</p>\n{}", Code(address))?;
                // Another scheme could be a script.
                if address.starts_with("https://") {
                    let address = Escaped(address);
                    writeln!(f, "<p><a href=\"{address}\" rel=\"noreferrer\">{open}</a></p>")?;
                }
            }
        }
        if !is_under_way {
            f.write_str("<form method=\"post\"><button>Log in with a QR code</button></form>\n")?;
        }
        foot(f)
    }
}

impl Display for Code<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Ok(code) = QrCode::new(self.0) else {
            return write!(f, "<p>{}</p>", Escaped(self.0));
        };
        let (width, modules) = (code.width(), code.to_colors());
        let whole = width + 2 * QUIET;
        write!(
            f,
            "<svg class=\"code\" viewBox=\"0 0 {whole} {whole}\" role=\"img\" aria-label=\"QR code\" \
             shape-rendering=\"crispEdges\"><rect width=\"{whole}\" height=\"{whole}\" fill=\"#fff\"/>\
             <path fill=\"#000\" d=\""
        )?;
        for (at, _) in modules.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
            write!(f, "M{} {}h1v1h-1z", at % width + QUIET, at / width + QUIET)?;
        }
        f.write_str("\"/></svg>")
    }
}

const OPERATION: &str = "show an account";
const SEC_FETCH_SITE: header::HeaderName = header::HeaderName::from_static("sec-fetch-site");
/// As the page of a folder, but with a form, which may be sent to us alone.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
/// While a login is under way; chosen: a code lives for three minutes, and a person looks at the phone meanwhile.
const REFRESH: &str = "\n<meta http-equiv=\"refresh\" content=\"2\">";
/// How long the page waits for the drive; what is known later stands there at the next look. Chosen.
const PATIENCE: Duration = Duration::from_secs(2);
/// Modules around the code. Source: ISO/IEC 18004.
const QUIET: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_drawn_as_one_path_within_its_quiet_zone() {
        let text = "https://drive.example.org/consent?sid=0123456789abcdef";
        let (svg, code) = (Code(text).to_string(), QrCode::new(text).unwrap());
        let whole = code.width() + 8;
        assert!(svg.contains(&format!("viewBox=\"0 0 {whole} {whole}\"")), "{svg}");
        let dark = code.to_colors().into_iter().filter(|color| *color == Color::Dark).count();
        assert_eq!((svg.matches("<path").count(), svg.matches("h1v1h-1z").count()), (1, dark));
        // The corner of the first finder.
        assert!(svg.contains("d=\"M4 4h1v1h-1z"), "{svg}");
        assert!(Code(&"<".repeat(5000)).to_string().starts_with("<p>&lt;"), "what fits no code is text");
    }
}
