//! The client for content: one GET a connection at a time, each connection driven by whoever reads its body.
//!
//! A client with tasks of its own hands every piece from one task to another, which costs about a tenth of all that is done
//! for a small range (measured on the bare libraries). It follows no redirect, decodes nothing, asks no proxy, and always checks
//! certificates.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Response, Uri, header};
use http_body::{Frame, SizeHint};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tower::ServiceExt;

use super::bell::Bell;
use super::client::{CONNECT_TIMEOUT, USER_AGENT};
use super::resolver::{Reach, Resolver};
use super::sip::{Bodies, Sipped, UnderWay};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::SignedUrl;

/// The client. Clones share its idle connections.
#[derive(Clone)]
pub struct ContentClient(Arc<Inner>);

struct Inner {
    bodies: Bodies,
    connector: HttpsConnector<HttpConnector<Resolver>>,
    idle: Mutex<HashMap<(Scheme, Authority), Vec<Idle>>>,
}

/// A connection, and the handle that sends requests on it.
struct Wire {
    /// Rung by either half.
    bell: Bell,
    sender: http1::SendRequest<Empty<Bytes>>,
    connection: http1::Connection<TokioIo<Sipped<Stream>>, Empty<Bytes>>,
}

/// In the clear, or encrypted.
type Stream = Either<TcpStream, TlsStream<TokioIo<TokioIo<TcpStream>>>>;

struct Idle {
    wire: Wire,
    since: Instant,
}

/// The body of an answer. Dropped before its end it closes the connection.
pub struct ContentBody {
    incoming: Incoming,
    /// Until the body has ended.
    wire: Option<Wire>,
    /// Where the connection goes then; and what counts it until then.
    home: Option<(Arc<Inner>, (Scheme, Authority), UnderWay)>,
    operation: &'static str,
}

// === impl ContentClient ===

impl ContentClient {
    /// A client without connections.
    ///
    /// # Errors
    /// `Internal` when the TLS backend cannot be set up, for example without any certificate authority.
    pub fn new() -> Result<Self> {
        // Which hosts a link may name the driver says; what such a name leads to is checked here.
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(Reach::Public));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .try_with_platform_verifier()
            .map_err(|error| Error::new(ErrorKind::Internal, "set up an HTTP client").caused_by(error))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self(Arc::new(Inner { bodies: Bodies::default(), connector, idle: Mutex::default() })))
    }

    /// Asks for what lies at an address, with these headers, and answers with the head; the body follows.
    ///
    /// # Errors
    /// `Upstream` where it cannot be reached or breaks off; never with the address in it. Dropping the future closes the
    /// connection.
    pub async fn get(
        &self,
        url: &SignedUrl,
        headers: HeaderMap,
        operation: &'static str,
    ) -> Result<Response<ContentBody>> {
        let no_address =
            || Error::new(ErrorKind::Upstream, operation).saying("the drive gave a malformed address");
        let parts = url.expose().parse::<Uri>().map_err(|_| no_address())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(no_address());
        };
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| no_address())?;
        let target = parts.path_and_query.map_or_else(Uri::default, Uri::from);
        let place = (scheme, authority);
        loop {
            let (mut wire, is_used) = match self.0.take_idle(&place) {
                Some(wire) => (wire, true),
                // Boxed: rare, and large with all of TLS in it.
                None => (Box::pin(self.0.connect(&place, operation)).await?, false),
            };
            let mut request = http::Request::new(Empty::new());
            *request.uri_mut() = target.clone();
            *request.headers_mut() = headers.clone();
            request.headers_mut().insert(header::HOST, host.clone());
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
            match wire.send(request).await {
                Ok(response) => {
                    let home = Some((Arc::clone(&self.0), place, self.0.bodies.begin()));
                    return Ok(response.map(|incoming| ContentBody {
                        incoming,
                        wire: Some(wire),
                        home,
                        operation,
                    }));
                }
                // The drive had closed it while nobody looked; a GET does no harm twice.
                Err(error) if is_used => tracing::trace!(%error, "an idle connection was closed"),
                Err(error) => return Err(broken(error, operation)),
            }
        }
    }
}

impl std::fmt::Debug for ContentClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ContentClient")
    }
}

// === impl Inner ===

impl Inner {
    async fn connect(
        &self,
        (scheme, authority): &(Scheme, Authority),
        operation: &'static str,
    ) -> Result<Wire> {
        let unreachable = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(ErrorKind::Upstream, operation).saying("the drive cannot be reached").caused_by(error)
        };
        let place =
            Uri::builder().scheme(scheme.clone()).authority(authority.clone()).path_and_query("/").build();
        let place = place.map_err(|error| unreachable(error.into()))?;
        let stream = self.connector.clone().oneshot(place).await.map_err(unreachable)?;
        let stream = match stream {
            MaybeHttpsStream::Http(stream) => Either::Left(stream.into_inner()),
            MaybeHttpsStream::Https(stream) => Either::Right(stream.into_inner()),
        };
        let stream = Sipped::new(stream, self.bodies.clone());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| unreachable(error.into()))?;
        Ok(Wire { bell: Bell::new(), sender, connection })
    }

    /// The connection that was used last, if it is not too old. One that the drive has closed is found out when it is used.
    fn take_idle(&self, place: &(Scheme, Authority)) -> Option<Wire> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.get_mut(place)?.pop()?;
        let is_fresh = found.since.elapsed() < IDLE;
        if !is_fresh {
            // All below it are older.
            idle.remove(place);
        }
        drop(idle);
        is_fresh.then_some(found.wire)
    }

    fn keep(&self, place: (Scheme, Authority), wire: Wire) {
        wire.bell.leave();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let wires = idle.entry(place).or_default();
        if wires.len() >= MOST_IDLE {
            wires.remove(0);
        }
        wires.push(Idle { wire, since: Instant::now() });
    }
}

// === impl Wire ===

impl Wire {
    async fn send(&mut self, request: http::Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let Self { bell, sender, connection } = self;
        let mut response = pin!(sender.send_request(request));
        poll_fn(|cx| {
            bell.attend(cx, |cx| {
                if let Poll::Ready(response) = response.as_mut().poll(cx) {
                    return Poll::Ready(response);
                }
                // Either it ended, which the response tells better, or it has done what it can for now.
                let _ = Pin::new(&mut *connection).poll(cx)?;
                response.as_mut().poll(cx)
            })
        })
        .await
    }
}

// === impl ContentBody ===

impl ContentBody {
    /// The body has ended: its connection may serve another.
    fn end(&mut self, cx: &mut Context<'_>) {
        if let (Some(mut wire), Some((inner, place, _))) = (self.wire.take(), self.home.take())
            // Lets it notice that.
            && wire.bell.attend(cx, |cx| Pin::new(&mut wire.connection).poll(cx)).is_pending()
            && wire.sender.is_ready()
        {
            inner.keep(place, wire);
        }
    }
}

impl http_body::Body for ContentBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let (incoming, mut has_ended) = (&mut this.incoming, false);
        let polled = match &mut this.wire {
            Some(Wire { bell, connection, .. }) => bell.attend(cx, |cx| {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                if polled.is_ready() || has_ended {
                    return polled;
                }
                // What it fails with, the body tells.
                has_ended = Pin::new(&mut *connection).poll(cx).is_ready();
                Pin::new(&mut *incoming).poll_frame(cx)
            }),
            None => Pin::new(incoming).poll_frame(cx),
        };
        if has_ended {
            this.wire = None;
        }
        if polled.is_ready() && this.incoming.is_end_stream() {
            this.end(cx);
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(|error| broken(error, this.operation))))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

fn broken(error: hyper::Error, operation: &'static str) -> Error {
    Error::new(ErrorKind::Upstream, operation).saying("the drive broke off its answer").caused_by(error)
}

/// How long a connection is kept without use; the drive closes it after 60 s (§4.3 of the fact sheet).
const IDLE: Duration = Duration::from_secs(50);
/// Idle connections kept to one host. Chosen: as many as there may be requests under way in a burst.
const MOST_IDLE: usize = 256;
/// Bytes. Measured on the bare libraries: less costs CPU in bulk, more only memory for clients that do not read.
const READ_BUFFER: usize = 256 * 1024;
