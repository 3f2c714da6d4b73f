//! What is learned of a film's transcodes that the drive does not tell: what is in them, and how long their pieces are.
//! Learned once, from a few bytes of each piece, and kept while the film stays what it is.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::OnceCell;
use tokio::time::{Duration, Instant};

use super::ts::Beginning;
use crate::driver::EntryId;
use crate::error::{Error, Result};
use crate::mount::MountId;

/// Which transcode: of which file, in which version, which variant.
pub(in crate::serve) type TranscodeKey = (MountId, EntryId, [u8; 16], String);

/// All that is remembered. Clones share it.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Transcodes(Cache<TranscodeKey, Arc<Transcode>>);

/// One variant of one film.
#[derive(Debug, Default)]
pub(in crate::serve) struct Transcode {
    /// Of its first piece.
    pub(super) beginning: OnceCell<Beginning>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    pieces: Vec<Piece>,
    /// In thousandths of a second; as many as the longest playlist that was seen has pieces.
    lengths: Vec<u32>,
    /// Of these, how many the drive had listed in the playlist that had most.
    listed: usize,
    /// Until when looking at the beginning is no use, and what it failed with.
    in_vain: Option<(Instant, Error)>,
}

/// A piece of a transcode.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    /// In bytes; 0 where it is not known.
    bytes: u32,
    /// Whether it was looked at, or somebody is looking.
    was_looked_at: bool,
    is_independent: bool,
}

/// What a multivariant playlist says of a variant, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// RFC 6381.
    pub codecs: Option<String>,
    /// Pictures a second.
    pub frame_rate: Option<f64>,
    /// Width and height in pixels.
    pub picture: Option<(u32, u32)>,
    /// Measured.
    pub rates: Rates,
    /// Whether every piece is known to begin with a picture that needs none before it.
    pub is_independent: bool,
}

/// Bits a second, over the pieces that are known.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rates {
    /// Of the most demanding stretch.
    pub peak: u64,
    /// Over all.
    pub average: u64,
    /// Whether all pieces are known, so that these are the figures and no others.
    pub is_whole: bool,
}

// === impl Transcodes ===

impl Transcodes {
    pub(in crate::serve) fn new() -> Self {
        // What is new is what is watched now, however often something else was.
        Self(Cache::builder().max_capacity(MOST_TRANSCODES).eviction_policy(EvictionPolicy::lru()).build())
    }

    pub(super) fn of(&self, key: TranscodeKey) -> Arc<Transcode> {
        self.0.get_with(key, Arc::default)
    }
}

// === impl Transcode ===

impl Transcode {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to look at the beginning now.
    ///
    /// # Errors
    /// What that failed with a moment ago.
    pub(super) fn may_look(&self) -> Result<()> {
        match &self.known().in_vain {
            Some((until, error)) if *until > Instant::now() => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Looking at the beginning has failed.
    pub(super) fn failed(&self, error: &Error) {
        let mut known = self.known();
        if known.in_vain.as_ref().is_none_or(|(until, _)| *until <= Instant::now()) {
            known.in_vain = Some((Instant::now() + NOT_AGAIN, error.clone()));
        }
    }

    /// A playlist tells how long each piece lasts, in thousandths of a second; the first `listed` of them are there.
    pub(super) fn learn_playlist(&self, lengths: &[u32], listed: usize) {
        let mut known = self.known();
        known.listed = known.listed.max(listed);
        if lengths.len() >= known.lengths.len() {
            known.lengths = lengths.to_vec();
        }
    }

    /// How many pieces the drive has listed at most.
    pub(super) fn listed(&self) -> usize {
        self.known().listed
    }

    /// How many bytes a piece has, where that is known.
    pub(super) fn bytes(&self, index: usize) -> Option<u64> {
        let bytes = self.known().pieces.get(index)?.bytes;
        (bytes > 0).then_some(bytes.into())
    }

    /// Keeps how many bytes a piece has; 0 to forget it.
    pub(super) fn learn_bytes(&self, index: usize, bytes: u64) {
        if let Some(piece) = self.known().piece(index) {
            piece.bytes = u32::try_from(bytes).unwrap_or(0);
        }
    }

    pub(super) fn learn_independent(&self, index: usize, is_independent: bool) {
        if let Some(piece) = self.known().piece(index) {
            piece.is_independent = is_independent;
        }
    }

    /// The first `count` of the pieces from `index` on, but for those that were looked at; they count as looked at from now on.
    pub(super) fn take_unseen(&self, index: usize, count: usize) -> Vec<usize> {
        let mut known = self.known();
        let end = (index + count).min(known.lengths.len());
        (index..end)
            .filter(|at| {
                known.piece(*at).is_some_and(|piece| !std::mem::replace(&mut piece.was_looked_at, true))
            })
            .collect()
    }

    /// Looking at a piece came to nothing; somebody else may try.
    pub(super) fn put_back(&self, index: usize) {
        if let Some(piece) = self.known().piece(index) {
            piece.was_looked_at = false;
        }
    }

    pub(super) fn described(&self) -> Described {
        let known = self.known();
        let pieces: Vec<_> =
            known.lengths.iter().enumerate().map(|(at, length)| (known.bytes(at), *length)).collect();
        let independent = |at| known.pieces.get(at).is_some_and(|piece: &Piece| piece.is_independent);
        let beginning = self.beginning.get().cloned().unwrap_or_default();
        Described {
            codecs: beginning.codecs,
            frame_rate: beginning.frame_rate,
            picture: beginning.picture,
            rates: rates(&pieces),
            is_independent: !pieces.is_empty() && (0..pieces.len()).all(independent),
        }
    }
}

// === impl Known ===

impl Known {
    /// The piece, where a playlist has promised it.
    fn piece(&mut self, index: usize) -> Option<&mut Piece> {
        if self.pieces.len() < self.lengths.len() {
            self.pieces.resize_with(self.lengths.len(), Piece::default);
        }
        self.pieces.get_mut(index)
    }

    fn bytes(&self, index: usize) -> Option<u64> {
        self.pieces.get(index).map(|piece| piece.bytes.into()).filter(|bytes| *bytes > 0)
    }
}

/// The rates of pieces, of each its bytes, where known, and its length in thousandths of a second. The peak is that of RFC 8216
/// §4.1: over stretches of half to one and a half of the longest piece.
fn rates(pieces: &[(Option<u64>, u32)]) -> Rates {
    let rate = |bytes: u64, length: u64| bytes.saturating_mul(8000).div_ceil(length.max(1));
    let target = u64::from(pieces.iter().map(|(_, length)| *length).max().unwrap_or_default());
    let mut peak = 0;
    for start in 0..pieces.len() {
        let (mut bytes, mut length) = (0, 0);
        for (more, lasts) in &pieces[start..] {
            let Some(more) = more else { break };
            bytes += more;
            length += u64::from(*lasts);
            if 2 * length > 3 * target || *lasts == 0 {
                break;
            }
            if 2 * length >= target {
                peak = peak.max(rate(bytes, length));
            }
        }
    }
    let known = pieces.iter().filter_map(|(bytes, length)| bytes.map(|bytes| (bytes, u64::from(*length))));
    let (bytes, length) = known.fold((0, 0), |(bytes, length), (more, lasts)| (bytes + more, length + lasts));
    let average = if length == 0 { 0 } else { rate(bytes, length) };
    let is_whole = !pieces.is_empty() && pieces.iter().all(|(bytes, _)| bytes.is_some());
    Rates { peak: peak.max(average), average, is_whole }
}

/// Chosen: the variants of some hundred films; one of two hours takes 12 KiB.
const MOST_TRANSCODES: u64 = 1000;
/// How long a look that failed speaks for the next ones; chosen: about as long as one takes.
const NOT_AGAIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_over_stretches_of_about_a_piece() {
        let of = |pieces: &[(u64, u32)]| {
            let pieces: Vec<_> = pieces.iter().map(|(bytes, length)| (Some(*bytes), *length)).collect();
            rates(&pieces)
        };
        let both = |peak, average| Rates { peak, average, is_whole: true };
        assert_eq!(of(&[(1000, 10_000), (3000, 10_000)]), both(2400, 1600));
        // A short piece counts with its neighbour only.
        assert_eq!(of(&[(1000, 10_000), (3000, 2_000)]), both(2667, 2667));
        assert_eq!(of(&[(1000, 2_000)]), both(4000, 4000));
        assert_eq!(of(&[(0, 0)]), both(0, 0));
        assert_eq!(rates(&[]), Rates::default());
        let known_in_part = rates(&[(Some(1000), 10_000), (None, 10_000), (Some(3000), 10_000)]);
        assert_eq!(known_in_part, Rates { peak: 2400, average: 1600, is_whole: false });
    }

    #[test]
    fn a_piece_is_looked_at_once() {
        let transcode = Transcode::default();
        assert!(transcode.take_unseen(0, 2).is_empty(), "no playlist has promised it");
        transcode.learn_playlist(&[10_000, 10_000, 4_000], 3);
        assert_eq!(transcode.take_unseen(0, 2), [0, 1]);
        assert_eq!(transcode.take_unseen(1, 5), [2]);
        transcode.put_back(1);
        assert_eq!(transcode.take_unseen(0, 3), [1]);
        // A list that has shrunk takes nothing back.
        transcode.learn_playlist(&[10_000], 1);
        assert_eq!(transcode.listed(), 3);
        transcode.learn_bytes(2, 7);
        assert_eq!((transcode.bytes(2), transcode.bytes(9)), (Some(7), None));
        transcode.learn_bytes(2, 0);
        assert_eq!(transcode.bytes(2), None);
    }

    #[test]
    fn pieces_are_independent_when_all_are_known_to_be() {
        let transcode = Transcode::default();
        assert!(!transcode.described().is_independent);
        transcode.learn_playlist(&[10_000, 10_000], 2);
        transcode.learn_independent(0, true);
        assert!(!transcode.described().is_independent);
        transcode.learn_independent(1, true);
        assert!(transcode.described().is_independent);
    }
}
