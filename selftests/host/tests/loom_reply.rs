// SPDX-License-Identifier: GPL-2.0

//! Reply slots: a caller that vanishes at any instant, and the list of the free slots.

#![cfg(loom)]

use coop_host::model;
use coop_host::model::atomic::UnsafeCell;
use coop_host::model::{Kthread, Static, Waiting};
use coop_host::reply_state::{Answer, Complete, FreeList, ReplyCell};
use loom::alloc::Track;
use loom::thread;

/// One slot, as `coop/reply.rs` has it.
struct Slot {
    cell: ReplyCell<Waiting>,
    value: UnsafeCell<Option<Track<u32>>>,
    /// Whoever frees it says so.
    freed: UnsafeCell<u32>,
}

impl Slot {
    fn new() -> Self {
        Self {
            cell: ReplyCell::new(),
            value: UnsafeCell::new(None),
            freed: UnsafeCell::new(0),
        }
    }

    /// One whose call has begun.
    fn begun() -> Static<Self> {
        let slot = Static::new(Self::new());
        slot.cell.begin();
        slot
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
        match self.cell.complete(true) {
            Complete::Done(waiter) => {
                if let Some(waiter) = waiter {
                    waiter.wake();
                }
                true
            }
            Complete::Abandoned => {
                assert_eq!(self.take().unwrap().into_inner(), value);
                self.give_back();
                false
            }
            Complete::Already => unreachable!("only one completes"),
        }
    }

    /// `Caller::wait_for_reply()`: it registers with the thread's state set.
    fn wait(&self, thread: Static<Kthread>) {
        let mut registered = false;
        while !self.cell.is_answered() {
            thread.park_unless(|| {
                if registered {
                    return self.cell.is_answered();
                }
                registered = true;
                !self.cell.wait(Waiting::new(thread))
            });
        }
    }

    /// The caller takes its answer, and gives the slot back.
    fn finish(&self, value: u32) {
        assert_eq!(self.cell.answer(), Some(Answer::Replied));
        assert_eq!(self.take().unwrap().into_inner(), value);
        self.give_back();
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
        let slot = Slot::begun();
        let receiver = thread::spawn(move || slot.reply(7));
        let mut got = false;
        if slot.cell.answer().is_none() && slot.cell.abandon() {
            // The slot is the receiver's.
        } else {
            slot.finish(7);
            got = true;
        }
        assert_eq!(receiver.join().unwrap(), got);
        end(slot);
    }
    complete: "reply.complete",
    take: "reply.take",
}

model! {
    /// The caller sleeps until it is answered: its waiter is whole when the receiver wakes it, is
    /// woken once or not at all, and no wake-up is lost.
    fn a_caller_waits() {
        let (slot, thread) = (Slot::begun(), Static::new(Kthread::new()));
        let receiver = thread::spawn(move || slot.reply(7));
        slot.wait(thread);
        slot.finish(7);
        assert!(receiver.join().unwrap());
        end(slot);
        // SAFETY: All threads have ended.
        unsafe { thread.free() };
    }
    complete_for_one_who_waits: "reply.complete/release",
    complete_finds_the_waiter: "reply.complete/acquire",
    take_after_the_wait: "reply.take",
}

model! {
    /// A caller that is killed while it waits takes its waiter with it, or finds the answer.
    fn a_waiting_caller_is_killed() {
        let (slot, thread) = (Slot::begun(), Static::new(Kthread::new()));
        let receiver = thread::spawn(move || slot.reply(7));
        let got = !slot.cell.wait(Waiting::new(thread)) || !slot.cell.abandon();
        if got {
            slot.finish(7);
        }
        assert_eq!(receiver.join().unwrap(), got);
        end(slot);
        // SAFETY: All threads have ended.
        unsafe { thread.free() };
    }
    wait_and_be_killed: "reply.wait/release",
    complete_for_one_who_is_killed: "reply.complete",
}

model! {
    /// What the caller did to the slot before it gave up is over when the receiver frees it.
    fn a_caller_gives_up_at_once() {
        let slot = Slot::begun();
        let receiver = thread::spawn(move || match slot.cell.complete(false) {
            Complete::Done(_) => false,
            Complete::Abandoned => {
                slot.give_back();
                true
            }
            Complete::Already => unreachable!("only one completes"),
        });
        // The caller's own writing.
        slot.value.with_mut(|_| ());
        let gone = slot.cell.abandon();
        if !gone {
            assert_eq!(slot.cell.answer(), Some(Answer::Dropped));
            slot.give_back();
        }
        assert_eq!(receiver.join().unwrap(), gone);
        end(slot);
    }
    abandon: "reply.abandon/release",
    abandoned: "reply.abandoned",
}

model! {
    /// The domain dies while the receiver answers: the caller gets one answer, and a value that
    /// came too late is the receiver's again.
    fn a_death_against_an_answer() {
        let slot = Slot::begun();
        let death = thread::spawn(move || matches!(slot.cell.complete(false), Complete::Done(_)));
        slot.put(7);
        let answered = match slot.cell.complete(true) {
            Complete::Done(_) => true,
            Complete::Already => {
                drop(slot.take().unwrap());
                false
            }
            Complete::Abandoned => unreachable!("nobody gives up"),
        };
        assert_ne!(death.join().unwrap(), answered);
        let expected = if answered { Answer::Replied } else { Answer::Dropped };
        assert_eq!(slot.cell.answer(), Some(expected));
        drop(slot.take());
        // SAFETY: All threads have ended.
        unsafe { slot.free() };
    }
}

model! {
    /// The caller runs the receiver, which passes the request on to another thread: that one answers
    /// while the caller stops running and goes to sleep.
    fn an_inline_caller_is_answered_from_elsewhere() {
        let (slot, thread) = (Static::new(Slot::new()), Static::new(Kthread::new()));
        let me = std::ptr::from_ref(&*thread).cast();
        slot.cell.begin_inline(me);
        let other = thread::spawn(move || {
            // Its own thread is not the one that the word names.
            assert!(!slot.cell.complete_inline(std::ptr::from_ref(&*slot).cast(), true));
            slot.reply(7)
        });
        if slot.cell.leave_inline(me) {
            slot.wait(thread);
        }
        slot.finish(7);
        assert!(other.join().unwrap());
        end(slot);
        // SAFETY: All threads have ended.
        unsafe { thread.free() };
    }
    complete_from_elsewhere: "reply.complete",
    take_what_came_from_elsewhere: "reply.take",
}

model! {
    /// The receiver answers on the caller's own thread, without a read-modify-write; what then
    /// happens to the slot comes after.
    fn an_inline_caller_is_answered_in_place() {
        let slot = Static::new(Slot::new());
        let me = std::ptr::from_ref(&*slot).cast();
        slot.cell.begin_inline(me);
        slot.put(7);
        assert!(slot.cell.complete_inline(me, true));
        assert!(!slot.cell.leave_inline(me));
        slot.finish(7);
        end(slot);
    }
}

model! {
    /// The slot that belongs to whoever runs the domain: the caller, who does not run it any more,
    /// frees it, and the next runner finds it free, and what was done to it done.
    fn the_slot_of_runners_is_handed_on() {
        let slot = Static::new(Slot::new());
        let me = std::ptr::from_ref(&*slot).cast();
        slot.cell.begin_inline(me);
        let next = thread::spawn(move || {
            if slot.cell.is_free() {
                slot.give_back();
            }
        });
        slot.put(7);
        assert!(slot.cell.complete_inline(me, true));
        assert_eq!(slot.take().unwrap().into_inner(), 7);
        slot.cell.free();
        next.join().unwrap();
        assert!(slot.cell.is_free());
        // SAFETY: All threads have ended.
        unsafe { slot.free() };
    }
    hand_it_on_too_early: "reply.free",
    take_it_too_early: "reply.alloc",
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
            slots.free.put(index, &slots.slots[index as usize].cell);
        }
        slots
    }

    fn take(&self) -> Option<u32> {
        self.free
            .take(|index| self.slots.get(index as usize).map(|slot| &slot.cell))
    }

    fn put(&self, index: u32) {
        self.free.put(index, &self.slots[index as usize].cell);
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
    no_tag: "reply.no_tag",
}
