// SPDX-License-Identifier: GPL-2.0

//! What coroutines of one domain wait for from each other: without atomics, first come first served,
//! without allocation.
//!
//! Everything here belongs to one domain, and is for its coroutines, which share it by an `Arc`;
//! from anywhere else an operation fails with `EPERM`. All futures are *cancel-safe*: dropped at any
//! moment, as the loser of a `select` or when their coroutine is aborted, they lose nothing. What
//! they had been handed goes on to the next who waits. Guards and futures that wait are not to leave
//! the domain: if they do, their destructors sleep until the domain's home thread has done the work
//! (for a future that waits, dropped where that is not allowed, this is a panic).
//!
//! | to wait for | use |
//! | --- | --- |
//! | something that becomes so, once, for all | [`Event`] |
//! | something to look at again | [`Notify`] |
//! | one of so many slots | [`Semaphore`] |
//! | a value, alone, across awaits | [`Mutex`], and a condition of it: [`Condvar`] |
//! | a value, to read or to change, across awaits | [`RwLock`] |
//! | the next message | [`Channel`] |
//! | one value, once | [`one_shot`] |
//! | a change of a value | [`Watch`] |
//!
//! How it works is told in `sync/permits.rs`, `sync/wait_list.rs` and `sync/store.rs`; why it is sound, in `sync/bound.rs`.

mod bound;
mod channel;
mod condvar;
mod event;
mod mutex;
mod notify;
mod oneshot;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
mod permits;
mod rwlock;
mod semaphore;
mod setter;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
mod store;
mod take;
#[allow(dead_code, unreachable_pub)] // Shared with selftests/host.
mod wait_list;
mod watch;

pub use channel::{Channel, RecvFrom, SendTo, Unsent};
pub use condvar::Condvar;
pub use event::{Event, EventWait};
pub use mutex::{Lock, Mutex, MutexGuard};
pub use notify::{Notified, Notify};
pub use oneshot::{one_shot, OneShot, OneShotSender};
pub use rwlock::{Read, ReadGuard, RwLock, Write, WriteGuard};
pub use semaphore::{Acquire, Permit, Semaphore};
pub use setter::EventSetter;
pub use watch::{Changed, Watch};
