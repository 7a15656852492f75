// SPDX-License-Identifier: GPL-2.0

//! Reply slots: a caller that vanishes at any instant, and the list of the free slots.

#![cfg(loom)]

use coop_host::model;
use coop_host::model::atomic::UnsafeCell;
use coop_host::model::Static;
use coop_host::reply_state::{Answer, Complete, FreeList, ReplyState};
use loom::alloc::Track;
use loom::thread;

/// One slot, as `coop/call.rs` has it.
struct Slot {
    state: ReplyState,
    value: UnsafeCell<Option<Track<u32>>>,
    /// Whoever frees it says so.
    freed: UnsafeCell<u32>,
}

impl Slot {
    fn new() -> Self {
        Self {
            state: ReplyState::new(),
            value: UnsafeCell::new(None),
            freed: UnsafeCell::new(0),
        }
    }

    fn put(&self, value: u32) {
        // SAFETY: Loom checks that nobody else reads or writes.
        self.value
            .with_mut(|p| unsafe { *p = Some(Track::new(value)) });
    }

    fn take(&self) -> Option<Track<u32>> {
        // SAFETY: As above.
        self.value.with_mut(|p| unsafe { (*p).take() })
    }

    fn give_back(&self) {
        // Its next owner writes to it.
        self.value.with_mut(|_| ());
        // SAFETY: As above.
        self.freed.with_mut(|p| unsafe { *p += 1 });
    }

    /// The receiver's part, as in `Reply::send()`: whether the caller got the value.
    fn reply(&self, value: u32) -> bool {
        self.put(value);
        match self.state.complete(true) {
            Complete::Done => true,
            Complete::Abandoned => {
                assert_eq!(self.take().unwrap().into_inner(), value);
                self.give_back();
                false
            }
            Complete::Already => unreachable!("only one completes"),
        }
    }
}

/// The end: freed once, by whoever came second.
fn end(slot: Static<Slot>) {
    // SAFETY: All threads have ended.
    assert_eq!(slot.freed.with(|p| unsafe { *p }), 1);
    // SAFETY: As above.
    unsafe { slot.free() };
}

model! {
    /// The caller looks, and gives up: the value is taken once, the slot freed once, by one side.
    fn a_caller_gives_up() {
        let slot = Static::new(Slot::new());
        let receiver = thread::spawn(move || slot.reply(7));
        let mut got = false;
        if slot.state.answer().is_none() && slot.state.abandon() {
            // The slot is the receiver's.
        } else {
            assert_eq!(slot.state.answer(), Some(Answer::Replied));
            assert_eq!(slot.take().unwrap().into_inner(), 7);
            slot.put(0);
            drop(slot.take());
            slot.give_back();
            got = true;
        }
        assert_eq!(receiver.join().unwrap(), got);
        end(slot);
    }
    complete: "reply.complete",
    take: "reply.take",
}

model! {
    /// What the caller did to the slot before it gave up is over when the receiver frees it.
    fn a_caller_gives_up_at_once() {
        let slot = Static::new(Slot::new());
        let receiver = thread::spawn(move || match slot.state.complete(false) {
            Complete::Done => false,
            Complete::Abandoned => {
                slot.give_back();
                true
            }
            Complete::Already => unreachable!("only one completes"),
        });
        // The caller's own writing, such as clearing its waiter.
        slot.value.with_mut(|_| ());
        let gone = slot.state.abandon();
        if !gone {
            assert_eq!(slot.state.answer(), Some(Answer::Dropped));
            slot.give_back();
        }
        assert_eq!(receiver.join().unwrap(), gone);
        end(slot);
    }
    abandon: "reply.abandon",
}

model! {
    /// The domain dies while the receiver answers: the caller gets one answer, and a value that
    /// came too late is the receiver's again.
    fn a_death_against_an_answer() {
        let slot = Static::new(Slot::new());
        let death = thread::spawn(move || slot.state.complete(false) == Complete::Done);
        slot.put(7);
        let answered = match slot.state.complete(true) {
            Complete::Done => true,
            Complete::Already => {
                drop(slot.take().unwrap());
                false
            }
            Complete::Abandoned => unreachable!("nobody gives up"),
        };
        assert_ne!(death.join().unwrap(), answered);
        let expected = if answered { Answer::Replied } else { Answer::Dropped };
        assert_eq!(slot.state.answer(), Some(expected));
        drop(slot.take());
        // SAFETY: All threads have ended.
        unsafe { slot.free() };
    }
}

struct Slots {
    free: FreeList,
    slots: [Slot; 2],
}

impl Slots {
    fn new() -> Static<Self> {
        let slots = Static::new(Self {
            free: FreeList::new(),
            slots: [Slot::new(), Slot::new()],
        });
        for index in 0..2 {
            slots.free.put(index, &slots.slots[index as usize].state);
        }
        slots
    }

    fn take(&self) -> Option<u32> {
        self.free
            .take(|index| self.slots.get(index as usize).map(|slot| &slot.state))
    }

    fn put(&self, index: u32) {
        self.free.put(index, &self.slots[index as usize].state);
    }

    /// Who owns a slot may write to it.
    fn write(&self, index: u32) {
        self.slots[index as usize].value.with_mut(|_| ());
    }
}

model! {
    /// Two threads take and give back: nobody has a slot that another has, and none is lost.
    fn a_slot_has_one_owner() {
        let slots = Slots::new();
        let other = thread::spawn(move || {
            let index = slots.take().unwrap();
            slots.write(index);
            slots.put(index);
        });
        let index = slots.take().unwrap();
        slots.write(index);
        slots.put(index);
        other.join().unwrap();
        let mut left = [slots.take().unwrap(), slots.take().unwrap()];
        left.sort();
        assert_eq!((left, slots.take()), ([0, 1], None));
        // SAFETY: All threads have ended.
        unsafe { slots.free() };
    }
    free: "reply.free",
    alloc: "reply.alloc",
}

model! {
    /// One thread stalls in taking a slot, another takes both and gives the first back: the list's
    /// head is the same again, what follows it is not (ABA).
    fn a_head_that_comes_back() {
        let slots = Slots::new();
        let other = thread::spawn(move || {
            let Some(first) = slots.take() else {
                return;
            };
            let second = slots.take();
            slots.put(first);
            if let Some(second) = second {
                // Still ours.
                slots.write(second);
            }
        });
        for _ in 0..2 {
            if let Some(index) = slots.take() {
                slots.write(index);
            }
        }
        other.join().unwrap();
        // SAFETY: All threads have ended.
        unsafe { slots.free() };
    }
    #![preemptions = 3]
}
