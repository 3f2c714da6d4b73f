//! What a reverse proxy says of the client behind it, where that proxy is one of ours.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use tower::{Layer, Service};

use crate::http::{Peer, Request, Secure};

/// Puts [`Forwarded`] in front of a service.
#[derive(Clone, Debug)]
pub struct ForwardedLayer(Arc<[IpNet]>);

/// Believes `X-Forwarded-For`, `-Proto` and `-Host` of the proxies in these networks, and of nobody else: whoever is believed could be
/// every other client.
#[derive(Clone, Debug)]
pub struct Forwarded<S> {
    inner: S,
    trusted: Arc<[IpNet]>,
}

// === impl ForwardedLayer ===

impl ForwardedLayer {
    /// A layer that believes proxies in these networks.
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self(trusted.into())
    }
}

impl<S> Layer<S> for ForwardedLayer {
    type Service = Forwarded<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Forwarded { inner, trusted: Arc::clone(&self.0) }
    }
}

// === impl Forwarded ===

impl<S: Service<Request>> Service<Request> for Forwarded<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if !self.trusted.is_empty()
            && let Some(peer) = request.extensions().get::<Peer>().copied()
            && is_in(&self.trusted, peer.0)
        {
            let client = client(request.headers(), peer.0, &self.trusted);
            request.extensions_mut().insert(Peer(client));
            if last(request.headers(), &PROTO).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
                request.extensions_mut().insert(Secure);
            }
            if let Some(host) = last(request.headers(), &HOST).and_then(|host| host.parse().ok()) {
                request.headers_mut().insert(header::HOST, host);
            }
        }
        self.inner.call(request)
    }
}

/// The last address in the chain that is not one of our proxies: what stands before it anybody may have written.
fn client(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> IpAddr {
    let lines: Vec<_> = headers.get_all(&FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let mut nearest = peer;
    for hop in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        // What is no address ends the chain, and is not believed.
        let Some(address) = address(hop.trim()) else { break };
        nearest = address;
        if !is_in(trusted, address) {
            break;
        }
    }
    nearest
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let whole = text.parse().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    whole.or_else(with_port).or_else(in_brackets)
}

fn is_in(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// What the nearest proxy wrote.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    line.rsplit(',').next().map(str::trim)
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Who is seen, by `https` or not, of which host.
    fn seen(peer: &str, headers: &[(&str, &str)]) -> (String, bool, String) {
        let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap()).to_vec();
        let mut request = http::Request::get("/").header("host", "asked");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        let look = tower::service_fn(|request: Request| {
            let extensions = request.extensions();
            let peer = extensions.get::<Peer>().unwrap().0.to_string();
            let is_secure = extensions.get::<Secure>().is_some();
            let host = request.headers()["host"].to_str().unwrap().to_owned();
            std::future::ready(Ok::<_, std::convert::Infallible>((peer, is_secure, host)))
        });
        let answer = ForwardedLayer::new(trusted).layer(look).call(request);
        futures_util::FutureExt::now_or_never(answer).unwrap().unwrap()
    }

    #[test]
    fn only_our_proxies_are_believed() {
        let said =
            [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "films")];
        let own = |peer: &str| (peer.to_owned(), false, "asked".to_owned());
        assert_eq!(seen("10.1.2.3", &said), ("192.0.2.7".to_owned(), true, "films".to_owned()));
        assert_eq!(seen("::ffff:10.1.2.3", &said).0, "192.0.2.7");
        assert_eq!(seen("192.0.2.1", &said), own("192.0.2.1"));
        assert_eq!(seen("10.1.2.3", &[]), own("10.1.2.3"));
    }

    #[test]
    fn of_a_chain_the_last_that_is_not_ours_counts() {
        let of = |chain: &str| seen("10.1.2.3", &[("x-forwarded-for", chain)]).0;
        assert_eq!(of("1.1.1.1, 192.0.2.7, 10.9.9.9"), "192.0.2.7");
        assert_eq!(of("1.1.1.1, [2001:db8::5]:443"), "2001:db8::5");
        assert_eq!(of("192.0.2.7:1234"), "192.0.2.7");
        assert_eq!(of("1.1.1.1, rubbish, 10.9.9.9"), "10.9.9.9");
        assert_eq!(of("rubbish"), "10.1.2.3");
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(seen("10.1.2.3", &two).0, "192.0.2.7");
    }

    proptest! {
        #[test]
        fn a_stranger_is_seen_as_who_they_are(chain in "[0-9a-f.:, \\[\\]]{0,60}") {
            prop_assert_eq!(seen("192.0.2.1", &[("x-forwarded-for", &chain)]).0, "192.0.2.1");
            seen("10.0.0.1", &[("x-forwarded-for", &chain)]);
        }
    }
}
