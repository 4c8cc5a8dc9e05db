# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""NFS as Disco had it: a server and three clients in one sharing domain; what all have read is there about once."""

import random
import re

import lab
import nfs_guest
from lab import at_shell, says

CLIENTS = ("one", "two", "three")
ADDRESS = {"server": "10.0.0.1", "one": "10.0.0.2", "two": "10.0.0.3", "three": "10.0.0.4"}
FILE_MIB = 48
MOST = 1.25                     # times the file: what the machine may give for all copies
QUIET_ROUNDS = 2


def section(name):
    disk = "disk = \\guests\\data.img,cow,discard\n" if name == "server" else ""
    return lab.linux_section(name, memory=160, extra="quiet") + \
        f"share = team\nvif = lan0,ip={ADDRESS[name]}\n{disk}"


def settled(t, m):
    """Free pages once rounds of the scanner find hardly anything that has changed, and give hardly anything back."""
    m.focus("the monitor")
    quiet, last = 0, None
    while quiet < QUIET_ROUNDS and not t.time_is_over():
        text = m.command("mem")
        found = re.search(r"scanner: (\d+) rounds.*\n +last round: looked at (\d+) pages .*, (\d+) had changed, "
                          r"gave back (\d+);", text)
        if not found or found[1] == last:
            continue
        last = found[1]
        looked, changed, gave = map(int, found.groups()[1:])
        quiet = quiet + 1 if gave * 256 <= looked and changed * 64 <= looked else 0
    return lab.Memory(text).free, text


def read(m):
    at_shell(m, "server")
    says(m, "the server reads the file", "cd /srv && md5sum -c sums; cd", r"^file: OK$", 240)
    for name in CLIENTS:
        at_shell(m, name)
        says(m, f"{name} reads it, and it is the server's", "cd /mnt && md5sum -c sums; cd", r"^file: OK$", 480)


def write(m):
    """In one's cache, then on the server: nobody else sees it before."""
    says_first = "dd if={}/file bs=4 count=1 2>/dev/null | tr -dc A-Z; echo ="
    at_shell(m, "one")
    # While all are idle the emulator's time flies, and after 5 s of it Linux would write back (0 is: at once). It does
    # so for whoever asks for the file's times, too, such as stdio: dd does not.
    says(m, "a client leaves its cache alone", "echo 360000 >/proc/sys/vm/dirty_writeback_centisecs; echo left",
         r"^left$")
    # Who closes a file, even a copy of its descriptor, writes back: dd has it open until its input ends.
    says(m, "a client writes to its copy", "mkfifo /f; dd of=/mnt/file bs=4 conv=notrunc </f 2>/dev/null & exec 3>/f; "
         "printf MINE >&3; sleep 1; " + says_first.format("/mnt"), r"^MINE=$")
    for name, directory in (("server", "/srv"), ("two", "/mnt")):
        at_shell(m, name)
        says(m, f"{name} does not see it", says_first.format(directory), r"^THEI=$")
    at_shell(m, "one")
    says(m, "it is written back", "exec 3>&-; echo written", r"^written$")
    at_shell(m, "server")
    says(m, "then the server has it", says_first.format("/srv"), r"^MINE=$")
    at_shell(m, "three")
    says(m, "and so has a client that opens it anew", "sleep 4; " + says_first.format("/mnt"), r"^MINE=$")


@lab.scenario("nfs", seconds=3000, long=True)
def nfs(t):
    content = b"THEIRS" + random.Random(6).randbytes((FILE_MIB << 20) - 6)
    files = nfs_guest.guest_files(t) | {"guests/data.img": lab.ext4(t, "data", FILE_MIB + 8, {"file": content})}
    config = lab.config("apicv = off\nscan = 50000\n", *(section(name) for name in ADDRESS))
    with t.machine(t.image(config, files), cpus=1, memory=1400) as m:
        for name in ADDRESS:
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", since=0)
        nfs_guest.serve(m, ADDRESS)
        before, _ = settled(t, m)
        read(m)
        now, text = settled(t, m)
        mib = (before - now) * 4096 / 2**20
        print(f"nfs: a file of {FILE_MIB} MiB, read by the server and {len(CLIENTS)} clients: {mib:.1f} MiB of machine "
              f"memory, {mib / FILE_MIB:.2f} times the file")
        print(m.command("net stat"))
        t.check("all copies are there about once", mib <= MOST * FILE_MIB, text)
        write(m)
        for name in ADDRESS:
            lab.no_fault(m, name)
        m.focus("the monitor")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
