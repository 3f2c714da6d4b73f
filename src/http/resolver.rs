//! Names of hosts as addresses, of which some are never connected to.
//!
//! What a drive names may be looked up by whoever runs its name servers, so what is connected to is checked, and not only what it was
//! called. A host that the operator or the driver names by its address is not looked up, and so not checked here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower::{Service, ServiceExt};

/// Looks names up with the system, and keeps what may be connected to.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    inner: GaiResolver,
    reach: Reach,
}

/// What names may lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Public networks, and the machines of private ones: for hosts that the operator names.
    Private,
    /// Public networks.
    Public,
}

// === impl Resolver ===

impl Resolver {
    pub(super) fn new(reach: Reach) -> Self {
        Self { inner: GaiResolver::new(), reach }
    }
}

impl Service<Name> for Resolver {
    type Response = IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, reach) = (self.inner.clone().oneshot(name.clone()), self.reach);
        Box::pin(async move {
            let found: Vec<_> =
                found.await?.filter(|address| may_be(address.ip(), name.as_str(), reach)).collect();
            if found.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the name leads to no address that may be connected to",
                ));
            }
            Ok(found.into_iter())
        })
    }
}

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let name: Name = name.as_str().parse()?;
            let found: Box<dyn Iterator<Item = SocketAddr> + Send> = Box::new(resolver.oneshot(name).await?);
            Ok(found)
        })
    }
}

/// Whether a name may lead there.
fn may_be(address: IpAddr, name: &str, reach: Reach) -> bool {
    let address = address.to_canonical();
    // That name is this machine and nothing else (RFC 6761 §6.3); who may call it so, the driver says.
    if name.eq_ignore_ascii_case("localhost") {
        return address.is_loopback();
    }
    let (is_own, is_private) = match address {
        IpAddr::V4(v4) => (
            v4.is_loopback()
                || v4.is_unspecified()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.octets()[0] == 0,
            // With carriers' shared space (RFC 6598). Not the range for benchmarks, 198.18.0.0/15: transparent proxies answer every name
            // with an address of it.
            v4.is_private() || (v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64),
        ),
        IpAddr::V6(v6) => {
            (v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(), v6.is_unique_local())
        }
    };
    !is_own && !address.is_multicast() && (reach == Reach::Private || !is_private)
}

/// A resolver for [`reqwest`].
pub(super) fn for_operators_hosts() -> Arc<Resolver> {
    Arc::new(Resolver::new(Reach::Private))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_neither_to_this_machine_nor_to_its_neighbours() {
        let may = |address: &str, reach| may_be(address.parse().unwrap(), "cdn.example", reach);
        for address in ["93.184.216.34", "198.18.0.7", "2606:2800:220:1::1"] {
            assert!(may(address, Reach::Public) && may(address, Reach::Private), "{address}");
        }
        for address in ["10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "::ffff:10.1.2.3"] {
            assert!(!may(address, Reach::Public) && may(address, Reach::Private), "{address}");
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::ffff:127.0.0.1",
        ] {
            assert!(!may(address, Reach::Public) && !may(address, Reach::Private), "{address}");
        }
        let local = |address: &str| may_be(address.parse().unwrap(), "LocalHost", Reach::Public);
        assert!(local("127.0.0.1") && local("::1") && !local("10.0.0.1"));
    }

    #[tokio::test]
    async fn this_machine_is_found_by_its_own_name_alone() {
        let found = Resolver::new(Reach::Public).oneshot("localhost".parse().unwrap()).await.unwrap();
        assert!(found.into_iter().all(|address| address.ip().is_loopback()));
    }
}
