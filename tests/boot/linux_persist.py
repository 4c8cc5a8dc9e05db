# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Linux with ext4 on a disk with a log and on an exclusive one: power cuts, and the monitor's words for disks."""

import os
import random
import re
import subprocess
import tempfile
import time

import lab
import power_cuts
from lab import at_shell, says

MIB, LOG_MIB = 24, 40
SLOTS, LEAST, MORE, STEP = 48, 600, 40000, 7919         # as in tests/programs/synced.c
LATE = 8                # writes that may have been answered for before the serial line has said so
SNAPSHOTS = 40


def section(use_bio):
    return lab.linux_section("alpha", memory=128, extra=f"quiet mb_blk.use_bio={use_bio}") + \
        "disk = \\guests\\base.img,cow,persist=\\guests\\one.log\ndisk = \\guests\\own.img,exclusive\n"


def synced(text):
    return max((int(n) for n in re.findall(r"synced (\d+)$", text, re.M)), default=0)


def tool(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def content(n):
    """Of a file of write N: whole lines."""
    line, least = b"%d\n" % n, LEAST + n * STEP % MORE
    return line * -(-least // len(line))


def wrong_in(fs, last, where="/"):
    """
    What is wrong with a file system after its journal has been replayed, "" if nothing: its own checker, and that each
    file that was synced is there, whole, but for those that were being written.
    """
    tool("e2fsck", "-y", "-E", "journal_only", fs)
    done = tool("e2fsck", "-fn", fs)
    if done.returncode:
        return done.stdout.decode(errors="replace")
    with tempfile.TemporaryDirectory(dir=os.path.dirname(fs)) as out:
        tool("debugfs", "-R", f"rdump {where} {out}", fs)
        for n in range(max(1, last - SLOTS + 1 + LATE), last + 1):
            path = os.path.join(out, os.path.basename(where), f"f{n % SLOTS}")
            found = b""
            if os.path.exists(path):
                with open(path, "rb") as file:
                    found = file.read()
            if found != content(n):
                return f"file {n % SLOTS} of write {n}, {last} is the last: {len(found)} bytes, {set(found.split())}"
    return ""


def check_image(t, image, text, what):
    base_path, base = power_cuts.file_of(t, image, "guests/base.img")
    log_path, _ = power_cuts.file_of(t, image, "guests/one.log")
    own_path, _ = power_cuts.file_of(t, image, "guests/own.img")
    layered = os.path.join(t.work, "layered.out")
    done = tool(power_cuts.CHECK_LOG, base_path, log_path, layered)
    wrong = [done.stderr.decode()] if done.returncode else [wrong_in(layered, synced(text))]
    wrong += [wrong_in(own_path, synced(text))]
    with open(os.path.join(t.work, "base.ext4"), "rb") as file:
        untouched = file.read() == base
    good = not any(wrong) and untouched
    if not good:
        t.check(f"{what}: both file systems are clean, nothing is lost", False, f"{wrong}, base {untouched}")
    return good


def snapshots(t, m, image):
    chance, good = random.Random(9), 0
    for n in range(SNAPSHOTS):
        before = synced(m.text())
        time.sleep(chance.uniform(0.1, 2))
        m.until(rf"synced {before + chance.randrange(1, 9)}$", 120, 0)
        time.sleep(chance.uniform(0, 0.3))
        copy, text = power_cuts.frozen(t, m, image)
        good += check_image(t, copy, text, f"cut {n}")
    print(f"{t.name}: {SNAPSHOTS} snapshots, {good} good, {synced(m.text())} writes synced")
    t.check("no snapshot has lost anything", good == SNAPSHOTS, good)


def mount(m):
    says(m, "both are mounted", "mkdir -p /p /x; mount -t ext4 /dev/mbda /p && mount -t ext4 /dev/mbdb /x; echo m=$?",
         r"m=0$")


def typed(m, command, regex, what):
    m.focus("the monitor")
    answer = m.command(command)
    m.trial.check(what, re.search(regex, answer, re.M), answer)
    m.focus("alpha")


def restart(m, what):
    since = m.mark()
    m.send("reboot -f\r")
    m.wait(what, r"^(\[alpha\] )?mirrorball-guest: alpha ready", since=since)
    at_shell(m, "alpha")
    mount(m)


def monitor_words(t, m, image):
    """What was committed is in the image and stays; what was reset is gone."""
    typed(m, "disk info", r"(?s)base\.img, cow,persist.*own\.img, exclusive", "disk info tells the modes")
    typed(m, "disk info", r"requests [1-9]\d*, errors 0", "and requests")
    says(m, "a file is written", "echo kept >/p/kept; umount /p /x; echo u=$?", r"u=0$")
    typed(m, "disk commit alpha 0", r".", "disk commit is taken")
    restart(m, "alpha starts again, with a commit")
    typed(m, "disk info", r"base\.img, cow,persist", "disk info after the commit")
    base_path, _ = power_cuts.file_of(t, image, "guests/base.img")
    there = tool("debugfs", "-R", "cat /kept", base_path).stdout
    t.check("the image itself has what was committed", there == b"kept\n", there)
    t.check("and is clean", tool("e2fsck", "-fn", base_path).returncode == 0)
    says(m, "another file is written", "cat /p/kept; echo gone >/p/gone; umount /p /x; echo u=$?", r"(?s)kept$.*u=0$")
    typed(m, "disk reset alpha 0", r".", "disk reset is taken")
    restart(m, "alpha starts again, after a reset")
    says(m, "what was committed is there, what was reset is not", "ls /p | grep -cE '^(kept|gone)$'; cat /p/kept",
         r"(?s)^1$.*^kept$")


def has_queue(m, use_bio):
    says(m, f"its disks have {'no' if use_bio else 'a'} request queue", "ls -d /sys/block/mbd?/mq/0 2>/dev/null | wc -l",
         rf"^{0 if use_bio else 2}$")


def power_cut(t, use_bio):
    files = lab.linux_with(t, {"bin/synced": lab.program(t, "programs", "synced.c")}) | \
        {"guests/base.img": lab.ext4(t, "base", MIB, {"readme": b"base\n"}),
         "guests/own.img": lab.ext4(t, "own", MIB, {"readme": b"own\n"}), "guests/one.log": bytes(LOG_MIB << 20)}
    image = t.image(lab.config("apicv = off\n", section(use_bio)), files)
    arguments = ["--writable"]
    with t.machine(image, "life0", cpus=1, memory=512, arguments=arguments) as m:
        m.wait("alpha is ready", r"mirrorball-guest: alpha ready", since=0)
        at_shell(m, "alpha")
        has_queue(m, use_bio)
        mount(m)
        m.send("synced /p /x\r")
        m.until(r"synced 3$", 120)
        snapshots(t, m, image)
        power_cuts.cut(t, m, image)
        last = synced(m.text())
    t.check("after the kill both are clean, and nothing is lost", check_image(t, image, m.text(), "the kill"))
    with t.machine(image, "life1", cpus=1, memory=512, arguments=arguments) as m:
        m.wait("alpha is ready again", r"mirrorball-guest: alpha ready", since=0)
        at_shell(m, "alpha")
        mount(m)
        n = last - 1
        says(m, "Linux finds what was synced", f"for d in /p /x; do sort -u $d/f{n % SLOTS} | head -n 1; done | uniq | "
             "tr '\\n' ' '; echo", rf"^{n} $")
        says(m, "and has nothing to complain of", "echo n=$(dmesg | grep -c 'EXT4-fs error')", r"n=0$")
        monitor_words(t, m, image)
        m.send("poweroff -f\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


@lab.scenario("linux-persist", seconds=1200, long=True)
def linux_persist(t):
    power_cut(t, 0)


@lab.scenario("linux-persist-bio", seconds=1200, long=True)
def linux_persist_bio(t):
    power_cut(t, 1)
