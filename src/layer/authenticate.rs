//! The gate: nothing passes that is not allowed to, and nothing is looked at before that is known.
//!
//! Its simple form: a guest where guests are allowed, the API token, which makes an administrator, or the signature of a
//! media address. Users come to stand here too.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::future::{Either, Ready, ready};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use subtle::ConstantTimeEq;
use tower::{Layer, Service};

use crate::clock::Clock;
use crate::error::Error;
use crate::http::{Administrator, Request, Response};
use crate::path::VirtualPath;
use crate::secret::Secret;
use crate::sign::Signer;

/// Who may do what, as the operator set it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether whoever is not logged in may browse and play, without a signature.
    pub guest: bool,
    /// Whether media addresses need a signature where the request itself is not authenticated.
    pub sign_all: bool,
    /// Life of the signatures handed out; zero for no end.
    pub link_expires: Duration,
    /// The static token, also the signing key; none to have one made and kept in the state folder.
    pub api_token: Option<Secret>,
}

/// What a request must show.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// That who is asking may do everything; guests and signatures do not.
    Administrator,
    /// Who is asking.
    Login,
    /// Nothing; it gives away nothing.
    Nothing,
    /// Who is asking, or a signature of the path.
    Signature {
        /// The path whose bytes are asked for.
        path: VirtualPath,
        /// The signature it came with.
        sign: Option<String>,
    },
}

/// Tells what a request must show; from its head alone.
pub type Classify = Arc<dyn Fn(&Request) -> Requirement + Send + Sync>;

/// The gate's rules and keys.
#[derive(Clone)]
pub struct Gate {
    classify: Classify,
    clock: Clock,
    guest: bool,
    sign_all: bool,
    signer: Signer,
    token: Secret,
}

/// Puts [`Authenticate`] in front of a service.
#[derive(Clone)]
pub struct AuthenticateLayer(Arc<Gate>);

/// Lets through what may pass, and answers 401 to the rest.
#[derive(Clone)]
pub struct Authenticate<S> {
    gate: Arc<Gate>,
    inner: S,
}

// === impl Gate ===

impl Gate {
    /// A gate. `token` is the API token, and `signer` holds it as its key.
    pub fn new(settings: &Settings, token: Secret, signer: Signer, classify: Classify, clock: Clock) -> Self {
        Self { classify, clock, guest: settings.guest, sign_all: settings.sign_all, signer, token }
    }

    fn allows(&self, requirement: &Requirement, is_administrator: bool) -> bool {
        match requirement {
            Requirement::Nothing => true,
            _ if is_administrator => true,
            Requirement::Administrator => false,
            _ if self.guest => true,
            Requirement::Login => false,
            Requirement::Signature { path, sign } => {
                !self.sign_all
                    || sign
                        .as_ref()
                        .is_some_and(|sign| self.signer.verify(path, sign, self.clock.wall().as_secs()))
            }
        }
    }

    /// The API token: raw, as `Bearer`, or as the password of `Basic` with any name, which is what a browser can send.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
        let given = match scheme.to_ascii_lowercase().as_str() {
            "basic" => BASE64
                .decode(rest.trim().as_bytes())
                .ok()
                .and_then(|pair| String::from_utf8(pair).ok())
                .and_then(|pair| pair.split_once(':').map(|(_, password)| password.to_owned())),
            "bearer" => Some(rest.trim().to_owned()),
            "" => Some(value.trim().to_owned()),
            _ => None,
        };
        given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(self.token.expose().as_bytes())))
    }
}

// === impl AuthenticateLayer ===

impl AuthenticateLayer {
    /// A layer with this gate.
    pub fn new(gate: Gate) -> Self {
        Self(Arc::new(gate))
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
    S: Service<Request, Response = Response, Error = Error>,
{
    type Response = Response;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let requirement = (self.gate.classify)(&request);
        let is_administrator = self.gate.knows(request.headers());
        if !self.gate.allows(&requirement, is_administrator) {
            let line = "authentication or a valid signature is needed";
            let mut response = super::plain(StatusCode::UNAUTHORIZED, line);
            let challenge = HeaderValue::from_static("Basic realm=\"sluice\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            return Either::Right(ready(Ok(response)));
        }
        let (line, allowed) = match requirement {
            Requirement::Administrator => ("this address takes GET, HEAD and POST", "GET, HEAD, POST"),
            _ => ("this address takes GET and HEAD", "GET, HEAD, OPTIONS"),
        };
        if !allowed.split(", ").any(|method| method == request.method() && method != Method::OPTIONS) {
            let mut response = super::plain(StatusCode::METHOD_NOT_ALLOWED, line);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Either::Right(ready(Ok(response)));
        }
        if is_administrator {
            request.extensions_mut().insert(Administrator);
        }
        Either::Left(self.inner.call(request))
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::http::Body;

    async fn status(guest: bool, sign_all: bool, request: http::request::Builder) -> u16 {
        let token = Secret::new("test-token");
        let settings = Settings { guest, sign_all, link_expires: Duration::ZERO, api_token: None };
        let classify = |request: &Request| match request.uri().path() {
            "/account/a" => Requirement::Administrator,
            "/assets/x" => Requirement::Nothing,
            "/d/a" => Requirement::Signature {
                path: VirtualPath::parse("/a").unwrap(),
                sign: request.uri().query().map(str::to_owned),
            },
            _ => Requirement::Login,
        };
        let gate = Gate::new(&settings, token.clone(), Signer::new(&token), Arc::new(classify), Clock::new());
        let inner = service_fn(|_: Request| async { Ok::<_, Error>(Response::new(Body::empty())) });
        let service = AuthenticateLayer::new(gate).layer(inner);
        service.oneshot(request.body(()).unwrap()).await.unwrap().status().as_u16()
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::get(uri)
    }

    fn authorized(value: &str) -> http::request::Builder {
        get("/browse/").header("authorization", value)
    }

    #[tokio::test]
    async fn nothing_passes_without_a_reason() {
        let sign = Signer::new(&Secret::new("test-token")).sign(&VirtualPath::parse("/a").unwrap(), 0);
        assert_eq!(status(false, true, get("/browse/")).await, 401);
        assert_eq!(status(false, true, get("/d/a")).await, 401);
        assert_eq!(status(false, true, get("/d/a?wrong:0")).await, 401);
        assert_eq!(status(false, true, get(&format!("/d/a?{sign}"))).await, 200);
        assert_eq!(status(false, false, get("/d/a")).await, 200);
        assert_eq!(status(false, false, get("/browse/")).await, 401);
        assert_eq!(status(true, true, get("/d/a")).await, 200);
        assert_eq!(status(false, true, get("/assets/x")).await, 200);
        // Neither guests nor signatures open an account.
        assert_eq!(status(true, false, get("/account/a")).await, 401);
        assert_eq!(status(true, false, get(&format!("/account/a?{sign}"))).await, 401);
        assert_eq!(status(true, false, http::Request::post("/account/a")).await, 401);
    }

    #[tokio::test]
    async fn the_token_is_taken_in_three_forms() {
        let basic = format!("Basic {}", BASE64.encode(b"anyone:test-token"));
        for value in ["test-token", "Bearer test-token", "bearer test-token", &basic] {
            assert_eq!(status(false, true, authorized(value)).await, 200, "{value}");
        }
        for value in ["", "test-toke", "Bearer x", "Basic !", "Digest test-token", "Basic dGVzdC10b2tlbg=="] {
            assert_eq!(status(false, true, authorized(value)).await, 401, "{value}");
        }
    }

    #[tokio::test]
    async fn only_an_account_takes_more_than_reading() {
        let account = |method| {
            http::Request::builder().method(method).uri("/account/a").header("authorization", "test-token")
        };
        for (method, answer) in [("GET", 200), ("HEAD", 200), ("POST", 200), ("PUT", 405), ("OPTIONS", 405)] {
            assert_eq!(status(false, true, account(method)).await, answer, "{method}");
        }
        assert_eq!(status(true, true, http::Request::post("/d/a")).await, 405);
        assert_eq!(status(false, true, http::Request::post("/d/a")).await, 401);
    }
}
