# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A large archive is unpacked on a paravirtual disk while other VMs leave the machine no memory to spare."""

import hashlib
import io
import random
import tarfile

import lab
from lab import at_shell, says

FILES, FILE_BYTES, TARGET_MIB = 96, 256 << 10, 48       # 24 MiB
MACHINE_MIB, FOR_VMS_MIB = 512, 354     # what a machine of this size leaves to VMs
LINUX_MIB, HOGS, SPARE_MIB = 112, 2, 44


def archive():
    """Random files, and their sums as the last one."""
    chance, out, sums = random.Random(11), io.BytesIO(), ""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        def add(name, content):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for n in range(FILES):
            content = chance.randbytes(FILE_BYTES)
            sums += f"{hashlib.md5(content).hexdigest()}  file{n}\n"
            add(f"file{n}", content)
        add("sums", sums.encode())
    return out.getvalue()


def found(m):
    """How often no page was left, and what has been found then."""
    m.focus("the monitor")
    found_so_far = lab.memory_of(m).found
    m.focus("alpha")
    return found_so_far


@lab.scenario("untar", seconds=600, long=True)
def untar(t):
    hogs = [f"hog{n}" for n in range(1, HOGS + 1)]
    hog_mib = (FOR_VMS_MIB - LINUX_MIB - SPARE_MIB) // HOGS
    config = lab.config("overcommit = 200\napicv = off\n",
                        lab.linux_section("alpha", memory=LINUX_MIB, extra="quiet") +
                        "cpus = 0\ndisk = \\guests\\archive.tar,readonly\ndisk = \\guests\\target.img,cow,discard\n",
                        *(lab.vm_section(name, "crash.elf", extra="keep", memory=hog_mib) + "cpus = 1\n"
                          for name in hogs))
    files = lab.linux() | lab.kernels("crash") | {
        "guests/archive.tar": archive(), "guests/target.img": lab.ext4(t, "target", TARGET_MIB, {"readme": b"empty\n"})}
    with t.machine(t.image(config, files), cpus=2, memory=MACHINE_MIB) as m:
        m.wait("alpha is ready", r"mirrorball-guest: alpha ready", since=0)
        for name in hogs:
            m.wait(f"{name} has filled its memory", rf"^\[{name}\] crash: round 0, 0 words lost$", 120, since=0)
        at_shell(m, "alpha")
        before = found(m)
        says(m, "the archive is unpacked", "mkdir -p /t; mount -t ext4 /dev/mbdb /t && cd /t && tar xf /dev/mbda; "
             "echo tar=$?; sync; echo 3 >/proc/sys/vm/drop_caches", r"tar=0$", 300)
        says(m, "each file has its sum", "md5sum -c sums 2>/dev/null | grep -c OK; cd", rf"^{FILES}$", 300)
        after = found(m)
        print(f"untar: no page was left, and what was found: {after}, before it began {before}")
        t.check("meanwhile no page was left, and some were found", after["calls"] > before["calls"] and
                sum(after.values()) - after["calls"] > sum(before.values()) - before["calls"], (before, after))
        says(m, "its file system is clean", "umount /t; mount -t ext4 /dev/mbdb /t; "
             "echo n=$(dmesg | grep -c 'EXT4-fs error')", r"n=0$")
        start = m.mark()
        for name in hogs:
            m.wait(f"{name} goes on with what it had", rf"^\[{name}\] crash: round \d+, 0 words lost$", since=start)
        t.check("nobody lost a word, nobody was stopped", not m.find(r"crash: round \d+, [1-9]|has failed"), m.report())
        m.focus("the monitor")
        m.send("exit\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
