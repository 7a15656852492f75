// SPDX-License-Identifier: GPL-2.0

//! A second network driver on the glue of the first one ([`sample_driver`](../sample_driver.rs)), for
//! a device that has next to nothing in common with it.
//!
//! - [`rtl8139`]: the driver.
//! - [`net`]: what any NIC driver needs of the kernel, as safe types.

mod net;
mod rtl8139;

kernel::module_driver!(<T>, net::NicDriver<T>, {
    type: rtl8139::Driver,
    name: "coop_rtl8139",
    authors: ["The coop-domain project"],
    description: "Realtek RTL8139 Ethernet driver in a cooperative domain",
    license: "GPL v2",
});
