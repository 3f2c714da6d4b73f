//! Sluice: an HTTP streaming media proxy for films on a cloud drive.
//!
//! It mounts drives, resolves a path to a download link or to a transcoded preview, and serves it to players: as a
//! redirect, through a range proxy, or as HLS. What players hold is always an address of ours that does not
//! expire; behind it, what the drive gives for minutes is renewed as it is needed.
//!
//! # The map
//!
//! ```text
//! wrapping at run time   transport( layer( serve -> stream -> resolve -> mount -> driver -> the drive's API ) )
//!
//! imports                main -> cli -> app -> transport, layer     generic over what they wrap
//!                                       app -> export -> serve -> stream -> resolve -> mount -> driver
//!                        config -> the settings of the rooms        nothing imports config or app
//!                        leaves import leaves                       access, budget, clock, error, http, lease, logs, path,
//!                                                                   secret, section, sign, state
//! ```
//!
//! | room | answers |
//! |---|---|
//! | [`access`] | who is asking, and what of the tree they may see |
//! | [`app`] | how it is put together: the only file that sees every room |
//! | [`config`] | what the operator wrote, with every fault at once |
//! | [`transport`] | connections: accept, who makes way when there are too many, TLS, HTTP/1.1 and HTTP/2, drain |
//! | [`layer`] | what every request passes, outermost first, with reasons |
//! | [`serve`] | what a client can ask for: reads the head, decides, answers |
//! | [`export`] | trees of `.strm` files for media servers, kept as the drives are |
//! | [`stream`] | a body that survives what the drive does: cache of blocks, shared feeds, who may hold a connection |
//! | [`resolve`] | path → entry → link or preview, each fetched once per life |
//! | [`mount`] | which drive a path belongs to |
//! | [`driver`] | what a drive is to us; one folder a vendor |
//!
//! `serve` imports one thing from `layer`: the word for what a request must show at the gate
//! ([`layer::authenticate::Requirement`]), since the paths of our routes are read in one place only.
//!
//! # One request
//!
//! ```text
//! GET /d/films/a.mkv, Range: bytes=0-
//!   transport         bytes -> request
//!   layer             id and access line -> CORS -> rescue -> in flight -> limits -> gate -> deadline to the head
//!   serve::target     head -> Target { Content, path, range, client }
//!   resolve           path -> entry (cache | listing at hand | driver.stat)
//!   serve::plan       preconditions and range -> 304, 412, 416, part or whole; wish and link -> way
//!   resolve           entry -> link (lease cache | driver.source: coalesced, detached from its caller, paced)
//!   serve::content    302, or a body from stream
//!   stream            block cache, else a feed near by, else a part opened through the broker; on expiry, reset, stall,
//!                     collapse or short read it goes on at the next byte, with another lease where that helps
//! ```
//!
//! Nothing flows back up except that one loop, which names the lease that failed.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | mount, driver | a prefix in our tree; the code for one vendor |
//! | entry | a file or folder as the vendor lists it |
//! | lease | a value that is good for a limited time: link, preview, listing, token |
//! | link | a lease on the bytes of one entry: an address and the headers it needs |
//! | preview, variant | the transcoded forms of a video; one of them (RFC 8216: *Variant Stream*) |
//! | errand | what a request asks of a drive, for whom, and how soon it would be missed; decides whose call is next |
//! | API, content | the vendor's JSON control plane; its byte servers |
//!
//! # Where state lives
//!
//! Links, previews, playlists and the entries in use live in bounded caches and end with the process. On disk, in the state
//! folder, are the API token, the passwords of devices, the keys of exported addresses, each account's tokens, sealed, with the key unless the operator has it, the entries that drives
//! have listed, and, if the operator wants it, blocks of files; see [`state`]. The stream engine holds what is being read: the
//! accounts' connections, and at most a window for each stream.

pub mod access;
pub mod app;
pub mod budget;
pub mod clock;
pub mod config;
pub mod driver;
pub mod error;
pub mod export;
pub mod http;
pub mod layer;
pub mod lease;
pub mod logs;
pub mod mount;
pub mod path;
pub mod resolve;
pub mod secret;
pub mod section;
pub mod serve;
pub mod sign;
pub mod state;
pub mod stream;
pub mod transport;
