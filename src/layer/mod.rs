//! What every request passes, outermost first, with the reason for its place.
//!
//! | # | layer | why here |
//! |---|---|---|
//! | 1 | [`trace`] | gives the request its id, writes the access line and counts ([`metrics`]); what is below logs with the id, and its end is the end of the body |
//! | 2 | [`forwarded`] | tells the client's own address, where a proxy of ours stands in between; all below go by it |
//! | 3 | [`cors`] | answers preflights, which carry no credentials, and marks every answer of the media routes, failures too |
//! | 4 | [`rescue`] | the last point where an error or a panic exists; above it there are only answers |
//! | 5 | [`in_flight`] | refuses before any work when we are full; the permit rides in the body |
//! | 6 | [`head`] | refuses what is too long before anybody reads it |
//! | 7 | [`authenticate`] | deny by default, before any path is looked at, so that a 404 reveals nothing |
//! | 8 | [`deadline`] | time to the head of the answer; never to the body, since a film lasts two hours |

pub mod authenticate;
pub mod cors;
pub mod deadline;
pub mod forwarded;
pub mod head;
pub mod in_flight;
pub mod metrics;
pub mod rescue;
pub mod trace;

use http::{HeaderValue, StatusCode, header};

use crate::http::{Body, Response};

/// The line of an answer that says why there is no other. [`trace`] writes it out together with the request's id.
#[derive(Clone, Debug)]
struct Line(&'static str);

/// An answer of one line.
fn plain(status: StatusCode, line: &'static str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.extensions_mut().insert(Line(line));
    response
}
