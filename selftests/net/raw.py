#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What no protocol asks of a driver, but whoever may open a socket for raw frames, or polls himself.

raw.py sums NS NS            checksums left to the device, anywhere in a frame
raw.py segments NS NS SIZE PASSES
                             a frame of 60 000 bytes, to be cut into TCP segments of that size; past
                             the queue, where nobody looks at it, if PASSES is "past". Prints how many
                             segments arrive
raw.py busy NS NS            run in the first one: datagrams that wait in the ring are polled by the
                             one who receives them, with a budget of more frames than the kernel takes
                             itself

The interface has the name of its namespace.
"""
import errno
import os
import random
import socket
import struct
import sys
import time

from frames import ADDRESS, ETHERTYPE, PATIENCE, address, enter, expect, fail, open_raw

PACKET, VNET_HDR, QDISC_BYPASS = 263, 15, 20


def asks(namespace, protocol, past=False):
    """A socket of which each frame begins with a struct virtio_net_hdr: what the device is asked for."""
    sock = open_raw(namespace)
    sock.bind((namespace, protocol))
    sock.setsockopt(PACKET, VNET_HDR, 1)
    sock.setsockopt(PACKET, QDISC_BYPASS, past)
    return sock


def send(sock, frame):
    """Past the queue, nobody keeps a frame for which a driver has no time just now."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return sock.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS or time.monotonic() > end:
                raise


def checksum(data):
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def sums(source, target):
    receiver, sender = open_raw(target), asks(source, ETHERTYPE)
    head = address(receiver) + address(sender) + ETHERTYPE.to_bytes(2, "big")
    fill = random.Random(1).randbytes(1000)
    # A descriptor of this device has a byte for where a sum begins, and another for where it goes.
    for start in (34, 100, 217, 237, 238, 239, 240, 254, 255, 256, 257, 300, 511, 512, 976):
        for offset in (2, 16):
            sent = head + fill
            begin = struct.pack("<BBHHHH", 1, 0, 0, 0, start, offset)
            sender.send(begin + sent)
            at = start + offset
            wanted = sent[:at] + checksum(sent[start:]).to_bytes(2, "big") + sent[at + 2 :]
            expect(receiver, wanted, f"a sum from {start} on, to go to {at}")


def segments(source, target, size, past):
    receiver, sender = open_raw(target), asks(source, 0x0800, past)
    enter(target)
    came = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    came.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    came.bind((target, 0x0800))
    came.settimeout(PATIENCE)
    payload = random.Random(size).randbytes(60000)
    ends = [socket.inet_aton(ADDRESS[ns]) for ns in (source, target)]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 1, 0x4000, 64, 6, 0, *ends)
    ip = ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:]
    # To a port where nobody is, as a reset, so that nobody answers. Of what is left to the device the
    # pseudo header's sum is there already.
    pseudo = ~checksum(b"".join(ends) + struct.pack(">HH", 6, 20 + len(payload))) & 0xFFFF
    tcp = struct.pack(">HHIIBBHHH", 7, 7, 1, 0, 0x50, 4, 0, pseudo, 0)
    head = address(receiver) + address(sender)
    begin = struct.pack("<BBHHHH", 1, 1, 54, size, 34, 16)
    send(sender, begin + head + b"\x08\x00" + ip + tcp + payload)
    # What comes after that is last.
    last = head + b"\x08\x00" + b"\x45" + b"\0" * 8 + b"\xfd" + b"\0" * 100
    send(sender, bytes(10) + last)
    got = bytearray()
    count = 0
    while True:
        try:
            frame = came.recv(1 << 16)
        except TimeoutError:
            fail("the last frame never arrived")
        if frame == last:
            break
        if frame[23] == 6 and frame[12:14] == b"\x08\x00":
            length = int.from_bytes(frame[16:18], "big")
            got += frame[54 : 14 + length]
            count += 1
    if count and got != payload:
        fail(f"{len(got)} bytes arrived in {count} segments, not those that were sent")
    print(count)


SETTINGS = "/sys/class/net/{}/{}"


def put(interface, name, value):
    with open(SETTINGS.format(interface, name), "w") as handle:
        handle.write(str(value))


def busy(here, there):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # SO_RCVBUFFORCE, SO_BUSY_POLL, SO_PREFER_BUSY_POLL, SO_BUSY_POLL_BUDGET
    for option, value in ((33, 1 << 24), (46, 1), (69, 1), (70, 1000)):
        receiver.setsockopt(socket.SOL_SOCKET, option, value)
    receiver.bind((ADDRESS[here], 0))
    receiver.settimeout(PATIENCE)
    enter(there)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_SOCKET, 32, 1 << 24)  # SO_SNDBUFFORCE
    # So that each takes one descriptor, of the 256 that the other NIC has.
    sender.setsockopt(socket.SOL_SOCKET, 11, 1)  # SO_NO_CHECK
    sender.bind((ADDRESS[there], 0))
    sender.settimeout(PATIENCE)
    sender.connect(receiver.getsockname())
    # After the next frame the device does not interrupt for a quarter of an hour, as the other one,
    # of which the line may be, too.
    put(here, "gro_flush_timeout", 10**12)
    put(here, "napi_defer_hard_irqs", 1000)
    receiver.sendto(b"there", sender.getsockname())
    sender.recv(100)
    sender.send(b"here")
    receiver.recv(100)
    # They are sent at once, and stay in the ring.
    count = 200
    for number in range(count):
        sender.send(number.to_bytes(4, "big"))
    # From here on whoever polls switches interrupts on again.
    put(here, "napi_defer_hard_irqs", 0)
    put(here, "gro_flush_timeout", 0)
    receiver.setblocking(False)
    end = time.monotonic() + PATIENCE
    for number in range(count):
        while True:
            try:
                got = receiver.recv(100)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    fail(f"{number} of {count} datagrams arrive, and then nothing")
                time.sleep(0.01)
        if got != number.to_bytes(4, "big"):
            fail(f"datagram {number} is {got}")


def main():
    what, one, other = sys.argv[1:4]
    if what == "sums":
        sums(one, other)
    elif what == "segments":
        segments(one, other, int(sys.argv[4]), sys.argv[5] == "past")
    else:
        busy(one, other)


main()
