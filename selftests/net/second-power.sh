#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest: --cpus 2 --timeout 480 --qemu -machine --qemu q35 --qemu -device --qemu pcie-root-port,id=root0,chassis=1,addr=10 --qemu -device --qemu pcie-pci-bridge,id=bridge,bus=root0 --qemu -netdev --qemu hubport,id=net0,hubid=1 --qemu -device --qemu rtl8139,netdev=net0,bus=bridge,addr=1,romfile=,mac=52:54:00:c0:09:01 --qemu -device --qemu pcie-pci-bridge,id=other,addr=11 --qemu -netdev --qemu hubport,id=net1,hubid=1 --qemu -device --qemu e1000,netdev=net1,bus=other,addr=1,romfile=,mac=52:54:00:c0:09:02
# power.sh with the second driver.
DRIVER=coop_rtl8139 exec bash "$(dirname "$0")/power.sh"
