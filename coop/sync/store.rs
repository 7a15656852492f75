// SPDX-License-Identifier: GPL-2.0

//! What a channel keeps: messages in a ring, and who waits for them, or for room.
//!
//! No dependency on the kernel crate: the same file is compiled into the module and, on the host,
//! into the property tests of `selftests/host`.
//!
//! It has two modes. While nobody waits, two positions say all there is to know, so that a message is
//! written or read by a comparison and an addition. As soon as somebody is to wait, it is *busy*: then
//! there is a [permit](super::permits) for each message, and for each free slot, handed out first come
//! first served; until all of them are back.

use super::permits::Permits;
use super::wait_list::{Place, WakeUp};
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ops::Deref;

/// Where a message may be.
pub type Slot<T> = UnsafeCell<MaybeUninit<T>>;

/// Why a message is not written, or none read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Not now.
    Busy,
    /// Not any more.
    Closed,
}

/// A ring of messages; and, while somebody waits, permits: who has one of `room` may write to the
/// tail, who has one of `items` may read at the head. While nobody does, the permits are not kept:
/// the positions say it all.
///
/// # Invariants
///
/// - The slots from `head` to the tail, which wrap, are initialised. Those are `capacity` at most,
///   which is not more than there are slots; there are `mask + 1`, a power of two.
/// - Unless `busy`, nobody waits, nobody has a permit, and it is not closed. Then the tail is
///   `readable`, and `writable` is where it comes to when there is no more room.
/// - While `busy`, the tail is `tail`, and `readable` and `writable` are equal to `head`, so that no
///   message is read or written without a permit. `tail - head` is the number of permits of `items`,
///   taken or not; that and the permits of `room`, taken or not, are the capacity at most.
/// - When `closed`, nobody waits.
pub struct Store<T, S, W>
where
    S: Deref<Target = [Slot<T>]>,
{
    head: Cell<u32>,
    readable: Cell<u32>,
    writable: Cell<u32>,
    mask: u32,
    tail: Cell<u32>,
    capacity: u32,
    busy: Cell<bool>,
    closed: Cell<bool>,
    slots: S,
    room: Permits<W>,
    items: Permits<W>,
}

impl<T, S, W> Store<T, S, W>
where
    S: Deref<Target = [Slot<T>]>,
    W: WakeUp,
{
    /// An empty one, with room for `capacity` messages. There are as many slots, rounded up to a power
    /// of two.
    pub fn new(slots: S, capacity: u32) -> Option<Self> {
        let len = u32::try_from(slots.len()).ok()?;
        if !len.is_power_of_two() || capacity == 0 || capacity > len {
            return None;
        }
        // INVARIANT: No messages; nobody is there yet.
        Some(Store {
            head: Cell::new(0),
            readable: Cell::new(0),
            writable: Cell::new(capacity),
            mask: len.wrapping_sub(1),
            tail: Cell::new(0),
            capacity,
            busy: Cell::new(false),
            closed: Cell::new(false),
            slots,
            room: Permits::new(0),
            items: Permits::new(0),
        })
    }

    /// Where the next message is written.
    fn tail(&self) -> u32 {
        if self.busy.get() {
            self.tail.get()
        } else {
            self.readable.get()
        }
    }

    /// Messages there are.
    pub fn len(&self) -> u32 {
        self.tail().wrapping_sub(self.head.get())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline(always)]
    fn slot(&self, position: u32) -> *mut MaybeUninit<T> {
        let index = (position & self.mask) as usize;
        // SAFETY: By the type's invariant there are `mask + 1` slots.
        unsafe { self.slots.get_unchecked(index) }.get()
    }

    /// Whether a message may be [written](Self::write_open) without a permit.
    #[inline(always)]
    pub fn is_open(&self) -> bool {
        self.readable != self.writable
    }

    /// # Safety
    ///
    /// [`is_open`](Self::is_open).
    #[inline(always)]
    pub unsafe fn write_open(&self, message: T) {
        let tail = self.readable.get();
        // SAFETY: They are equal when it is busy, or there is no room: so there is.
        unsafe { (*self.slot(tail)).write(message) };
        // INVARIANT: As above.
        self.readable.set(tail.wrapping_add(1));
    }

    /// Whether a message may be [read](Self::read_filled) without a permit.
    #[inline(always)]
    pub fn is_filled(&self) -> bool {
        self.head != self.readable
    }

    /// # Safety
    ///
    /// [`is_filled`](Self::is_filled).
    #[inline(always)]
    pub unsafe fn read_filled(&self) -> T {
        let head = self.head.get();
        // SAFETY: They are equal when it is busy, or there is no message: so there is.
        let message = unsafe { (*self.slot(head)).assume_init_read() };
        // INVARIANT: There is room for one more.
        self.head.set(head.wrapping_add(1));
        self.writable.set(self.writable.get().wrapping_add(1));
        message
    }

    /// Keeps permits from now on.
    fn engage(&self) {
        if !self.busy.get() {
            let len = self.len();
            // INVARIANT: Nobody had a permit, or waited.
            self.tail.set(self.readable.get());
            self.busy.set(true);
            self.items.reset(len);
            self.room.reset(self.capacity.wrapping_sub(len));
            self.readable.set(self.head.get());
            self.writable.set(self.head.get());
        }
    }

    /// Keeps permits no longer, if nobody has one and nobody waits.
    fn settle(&self) {
        let len = self.len();
        if self.busy.get()
            && !self.closed.get()
            && self.items.is_at_rest(len)
            && self.room.is_at_rest(self.capacity.wrapping_sub(len))
        {
            // INVARIANT: All permits are there for whoever comes.
            self.busy.set(false);
            self.readable.set(self.tail.get());
            self.writable
                .set(self.head.get().wrapping_add(self.capacity));
        }
    }

    /// Writes a message, in exchange for a permit of `room`.
    ///
    /// # Safety
    ///
    /// It is busy, and the caller has taken the permit.
    unsafe fn put(&self, message: T) {
        let tail = self.tail.get();
        // SAFETY: With a permit of `room` the slot at the tail is free; no reference to it lives.
        unsafe { (*self.slot(tail)).write(message) };
        // INVARIANT: A permit of `room` becomes one of `items`.
        self.tail.set(tail.wrapping_add(1));
        self.items.give(1);
        self.settle();
    }

    /// Reads a message, in exchange for a permit of `items`.
    ///
    /// # Safety
    ///
    /// It is busy, and the caller has taken the permit.
    unsafe fn get(&self) -> T {
        let head = self.head.get();
        // SAFETY: With a permit of `items` the slot at the head is initialised; it is read once.
        let message = unsafe { (*self.slot(head)).assume_init_read() };
        let head = head.wrapping_add(1);
        // INVARIANT: Still busy. A permit of `items` becomes one of `room`.
        self.head.set(head);
        self.readable.set(head);
        self.writable.set(head);
        self.room.give(1);
        self.settle();
        message
    }

    /// Writes a message, while permits are kept or there is no room; hands it back otherwise.
    #[cold]
    #[inline(never)]
    pub fn try_put(&self, message: T) -> Result<(), (Refusal, T)> {
        if self.closed.get() {
            return Err((Refusal::Closed, message));
        }
        if self.busy.get() && self.room.try_take(1) {
            // SAFETY: The permit was just taken.
            unsafe { self.put(message) };
            return Ok(());
        }
        Err((Refusal::Busy, message))
    }

    /// Reads a message, while permits are kept or there is none.
    #[cold]
    #[inline(never)]
    pub fn try_get(&self) -> Result<T, Refusal> {
        if self.busy.get() && self.items.try_take(1) {
            // SAFETY: The permit was just taken.
            return Ok(unsafe { self.get() });
        }
        Err(if self.closed.get() {
            Refusal::Closed
        } else {
            Refusal::Busy
        })
    }

    /// The permits that one who sends waits for, by one; `None` when closed, unless it waits already.
    pub fn room(&self, waits: bool) -> Option<&Permits<W>> {
        if !waits && self.closed.get() {
            return None;
        }
        self.engage();
        Some(&self.room)
    }

    /// The wait for [`room`](Self::room) is over, or was none, and has got `got` permits: writes
    /// `message`, unless it was closed.
    ///
    /// # Safety
    ///
    /// `got` is 1, a permit just taken, or 0.
    pub unsafe fn put_for(&self, got: u32, message: impl FnOnce() -> T) -> Result<(), Refusal> {
        // A permit that was got before is of no use to anybody any more.
        if got == 0 || self.closed.get() {
            return Err(Refusal::Closed);
        }
        // SAFETY: Per the function's contract; who has a permit keeps it busy.
        unsafe { self.put(message()) };
        Ok(())
    }

    /// The permits that one who receives waits for, by one; `None` when closed, unless it waits
    /// already.
    pub fn items(&self, waits: bool) -> Option<&Permits<W>> {
        if !waits && self.closed.get() {
            return None;
        }
        self.engage();
        Some(&self.items)
    }

    /// The wait for [`items`](Self::items) is over, or was none, and has got `got` permits: reads.
    ///
    /// # Safety
    ///
    /// `got` is 1, a permit just taken, or 0.
    pub unsafe fn get_for(&self, got: u32) -> Result<T, Refusal> {
        if got == 0 {
            return Err(Refusal::Closed);
        }
        // SAFETY: Per the function's contract; who has a permit keeps it busy.
        Ok(unsafe { self.get() })
    }

    /// One who waits for room goes.
    pub fn cancel_put(&self, place: &mut Place<W>) {
        self.room.cancel(place);
        self.settle();
    }

    /// One who waits for a message goes.
    pub fn cancel_get(&self, place: &mut Place<W>) {
        self.items.cancel(place);
        self.settle();
    }

    /// Refuses messages from now on. Those who wait learn of it.
    pub fn close(&self) {
        self.engage();
        if !self.closed.replace(true) {
            // INVARIANT: Nobody waits, and nobody will.
            self.room.dismiss();
            self.items.dismiss();
        }
    }

    /// Whether permits are kept.
    pub fn is_busy(&self) -> bool {
        self.busy.get()
    }
}

impl<T, S, W> Drop for Store<T, S, W>
where
    S: Deref<Target = [Slot<T>]>,
{
    fn drop(&mut self) {
        let mut head = self.head.get();
        let tail = if self.busy.get() {
            self.tail.get()
        } else {
            self.readable.get()
        };
        while head != tail {
            let index = (head & self.mask) as usize;
            if let Some(slot) = self.slots.get(index) {
                // SAFETY: Initialised by the type's invariant; dropped once. Nobody else is there.
                unsafe { (*slot.get()).assume_init_drop() };
            }
            head = head.wrapping_add(1);
        }
    }
}
