#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What is done to an interface in the midst of traffic, every few hundred milliseconds.

chaos.py SECONDS EACH SEED PCI_ADDRESS DRIVER MODULE PEER EVENT...

Each EVENT at least once, then in a random order, for SECONDS. They are the calls that ip,
ethtool, insmod and rmmod make, without those programs: under emulation starting one takes as
long as the event. After each, datagrams from the interface arrive before the next one comes;
after each EACHth one, and those of QUICK, datagrams and TCP pass both ways. Not after each: an
emulated e1000 receives nothing for a second after a write to its register RCTL, which has to be
written whenever the receiver starts, so that there would not be an event every few hundred
milliseconds. Of what passes every byte is compared, and no datagram may come twice.

The interface is "coop", in the namespace of that name, the other end "peer". MODULE is a file;
"-" if the driver is not to be loaded anew; PEER is the hardware address of the other end.
"""
import collections
import ctypes
import errno
import fcntl
import itertools
import mmap
import os
import random
import signal
import socket
import struct
import sys
import time

ADDRESS = {"coop": "10.77.0.1", "peer": "10.77.0.2"}
NAME = b"coop"
# After so many seconds it is not the machine that is slow.
PATIENCE = 60
# So much of each is to pass both ways after each event.
DATAGRAMS, BYTES = 5, 5000
# What leaves the register RCTL alone.
QUICK = {"renegotiate"}
LIBC = ctypes.CDLL(None, use_errno=True)
HOME = os.open("/proc/self/ns/net", os.O_RDONLY)


def fail(text):
    print(f"# {text}", flush=True)
    sys.exit(1)


def make_socket(namespace, *kind):
    """It stays in that namespace; we do not."""
    with open(f"/run/netns/{namespace}") as handle:
        os.setns(handle.fileno(), os.CLONE_NEWNET)
    sock = socket.socket(*kind)
    os.setns(HOME, os.CLONE_NEWNET)
    return sock


class Traffic:
    """Datagrams and a TCP stream one way, at a moderate pace, by two processes."""

    # Of a length that no segment, page or ring has.
    BLOCK = random.Random(1).randbytes(65521)
    # The longest ones pass where the MTU allows it, and are dropped where it does not.
    LENGTHS = (18, 200, 700, 1400, 8000)

    def __init__(self, source, target):
        self.way = f"{source} to {target}"
        shared = memoryview(mmap.mmap(-1, 24)).cast("Q")
        # Datagrams and bytes that have come; what was wrong.
        self.datagrams, self.bytes, self.wrong = (shared[i : i + 1] for i in range(3))
        listener = make_socket(target, socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((ADDRESS[target], 0))
        listener.listen()
        stream = make_socket(source, socket.AF_INET, socket.SOCK_STREAM)
        # Not more than what is lost soon: it is to be on its way again.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 << 10)
        stream.connect(listener.getsockname())
        arrived, _ = listener.accept()
        inbox = make_socket(target, socket.AF_INET, socket.SOCK_DGRAM)
        inbox.bind((ADDRESS[target], 0))
        outbox = make_socket(source, socket.AF_INET, socket.SOCK_DGRAM)
        where = inbox.getsockname()
        self.children = [
            self.child(self.send, stream, outbox, where),
            self.child(self.receive_stream, arrived),
            self.child(self.receive_datagrams, inbox),
        ]

    @staticmethod
    def child(work, *args):
        pid = os.fork()
        if pid:
            return pid
        try:
            work(*args)
        except Exception as error:  # pylint: disable=broad-except
            print(f"# {work.__name__}: {error!r}", flush=True)
        os._exit(1)

    def send(self, stream, outbox, where):
        stream.setblocking(False)
        outbox.setblocking(False)
        double = self.BLOCK * 2
        place = 0
        for number in itertools.count():
            length = self.LENGTHS[number % len(self.LENGTHS)]
            at = number % 50000
            try:
                outbox.sendto(number.to_bytes(8, "big") + self.BLOCK[at : at + length], where)
            except OSError:
                pass
            try:
                place += stream.send(double[place : place + 4000])
                place %= len(self.BLOCK)
            except BlockingIOError:
                pass
            time.sleep(0.004)

    def receive_stream(self, stream):
        double = self.BLOCK * 2
        place = 0
        while got := stream.recv(len(self.BLOCK)):
            if got != double[place : place + len(got)]:
                self.wrong[0] += 1
            place = (place + len(got)) % len(self.BLOCK)
            self.bytes[0] += len(got)

    def receive_datagrams(self, inbox):
        seen = collections.deque(maxlen=4096)
        while True:
            got = inbox.recv(9000)
            number = int.from_bytes(got[:8], "big")
            at, length = number % 50000, self.LENGTHS[number % len(self.LENGTHS)]
            if got[8:] != self.BLOCK[at : at + length] or number in seen:
                self.wrong[0] += 1
            seen.append(number)
            self.datagrams[0] += 1

    def mark(self):
        self.marked = self.datagrams[0], self.bytes[0]

    def sends(self):
        return self.datagrams[0] - self.marked[0] >= DATAGRAMS

    def streams(self):
        return self.bytes[0] - self.marked[1] >= BYTES


class Interface:
    """The interface under test, by what it can be done to it."""

    def __init__(self, pci, driver, module, peer, chance):
        self.peer = bytes.fromhex(peer.replace(":", ""))
        self.pci, self.driver, self.module, self.chance = pci, f"/sys/bus/pci/drivers/{driver}", module, chance
        self.device = f"/sys/bus/pci/devices/{pci}"
        self.control = make_socket("coop", socket.AF_INET, socket.SOCK_DGRAM)

    def request(self, number, value):
        """An ioctl with a struct ifreq of the interface's name and these bytes."""
        return fcntl.ioctl(self.control, number, struct.pack("16s24s", NAME, value))

    def ethtool(self, command, words=b""):
        """Its answer, in place of what it was given."""
        buffer = ctypes.create_string_buffer(struct.pack("I", command) + words)
        self.request(0x8946, struct.pack("P", ctypes.addressof(buffer)))  # SIOCETHTOOL
        return buffer.raw[4 : 4 + len(words)]

    def up(self, up):
        flags = struct.unpack_from("H", self.request(0x8913, b""), 16)[0]  # SIOCGIFFLAGS
        flags = flags | 1 if up else flags & ~1  # IFF_UP
        self.request(0x8914, struct.pack("H", flags))  # SIOCSIFFLAGS
        if up:
            # Who has that address is forgotten when an interface goes down, and could not be heard now.
            there = struct.pack("HH12s", socket.AF_INET, 0, socket.inet_aton(ADDRESS["peer"]))
            there += struct.pack("H14si16x16s", 1, self.peer, 6, NAME)  # ARPHRD_ETHER, ATF_COM | ATF_PERM
            fcntl.ioctl(self.control, 0x8955, there)  # SIOCSARP

    def adopt(self):
        """A new interface is in the first namespace, under the name of its choice."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.move(os.listdir(f"{self.device}/net")[0])
                break
            except (OSError, IndexError):
                # Not there yet, or given another name in this very moment.
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)
        for number, value in (0x8916, ADDRESS["coop"]), (0x891C, "255.255.255.0"):  # SIOCSIFADDR, ..NETMASK
            self.request(number, struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(value)))
        self.up(True)

    def move(self, name):
        with open("/run/netns/coop") as namespace, socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
            attributes = struct.pack("HHi", 8, 28, namespace.fileno())  # IFLA_NET_NS_FD
            attributes += struct.pack("HH8s", 4 + len(NAME) + 1, 3, NAME)  # IFLA_IFNAME
            body = struct.pack("BxHiII", 0, 0, socket.if_nametoindex(name), 0, 0) + attributes
            # RTM_SETLINK, with an answer.
            route.send(struct.pack("IHHII", 16 + len(body), 19, 5, 1, 0) + body)
            error = struct.unpack_from("i", route.recv(4096), 16)[0]
            if error:
                raise OSError(-error, os.strerror(-error))

    def write(self, path):
        with open(path, "w") as handle:
            handle.write(self.pci)

    # The events.

    def down_up(self):
        self.up(False)
        self.up(True)

    def rings(self):
        # ETHTOOL_GRINGPARAM, ETHTOOL_SRINGPARAM
        words = list(struct.unpack("8I", self.ethtool(0x10, bytes(32))))
        words[4], words[7] = (self.chance.choice((128, 256, 512, 1024, 4096)) for _ in "rt")
        self.ethtool(0x11, struct.pack("8I", *words))

    def mtu(self):
        self.request(0x8922, struct.pack("i", self.chance.choice((576, 1500, 4000, 9000))))  # SIOCSIFMTU

    def short_mtu(self):
        self.request(0x8922, struct.pack("i", self.chance.choice((576, 1400, 1500))))

    def renegotiate(self):
        self.ethtool(0x9)  # ETHTOOL_NWAY_RST

    def reset(self):
        self.ethtool(0x34, struct.pack("I", 0xFFFFFFFF))  # ETHTOOL_RESET, of all there is

    def rebind(self):
        self.write(f"{self.driver}/unbind")
        self.write(f"{self.driver}/bind")
        self.adopt()

    def reload(self):
        name = os.path.basename(self.module).removesuffix(".ko").encode()
        end = time.monotonic() + PATIENCE
        while LIBC.syscall(176, name, os.O_NONBLOCK):  # delete_module
            # Somebody may hold it for a moment.
            if ctypes.get_errno() != errno.EWOULDBLOCK or time.monotonic() > end:
                raise OSError(ctypes.get_errno(), "delete_module")
            time.sleep(0.005)
        with open(self.module, "rb") as handle:
            if LIBC.syscall(313, handle.fileno(), b"", 0):  # finit_module
                raise OSError(ctypes.get_errno(), "finit_module")
        self.adopt()


def flows(traffic, everything):
    """Waits until traffic passes again, or says what does not."""
    end = time.monotonic() + PATIENCE
    for one in traffic:
        one.mark()
    for one in traffic if everything else traffic[:1]:
        while not one.sends() or (everything and not one.streams()):
            if time.monotonic() > end:
                return f"no {'TCP' if one.sends() else 'datagrams'} from {one.way} any more"
            time.sleep(0.002)
    if wrong := sum(one.wrong[0] for one in traffic):
        return f"{wrong} times something came that was not sent, or twice"
    return None


def report(times, took):
    """What the events took."""
    total = sum(map(len, times.values()))
    print(f"# {total} events in {took:.0f} s, one every {1000 * took / max(total, 1):.0f} ms; how often, ms that it")
    print("# took, ms until frames were sent, ms until all traffic passed (how often; median, longest):")
    for event, three in times.items():
        texts = []
        for side in zip(*three):
            known = sorted(round(1000 * seconds) for seconds in side if seconds is not None)
            texts.append(f"{len(known)}; {known[len(known) // 2]}, {known[-1]}" if known else "0")
        print(f"#   {event}:", " | ".join(texts))
    sys.stdout.flush()


def chaos(interface, traffic, seconds, each, events):
    times = {}
    if trouble := flows(traffic, True):
        fail(f"before the first event: {trouble}")
    begin = time.monotonic()
    for count in itertools.count(1):
        if count > len(events) and time.monotonic() - begin >= seconds:
            break
        event = events[count - 1] if count <= len(events) else interface.chance.choice(events)
        marks = [time.monotonic()]
        trouble = None
        try:
            getattr(interface, event)()
        except OSError as error:
            trouble = repr(error)
        marks.append(time.monotonic())
        for everything in (False, True) if count % each == 0 or event in QUICK else (False,):
            trouble = trouble or flows(traffic, everything)
            marks.append(time.monotonic())
        if trouble:
            fail(f"event {count}, {event}: {trouble}")
        spans = [marks[1] - marks[0], marks[2] - marks[1], marks[3] - marks[1] if len(marks) > 3 else None]
        times.setdefault(event, []).append(spans)
        # At times the next one comes at once.
        time.sleep(max(0, interface.chance.uniform(-0.1, 0.2)))
    if trouble := flows(traffic, True):
        fail(f"in the end: {trouble}")
    report(times, time.monotonic() - begin)


def main():
    seconds, each, seed = map(int, sys.argv[1:4])
    interface = Interface(*sys.argv[4:8], random.Random(seed))
    # Before all the traffic that merely loads the machine.
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    traffic = [Traffic("coop", "peer"), Traffic("peer", "coop")]
    try:
        chaos(interface, traffic, seconds, each, sys.argv[8:])
    finally:
        for one in traffic:
            for child in one.children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


main()
