//! The gate: nothing passes that is not allowed to, and nothing is looked at before that is known.
//!
//! What a request must show its route says ([`Requirement`]); who shows it, and what of the tree that opens, `access` says. A request that
//! passes carries the [`Sight`] of whoever it comes from.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tower::{Layer, Service};

use crate::access::Visitor;
use crate::access::admission::{Admission, Glance};
use crate::access::credentials::Credentials;
use crate::access::logins::Refusal;
use crate::access::passwords::Given;
use crate::access::rules::{PROOF, Sight, Verdict};
use crate::error::Error;
use crate::http::{Peer, Place, Request, Response};
use crate::path::VirtualPath;

/// What a request must show.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// That whoever asks may do everything; guests and signatures do not.
    Administrator,
    /// Who is asking, if anybody that we know; paths and all else the route looks at itself.
    Anyone,
    /// Who is asking; paths, which begin where the visitor's tree does, the route looks at itself.
    Dav,
    /// Who is asking, and that they may see the path; none where it has none.
    Login(Option<VirtualPath>),
    /// Nothing; it gives away nothing.
    Nothing,
    /// Who is asking, and that they may see the path, or a signature of it.
    Signature {
        /// The path whose bytes are asked for.
        path: VirtualPath,
        /// The signature it came with.
        sign: Option<String>,
    },
}

/// Tells what a request must show, from its head alone; may leave what it read there among the extensions.
pub type Classify = Arc<dyn Fn(&mut Request) -> Requirement + Send + Sync>;

/// Puts [`Authenticate`] in front of a service.
#[derive(Clone)]
pub struct AuthenticateLayer(Arc<Gate>);

/// Lets through what may pass, and answers 401, 403 or 404 to the rest.
#[derive(Clone)]
pub struct Authenticate<S> {
    gate: Arc<Gate>,
    inner: S,
}

/// What the gate asks, and whom.
struct Gate {
    admission: Admission,
    classify: Classify,
}

/// Who a request comes from.
enum Who {
    Known(Visitor),
    /// They show nothing, or nothing that is right; and whether so often that they should wait.
    Unknown(Option<Refusal>),
}

// === impl Gate ===

impl Gate {
    /// Passes the request on with what its sender may see, or answers it.
    fn admit(&self, requirement: &Requirement, who: Who, request: Request) -> Result<Request, Box<Response>> {
        let request = self.judge(requirement, who, request)?;
        match refused_method(requirement, request.method()) {
            Some(response) => Err(response),
            None => Ok(request),
        }
    }

    fn judge(&self, requirement: &Requirement, who: Who, request: Request) -> Result<Request, Box<Response>> {
        let is_media = matches!(requirement, Requirement::Signature { .. });
        let (known, refusal) = match who {
            Who::Known(visitor) => (Some(visitor), None),
            Who::Unknown(refusal) => (None, refusal),
        };
        let (path, visitor) = match requirement {
            Requirement::Nothing => (None, Visitor::Guest),
            Requirement::Anyone => match refusal {
                Some(Refusal::TooOften(_) | Refusal::Busy) => return Err(unknown(refusal, is_media)),
                _ => (None, known.or_else(|| self.admission.stranger(None)).unwrap_or(Visitor::Nobody)),
            },
            Requirement::Dav => match known.or_else(|| self.admission.stranger(None)) {
                Some(visitor) => (None, visitor),
                None => return Err(unknown(refusal, is_media)),
            },
            Requirement::Administrator => match known {
                Some(visitor) if visitor.is_administrator() => (None, visitor),
                Some(_) => return Err(forbidden()),
                None => return Err(unknown(refusal, is_media)),
            },
            Requirement::Login(path) => match known.or_else(|| self.admission.stranger(None)) {
                Some(visitor) => (path.as_ref(), visitor),
                None => return Err(unknown(refusal, is_media)),
            },
            Requirement::Signature { path, .. } => {
                let visitor = known.or_else(|| self.admission.stranger(Some(path)));
                let sight = visitor.map(|visitor| self.sight(visitor, request.headers()));
                match sight {
                    Some(sight) if sight.of(path) == Verdict::Allowed => return Ok(carrying(request, sight)),
                    _ if self.is_signed(requirement) => (None, Visitor::Signed),
                    Some(sight) => (Some(path), sight.visitor),
                    None => return Err(unknown(refusal, is_media)),
                }
            }
        };
        let sight = self.sight(visitor, request.headers());
        match path.map_or(Verdict::Allowed, |path| sight.of(path)) {
            Verdict::Allowed => {}
            // A page asks for the password itself.
            Verdict::Locked(_) if matches!(requirement, Requirement::Login(_)) => {}
            Verdict::Locked(_) => {
                return Err(Box::new(super::plain(
                    StatusCode::FORBIDDEN,
                    "this part of the tree opens with its password",
                )));
            }
            Verdict::Hidden => {
                return Err(Box::new(super::plain(StatusCode::NOT_FOUND, "there is nothing of this name")));
            }
            // To somebody without a name the answer is how to get one.
            Verdict::Denied if !sight.visitor.is_known() => return Err(unknown(refusal, is_media)),
            Verdict::Denied => return Err(forbidden()),
        }
        Ok(carrying(request, sight))
    }

    fn sight(&self, visitor: Visitor, headers: &HeaderMap) -> Sight {
        if !self.admission.rules().have_passwords() {
            return self.admission.sight(visitor, std::iter::empty());
        }
        let cookies = headers.get_all(header::COOKIE).iter();
        let pairs = cookies.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
        let proofs =
            pairs.filter_map(|pair| pair.trim().strip_prefix(PROOF)?.split_once('=').map(|(_, proof)| proof));
        self.admission.sight(visitor, proofs)
    }

    fn is_signed(&self, requirement: &Requirement) -> bool {
        match requirement {
            Requirement::Signature { path, sign: Some(sign) } => self.admission.is_signed(path, sign),
            _ => false,
        }
    }

    async fn settle(&self, name: &str, given: Given, place: Place) -> Who {
        match self.admission.settle(name, given, place).await {
            Ok(user) => Who::Known(Visitor::User(user)),
            Err(refusal) => Who::Unknown(Some(refusal)),
        }
    }
}

/// The request with what its sender may see.
fn carrying(mut request: Request, sight: Sight) -> Request {
    request.extensions_mut().insert(sight);
    request
}

/// The methods that a route takes; the rest is 405. Those that read bodies see to theirs.
fn refused_method(requirement: &Requirement, method: &Method) -> Option<Box<Response>> {
    let (line, allowed) = match requirement {
        Requirement::Anyone | Requirement::Dav => return None,
        Requirement::Administrator | Requirement::Login(_) => {
            ("this address takes GET, HEAD and POST", "GET, HEAD, POST")
        }
        Requirement::Nothing | Requirement::Signature { .. } => {
            ("this address takes GET and HEAD", "GET, HEAD, OPTIONS")
        }
    };
    // OPTIONS is taken where pages ask beforehand, which is answered before this.
    if method != Method::OPTIONS && allowed.split(',').any(|taken| taken.trim_start() == method) {
        return None;
    }
    let mut response = super::plain(StatusCode::METHOD_NOT_ALLOWED, line);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    Some(Box::new(response))
}

fn forbidden() -> Box<Response> {
    Box::new(super::plain(StatusCode::FORBIDDEN, "you are logged in, and this is not for you"))
}

/// The answer to somebody whom we do not know. Media are never answered 429: players take that for the end of the film.
fn unknown(refusal: Option<Refusal>, is_media: bool) -> Box<Response> {
    let wait = match refusal {
        Some(Refusal::TooOften(wait)) if !is_media => Some((StatusCode::TOO_MANY_REQUESTS, TOO_OFTEN, wait)),
        Some(Refusal::Busy) => Some((StatusCode::SERVICE_UNAVAILABLE, BUSY, BUSY_FOR)),
        _ => None,
    };
    if let Some((status, line, wait)) = wait {
        let mut response = super::plain(status, line);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        return Box::new(response);
    }
    let line = "authentication or a valid signature is needed";
    let mut response = super::plain(StatusCode::UNAUTHORIZED, line);
    let challenge = HeaderValue::from_static("Basic realm=\"sluice\", charset=\"UTF-8\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    Box::new(response)
}

// === impl AuthenticateLayer ===

impl AuthenticateLayer {
    /// A layer that asks `admission` for what `classify` says.
    pub fn new(admission: Admission, classify: Classify) -> Self {
        Self(Arc::new(Gate { admission, classify }))
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate { gate: Arc::clone(&self.0), inner }
    }
}

// === impl Authenticate ===

impl<S> Service<Request> for Authenticate<S>
where
    S: Service<Request, Response = Response, Error = Error> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Error;
    type Future = Either<
        S::Future,
        Either<Ready<Result<Response, Error>>, BoxFuture<'static, Result<Response, Error>>>,
    >;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let requirement = (self.gate.classify)(&mut request);
        let glance = match requirement {
            Requirement::Nothing => Glance::Nobody,
            _ => {
                let value =
                    request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                self.gate.admission.glance(value.and_then(Credentials::parse))
            }
        };
        let place = request.extensions().get::<Peer>().map_or(Place::NOWHERE, |peer| Place::of(peer.0));
        let who = match glance {
            Glance::Known(visitor) => Who::Known(visitor),
            Glance::Nobody => Who::Unknown(None),
            Glance::Wrong => Who::Unknown(Some(self.gate.admission.wrong_token(place))),
            // Whoever shows a signature that holds need not be known, and no password is looked at for it.
            Glance::Unsettled { .. } if self.gate.is_signed(&requirement) => Who::Unknown(None),
            Glance::Unsettled { name, password } => {
                let (gate, mut inner) = (Arc::clone(&self.gate), self.inner.clone());
                return Either::Right(Either::Right(Box::pin(async move {
                    let who = gate.settle(&name, Given::Password(password), place).await;
                    match gate.admit(&requirement, who, request) {
                        Ok(request) => {
                            std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
                            inner.call(request).await
                        }
                        Err(response) => Ok(*response),
                    }
                })));
            }
        };
        let is_guessing = matches!(who, Who::Unknown(Some(Refusal::TooOften(_))));
        // A call's token is one that has expired, more often than not: the call itself says so, in the words that have clients log in again,
        // and a login is not refused for it.
        let is_call = matches!(requirement, Requirement::Anyone);
        let who = if is_guessing && is_call { Who::Unknown(None) } else { who };
        match self.gate.admit(&requirement, who, request) {
            Ok(request) if is_guessing && is_call => {
                let mut inner = self.inner.clone();
                Either::Right(Either::Right(Box::pin(async move {
                    tokio::time::sleep(GUESSING).await;
                    std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
                    inner.call(request).await
                })))
            }
            Ok(request) => Either::Left(self.inner.call(request)),
            // A token is looked at in no time, so whoever tries them waits for the answers; a right one passes all the same.
            Err(response) if is_guessing => Either::Right(Either::Right(Box::pin(async move {
                tokio::time::sleep(GUESSING).await;
                Ok(*response)
            }))),
            Err(response) => Either::Right(Either::Left(ready(Ok(*response)))),
        }
    }
}

/// How long each answer takes to somebody who tries tokens; chosen: with all connections there may be, still too few tries for any token that
/// is not a word.
const GUESSING: Duration = Duration::from_secs(1);
const TOO_OFTEN: &str = "wrong passwords too often, try again later";
const BUSY: &str = "too many logins at once, try again shortly";
const BUSY_FOR: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
