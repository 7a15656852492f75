# SPDX-License-Identifier: GPL-2.0
"""Ask a guest's emulator, or through it the kernel in there.

qmp.py SHARE sysrq KEY...  what the kernel is doing, to its console
qmp.py SHARE watch         says so, and ends, if a virtual CPU halts for good with an interrupt in
                           service: its APIC has handed that over, and the CPU has never handled it.
                           Until that is acknowledged no other of its class or below gets through, no
                           timer either. The kernel acknowledges before it halts, unless it panics.
"""
import json
import os
import re
import socket
import sys
import time

# A CPU that halts has handled everything. So often, so many seconds apart, to be sure.
LOOKS, APART = 3, 3
PAUSE = 10


class Monitor:
    """One connection: the next one is served when this is closed."""

    def __init__(self, share):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(share + "/qmp.sock")
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.command("qmp_capabilities")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def command(self, name, **arguments):
        self.socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode())
        while True:
            answer = json.loads(self.lines.readline())
            if "event" not in answer:
                return answer.get("return")

    def human(self, line):
        return self.command("human-monitor-command", **{"command-line": line})


def sysrq(share, keys):
    with Monitor(share) as monitor:
        console = socket.socket(socket.AF_UNIX)
        console.connect(share + "/con.sock")
        for key in keys:
            monitor.command("chardev-send-break", id="con")
            time.sleep(0.3)
            console.send(key.encode())
            time.sleep(2)


def stuck(share):
    """The CPUs that halt with an interrupt in service, and that one's vector."""
    found = set()
    with Monitor(share) as monitor:
        for cpu in range(len(monitor.command("query-cpus-fast"))):
            halts = "HLT=1" in monitor.human(f"info registers {cpu}")
            serves = re.search(r"^ISR\s+(\d+)", monitor.human(f"info lapic {cpu}"), re.M)
            if halts and serves:
                found.add((cpu, serves[1]))
    return found


def watch(share):
    # As long as there is a guest, and who asked.
    parent = os.getppid()
    while os.path.isdir(share) and os.getppid() == parent:
        time.sleep(PAUSE)
        try:
            found = stuck(share)
            for _ in range(LOOKS - 1):
                if found:
                    time.sleep(APART)
                    found &= stuck(share)
        except (OSError, ValueError, TypeError):
            continue  # Not there yet, or no more.
        for cpu, vector in found:
            print(f"virtual CPU {cpu} halts with interrupt {vector} in service", flush=True)
            return


def main():
    share, what, *keys = sys.argv[1:]
    if what == "watch":
        return watch(share)
    try:
        sysrq(share, keys)
    except (OSError, ValueError, TypeError):
        pass  # It has just ended.


main()
