#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""TCP by the clock over two wires that differ in the driver of one NIC, in turns.

alternate.py FIRST COUNT SECONDS DRIVER DRIVER

Wire 0, from namespace near0 to far0, has the first driver at its near end, wire 1 the
second one. All streams, one each way over each wire, are open all the time; of those one
at a time flows, for SECONDS. A pair is four such turns in each direction, in the order
ABBA or BAAB, so that what changes slowly is the same for both. Prints COUNT times eight
lines `pair direction driver Mbit/s`, the pairs numbered from FIRST.

What is near runs on CPU 0, what is far on CPU 1, as on two machines; whoever calls this
has the NICs' interrupts go there.
"""
import mmap
import os
import select
import socket
import sys
import time

ADDRESS = {"near": "10.77.0.1", "far": "10.77.0.2"}
CPU = {"near": 0, "far": 1}
# Until the stream flows as it will; part of no turn.
RAMP = 0.15
# After so many seconds it is not the machine that is slow.
PATIENCE = 60
# A fixed size instead of one that the kernel finds as it goes along.
BUFFER = 1 << 19


def make_socket(side, wire):
    with open(f"/run/netns/{side}{wire}") as handle:
        os.setns(handle.fileno(), os.CLONE_NEWNET)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, 32, BUFFER)  # SO_SNDBUFFORCE
    sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER)  # SO_RCVBUFFORCE
    return sock


class Stream:
    """From one end of a wire to the other, by two processes; it flows when asked to."""

    def __init__(self, wire, source, target):
        listener = make_socket(target, wire)
        listener.bind((ADDRESS[target], 0))
        listener.listen()
        sender = make_socket(source, wire)
        sender.connect(listener.getsockname())
        receiver, _ = listener.accept()
        shared = memoryview(mmap.mmap(-1, 32)).cast("Q")
        # Whether it flows; bytes sent; bytes received; turns that the sender is done with.
        self.flows, self.sent, self.received, self.turns = (shared[i : i + 1] for i in range(4))
        self.asked = 0
        begin, self.begin = os.pipe()
        if os.fork() == 0:
            os.sched_setaffinity(0, {CPU[source]})
            self.send(sender, begin)
        if os.fork() == 0:
            os.sched_setaffinity(0, {CPU[target]})
            self.receive(receiver)
        for mine in (listener, sender, receiver):
            mine.close()

    def send(self, sock, begin):
        block = bytes(128 << 10)
        # Until the coordinator is gone, and with it the pipe.
        while select.select([begin], [], [], PATIENCE)[0] and os.read(begin, 1):
            while self.flows[0]:
                self.sent[0] += sock.send(block)
            self.turns[0] += 1
        os._exit(0)

    def receive(self, sock):
        buffer = bytearray(64 << 10)
        while count := sock.recv_into(buffer):
            self.received[0] += count
        os._exit(0)

    def at_rest(self):
        return self.turns[0] == self.asked and self.received[0] == self.sent[0]

    def turn(self, seconds):
        """Mbit/s, as the receiver sees it."""
        self.asked += 1
        self.flows[0] = 1
        os.write(self.begin, b"x")
        time.sleep(RAMP)
        first, begin = self.received[0], time.perf_counter()
        time.sleep(seconds)
        last, end = self.received[0], time.perf_counter()
        self.flows[0] = 0
        while not self.at_rest():
            if time.perf_counter() - end > PATIENCE:
                sys.exit("alternate: error: a stream stands still")
            time.sleep(0.002)
        return (last - first) * 8e-6 / (end - begin)


def main():
    first, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    drivers = sys.argv[4:6]
    streams = {
        direction: [Stream(wire, *ends) for wire in (0, 1)]
        for direction, ends in {"out": ("near", "far"), "in": ("far", "near")}.items()
    }
    for pair in range(first, first + count):
        for direction, both in streams.items():
            for wire in (0, 1, 1, 0) if pair % 2 else (1, 0, 0, 1):
                rate = both[wire].turn(seconds)
                print(pair, direction, drivers[wire], f"{rate:.2f}", flush=True)


main()
