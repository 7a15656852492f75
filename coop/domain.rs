// SPDX-License-Identifier: GPL-2.0

//! Domains: making one, reaching it, ending it.

use crate::bh::Level;
use crate::call::{self, Caller};
use crate::cell::DomainCell;
use crate::executor::Executor;
use crate::home::{Spin, Spinning};
use crate::join_handle::JoinHandle;
use crate::mailbox::{self, Capacity};
use crate::receiver::Receiver;
use crate::registry;
use crate::reply::Request;
use crate::run_queue::Priority;
use crate::sender::Sender;
use crate::sys::context::Context as Where;
use crate::sys::module::{ModuleId, ModuleRef};
use crate::sys::thread::{Kthread, Policy};
use crate::task::{self, End, Header};
use core::future::Future;
use core::mem::size_of;
use kernel::prelude::*;
use kernel::str::CString;
use kernel::sync::Arc;
use kernel::time::Delta;

/// What a domain is to be like; see [`Domain::builder`].
pub struct Builder<'a> {
    name: &'a CStr,
    owner: &'static ThisModule,
    hold_owner: bool,
    cpu: Option<u32>,
    policy: Policy,
    share: Option<(Delta, Delta)>,
    lending: bool,
    dedicated: bool,
    level: Level,
    spin: Spin,
    slack: Delta,
    capacity: Capacity,
}

impl Builder<'_> {
    /// Only the home thread runs the domain. Default: callers, too, run it, when it is idle.
    pub fn dedicated(mut self) -> Self {
        self.dedicated = true;
        self
    }

    /// In which context the coroutines run. Default: [`Level::Process`].
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// How long the home thread looks for more work before it sleeps. Default: [`Spin::Auto`].
    pub fn spin(mut self, spin: Spin) -> Self {
        self.spin = spin;
        self
    }

    /// How late a timer may fire, so that it shares an interrupt with others. Default: 50 µs, as
    /// the kernel's own threads have it.
    pub fn slack(mut self, slack: Delta) -> Self {
        self.slack = slack;
        self
    }

    /// Binds the home thread to `cpu`. Default: any CPU.
    pub fn cpu(mut self, cpu: u32) -> Self {
        self.cpu = Some(cpu);
        self
    }

    /// The scheduling policy of the home thread. Default: normal, nice 0.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The domain's share of a CPU: `budget` in each `period`, and no more, whatever else there is to
    /// run. The budget is filled up at the beginning of each period; a domain that has used it up
    /// waits for the next one, and what it took too much is taken off that.
    ///
    /// The kernel keeps the accounts: the home thread is scheduled by deadline (`SCHED_DEADLINE`),
    /// instead of by [`policy`](Self::policy), and is the only one that runs the domain, which is
    /// thus [`dedicated`](Self::dedicated): no caller pays for it. It is stopped where it can be
    /// preempted (at [`Level::Bh`]: between coroutines), at the precision of the timer tick. Domains
    /// without a share pay nothing for this.
    ///
    /// [`build`](Self::build) fails with `EINVAL` if the budget is below 1 024 ns or above the period,
    /// or the period not one that the kernel allows (100 µs to 4 s, unless configured otherwise);
    /// with `EBUSY` if all shares together were more than the kernel gives away (95 % of the CPUs,
    /// unless configured otherwise).
    pub fn share(mut self, budget: Delta, period: Delta) -> Self {
        self.share = Some((budget, period));
        self.dedicated = true;
        self
    }

    /// For tests only: callers that wait for the domain do not lend its runner their priority.
    #[doc(hidden)]
    pub fn without_lending(mut self) -> Self {
        self.lending = false;
        self
    }

    /// The size of mailboxes that are made without one of their own.
    pub fn mailbox(mut self, capacity: Capacity) -> Self {
        self.capacity = capacity;
        self
    }

    /// Keeps the owner from being unloaded as long as the domain is there: for domains whose life
    /// is that of something else, as an open file. (A domain that the module's exit drops must not:
    /// the exit would never be called.)
    pub fn hold_owner(mut self) -> Self {
        self.hold_owner = true;
        self
    }

    /// Makes the domain. Task context, sleeps.
    ///
    /// `EINVAL`: bad name, nice level or [share](Self::share), no such CPU online; `EBUSY`: no CPU time
    /// left for that share; `EEXIST`: the name is taken; `ENOENT`: the owner is being unloaded;
    /// `ENOMEM`; `EINTR`: the caller is being killed.
    pub fn build(self) -> Result<Domain> {
        Where::require_sleepable()?;
        // It becomes a folder in debugfs.
        if matches!(self.name.to_bytes(), b"" | b"." | b"..")
            || self.name.to_bytes().contains(&b'/')
        {
            return Err(EINVAL);
        }
        if let Policy::Normal { nice } = self.policy {
            if !(-20..=19).contains(&nice) {
                return Err(EINVAL);
            }
        }
        let held = if self.hold_owner {
            Some(ModuleRef::get(self.owner)?)
        } else {
            None
        };
        let name = CString::try_from(self.name)?;
        let executor = Arc::pin_init(
            Executor::new(
                name,
                self.level,
                self.dedicated,
                Spinning::new(self.spin),
                self.slack.as_nanos().max(0).unsigned_abs(),
            ),
            GFP_KERNEL,
        )?;
        let home = Kthread::create(self.name, executor.clone())?;
        executor.set_home(home.thread());
        if let Some(cpu) = self.cpu {
            home.bind(cpu)?;
        }
        match self.share {
            Some((budget, period)) => home.set_share(ns_of(budget)?, ns_of(period)?)?,
            None => home.set_policy(self.policy),
        }
        if !self.lending {
            executor.baton.lend_nothing();
        }
        let inner = registry::add(ModuleId::of(self.owner), executor.clone(), home)?;
        Ok(Domain {
            executor,
            inner: Some(inner),
            capacity: self.capacity,
            _held: held,
        })
    }
}

/// The nanoseconds of a duration that is not negative; `EINVAL` for others.
fn ns_of(duration: Delta) -> Result<u64> {
    u64::try_from(duration.as_nanos()).map_err(|_| EINVAL)
}

/// A cooperative scheduling domain: a set of coroutines of which at most one executes at any
/// instant.
///
/// Dropping it ends it: no more work is accepted, all futures are dropped (those of the coroutines
/// that ran first last), pending calls fail with `ECANCELED`, the home thread is stopped; then drop
/// returns. Task context, sleeps. Where that is not possible, in atomic context or inside the
/// domain itself, a work item does it soon after, and a warning is logged.
///
/// # Examples
///
/// ```ignore
/// let domain = Domain::builder(c"example", module).build()?;
/// let (caller, mut requests) = domain.call_mailbox::<u32, u32>()?;
/// domain
///     .spawn(c"server", async move {
///         while let Some(request) = requests.recv().await {
///             let (n, reply) = request.into_parts();
///             let _ = reply.send(n.wrapping_add(1));
///         }
///     })?
///     .detach();
/// assert_eq!(caller.call(1)?, 2);
/// ```
pub struct Domain {
    executor: Arc<Executor>,
    /// Always there, until drop.
    inner: Option<registry::Entry>,
    capacity: Capacity,
    _held: Option<ModuleRef>,
}

impl Domain {
    /// Starts the description of a domain that belongs to module `owner`.
    ///
    /// `name`, unique among domains, is seen in `ps` as `coop/<name>` and in debugfs as
    /// `coop_domain/<name>`. The owner is `module` of `Module::init`, or
    /// [`this_module`](kernel::module::this_module). Domains that a module has forgotten when it is
    /// unloaded are ended then, before its code goes.
    pub fn builder<'a>(name: &'a CStr, owner: &'static ThisModule) -> Builder<'a> {
        Builder {
            name,
            owner,
            hold_owner: false,
            cpu: None,
            dedicated: false,
            level: Level::Process,
            spin: Spin::Auto,
            slack: Delta::from_micros(50),
            policy: Policy::Normal { nice: 0 },
            share: None,
            lending: true,
            capacity: Capacity::default(),
        }
    }

    /// A handle, to spawn from elsewhere.
    pub fn handle(&self) -> Handle {
        Handle(self.executor.clone())
    }

    /// Spawns a coroutine; see [`Handle::spawn`].
    pub fn spawn<F>(&self, name: &'static CStr, future: F) -> Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(&self.executor, name, Priority::NORMAL, future)
    }

    /// Spawns a coroutine with a priority of its own; see [`Handle::spawn`].
    pub fn spawn_at<F>(
        &self,
        priority: Priority,
        name: &'static CStr,
        future: F,
    ) -> Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(&self.executor, name, priority, future)
    }

    /// Makes a mailbox whose receiver is for a coroutine of this domain. Task context, sleeps.
    pub fn mailbox<T: Send + 'static>(&self) -> Result<(Sender<T>, Receiver<T>)> {
        self.mailbox_with(self.capacity)
    }

    /// Like [`mailbox`](Self::mailbox), of another size.
    pub fn mailbox_with<T: Send + 'static>(
        &self,
        capacity: Capacity,
    ) -> Result<(Sender<T>, Receiver<T>)> {
        mailbox::mailbox(self.executor.clone(), capacity)
    }

    /// Makes a mailbox of requests that are answered. Task context, sleeps.
    #[allow(clippy::type_complexity)]
    pub fn call_mailbox<Q: Send + 'static, R: Send + 'static>(
        &self,
    ) -> Result<(Caller<Q, R>, Receiver<Request<Q, R>>)> {
        call::call_mailbox(self.executor.clone(), self.capacity)
    }

    /// Makes a cell for state that the coroutines of this domain share.
    pub fn cell<T>(&self, value: T) -> DomainCell<T> {
        DomainCell::new(self.executor.clone(), value)
    }

    /// What the domain has counted so far.
    pub fn stats(&self) -> &crate::stats::Stats {
        self.executor.stats()
    }

    /// Whether a coroutine of it has died (panicked), and the domain with it.
    pub fn is_faulted(&self) -> bool {
        self.executor.is_faulted()
    }

    /// Bytes allocated for this domain, besides the kernel's for its thread (a stack and a
    /// `task_struct`), its debugfs files, its mailboxes and its coroutines.
    pub fn bytes(&self) -> usize {
        size_of::<Executor>()
            .saturating_add(size_of::<Self>())
            .saturating_add(registry::ENTRY_BYTES)
            .saturating_add(self.executor.name().count_bytes())
            .saturating_add(1)
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else {
            return;
        };
        let inside = self.executor.is_inside();
        if Where::require_sleepable().is_ok() && !inside {
            registry::remove(inner);
        } else {
            pr_warn!("a domain is dropped where that cannot be waited for; a work item does it\n");
            registry::remove_later(inner);
        }
    }
}

/// Reaches a domain, without keeping it going. `Clone`, `Send`, `Sync`.
#[derive(Clone)]
pub struct Handle(Arc<Executor>);

impl Handle {
    /// Spawns a coroutine: `future`, run by the domain until it is ready.
    ///
    /// `name` shows up in statistics and reports. Any context but hard interrupt and NMI; one
    /// allocation (atomic where sleeping is not allowed). `EWOULDBLOCK` in a hard interrupt,
    /// `ECANCELED` when the domain is gone, `ENOMEM`; the future is dropped in these cases.
    pub fn spawn<F>(&self, name: &'static CStr, future: F) -> Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(&self.0, name, Priority::NORMAL, future)
    }

    /// Spawns a coroutine with a priority of its own; see [`spawn`](Self::spawn).
    pub fn spawn_at<F>(
        &self,
        priority: Priority,
        name: &'static CStr,
        future: F,
    ) -> Result<JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        spawn(&self.0, name, priority, future)
    }

    /// Whether the domain is gone. Any context.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// A handle to what `executor` runs.
    pub(crate) fn of(executor: &Arc<Executor>) -> Self {
        Handle(executor.clone())
    }

    /// What runs the domain.
    pub(crate) fn executor(&self) -> &Arc<Executor> {
        &self.0
    }
}

fn spawn<F>(
    executor: &Arc<Executor>,
    name: &'static CStr,
    priority: Priority,
    future: F,
) -> Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let context = Where::current();
    let (header, task) = task::allocate(executor.clone(), name, future, context, priority)?;
    // SAFETY: `task` is the second reference for a future with this output.
    let join = unsafe { JoinHandle::new(task) };
    // SAFETY: The coroutine was born scheduled, and the first reference is the executor's.
    if unsafe { executor.enqueue_new(header) } {
        return Ok(join);
    }
    // SAFETY: Nobody else knows of the coroutine, so that we are as good as its runner, and it is
    // not idle; the executor's reference is dropped in its place.
    unsafe {
        Header::finish(header, End::Cancel);
        task::put(header);
    }
    Err(executor.end_error())
}
