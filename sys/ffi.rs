// SPDX-License-Identifier: GPL-2.0

//! Declarations of `helpers.h`, the one place where they are repeated.

use kernel::bindings;
use kernel::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

pub(super) type ThreadFn = unsafe extern "C" fn(*mut c_void) -> c_int;

#[allow(dead_code)]
// Some only on some architectures.
// The kernel's own bindings have the same types behind pointers only.
#[allow(improper_ctypes)]
extern "C" {
    pub(super) fn coop_bh_disable();
    pub(super) fn coop_bh_enable();
    pub(super) fn coop_bh_begin();
    pub(super) fn coop_bh_end();
    pub(super) fn coop_sender_place() -> c_uint;
    pub(super) fn coop_irqs_disabled() -> bool;
    pub(super) fn coop_bh_runner() -> *mut bindings::task_struct;
    pub(super) fn coop_current_task() -> *mut bindings::task_struct;
    pub(super) fn coop_context() -> c_uint;
    pub(super) fn coop_sender_enter() -> c_uint;
    pub(super) fn coop_sender_exit();
    pub(super) fn coop_preempt();
    pub(super) fn coop_nr_cpu_ids() -> c_uint;
    pub(super) fn coop_nr_cpus_online() -> c_uint;
    pub(super) fn coop_set_state(state: c_uint);
    pub(super) fn coop_fatal_signal_pending() -> bool;
    pub(super) fn coop_cond_resched();
    pub(super) fn coop_need_resched() -> bool;
    pub(super) fn coop_cycles() -> u64;
    pub(super) fn coop_get_task(task: *mut bindings::task_struct);
    pub(super) fn coop_put_task(task: *mut bindings::task_struct);
    pub(super) fn coop_kthread_create(
        f: ThreadFn,
        data: *mut c_void,
        name: *const c_char,
    ) -> *mut bindings::task_struct;
    pub(super) fn coop_set_cpu(task: *mut bindings::task_struct, cpu: c_uint) -> c_int;
    pub(super) fn coop_set_share(
        task: *mut bindings::task_struct,
        budget: u64,
        period: u64,
    ) -> c_int;
    pub(super) fn coop_workqueue_create(name: *const c_char) -> *mut bindings::workqueue_struct;
    pub(super) fn coop_baton_init(
        lock: *mut bindings::rt_mutex,
        name: *const c_char,
        key: *mut bindings::lock_class_key,
    );
    pub(super) fn coop_baton_destroy(key: *mut bindings::lock_class_key);
    #[cfg(CONFIG_PROVE_LOCKING)]
    pub(super) fn coop_baton_will_lock(lock: *mut bindings::rt_mutex);
    pub(super) fn coop_baton_lock(lock: *mut bindings::rt_mutex);
    pub(super) fn coop_baton_lock_killable(lock: *mut bindings::rt_mutex) -> c_int;
    pub(super) fn coop_owner_on_cpu(
        word: *mut *mut bindings::task_struct,
        owner: *mut bindings::task_struct,
    ) -> bool;
    pub(super) fn coop_alone_on_cpu() -> bool;
    pub(super) fn coop_yield_to(task: *mut bindings::task_struct) -> bool;
    pub(super) fn coop_raw_lock_init(lock: *mut bindings::raw_spinlock_t);
    pub(super) fn coop_raw_lock(lock: *mut bindings::raw_spinlock_t) -> c_ulong;
    pub(super) fn coop_raw_unlock(lock: *mut bindings::raw_spinlock_t, flags: c_ulong);
    pub(super) fn coop_tick_init(
        timer: *mut bindings::timer_list,
        f: unsafe extern "C" fn(*mut bindings::timer_list),
    );
    pub(super) fn coop_tick_start(
        timer: *mut bindings::timer_list,
        task: *mut bindings::task_struct,
    );
    pub(super) fn coop_tick_stop(timer: *mut bindings::timer_list);
    pub(super) fn coop_die_register() -> c_int;
    pub(super) fn coop_die_unregister();
    pub(super) fn coop_within_module(addr: *const c_void, module: *const bindings::module) -> bool;
}
