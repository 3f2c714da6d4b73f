//! What both sides of the proxy need of HTTP: bodies, ranges, preconditions, the outbound clients.

mod bell;
pub mod body;
pub mod client;
pub mod conditional;
pub mod content;
pub mod range;

pub use self::body::Body;

/// A request as it reaches our services; its body is drained, never read.
pub type Request = http::Request<()>;
/// The other end of the connection that a request came on; among the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);
/// Says that whoever asks may do everything; among the request's extensions where the gate knows it.
#[derive(Clone, Copy, Debug)]
pub struct Administrator;
/// An answer of ours.
pub type Response = http::Response<Body>;
