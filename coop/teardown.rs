// SPDX-License-Identifier: GPL-2.0

//! How a domain ends, and how the coroutines of a module do that goes.

use crate::executor::Executor;
use crate::sys::context;
use crate::sys::exit::OnExit;
use crate::sys::module::GoingModule;
use crate::task::{self, End, Header};
use crate::task_state::Start;
use core::ptr;
use core::sync::atomic::{fence, Ordering::*};
use kernel::prelude::*;
use kernel::sync::{Arc, Completion};

/// Whoever has to know that the domain ends.
pub(crate) trait Ward: Send + Sync {
    /// The domain accepts nothing any more. Must not sleep.
    fn closing(&self);

    /// A fault has ended the domain; all that could be dropped has been. Must not sleep.
    fn owner_died(&self);

    /// Whether nobody needs to know any more, nor ever will.
    fn is_retired(&self) -> bool;

    /// Whether it waits to be [buried](Self::bury).
    fn is_orphaned(&self) -> bool {
        false
    }

    /// Whether it may still come to that.
    fn may_be_orphaned(&self) -> bool {
        false
    }

    /// Drops what was left behind, a grace period after that was so. May sleep.
    fn bury(&self) {}
}

/// A request to drop the coroutines of a module that is about to go.
#[pin_data]
pub(crate) struct Purge {
    module: *const GoingModule,
    #[pin]
    done: Completion,
}

impl Executor {
    /// Has `ward` told when the domain ends. Task context. `ENOMEM`, `ECANCELED`.
    pub(crate) fn tell_when_it_ends(&self, ward: Arc<dyn Ward>) -> Result {
        self.forget_retired();
        let mut wards = self.wards.lock();
        // `tear_down` closes, then looks at the list under the lock.
        if self.is_closed() {
            return Err(self.end_error());
        }
        Ok(wards.push(ward, GFP_ATOMIC)?)
    }

    /// Lets go of those who need not know any more. Task context, sleeps: one that is dropped may be
    /// large, and own anything, so that none is with the lock held.
    fn forget_retired(&self) {
        loop {
            let retired = {
                let mut wards = self.wards.lock();
                let index = wards.iter().position(|ward| ward.is_retired());
                index.and_then(|index| wards.remove(index).ok())
            };
            if retired.is_none() {
                return;
            }
        }
    }

    /// The end: refuses new work, then drops all futures, those of the coroutines that ran first
    /// last. `poisoned` is the one that must not be touched, since it was being polled.
    ///
    /// Runner only.
    pub(crate) fn end(&self, poisoned: *const Header) {
        self.tear_down(poisoned);
        self.end_errands();
        self.over.store(true, Release);
        // The home thread has to know.
        self.wanted.store(true, Release);
        self.ended.complete_all();
    }

    fn tear_down(&self, poisoned: *const Header) {
        let batch = self.queue.0.close();
        for ward in self.wards.lock().iter() {
            ward.closing();
        }
        // SAFETY: We are the runner; no driver code runs while the reference lives.
        unsafe { &mut *self.local.get() }
            .queue
            .append(batch, crate::run::priority_of);
        // First empty the queue, for good.
        while let Some(header) = self.pop() {
            // SAFETY: The executor's reference keeps it valid.
            let task = unsafe { header.as_ref() };
            self.link(task);
            if task.state().flags().start() == Start::Reap {
                // SAFETY: The executor's reference.
                unsafe { task::put(header) };
            }
        }
        // Then out of the reach of wakers, so that nothing is queued any more.
        self.find(|task| {
            task.state().seize();
            false
        });
        while let Some(header) = self.find(|_| true) {
            if ptr::eq(header.as_ptr(), poisoned) {
                // Its destructor would run on a half-changed state: leaked, with what it owns, and
                // the reference is kept: what is behind the header is still there.
                // SAFETY: We are the runner, it is linked, and not `DONE`.
                unsafe { self.retire(header, End::Leak, true) };
            } else {
                // SAFETY: As above, and in no queue.
                unsafe { self.retire(header, End::Cancel, false) };
            }
        }
        self.timers.close();
        self.sampler.stop();
        // Pairs with the fence in `purge`. A request finds nothing left to drop.
        fence(SeqCst);
        let request = self.purging.swap(ptr::null_mut(), AcqRel);
        // SAFETY: Who made the request keeps it until it is completed.
        if let Some(purge) = unsafe { request.as_ref() } {
            purge.done.complete_all();
        }
        // A receiver that is elsewhere may be dropped where nobody can wait for its senders, when there
        // is no home thread any more that could: nor need it then.
        if self.wards.lock().iter().any(|ward| ward.may_be_orphaned()) {
            context::wait_for_senders();
        }
        self.quiet.store(true, Release);
        // Pairs with the fence in `Receiver::drop`: it sees this, or is seen here.
        fence(SeqCst);
        self.bury();
        // Their code may be unloaded next.
        let wards = core::mem::take(&mut *self.wards.lock());
        if self.is_faulted() {
            for ward in &wards {
                ward.owner_died();
            }
        }
    }

    /// Drops all coroutines whose code belongs to `module`, which is about to go; waits until that
    /// is done. Task context, sleeps; one caller at a time (the registry's notifier).
    pub(crate) fn purge(&self, module: &GoingModule) {
        pin_init::stack_pin_init!(let purge = pin_init!(Purge {
            module: ptr::from_ref(module),
            done <- Completion::new(),
        }));
        let request = ptr::from_ref(&*purge).cast_mut();
        self.purging.store(request, Release);
        self.wanted.store(true, Release);
        // Pairs with the fence in `tear_down`: it sees the request, or we see that it has begun.
        fence(SeqCst);
        if self.is_closed() && self.purging.swap(ptr::null_mut(), AcqRel) == request {
            // The end has begun; whose destructors it is at is not known.
            return self.ended.wait_for_completion();
        }
        self.wake_home();
        purge.done.wait_for_completion();
        // The code of those that belonged to what was dropped goes, too.
        self.forget_retired();
    }

    /// The home thread's part of [`purge`](Self::purge).
    fn purge_now(&self) {
        let request = self.purging.swap(ptr::null_mut(), AcqRel);
        // SAFETY: Who made the request keeps it until it is completed.
        let Some(purge) = (unsafe { request.as_ref() }) else {
            return;
        };
        // SAFETY: As above.
        let module = unsafe { &*purge.module };
        // See those, too, that have not run yet.
        self.collect();
        // SAFETY: We are the runner; `link` changes the list of all, not the queue.
        unsafe { &(*self.local.get()).queue }.for_each(|link| {
            // SAFETY: Coroutines in the queue are valid.
            self.link(unsafe { link.cast::<Header>().as_ref() });
        });
        // From the start after each, since its destructor may have changed the list.
        while let Some(header) = self.find(|task| module.contains(task.code())) {
            // SAFETY: Coroutines in the list are valid.
            let queued = unsafe { header.as_ref() }.state().seize();
            // SAFETY: We are the runner; it is linked and not `DONE`.
            unsafe { self.retire(header, End::Cancel, queued) };
        }
        self.end_run();
        self.bury();
        purge.done.complete_all();
    }

    /// Whether the home thread has something to do besides running coroutines.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// What the home thread has to do besides running coroutines; `true` if that is to end. Runner
    /// only.
    #[cold]
    pub(crate) fn attend(&self) -> bool {
        // Acquires what was asked for before; later ones set it again.
        self.wanted.swap(false, AcqRel);
        if self.stop.load(Relaxed) {
            return true;
        }
        self.run_errands();
        self.with_bh_on(|| {
            self.bury();
            self.purge_now();
        });
        false
    }

    /// Has the home thread [bury](Ward::bury) what has become orphaned. Any context but NMI.
    #[cold]
    pub(crate) fn bury_later(&self) {
        self.wanted.store(true, Release);
        // A full barrier between the store and the look at the thread's state.
        self.wake_home();
    }

    /// Drops what receivers have left that could not wait. Task context, sleeps.
    fn bury(&self) {
        loop {
            let mut wards = self.wards.lock();
            let Some(ward) = wards.iter_mut().find(|ward| ward.is_orphaned()) else {
                return;
            };
            let ward = ward.clone();
            drop(wards);
            context::wait_for_senders();
            ward.bury();
        }
    }

    /// Tells the home thread to end, which it does when the coroutine of the moment awaits.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Release);
        self.wanted.store(true, Release);
        // A full barrier between the store and the look at the thread's state.
        self.wake_home();
    }
}

impl Executor {
    /// Waits for the end of the domain, whose home thread has ended. Task context, sleeps.
    pub(crate) fn wait_for_end(&self) {
        if self.begun.load(Acquire) {
            // At once, unless a thread is on its way out that died in a coroutine.
            self.ended.wait_for_completion();
        } else {
            self.end_unstarted();
        }
    }
}

impl OnExit for Executor {
    /// A runner, home thread or caller, died in a coroutine: it has the baton.
    fn on_exit(&self) {
        self.faulted.store(true, Release);
        self.answered_last();
        let poisoned = self.runner.0.polling.load(Relaxed);
        // SAFETY: A coroutine that is being polled has not ended, so it is valid.
        let name = unsafe { poisoned.as_ref() }.map_or(c"?", Header::name);
        pr_err!(
            "domain {}: coroutine {} died; the domain ends, its callers get EOWNERDEAD\n",
            self.name(),
            name
        );
        // If it died while the domain ended, this goes on with what is left.
        self.end(poisoned);
        self.give_up_baton();
    }
}
