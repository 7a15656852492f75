#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Measures what a transaction, a packet and a KiB cost the whole guest.

load.py measure PREFIX REPEAT  from namespace "coop" to "peer", and back
load.py median                 of the readings that come in

For guests with one CPU where a nanosecond is an instruction. Cost is the time
that passes less the time that nobody wants; and that one is counted by a loop
that takes it, because what the kernel counts as idle is sampled where idling is
short, and has interrupts in it. Prints `name value unit` for each of REPEAT
readings, and for their median.
"""
import itertools
import mmap
import os
import random
import signal
import socket
import statistics
import sys
import time

ADDRESS = {"coop": "10.77.0.1", "peer": "10.77.0.2"}


def make_socket(namespace, kind):
    with open(f"/run/netns/{namespace}") as handle:
        os.setns(handle.fileno(), os.CLONE_NEWNET)
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


class Soaker:
    """A process that takes the time that nobody else wants, and counts it."""

    def __init__(self):
        self.turns = memoryview(mmap.mmap(-1, 8)).cast("Q")
        self.process = os.fork()
        if self.process == 0:
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
            turns = self.turns
            for turn in itertools.count():
                turns[0] = turn
        time.sleep(0.1)
        turns, before = self.turns[0], time.perf_counter_ns()
        time.sleep(0.3)
        self.turn_ns = (time.perf_counter_ns() - before) / (self.turns[0] - turns)

    def idle(self):
        return self.turns[0] * self.turn_ns

    def end(self):
        os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


def busy(soaker, work, count):
    """Instructions per unit of work."""
    idle, before = soaker.idle(), time.perf_counter_ns()
    work(count)
    after = time.perf_counter_ns()
    return (after - before - (soaker.idle() - idle)) / count


def connect():
    """A TCP connection from coop to peer: both ends."""
    listener = make_socket("peer", socket.SOCK_STREAM)
    listener.bind((ADDRESS["peer"], 0))
    listener.listen()
    client = make_socket("coop", socket.SOCK_STREAM)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, server


def tcp_rr():
    """One byte there and one byte back.

    Both NICs hold back an interrupt that comes within 50 us of the last one, and two that are held
    back are one. Transactions fall in step with that, by chance in one way or the other, and stay
    so: with the sample driver at 49 500 or at 57 700 instructions. So each tenth comes after a pause
    of 0 to 100 us, which lets the others begin anew; what the pauses cost is taken off.
    """
    client, server = connect()
    chance = random.Random(1)

    def pause(number):
        if number % 10 == 0:
            time.sleep(chance.random() * 100e-6)

    def work(count):
        for number in range(count):
            pause(number)
            client.send(b"x")
            server.recv(1)
            server.send(b"y")
            client.recv(1)

    def pauses(count):
        for number in range(count):
            pause(number)

    return work, pauses


def udp64(source, target):
    """Datagrams of 64 bytes, of which none may get lost."""

    def prepare():
        receiver = make_socket(target, socket.SOCK_DGRAM)
        receiver.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        receiver.bind((ADDRESS[target], 0))
        sender = make_socket(source, socket.SOCK_DGRAM)
        sender.connect(receiver.getsockname())
        payload = bytes(64)

        def work(count):
            for _ in range(count):
                sender.send(payload)
            receiver.settimeout(5)
            for _ in range(count):
                receiver.recv(64)

        return work, None

    return prepare


def tcp_stream():
    """From coop to a process that reads all there is; in KiB."""
    client, server = connect()
    if os.fork() == 0:
        client.close()
        buffer = bytearray(1 << 18)
        due = 0
        while got := server.recv_into(buffer):
            due += got
            while due >= 64 << 10:
                due -= 64 << 10
                server.send(b"k")
        os._exit(0)
    server.close()
    block = bytes(64 << 10)

    def work(count):
        for _ in range(count // 64):
            client.sendall(block)
        due = count // 64
        while due:
            due -= len(client.recv(due))

    return work, None


FIGURES = [
    ("tcp_rr", tcp_rr, 500, "insn/op"),
    ("udp64_tx", udp64("coop", "peer"), 1000, "insn/op"),
    ("udp64_rx", udp64("peer", "coop"), 1000, "insn/op"),
    ("tcp_stream", tcp_stream, 4096, "insn/KiB"),
]


def median():
    readings = {}
    for line in sys.stdin:
        name, value, unit = line.split()
        readings.setdefault((name, unit), []).append(float(value))
    for (name, unit), values in readings.items():
        print(name, f"{statistics.median(values):.1f}", unit)


def measure(prefix, repeat):
    soaker = Soaker()
    only = os.environ.get("ONLY", "").split()
    for name, prepare, count, unit in FIGURES:
        if only and name not in only:
            continue
        work, pauses = prepare()
        work(count // 2)
        readings = []
        for _ in range(repeat):
            extra = busy(soaker, pauses, count) if pauses else 0
            readings.append(busy(soaker, work, count) - extra)
        print(f"  {prefix}nic.{name}:", *(f"{r:.0f}" for r in readings), file=sys.stderr)
        for reading in readings:
            print(f"{prefix}nic.{name} {reading:.1f} {unit}", flush=True)
    soaker.end()


if sys.argv[1] == "median":
    median()
else:
    measure(sys.argv[2], int(sys.argv[3]))
