# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian guests that reach the outside through the machine's network card, and one that must not."""

import hashlib
import http.server
import os
import random
import re
import threading

import lab
import uplink
from lab import at_shell

FILE_BYTES = 2 << 20
# What udhcpc calls with what it has been given.
DHCP_SCRIPT = """#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ifconfig $interface $ip netmask $subnet up
route add default gw $router
"""


class Server(http.server.ThreadingHTTPServer):
    """One file on the host's loopback."""

    def __init__(self, data):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass
        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def guest_files(t):
    script = os.path.join(t.work, "dhcp")
    with open(script, "w", encoding="ascii") as file:
        file.write(DHCP_SCRIPT)
    os.chmod(script, 0o755)
    return lab.linux_with(t, {"bin/dhcp": script})


def lease(m, name, address):
    at_shell(m, name)
    m.shell(f"{name}: gets an address by DHCP", "ifconfig eth0 up; udhcpc -i eth0 -n -q -s /bin/dhcp; ifconfig eth0",
            rf"inet addr:{address.replace('.', '[.]')}", 120)


def downloads(m, name, url, md5):
    m.shell(f"{name}: downloads a file from the host", f"wget -q -O - {url} | md5sum", rf"^(\[{name}\] )?{md5}", 180)


def nothing_outside(m, name):
    """Its network has no uplink: nobody answers, and a neighbour's address does not help."""
    at_shell(m, name)
    m.shell(f"{name}: nobody offers it an address", "ifconfig eth0 up; "
            "udhcpc -i eth0 -n -q -t 2 -T 2 -s /bin/dhcp; echo lease=$?", r"lease=1$", 120)
    m.shell(f"{name}: it does not reach the outside with an address of its own making",
            "ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up; ping -c 2 -W 2 10.0.2.2; echo ping=$?", r"ping=1$", 60)


@lab.scenario("linux-uplink", seconds=600, long=True)
def linux_uplink(t):
    """Two guests share the machine's card; a third one is on another network."""
    data = random.Random(11).randbytes(FILE_BYTES)
    md5 = hashlib.md5(data).hexdigest()
    sections = [lab.linux_section(name, memory=128, extra="quiet") + f"vif = {net}\n"
                for name, net in (("alpha", "lan0"), ("beta", "lan0"), ("gamma", "lan1"))]
    config = lab.config(*sections, "[net lan0]\nuplink = e1000\n")
    with Server(data) as server, t.machine(t.image(config, guest_files(t)), cpus=2, memory=768,
                                           arguments=uplink.card_options("bochs", "e1000")) as m:
        url = f"http://10.0.2.2:{server.server_address[1]}/file"
        m.wait("the card becomes the uplink",
               r"^mirrorball: net lan0: uplink e1000 00:0\d\.0, 52:54:00:12:34:56, link up$")
        for name in ("alpha", "beta", "gamma"):
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", 400, 0)
        lease(m, "alpha", "10.0.2.15")
        downloads(m, "alpha", url, md5)
        lease(m, "beta", "10.0.2.16")
        downloads(m, "beta", url, md5)
        at_shell(m, "alpha")
        m.shell("the guests reach each other", "ping -c 2 -W 5 10.0.2.16; echo ping=$?", r"ping=0$", 60)
        nothing_outside(m, "gamma")
        m.focus("the monitor")
        text = m.command("net stat")
        found = re.search(r"^card e1000 \S+ of network lan0: link up\n +sent (\d+) .*\n +received (\d+) frames, (\d+) KiB; "
                          r"bad (\d+), missed (\d+); resets (\d+)$", text, re.M)
        t.check("the monitor tells what went through the card", found and int(found[1]) > 100 and
                int(found[3]) >= 2 * FILE_BYTES >> 10 and found.groups()[3:] == ("0", "0", "0"), text)
        m.send("exit\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 120)
