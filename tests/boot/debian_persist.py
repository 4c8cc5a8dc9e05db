# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A whole Debian with its root on a disk with a log: it writes and waits, its power is cut, and it comes up again."""

import os
import random
import shutil
import time

import debian_root
import lab
import linux_persist
import power_cuts

LOG_MIB, LOOKS, LIVES = 96, 3, 2


def with_program(t):
    """The image, and in it the program that writes and waits."""
    files, path = debian_root.debian(), os.path.join(t.work, "root.img")
    shutil.copyfile(files["guests/root.img"], path)
    lab.run(["debugfs", "-w", "-R", f"write {lab.program(t, 'programs', 'synced.c')} /usr/local/bin/synced", path])
    lab.run(["debugfs", "-w", "-R", "sif /usr/local/bin/synced mode 0100755", path])
    return files | {"guests/root.img": path, "guests/root.log": bytes(LOG_MIB << 20)}


def check_cut(t, image, base, text, what):
    """By the hypervisor's own code on the host and e2fsck: nothing that was synced is lost, the base is what it was."""
    root, now = power_cuts.file_of(t, image, "guests/root.img")
    log, _ = power_cuts.file_of(t, image, "guests/root.log")
    layered, last = os.path.join(t.work, "layered.out"), linux_persist.synced(text)
    done = linux_persist.tool(power_cuts.CHECK_LOG, root, log, layered)
    wrong = done.stderr.decode() if done.returncode else linux_persist.wrong_in(layered, last, "/srv")
    print(f"debian-persist: {what}: {last} writes synced", flush=True)
    t.check(f"{what}: the file system is clean, nothing is lost", not wrong, wrong)
    t.check(f"{what}: the base image is untouched", now == base)


def life(t, image, base, n, last):
    """It comes up with all that was synced, writes, is looked at, and its power is cut; the last write synced."""
    chance = random.Random(n)
    with t.machine(image, f"life{n}", cpus=1, memory=1024, model=debian_root.MODEL, arguments=["--writable"]) as m:
        debian_root.log_in(m, f"life {n}: Debian comes up", 0)
        m.shell("its root is on the disk", "findmnt -no SOURCE,FSTYPE,OPTIONS /", r"^/dev/mbda +ext4 +rw")
        m.shell("nothing has failed", "systemctl --failed --no-legend | cat; systemctl is-system-running --wait",
                r"^running$", 120)
        if last:
            slot = last % linux_persist.SLOTS
            m.shell("what was synced is there", f"sort -u /srv/f{slot} | head -n 1", rf"^{last}$")
            m.shell("Linux has replayed its journal, and has nothing to complain of", "echo r=$(dmesg | grep -c "
                    "'recovery complete') e=$(dmesg | grep -c 'EXT4-fs error')", r"^r=1 e=0$")
        since = m.mark()
        m.send("rm -rf /srv/*; synced /srv\r")
        for look in range(LOOKS):
            m.until(rf"synced {1 + 5 * look}$", 240, since)
            time.sleep(chance.uniform(0, 2))
            copy, text = power_cuts.frozen(t, m, image)
            check_cut(t, copy, base, text[since:], f"life {n}, look {look}")
        power_cuts.cut(t, m, image)
        check_cut(t, image, base, m.text()[since:], f"life {n}, its end")
        return linux_persist.synced(m.text()[since:])


@lab.scenario("debian-persist", seconds=1500, long=True)
def debian_persist(t):
    section = lab.vm_section("debian", "vmlinuz", "initrd", debian_root.LINE, 384) + \
        "disk = \\guests\\root.img,cow,persist=\\guests\\root.log\n"
    files = with_program(t)
    image = t.image(lab.config("apicv = off\nscan = 0\n", section), files)
    with open(files["guests/root.img"], "rb") as file:
        base = file.read()
    last = 0
    for n in range(LIVES):
        last = life(t, image, base, n, last)
