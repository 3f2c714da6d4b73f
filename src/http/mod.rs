//! What both sides of the proxy need of HTTP: bodies, ranges, preconditions, the outbound clients.

mod bell;
pub mod body;
pub mod client;
pub mod conditional;
pub mod content;
pub mod range;
mod resolver;
mod sip;
mod upload;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use self::body::Body;
pub use self::upload::Upload;

/// A request as it reaches our services; its body, where it has one, is an [`Upload`] among its extensions.
pub type Request = http::Request<()>;
/// The other end of the connection that a request came on; among the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);
/// Says that a request came by `https`; among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Secure;
/// Where a request comes from, as it is counted: an IPv4 address, or the network of a household of IPv6 (RFC 6177).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Place(IpAddr);
/// An answer of ours.
pub type Response = http::Response<Body>;

impl Place {
    /// Of what comes from no address.
    pub const NOWHERE: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));

    /// The place of an address.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
            address => address,
        })
    }

    /// A number that stands for it.
    pub fn number(self) -> u64 {
        match self.0 {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}
