//! The slots of a server with `maxConcurrency`: a call takes one before it is sent.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::oneshot;

use crate::host::mutex::Mutex;

/// The slots of one server.
#[derive(Debug)]
pub(super) struct Slots(Arc<SlotQueue>);

/// A slot that was taken; it comes free when this is dropped. None once it was passed on.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<SlotQueue>>);

type SlotQueue = Mutex<SlotState>;

#[derive(Debug)]
struct SlotState {
    free: usize,
    /// The calls that wait, by when they came; there are none while a slot is free. A number tells
    /// apart those that came at once.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<Slot>>,
    numbered: u64,
}

impl Slots {
    pub(super) fn new(most: usize) -> Self {
        let state = SlotState { free: most, waiting: BTreeMap::new(), numbered: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Whether a call that comes now has to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.0.lock().free == 0
    }

    /// Waits for a slot; calls that wait get one in the order of `arrival`. Never returns None, as each
    /// slot is passed on.
    pub(super) async fn take(&self, arrival: u64) -> Option<Slot> {
        let (place, granted) = {
            let mut state = self.0.lock();
            if let Some(left) = state.free.checked_sub(1) {
                state.free = left;
                return Some(Slot(Some(self.0.clone())));
            }
            let (grant, granted) = oneshot::channel();
            let place = (arrival, state.numbered);
            state.numbered += 1;
            state.waiting.insert(place, grant);
            (place, granted)
        };
        let _place = QueuePlace { shared: &self.0, place };
        granted.await.ok()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        loop {
            let grant = {
                let mut state = shared.lock();
                match state.waiting.pop_first() {
                    Some((_, grant)) => grant,
                    None => {
                        state.free += 1;
                        return;
                    }
                }
            };
            match grant.send(Slot(Some(shared.clone()))) {
                Ok(()) => return,
                // Gave up a moment ago: the slot goes to the next.
                Err(mut slot) => slot.0 = None,
            }
        }
    }
}

/// A place among the calls that wait, given up when this is dropped.
struct QueuePlace<'a> {
    shared: &'a SlotQueue,
    place: (u64, u64),
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::Slots;

    #[tokio::test]
    async fn slots_go_to_those_who_came_first() {
        let slots = Slots::new(1);
        let mut held = slots.take(0).await;
        let mut waiting = [3, 1, 2].map(|came| Box::pin(slots.take(came)));
        assert!(waiting.iter_mut().all(|wait| wait.now_or_never().is_none()));
        for next in [1, 2, 0] {
            drop(held);
            // The others are not asked, so nothing is taken from them.
            held = waiting[next].as_mut().now_or_never().unwrap();
        }
        drop(held);
        assert_eq!(slots.0.lock().free, 1);
    }

    #[tokio::test]
    async fn abandoned_slot_goes_to_the_next_waiter() {
        let slots = Slots::new(1);
        let held = slots.take(0).await;
        let mut gives_up = Box::pin(slots.take(1));
        let mut next = Box::pin(slots.take(2));
        assert!(gives_up.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        // Granted by now, and never taken.
        drop(held);
        assert!(next.as_mut().now_or_never().is_none());
        drop(gives_up);
        let taken = next.as_mut().now_or_never().unwrap();
        assert!(taken.is_some());
        let waits = Box::pin(slots.take(3));
        drop((waits, taken));
        let state = slots.0.lock();
        assert_eq!((state.free, state.waiting.len()), (1, 0));
    }
}
