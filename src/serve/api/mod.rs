//! AList's API, version 3, as the programs that speak it use it: its envelope, its codes, its words, its leniency.
//!
//! Whatever happens is HTTP 200; the code stands in the envelope, and some clients compare the message instead. Paths are those
//! of the visitor's own tree. What AList says there and how clients take it was read from its source and theirs.

mod facts;
mod files;
mod form;
mod item;
mod login;
mod transcodes;

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

pub use self::form::Form;
use self::login::Login;
use super::{Site, media_type, sight};
use crate::access::Visitor;
use crate::access::credentials::Credentials;
use crate::access::rules::{Sight, Verdict};
use crate::error::{Error, ErrorKind, Result};
use crate::http::{Body, Request, Response};
use crate::path::VirtualPath;

/// A call, by its address below `/api/`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// `admin/setting/list`
    AdminSettings,
    /// `admin/storage/list`
    AdminStorages,
    /// `admin/user/list`
    AdminUsers,
    /// Whatever would change something.
    Change,
    /// `fs/dirs`
    Dirs,
    /// `fs/get`
    Get,
    /// `fs/link`
    Link,
    /// `fs/list`
    List,
    /// `auth/…`
    Login(Login),
    /// `me`
    Me,
    /// `fs/other`
    Other,
    /// `fs/search`
    Search,
    /// `public/settings`
    Settings,
    /// No call that we know.
    Unknown,
}

/// Why a call is not answered as it was meant.
#[derive(Debug)]
enum Refused {
    /// With this code and these words.
    Said(u16, &'static str),
    /// Something failed.
    Failed(Error),
}

/// AList's answer to everything.
#[derive(Serialize)]
struct Envelope<'a, T> {
    code: u16,
    message: &'a str,
    data: T,
}

// === impl Call ===

impl Call {
    /// The call at this address below `/api/`.
    pub fn named(address: &str) -> Self {
        match address.trim_end_matches('/') {
            "admin/setting/list" => Self::AdminSettings,
            "admin/storage/list" => Self::AdminStorages,
            "admin/user/list" => Self::AdminUsers,
            "auth/login" => Self::Login(Login::Password),
            "auth/login/hash" => Self::Login(Login::Static),
            "auth/logout" => Self::Login(Login::Out),
            "fs/dirs" => Self::Dirs,
            "fs/get" => Self::Get,
            "fs/link" => Self::Link,
            "fs/list" => Self::List,
            "fs/other" => Self::Other,
            "fs/search" => Self::Search,
            "fs/batch_rename"
            | "fs/copy"
            | "fs/form"
            | "fs/mkdir"
            | "fs/move"
            | "fs/put"
            | "fs/recursive_move"
            | "fs/regex_rename"
            | "fs/remove"
            | "fs/remove_empty_directory"
            | "fs/rename" => Self::Change,
            "me" => Self::Me,
            "public/settings" => Self::Settings,
            _ => Self::Unknown,
        }
    }

    /// Whether anybody may make it.
    fn is_public(self) -> bool {
        matches!(self, Self::Login(_) | Self::Settings)
    }

    fn is_for_administrators(self) -> bool {
        matches!(self, Self::AdminSettings | Self::AdminStorages | Self::AdminUsers | Self::Link)
    }
}

impl Site {
    /// Answers `/api`.
    pub(super) async fn api(&self, request: &Request, call: Call) -> Result<Response> {
        let answer = match self.may_call(request, call) {
            Ok(sight) => self.called(request, call, sight).await,
            Err(refused) => Err(refused),
        };
        Ok(answer.unwrap_or_else(|refused| match refused {
            Refused::Said(code, message) => envelope(code, message, ()),
            Refused::Failed(error) => {
                error.report();
                match error.kind() {
                    ErrorKind::NotFound => envelope(500, NOT_FOUND, ()),
                    ErrorKind::Invalid => envelope(400, error.words(), ()),
                    _ => envelope(500, error.words(), ()),
                }
            }
        }))
    }

    /// What whoever calls may see, where they may make this call.
    fn may_call(&self, request: &Request, call: Call) -> Result<Sight, Refused> {
        let sight = sight(request)?;
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let has_token = || matches!(shown.and_then(Credentials::parse), Some(Credentials::Token(_)));
        match &sight.visitor {
            _ if call.is_public() => {}
            // Others log in again when they hear that.
            visitor if !visitor.is_known() && has_token() => {
                return Err(Refused::Said(401, "token is expired"));
            }
            Visitor::Nobody => return Err(Refused::Said(401, "Guest user is disabled, login please")),
            visitor if call.is_for_administrators() && !visitor.is_administrator() => {
                return Err(Refused::Said(403, "You are not an admin"));
            }
            _ => {}
        }
        Ok(sight)
    }

    /// Each call's future is boxed by itself, as those of the routes are.
    async fn called(&self, request: &Request, call: Call, sight: Sight) -> Result<Response, Refused> {
        if let Call::Login(login) = call {
            return Box::pin(self.login(request, login)).await;
        }
        match call {
            Call::AdminSettings => return Ok(success(self.settings_list())),
            Call::AdminStorages => return Ok(success(self.storages())),
            Call::AdminUsers => return Ok(success(self.users())),
            Call::Change => return Err(Refused::Said(403, READ_ONLY)),
            Call::Me => return Ok(success(self.user(&sight.visitor))),
            Call::Settings => return Ok(success(self.settings())),
            Call::Unknown => return Err(Refused::Said(404, "there is no such call")),
            _ => {}
        }
        let form = Form::of(request).await?;
        match call {
            Call::Dirs => Box::pin(self.dirs(request, &form, sight)).await,
            Call::Get => Box::pin(self.get(request, &form, sight)).await,
            Call::Link => Box::pin(self.link(request, &form)).await,
            Call::Other => Box::pin(self.other(request, &form, sight)).await,
            Call::Search => Box::pin(self.search(request, &form, sight)).await,
            _ => Box::pin(self.list(request, &form, sight)).await,
        }
    }

    /// The path that a call names, and what may be seen there with the password that it gives.
    async fn at(
        &self,
        request: &Request,
        form: &Form,
        sight: Sight,
    ) -> Result<(VirtualPath, Sight), Refused> {
        let root = sight.visitor.root();
        let path = self.path_of(form.text("path")?, &root).await?;
        let sight = self.entered(request, &path, form.text("password")?, sight).await?;
        Ok((path, sight))
    }

    /// The path that a text means to whoever's tree begins at `root`. Of what a drive holds a name may have a backslash in it; where there is no
    /// such name it is what Windows puts between names.
    async fn path_of(&self, text: &str, root: &VirtualPath) -> Result<VirtualPath, Refused> {
        let path = form::path_below(text, root)?;
        if text.contains('\\') && self.find(&path, crate::resolve::Want::Entry).await.is_err() {
            return form::path_below(&text.replace('\\', "/"), root);
        }
        Ok(path)
    }

    /// What may be seen with this password, where that is enough for the path.
    async fn entered(
        &self,
        request: &Request,
        path: &VirtualPath,
        password: &str,
        sight: Sight,
    ) -> Result<Sight, Refused> {
        self.opened(request, path, password, sight).await?.map_err(|verdict| match verdict {
            Verdict::Hidden => Refused::Said(500, NOT_FOUND),
            Verdict::Locked(_) => Refused::Said(403, "password is incorrect or you have no permission"),
            Verdict::Allowed | Verdict::Denied => Refused::Said(403, "permission denied"),
        })
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// AList's literal message: clients look for it.
fn success(data: impl Serialize) -> Response {
    envelope(200, "success", data)
}

fn envelope(code: u16, message: &str, data: impl Serialize) -> Response {
    // Plain values, which can always be written.
    let text = serde_json::to_string(&Envelope { code, message, data }).unwrap_or_default();
    let length = HeaderValue::from(text.len());
    let mut response = answer_of(Body::full(text));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

fn answer_of(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::JSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// That we are there.
pub(super) fn pong() -> Response {
    let mut response = Response::new(Body::full("pong"));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type::TEXT));
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("4"));
    response
}

/// AList says this within a 200; the status and the header are for those who look for them.
fn too_many(message: &str, seconds: u64) -> Response {
    let mut response = envelope(429, message, ());
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    response
}

/// AList's words; some clients look for "object not found" in them.
const NOT_FOUND: &str = "failed get obj: object not found";
const READ_ONLY: &str = "no mount takes changes: files are changed at the drive itself";
