# SPDX-License-Identifier: GPL-2.0
"""Ask a hung guest's kernel what it is doing: sysrq.py SHARE KEY..."""
import json
import socket
import sys
import time

share, keys = sys.argv[1], sys.argv[2:]
qmp = socket.socket(socket.AF_UNIX)
qmp.settimeout(2)
qmp.connect(share + "/qmp.sock")
qmp.recv(65536)


def command(name, **arguments):
    qmp.send(json.dumps({"execute": name, "arguments": arguments}).encode())
    qmp.recv(65536)


command("qmp_capabilities")
console = socket.socket(socket.AF_UNIX)
console.connect(share + "/con.sock")
for key in keys:
    command("chardev-send-break", id="con")
    time.sleep(0.3)
    console.send(key.encode())
    time.sleep(2)
