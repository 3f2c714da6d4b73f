//! Two halves of one thing that a single task polls by turns, and that wake each other.
//!
//! A half that makes the other ready wakes the task that is just polling both. The runtime takes that for a wish to run
//! again behind everybody else, and calls another thread for it: two system calls and a move to the other core, several
//! times a request. Who attends to both halves anyway can simply look again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// What the halves wake in place of the task.
pub(super) struct Bell {
    rope: Arc<Rope>,
    waker: Waker,
}

#[derive(Default)]
struct Rope {
    state: AtomicU8,
    task: AtomicWaker,
}

// === impl Bell ===

impl Bell {
    pub(super) fn new() -> Self {
        let rope = Arc::new(Rope::default());
        Self { waker: Waker::from(Arc::clone(&rope)), rope }
    }

    /// Polls both halves until nothing more comes of it. `poll` must end with the half that it waits for; after a `Ready`
    /// the caller polls again, as callers do.
    pub(super) fn attend<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.rope.task.register(cx.waker());
        for _ in 0..MOST_ROUNDS {
            self.rope.state.store(ATTENDED, Ordering::SeqCst);
            let polled = poll(&mut Context::from_waker(&self.waker));
            if polled.is_ready() {
                self.rope.state.store(ALONE, Ordering::SeqCst);
                return polled;
            }
            let calm =
                self.rope.state.compare_exchange(ATTENDED, ALONE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if calm {
                return Poll::Pending;
            }
        }
        // Some rings mean "later", such as those of a task that has had its share.
        self.rope.state.store(ALONE, Ordering::SeqCst);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The task has no more to do with it; until the next attends, nobody is woken.
    pub(super) fn leave(&self) {
        drop(self.rope.task.take());
    }
}

// === impl Rope ===

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let rung = self.state.compare_exchange(ATTENDED, RUNG, Ordering::SeqCst, Ordering::SeqCst);
        if rung == Err(ALONE) {
            self.task.wake();
        }
    }
}

/// Nobody polls: a ring wakes the task.
const ALONE: u8 = 0;
/// The task polls, and has heard nothing since it began.
const ATTENDED: u8 = 1;
/// The task polls, and is to look again.
const RUNG: u8 = 2;
/// More than the two halves of a connection need to come to rest.
const MOST_ROUNDS: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_ring_while_polling_means_another_look_and_later_wakes_the_task() {
        let (bell, count) = (Bell::new(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let cx = &mut Context::from_waker(&waker);
        let (mut looks, mut inner) = (0, None);
        let polled = bell.attend(cx, |cx| {
            looks += 1;
            inner = Some(cx.waker().clone());
            if looks < 3 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((looks, count.0.load(Ordering::SeqCst)), (3, 0));
        let inner = inner.unwrap();
        inner.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        let _ = bell.attend(cx, |_| Poll::<()>::Pending);
        bell.leave();
        inner.wake_by_ref();
        assert_eq!(count.0.load(Ordering::SeqCst), 1, "who has left is not woken");
    }

    #[test]
    fn a_bell_that_never_rests_hands_over_to_the_runtime() {
        let (bell, count) = (Bell::new(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let polled = bell.attend(&mut Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(polled.is_pending());
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
