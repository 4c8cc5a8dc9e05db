# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A disk as persistent memory: Debian's own drivers, an ext4 that two guests mount with dax, one set of pages."""

import random
import re

import lab
from lab import at_shell

FILES, FILE_BYTES, IMAGE_MIB = 8, 1 << 20, 24
PAGES = FILES * FILE_BYTES // 4096
MODULES = ("libnvdimm", "nd_btt", "nd_pmem", "nfit")     # in the order in which they need each other
NAMES = ("one", "two")


def guest_files(t):
    """The usual guest, with the modules that a Debian system would load by itself; and the image."""
    chance = random.Random(7)
    image = lab.ext4(t, "dax", IMAGE_MIB, {f"file{n}": chance.randbytes(FILE_BYTES) for n in range(FILES)})
    return lab.linux_with(t, {f"lib/pmem/{name}.ko": lab.kernel_module(name) for name in MODULES}) | \
        {"guests/data.img": image}


def mounts(m, name):
    at_shell(m, name)
    m.shell(f"{name}: Debian's drivers find the persistent memory",
            f"for k in {' '.join(MODULES)}; do insmod /lib/pmem/$k.ko; done; sleep 1; "
            "echo pmem=$(cat /sys/block/pmem0/size)", rf"pmem={IMAGE_MIB << 11}$", 60)
    m.shell(f"{name}: ext4 is mounted with dax", "mkdir -p /mnt; mount -t ext4 -o dax /dev/pmem0 /mnt; "
            "echo dax=$(grep -c 'pmem0 .*dax' /proc/mounts)", r"dax=1$", 60)


def sums(m, name, say):
    at_shell(m, name)
    m.shell(f"{name}: {say}", "cd /mnt; echo ok=$(md5sum -c sums | grep -c OK); cd /", rf"ok={FILES}$", 120)


def violations(m, name):
    m.focus("the monitor")
    return lab.exits_of(m, name).get("EPT_VIOLATION", 0)


def origin_pages(m):
    m.focus("the monitor")
    return int(re.search(r"^  origin +(\d+) pages", m.command("mem"), re.M)[1])


def reads(t, m):
    """What both read is there once; what has been read costs no exit."""
    before = origin_pages(m)
    sums(m, "one", "all files are as they were made")
    first = origin_pages(m) - before
    sums(m, "two", "all files are as they were made")
    both = origin_pages(m) - before
    print(f"dax: {PAGES} pages of files are {first} of the machine when one guest has read them, {both} when two have")
    t.check("what both read is there once", PAGES <= first and both <= first + PAGES // 16, f"{first} {both}")
    faults = violations(m, "one")
    sums(m, "one", "the same again")
    faults = violations(m, "one") - faults
    print(f"dax: EPT violations while {PAGES} pages are read again: {faults}")
    t.check("reading again costs no exit for its pages", faults <= PAGES // 64, faults)


def writes(m):
    """What a guest writes is its own, and gone when it starts again."""
    at_shell(m, "one")
    m.shell("one: writes", "echo mine >/mnt/mine; echo changed >>/mnt/file0; sync; echo own=$(cat /mnt/mine)",
            r"own=mine$")
    at_shell(m, "two")
    m.shell("two: does not see it", "ls /mnt/mine 2>/dev/null; echo none=$?", r"none=1$")
    sums(m, "two", "nor what was changed")
    m.focus("one")
    start = m.mark()
    m.send("reboot -f\r")
    m.wait("one is ready again", r"^\[one\] mirrorball-guest: one ready", 240, start)
    mounts(m, "one")
    m.shell("one: its disk is as at first", "ls /mnt/mine 2>/dev/null; echo none=$?", r"none=1$")
    sums(m, "one", "all of it")


@lab.scenario("dax", seconds=600)
def dax(t):
    config = lab.config(*(lab.linux_section(name) + "disk = \\guests\\data.img,dax\n" for name in NAMES))
    with t.machine(t.image(config, guest_files(t)), cpus=1, memory=1024) as m:
        for name in NAMES:
            m.wait(f"{name} has its place",
                   rf"^mirrorball: vm {name}: disk data.img: persistent memory at 0x1\d+, {IMAGE_MIB} MiB", since=0)
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", 300, 0)
        for name in NAMES:
            mounts(m, name)
        reads(t, m)
        writes(m)
        for name in NAMES:
            at_shell(m, name)
            m.shell(f"{name}: its kernel reports no fault",
                    "echo f=$(dmesg | grep -cE 'Call Trace|BUG:|cut here|EXT4-fs error')", r"f=0$")
        m.focus("the monitor")
        m.send("exit\r")
        m.wait("exit returns to the firmware", r"^mirrorball: exit success$", 90)
