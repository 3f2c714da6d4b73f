//! The bytes that a feed holds: pieces in a row, let go at the front as readers pass.

use std::collections::VecDeque;

use bytes::Bytes;

/// Consecutive bytes of one file, as the pieces they came in. Nothing is copied.
#[derive(Debug)]
pub(super) struct Ring {
    pieces: VecDeque<Bytes>,
    /// Offset of the first byte held.
    start: u64,
    /// Offset behind the last byte held; where the next piece belongs.
    end: u64,
}

// === impl Ring ===

impl Ring {
    /// Holds nothing; the first piece belongs at `at`.
    pub(super) fn at(at: u64) -> Self {
        Self { pieces: VecDeque::new(), start: at, end: at }
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes are held.
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Adds the next piece.
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.end += piece.len() as u64;
            self.pieces.push_back(piece);
        }
    }

    /// What is held from `at` on, as far as one piece goes. Nothing before the front or from the end on.
    pub(super) fn get(&self, at: u64) -> Option<Bytes> {
        if at < self.start || at >= self.end {
            return None;
        }
        // Readers are near the end nearly always.
        let mut piece_end = self.end;
        for piece in self.pieces.iter().rev() {
            let piece_start = piece_end - piece.len() as u64;
            if at >= piece_start {
                let skip = usize::try_from(at - piece_start).ok()?;
                return Some(piece.slice(skip..));
            }
            piece_end = piece_start;
        }
        None
    }

    /// Lets go what lies wholly before `keep_from`.
    pub(super) fn let_go(&mut self, keep_from: u64) {
        while let Some(first) = self.pieces.front() {
            let next = self.start + first.len() as u64;
            if next > keep_from {
                break;
            }
            self.pieces.pop_front();
            self.start = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_held_reads_as_it_was_pushed(
            lens in proptest::collection::vec(0usize..50, 0..20),
            keep_from in 0u64..800,
            at in 0u64..1000,
        ) {
            const FIRST: u64 = 100;
            let mut ring = Ring::at(FIRST);
            let mut all = Vec::new();
            for len in lens {
                let piece: Vec<u8> = (0..len).map(|n| ((all.len() + n) % 251) as u8).collect();
                all.extend_from_slice(&piece);
                ring.push(Bytes::from(piece));
            }
            ring.let_go(keep_from);
            // No more is let go than was allowed.
            prop_assert!(ring.start() <= keep_from.max(FIRST) || ring.start() == FIRST);
            prop_assert_eq!(ring.end(), FIRST + all.len() as u64);
            match ring.get(at) {
                Some(piece) => {
                    prop_assert!(!piece.is_empty() && at >= ring.start());
                    let from = (at - FIRST) as usize;
                    prop_assert_eq!(&piece[..], &all[from..from + piece.len()]);
                }
                None => prop_assert!(at < ring.start() || at >= ring.end()),
            }
        }
    }
}
