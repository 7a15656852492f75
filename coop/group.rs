// SPDX-License-Identifier: GPL-2.0

//! Coroutines that end, or are cancelled, as one.
//!
//! A [`Group`] owns the handles of its coroutines: whoever leaves the scope that owns the group
//! either has waited for all of them ([`Group::wait`]), or cancels them. There is no coroutine of a
//! group that nobody looks after, unless that is asked for ([`Group::detach_on_drop`]).

use crate::domain::Handle;
use crate::join_handle::JoinHandle;
use core::future::Future;
use kernel::prelude::*;

/// How to make a coroutine once more.
type Make = KBox<dyn Fn(&Handle) -> Result<JoinHandle<()>> + Send + Sync>;

struct Member {
    name: &'static CStr,
    handle: JoinHandle<()>,
    /// How it has ended, if that was waited for.
    ended: Option<Result>,
    make: Option<Make>,
}

impl Member {
    /// Waits until it has ended; how it has.
    async fn end(&mut self) -> Result {
        if self.ended.is_none() {
            // A handle says so only once.
            self.ended = Some((&mut self.handle).await);
        }
        self.ended.unwrap_or(Ok(()))
    }
}

/// Coroutines of one domain that are waited for, or cancelled, as one.
///
/// Dropping it aborts those that have not ended, without waiting: their futures are dropped inside
/// the domain soon after. `Send`; may be owned by a coroutine (of this domain or of another one) or
/// by a driver's state.
///
/// # Examples
///
/// ```ignore
/// let mut group = Group::new(&domain.handle());
/// group.spawn(c"link", watch_link(nic.clone()))?;
/// group.spawn_restartable(c"tx", move || transmit(nic.clone()))?;
/// group.restart(c"tx").await?; // After a reset.
/// group.cancel().await; // All futures are gone.
/// ```
pub struct Group {
    handle: Handle,
    members: KVec<Member>,
    detach: bool,
}

impl Group {
    /// An empty group of the domain of `handle`.
    pub fn new(handle: &Handle) -> Self {
        Group {
            handle: handle.clone(),
            members: KVec::new(),
            detach: false,
        }
    }

    /// Lets the coroutines go on by themselves when the group is dropped. Default: they are aborted.
    pub fn detach_on_drop(mut self) -> Self {
        self.detach = true;
        self
    }

    fn add(&mut self, member: Member) -> Result {
        if let Err(e) = self.members.reserve(1, GFP_ATOMIC) {
            member.handle.abort();
            return Err(e.into());
        }
        Ok(self.members.push(member, GFP_ATOMIC)?)
    }

    /// Spawns a coroutine into the group; see [`Handle::spawn`] for contexts and errors.
    pub fn spawn<F>(&mut self, name: &'static CStr, future: F) -> Result
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.handle.spawn(name, future)?;
        self.add(Member {
            name,
            handle,
            ended: None,
            make: None,
        })
    }

    /// The same, of a coroutine that can be [restarted](Self::restart): `make` makes its future.
    pub fn spawn_restartable<F>(
        &mut self,
        name: &'static CStr,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Result
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let make: Make = KBox::new(
            move |handle: &Handle| handle.spawn(name, make()),
            GFP_ATOMIC,
        )?;
        let handle = make(&self.handle)?;
        self.add(Member {
            name,
            handle,
            ended: None,
            make: Some(make),
        })
    }

    /// Aborts the coroutine `name`, waits until its future is gone, and starts it anew.
    ///
    /// `ENOENT`: the group has none of that name that can be restarted; else as for
    /// [`Handle::spawn`].
    pub async fn restart(&mut self, name: &CStr) -> Result {
        let handle = &self.handle;
        let found = self
            .members
            .iter_mut()
            .find(|member| member.name == name && member.make.is_some());
        let member = found.ok_or(ENOENT)?;
        member.handle.abort();
        let _ = member.end().await;
        if let Some(make) = &member.make {
            member.handle = make(handle)?;
            member.ended = None;
        }
        Ok(())
    }

    /// How many of them have not ended. Any context.
    pub fn running(&self) -> usize {
        self.members
            .iter()
            .filter(|member| !member.handle.is_finished())
            .count()
    }

    /// Waits until all have ended by themselves; the first error that befell one of them, if any
    /// (`ECANCELED`: aborted). Cancel-safe: who waits again learns what was learned before.
    pub async fn wait(&mut self) -> Result {
        let mut result = Ok(());
        for member in &mut self.members {
            result = result.and(member.end().await);
        }
        self.members.clear();
        result
    }

    /// Asks all of them to end at their next await, without waiting. Any context but NMI.
    pub fn abort(&self) {
        for member in &self.members {
            member.handle.abort();
        }
    }

    /// Aborts all of them and waits until their futures are gone.
    pub async fn cancel(&mut self) {
        self.abort();
        let _ = self.wait().await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.detach {
            self.abort();
        }
    }
}
