#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the kernel tells by netlink of an interface's queues (include/uapi/linux/netdev.h).

queues.py INTERFACE          prints: queue TYPE ID NAPI; napi ID IRQ THREAD; what was set for
                             that poll: set THREADED DEFER FLUSH SUSPEND; and for each
                             direction the counters of its queue: rx PACKETS BYTES, tx ..;
                             and of each page pool, how many pages it has: pool PAGES
queues.py INTERFACE thread|defer|flush|suspend NUMBER
                             has a thread do the poll, or not (0); interrupts that are put
                             off; the nanoseconds after which that ends, without and with an
                             application that polls
"""
import os
import socket
import struct
import sys

REQUEST, ACK, DUMP = 1, 4, 0x300
# Attributes of a poll, with their sizes.
SETTINGS = {"thread": (8, "I"), "defer": (5, "I"), "flush": (6, "Q"), "suspend": (7, "Q")}
POOL_GET, QUEUE_GET, NAPI_GET, QSTATS_GET, NAPI_SET = 5, 10, 11, 12, 14
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)  # NETLINK_GENERIC


def attribute(kind, data):
    return struct.pack("HH", 4 + len(data), kind) + data.ljust(-len(data) % 4 + len(data), b"\0")


def parse(data):
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("HH", data)
        found[kind] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found


def ask(family, command, attributes=b"", flags=DUMP, version=1):
    head = struct.pack("BBH", command, version, 0)
    message = head + attributes
    sock.send(struct.pack("IHHII", 16 + len(message), family, REQUEST | flags, 1, 0) + message)
    while True:
        data = sock.recv(1 << 16)
        while len(data) >= 16:
            length, kind = struct.unpack_from("IH", data)
            body, data = data[16:length], data[length + 3 & ~3 :]
            if kind in (2, 3):
                error = struct.unpack_from("i", body)[0] if kind == 2 else 0
                if error:
                    sys.exit(f"# netlink: {os.strerror(-error)}")
                return
            yield parse(body[4:])


def number(attributes, kind):
    return int.from_bytes(attributes.get(kind, b""), "little")


def main():
    index = socket.if_nametoindex(sys.argv[1])
    here = attribute(1, struct.pack("I", index))
    # The controller's CTRL_CMD_GETFAMILY by name: its answer has the number.
    family = number(list(ask(16, 3, attribute(2, b"netdev\0"), ACK))[0], 1)
    if len(sys.argv) > 2:
        napi = number(list(ask(family, NAPI_GET, here))[0], 2)
        kind, size = SETTINGS[sys.argv[2]]
        wanted = attribute(kind, struct.pack(size, int(sys.argv[3])))
        list(ask(family, NAPI_SET, attribute(2, struct.pack("I", napi)) + wanted, ACK))
        return
    for queue in ask(family, QUEUE_GET, attribute(2, struct.pack("I", index))):
        print("queue", ("rx", "tx")[number(queue, 3)], number(queue, 1), number(queue, 4))
    for napi in ask(family, NAPI_GET, here):
        print("napi", number(napi, 2), number(napi, 3), number(napi, 4))
        print("set", *(number(napi, kind) for kind, _ in SETTINGS.values()))
    scope = attribute(4, struct.pack("Q", 1))
    for stats in ask(family, QSTATS_GET, here + scope):
        kind = number(stats, 2)
        first = (8, 10)[kind]
        print(("rx", "tx")[kind], number(stats, first), number(stats, first + 1))
    for pool in ask(family, POOL_GET):
        if number(pool, 2) == index:
            print("pool", number(pool, 4))


main()
