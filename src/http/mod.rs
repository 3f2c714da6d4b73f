//! What both sides of the proxy need of HTTP: bodies, ranges, preconditions, the outbound clients.

mod bell;
pub mod body;
pub mod client;
pub mod conditional;
pub mod content;
pub mod range;
mod resolver;
mod upload;

pub use self::body::Body;
pub use self::upload::Upload;

/// A request as it reaches our services; its body, where it has one, is an [`Upload`] among its extensions.
pub type Request = http::Request<()>;
/// The other end of the connection that a request came on; among the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);
/// Says that a request came by `https`; among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Secure;
/// Where a request comes from, as it is counted: an IPv4 address, or the network of a household of IPv6 (RFC 6177).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Place(u64);
/// An answer of ours.
pub type Response = http::Response<Body>;

impl Place {
    /// Of what comes from no address.
    pub const NOWHERE: Self = Self(0);

    /// The place of an address.
    pub fn of(address: std::net::IpAddr) -> Self {
        Self(match address.to_canonical() {
            std::net::IpAddr::V4(address) => u64::from(address.to_bits()),
            std::net::IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        })
    }

    /// A number that stands for it.
    pub fn number(self) -> u64 {
        self.0
    }
}
