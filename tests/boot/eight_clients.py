# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Eight Debian guests that read a file of 64 MiB from a ninth at once, by NFS; then scp of it, there and back."""

import hashlib
import random

import lab
import nfs_guest
from lab import at_shell, says

CLIENTS = tuple(f"c{n}" for n in range(1, 9))
ADDRESS = {"server": "10.0.0.1"} | {name: f"10.0.0.{n}" for n, name in enumerate(CLIENTS, 11)}
FILE_MIB = 64
SCP = "scp -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"


def section(name):
    """Those between which scp copies have room for the copy."""
    disk = "disk = \\guests\\data.img,cow,discard\n" if name == "server" else ""
    return lab.linux_section(name, memory=256 if name in ("server", "c1") else 128, extra="quiet") + \
        f"vif = lan0,ip={ADDRESS[name]}\n{disk}"


def read_at_once(t, m):
    begin = m.mark()
    for name in CLIENTS:
        at_shell(m, name)
        m.send("cd /mnt; md5sum -c sums; cd\r")
    last = m.mark()
    ends = []
    for name in CLIENTS:
        found = m.wait(f"{name} has read it, and it is the server's", rf"^\[{name}\] file: OK$", 1200, begin)
        ends.append(found.start())
    t.check("all were at it at the same time", min(ends) > last, (ends, last))


def copy(m, md5):
    at_shell(m, "c1")
    says(m, "scp from the server", f"{SCP} root@{ADDRESS['server']}:/srv/file /tmp/copy; md5sum /tmp/copy",
         rf"^{md5} ", 600)
    says(m, "and to it", f"{SCP} /tmp/copy root@{ADDRESS['server']}:/tmp/back; echo scp=$?", r"^scp=0$", 600)
    at_shell(m, "server")
    says(m, "what came back is what went", "md5sum /tmp/back", rf"^{md5} ", 120)


@lab.scenario("eight-clients", seconds=3600, long=True)
def eight_clients(t):
    content = random.Random(7).randbytes(FILE_MIB << 20)
    files = nfs_guest.guest_files(t, ssh=True) | \
        {"guests/data.img": lab.ext4(t, "data", FILE_MIB + 16, {"file": content})}
    config = lab.config("apicv = off\nscan = 0\n", *map(section, ADDRESS))
    with t.machine(t.image(config, files), cpus=1, memory=1900) as m:
        for name in ADDRESS:
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", since=0)
        nfs_guest.serve(m, ADDRESS)
        at_shell(m, "server")
        says(m, "the server serves SSH too", "ssh-server", r"^ssh-server: serves$", 120)
        read_at_once(t, m)
        copy(m, hashlib.md5(content).hexdigest())
        m.focus("the monitor")
        print(m.command("net stat"))
        for name in ADDRESS:
            lab.no_fault(m, name)
        m.focus("the monitor")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
