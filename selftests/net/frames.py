#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Sends raw Ethernet frames from one namespace to another and checks every byte.

frames.py sizes NS NS [STEP] one frame of each length from 60 to 1514, or of each STEPth one
frames.py short NS NS        frames too short for Ethernet arrive padded with zeroes
frames.py burst NS NS COUNT [BYTES]
                             bursts of frames of random length, each at most so many bytes
                             in all, in order, none lost
frames.py reach NS NS ADDRESS...
                             prints the hardware addresses to which a frame arrives
frames.py tagged NS NS ID     ten frames of that VLAN: prints the length of each that arrives
frames.py long NS NS LENGTH   the same of ten frames of a length
frames.py stream NS NS MIB [ADDRESS]
                             TCP, in writes of all sizes, every byte compared
frames.py sequence NS NS COUNT BURST
                             numbered UDP datagrams: none lost, none twice, all in order
frames.py blast NS ADDRESS   UDP datagrams to an address, whatever happens, until killed

The interface has the name of its namespace.
"""
import os
import random
import socket
import sys
import time

ETHERTYPE = 0x88B5  # for local experiments
HEADER = 14
ALL = b"\xff" * 6
# After so many seconds it is not the machine that is slow.
PATIENCE = 20


def enter(namespace):
    with open(f"/run/netns/{namespace}") as handle:
        os.setns(handle.fileno(), os.CLONE_NEWNET)


def open_raw(namespace):
    enter(namespace)
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    sock.setsockopt(socket.SOL_SOCKET, 33, 32 << 20)  # SO_RCVBUFFORCE
    sock.bind((namespace, ETHERTYPE))
    sock.settimeout(PATIENCE)
    return sock


def address(sock):
    return sock.getsockname()[4]


def frame(source, target, number, length):
    """Each byte depends on its place and on the number of the frame."""
    head = address(target) + address(source) + ETHERTYPE.to_bytes(2, "big")
    head += number.to_bytes(4, "big")
    fill = random.Random(number).randbytes(max(length - len(head), 0))
    return (head + fill)[:length]


def fail(text):
    print(f"# {text}")
    sys.exit(1)


def expect(target, wanted, what):
    try:
        got = target.recv(4096)
    except TimeoutError:
        fail(f"{what}: never arrived")
    if got != wanted:
        bad = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), None)
        fail(f"{what}: got {len(got)} bytes for {len(wanted)}, first difference at {bad}")


def sizes(source, target, step=1):
    for length in range(60, 1515, step):
        sent = frame(source, target, length, length)
        source.send(sent)
        expect(target, sent, f"frame of {length}")


def short(source, target):
    for length in range(HEADER, 60):
        sent = frame(source, target, length, length)
        source.send(sent)
        expect(target, sent.ljust(60, b"\0"), f"frame of {length}")


def burst(source, target, count, most=1 << 20):
    rng = random.Random(count)
    number = 0
    while number < count:
        size = min(rng.choice((1, 7, 64, 150)), count - number)
        chosen = [rng.randint(60, 1514) for _ in range(size)]
        while sum(chosen) > most:
            chosen.pop()
        sent = [frame(source, target, number + i, one) for i, one in enumerate(chosen)]
        for one in sent:
            source.send(one)
        for i, one in enumerate(sent):
            expect(target, one, f"frame {number + i} of {count}, in a burst of {len(sent)}")
        number += len(sent)


def arriving(source, target, frames):
    """Sends them, and one to all, which comes last; yields what arrives before that one."""
    for one in frames:
        source.send(one)
    source.send(ALL + address(source) + ETHERTYPE.to_bytes(2, "big") + bytes(46))
    while True:
        try:
            got = target.recv(4096)
        except TimeoutError:
            fail("the last frame, which is for all, never arrived")
        if got.startswith(ALL):
            return
        yield got


def reach(source, target, addresses):
    head = address(source) + ETHERTYPE.to_bytes(2, "big")
    frames = [
        (bytes.fromhex(one.replace(":", "")) + head + bytes([number])).ljust(60, b"\0")
        for number, one in enumerate(addresses)
    ]
    for got in arriving(source, target, frames):
        print(addresses[got[HEADER]])


def lengths(source, target, length, tag=b""):
    frames = [frame(source, target, number, length) for number in range(10)]
    got = list(arriving(source, target, [one[:12] + tag + one[12:] for one in frames]))
    # There may be Ethernet's checksum at the end.
    if got and [one[:length] for one in got] != frames:
        fail(f"{len(got)} frames arrived, not just as they were sent")
    print(*(len(one) for one in got))


ADDRESS = {"coop": "10.77.0.1", "peer": "10.77.0.2"}


def stream(source, target, mib, where=None):
    enter(target)
    listener = socket.create_server(("", 0))
    enter(source)
    where = where or ADDRESS[target]
    sender = socket.create_connection((where, listener.getsockname()[1]))
    receiver, _ = listener.accept()
    receiver.settimeout(3 * PATIENCE)
    # Over and over the same, of a length that no segment, page or ring has: what comes from
    # another place in the stream differs. Twice, so that there is as much from each place.
    period = 1048573
    data = random.Random(mib).randbytes(period) * 2
    total = mib << 20
    if os.fork() == 0:
        rng = random.Random(mib)
        view = memoryview(data)
        done = 0
        while done < total:
            at = done % period
            length = min(rng.choice((100, 1448, 5000, 70000, 300000)), total - done)
            done += sender.send(view[at : at + length])
        os._exit(0)
    sender.close()
    buffer = memoryview(bytearray(256 << 10))
    done = 0
    while done < total:
        try:
            count = receiver.recv_into(buffer)
        except TimeoutError:
            fail(f"the stream stands still after {done} bytes")
        if not count:
            fail(f"the stream ends after {done} bytes")
        if not data.startswith(buffer[:count], done % period):
            fail(f"what comes after {done} bytes is not what was sent")
        done += count
    if done > total or receiver.recv(1):
        fail("there is more than what was sent")
    # The other end knows, too: no frame of this comes later.
    receiver.shutdown(socket.SHUT_WR)
    for _ in range(100 * PATIENCE):
        if receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 7:  # TCP_CLOSE
            break
        time.sleep(0.01)


def udp(namespace):
    enter(namespace)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    sock.bind((ADDRESS[namespace], 0))
    return sock


def sequence(source, target, count, burst):
    """In bursts that fit into a ring, each awaited; with 0 all of them at once.

    How many are lost is known when one that was sent after them arrives; such a one is sent until
    it does.
    """
    base = random.Random(count).randbytes(4000)
    receiver, sender = udp(target), udp(source)
    sender.connect(receiver.getsockname())
    seen = bytearray(count)
    twice = late = wrong = 0
    newest = -1

    def datagram(number):
        return number.to_bytes(4, "big") + base[number % 2048 :][: number * 7 % 1469]

    def receive(seconds, end):
        """Whether `end` has arrived within that time."""
        nonlocal twice, late, wrong, newest
        receiver.settimeout(seconds)
        while True:
            try:
                got = receiver.recv(2000)
            except TimeoutError:
                return False
            if got == end:
                return True
            number = int.from_bytes(got[:4], "big")
            if got.startswith(b"end of "):
                continue
            if number >= count or got != datagram(number):
                wrong += 1
                continue
            twice += seen[number]
            late += number < newest
            newest = max(newest, number)
            seen[number] = 1

    size = burst or count
    for first in range(0, count, size):
        last = min(first + size, count)
        child = 0 if burst else os.fork()
        if not child:
            for number in range(first, last):
                sender.send(datagram(number))
            if not burst:
                os._exit(0)
        else:
            # Whoever sends without a pause is to be done before it is asked what has come.
            while not os.waitpid(child, os.WNOHANG)[0]:
                receive(0.05, b"")
        end = b"end of %d" % last
        begin = time.monotonic()
        while True:
            sender.send(end)
            if receive(0.2, end):
                break
            if time.monotonic() - begin > PATIENCE:
                fail(f"nothing arrives any more after datagram {last}")
    # What comes late, or once more.
    receive(0.2, b"")
    lost = count - sum(seen)
    print(f"# {count} sent, {lost} lost, {twice} twice, {late} out of order, {wrong} not as sent")
    sys.exit(bool(twice or late or wrong or (burst and lost)))


def blast(where):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, 32, 8 << 20)  # SO_SNDBUFFORCE
    sock.setblocking(False)
    payloads = [random.Random(n).randbytes(n) for n in (18, 200, 700, 1472)]
    while True:
        for payload in payloads:
            try:
                sock.sendto(payload, (where, 9))
            except OSError:
                time.sleep(0.002)


def main():
    what, one, other = sys.argv[1:4]
    if what == "blast":
        enter(one)
        blast(other)
    if what == "stream":
        return stream(one, other, int(sys.argv[4]), *sys.argv[5:])
    if what == "sequence":
        return sequence(one, other, int(sys.argv[4]), int(sys.argv[5]))
    source, target = open_raw(one), open_raw(other)
    if what == "reach":
        reach(source, target, sys.argv[4:])
    elif what in ("tagged", "long"):
        number = int(sys.argv[4])
        if what == "long":
            lengths(source, target, number)
        else:
            lengths(source, target, 200, b"\x81\x00" + number.to_bytes(2, "big"))
    elif what == "burst":
        burst(source, target, *map(int, sys.argv[4:]))
    else:
        {"sizes": sizes, "short": short}[what](source, target, *map(int, sys.argv[4:]))


if __name__ == "__main__":
    main()
