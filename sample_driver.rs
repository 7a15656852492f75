// SPDX-License-Identifier: GPL-2.0

//! A real network driver whose logic is coroutines in a cooperative domain: no lock, no atomic
//! variable, no work item, no state machine.
//!
//! - [`e1000`]: the driver. Begin there.
//! - [`net`]: what any NIC driver needs of the kernel, as safe types.

mod e1000;
mod net;

kernel::module_driver!(<T>, net::NicDriver<T>, {
    type: e1000::Driver,
    name: "coop_e1000",
    authors: ["The coop-domain project"],
    description: "Intel 82540EM Ethernet driver in a cooperative domain",
    license: "GPL v2",
});
