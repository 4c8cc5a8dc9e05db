# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Two VMs with disks of the same image: what one writes the other does not see, what both read is there once; lies."""

import re
import struct

import lab

STEP = 0x9e3779b97f4a7c15
IMAGE_PAGES = 256


def image():
    return b"".join(struct.pack("<Q", n * STEP % 2**64) for n in range(IMAGE_PAGES * 512))


def section(name, mark):
    return lab.vm_section(name, "blk.elf", extra=mark, memory=16) + \
        "disk = \\guests\\image,cow,discard\ndisk = \\guests\\image,readonly\n"


@lab.scenario("disk-log-discarded", seconds=120)
def disk_log_discarded(t):
    """What a VM writes lies in a log on the machine's disk, and is gone when it is reset."""
    import power_cuts
    section = lab.vm_section("one", "powercut.elf", memory=16) + "disk = \\guests\\base.img,cow,discard=\\guests\\one.log\n"
    image = t.image(lab.config(section), lab.kernels("powercut") | {
        "guests/base.img": power_cuts.base(), "guests/one.log": bytes(power_cuts.LOG_BLOCKS * 4096)})
    with t.machine(image, cpus=1, memory=256, arguments=["--writable"]) as m:
        since = m.mark()
        for start in ("first start", "after a reset"):
            m.wait(f"{start}: the disk is as its image", r"powercut: disk 0: safe 0, last 0, 0 blocks are wrong$", since=since)
            m.wait(f"{start}: writes and flushes go on", r"powercut: disk 0: flushed \d{3,}$", since=since)
            info = m.command("disk info")
            used = re.search(r"cow,discard, in a log(?:.*\n)*?  log: (\d+) of \d+ blocks used", info)
            t.check(f"{start}: what it has written is in the log", used and int(used[1]) > 50, info)
            since = m.mark()
            m.command("vm reset one")
        t.check("no write or flush has failed", not m.find("FAIL: a"), m.report())
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
    t.check("the image is what it was", power_cuts.file_of(t, image, "guests/base.img")[1] == power_cuts.base())


@lab.scenario("disks", seconds=240)
def disks(t):
    files = lab.kernels("blk") | {"guests/image": image()}
    with t.machine(t.image(lab.config(section("one", "1"), section("two", "2")), files), cpus=1) as m:
        for name in ("one", "two"):
            m.wait(f"{name} has done all", rf"^\[{name}\] blk: done$", since=0)
            m.wait(f"{name}'s disk stopped when its ring lied",
                   rf"^mirrorball: vm {name}: disk 0 has stopped: more requests were submitted", since=0)
        t.check("no check failed in them", not m.find(r"FAIL"), m.report())
        figures = re.findall(r"\[one\] bench: blk_(\w+) (\d+)$", m.text(), re.M)
        print("disks: " + ", ".join(f"{name} {ticks}" for name, ticks in figures))
        memory = m.command("mem")
        shared = [int(n) for n in re.findall(r"shares by origin (\d+),", memory)]
        there = int(re.search(r"^  origin +(\d+) pages", memory, re.M)[1])
        print(f"disks: {shared} pages of the VMs are {there} of the machine")
        t.check("what both read is there once", len(shared) == 2 and min(shared) >= IMAGE_PAGES
                and there <= max(shared), memory)
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
