// SPDX-License-Identifier: GPL-2.0

//! All that touches C, behind safe types: threads, contexts, the module loader.
//!
//! C side: `helpers.c`.

pub mod baton;
pub mod bh;
pub mod context;
pub mod exit;
mod ffi;
pub mod irq;
pub mod module;
mod percpu;
pub mod runner;
pub mod thread;
pub mod tick;
pub mod timer;
pub mod work;
