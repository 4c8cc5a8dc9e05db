# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Whole Debians that share one disk image, each with a layer of its own: what they read is there once, what one writes
no other sees, and a reset makes it clean again."""

import re
import time

import debian_root
import lab

MEMORY_MIB, MACHINE_MIB = 192, 2048
BOOT_SECONDS = 400
# What a Debian that never changes and has no network need not start: it makes the emulator's work less.
UNNEEDED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer",
            "systemd-tmpfiles-clean.timer", "e2scrub_reap.service", "systemd-random-seed.service",
            "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "systemd-pstore.service",
            "kmod-static-nodes.service", "modprobe@drm.service", "modprobe@fuse.service", "sys-kernel-debug.mount",
            "sys-kernel-tracing.mount", "dev-hugepages.mount", "dev-mqueue.mount")
LINE = lab.LINUX_LINE + " quiet root=LABEL=root ro systemd.hostname={name} " + \
    " ".join(f"systemd.mask={unit}" for unit in UNNEEDED)
SUMS = "sha256sum /usr/bin/apt /usr/lib/systemd/systemd | sha256sum | cut -c 1-16"
DROP = "sync; echo 3 >/proc/sys/vm/drop_caches"


def section(name):
    return lab.vm_section(name, "vmlinuz", "initrd", LINE.format(name=name), MEMORY_MIB) + \
        "disk = \\guests\\root.img,cow,discard\n"


def log_in(m, name, since):
    m.wait(f"{name} comes up", rf"^(\[{name}\] )?Debian GNU/Linux 12 {name} ttyS0", BOOT_SECONDS, since)
    m.focus(name)
    m.send("\r")
    m.until(rf"{name} login: ", 60)
    m.send("root\r")
    m.until(rf"root@{name}", 120)


def answer(m, name, command, regex, seconds=120):
    """What the guest with the input says, without the mark of its lines."""
    since = m.mark()
    m.send(command + "\r")
    return m.until(rf"^(?:\[{name}\] )?{regex}$", seconds, since)


def writes(m, name):
    """A file that only it has, and one that all have; returns the sums of two of the image's files and of its own."""
    m.shell(f"{name} has its root on the disk", "findmnt -no SOURCE,FSTYPE /", r"/dev/mbda +ext4$")
    image = answer(m, name, SUMS, r"([0-9a-f]{16})")[1]
    own = answer(m, name, f"head -c 1M /dev/urandom >/root/{name}; echo {name} >/root/all; md5sum </root/{name}",
                 r"([0-9a-f]{32})  -")[1]
    m.shell(f"{name} writes", f"{DROP}; ls /root | tr '\\n' ' '; echo end", rf"^(\[{name}\] )?all {name} end$")
    return image, own


def has_its_own(m, name, own):
    """Read from the disk again, after all have written."""
    m.focus(name)
    m.shell(f"{name} sees its own files and no other's", f"{DROP}; ls /root | tr '\\n' ' '; cat /root/all",
            rf"^(\[{name}\] )?all {name} {name}$")
    found = answer(m, name, f"md5sum </root/{name}", r"([0-9a-f]{32})  -")[1]
    m.trial.check(f"{name}'s own file is what it wrote", found == own, found)


class Cache:
    """Pages of files: what the VMs have of them, and what the machine has for it; and memory in all."""

    def __init__(self, m):
        m.focus("the monitor")
        self.text = m.command("mem")
        self.shares = sum(int(n) for n in re.findall(r"shares by origin (\d+),", self.text))
        self.pages = int(re.search(r"^  origin +(\d+) pages", self.text, re.M)[1])
        self.touched, self.given = (int(n) for n in re.search(
            r"touched (\d+) KiB, the machine gives (\d+) KiB", self.text).groups())
        self.disks = m.command("disk info")
        self.own = sum(int(n) for n in re.findall(r"of its own (\d+)$", self.disks, re.M))
        self.cached = max(int(n) for n in re.findall(r"(\d+) blocks of the image in the cache", self.disks))

    def show(self, title):
        print(f"{title}: buffer cache {self.shares / 256:.1f} MiB of all VMs, {self.pages / 256:.1f} MiB of the "
              f"machine (the disk's part {self.cached / 256:.1f}); memory in all "
              f"{self.touched / 1024:.1f} MiB of all VMs, {self.given / 1024:.1f} MiB of the machine; "
              f"written by all {self.own / 256:.1f} MiB", flush=True)


def start_all(m, names):
    """One after the other: all at once they would be too slow for systemd's own time-outs."""
    sums = []
    for name in names:
        since, start = m.mark(), time.monotonic()
        if name != names[0]:
            m.focus("the monitor")
            m.send(f"vm start {name}\r")
        log_in(m, name, since if name != names[0] else 0)
        sums.append(writes(m, name))
        Cache(m).show(f"debians: after {name}, {time.monotonic() - start:.0f} s")
    return sums


def clean_again(m, name, image):
    m.focus("the monitor")
    since = m.mark()
    m.send(f"vm reset {name}\r")
    log_in(m, name, since)
    m.shell(f"{name} is clean after its reset", "echo n=$(ls /root | wc -l) r=$(dmesg | grep -c 'EXT4-fs.*recover')",
            r"^(\[\w+\] )?n=0 r=0$")
    m.trial.check(f"{name} reads the image", answer(m, name, SUMS, r"([0-9a-f]{16})")[1] == image)


def only_the_first(m, names):
    """All start; the others wait until it is their turn."""
    m.wait("the last one starts", rf"^mirrorball: vm {names[-1]}: starts", BOOT_SECONDS)
    m.focus("the monitor")
    for name in names[1:]:
        m.send(f"vm stop {name}\r")
        m.until(rf"^mirrorball: vm {name}: off", 60, 0)


def debians(t, count):
    names = [f"debian{n}" for n in range(1, count + 1)]
    config = lab.config("apicv = off\nscan = 0\novercommit = 120\n", *map(section, names))
    with t.machine(t.image(config, debian_root.debian()), cpus=1, memory=MACHINE_MIB, model=debian_root.MODEL) as m:
        only_the_first(m, names)
        images, owns = zip(*start_all(m, names))
        t.check("all read the same", len(set(images)) == 1, images)
        cache = Cache(m)
        t.check("what they read is there once", cache.shares > 0.7 * count * cache.pages, cache.text)
        for name, own in zip(names, owns):
            has_its_own(m, name, own)
        for name in names:
            clean_again(m, name, images[0])
        Cache(m).show("debians: after all resets")
        m.send("exit\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 120)


@lab.scenario("two-debians", seconds=1200, long=True)
def two_debians(t):
    debians(t, 2)


@lab.scenario("eight-debians", seconds=5400, long=True)
def eight_debians(t):
    debians(t, 8)
