# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The power is cut while a guest writes and flushes: nothing that a flush was answered for is lost."""

import os
import random
import re
import shutil
import signal
import struct
import subprocess
import time

import lab

STEP = 0x9e3779b97f4a7c15
BLOCKS = 256
LOG_BLOCKS = 2 + 256 + 2 + BLOCKS + 60
CHECK_LOG = os.path.join(lab.BUILD, "host", "check_log")
DISKS = 2               # the first with a log, the second exclusive


def base():
    """An image whose sectors begin with 0, and all other words count."""
    return b"".join(struct.pack("<512Q", *(word(0, b, i) for i in range(512))) for b in range(BLOCKS))


def section():
    return lab.vm_section("one", "powercut.elf", memory=16) + \
        "disk = \\guests\\base.img,cow,persist=\\guests\\one.log\ndisk = \\guests\\own.img,exclusive\n"


def word(n, block, i):
    if i % 64 == 0:
        return n
    return ((n * BLOCKS + block) * STEP + i if n else (block * 512 + i) * STEP) % 2**64


def block_version(words, block, torn):
    """The oldest write that a sector of it is from; None: a sector is of none, or they are of several and not TORN."""
    versions = {words[i] for i in range(0, 512, 64)}
    good = all(n == 0 or n * 7 % BLOCKS == block for n in versions) and (torn or len(versions) == 1) and \
        all(words[i] == word(words[i - i % 64], block, i) for i in range(512))
    return min(versions) if good else None


def safe_write(content, torn):
    """
    The last write such that none up to it is missing, as tests/guests/powercut.c says; None: a block is wrong. A disk
    that is written in place may have a block TORN between two sectors by the write that was under way.
    """
    least = None
    for b in range(BLOCKS):
        n = block_version(struct.unpack_from("<512Q", content, b * 4096), b, torn)
        if n is None:
            return None
        missing = n + BLOCKS if n else next(k for k in range(1, BLOCKS + 1) if k * 7 % BLOCKS == b)
        least = missing if least is None else min(least, missing)
    return least - 1


def flushed(text, disk, since=0):
    """The last write that a flush was answered for."""
    return max((int(n) for n in re.findall(rf"powercut: disk {disk}: flushed (\d+)\n", text[since:])), default=0)


def children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    own = [int(p) for p in out.split()]
    return own + [c for p in own for c in children(p)]


def file_of(t, image, name):
    """A file of the image's volume, as it is now."""
    path = os.path.join(t.work, os.path.basename(name) + ".out")
    lab.run(["mcopy", "-o", "-n", "-i", f"{image}@@1M", f"::/{name}", path])
    with open(path, "rb") as file:
        return path, file.read()


def frozen(t, m, image):
    """The machine stands still for a moment: what a power cut would leave of its disk now, and what it has said."""
    copy = os.path.join(t.work, "cut.img")
    pids = children(m.process.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    text = m.text()
    shutil.copyfile(image, copy)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    return copy, text


def snapshot(t, m, image, number):
    copy, text = frozen(t, m, image)
    return check_image(t, copy, text, f"cut {number}")


def check_image(t, image, text, what):
    """What both disks hold, by the hypervisor's own code on the host, and that the base is what it was."""
    base_path, content = file_of(t, image, "guests/base.img")
    log_path, _ = file_of(t, image, "guests/one.log")
    _, own = file_of(t, image, "guests/own.img")
    out = os.path.join(t.work, "layered.out")
    done = subprocess.run([CHECK_LOG, base_path, log_path, out], capture_output=True, text=True, check=False)
    layered = safe_write(open(out, "rb").read(), False) if done.returncode == 0 else None
    exclusive = safe_write(own, True)
    good = content == base() and layered is not None and layered >= flushed(text, 0) and \
        exclusive is not None and exclusive >= flushed(text, 1)
    if not good:
        t.check(f"{what}: nothing is lost", False, f"{done.stderr}log: {layered} of {flushed(text, 0)}, exclusive: "
                f"{exclusive} of {flushed(text, 1)}, base {content == base()}")
    return good


def cut(t, m, image):
    for pid in children(m.process.pid) + [m.process.pid]:
        os.kill(pid, signal.SIGKILL)
    m.process.wait()
    if os.path.exists(image + ".lock"):
        os.remove(image + ".lock")


def run_cuts(t, kills, snapshots):
    """KILLS times the emulator is killed and boots again; in each life so many snapshots are looked at."""
    chance = random.Random(kills)
    files = lab.kernels("powercut") | {"guests/base.img": base(), "guests/own.img": base(),
                                       "guests/one.log": bytes(LOG_BLOCKS * 4096)}
    image = t.image(lab.config(section()), files)
    done, last, good, total = 0, [0] * DISKS, 0, 0
    for life in range(kills + 1):
        with t.machine(image, f"life{life}", cpus=1, memory=256, arguments=["--writable"]) as m:
            for disk in range(DISKS):
                m.wait(f"life {life}: disk {disk} has what was flushed",
                       rf"powercut: disk {disk}: safe \d+, last \d+, 0 blocks are wrong$", 300, since=0)
                safe = int(re.search(rf"powercut: disk {disk}: safe (\d+)", m.text())[1])
                t.check(f"life {life}: nothing that was flushed is lost", safe >= last[disk],
                        f"disk {disk}: {safe} of {last[disk]}")
            m.wait(f"life {life}: it goes on", r"powercut: disk 1: flushed \d+$", 120, since=0)
            for _ in range(snapshots):
                time.sleep(chance.uniform(0.02, 0.4))
                good += snapshot(t, m, image, total)
                total += 1
            time.sleep(chance.uniform(0.1, 2))
            cut(t, m, image)
            done += 1
            text = m.text()
            last = [max(last[disk], flushed(text, disk)) for disk in range(DISKS)]
            t.check(f"life {life}: no complaint", "FAIL" not in text, m.report())
    print(f"{t.name}: {done} kills and {total} snapshots, {last[0]} and {last[1]} writes flushed")
    t.check("no snapshot has lost anything", good == total, f"{good} of {total}")


@lab.scenario("power-cuts", seconds=300)
def power_cuts(t):
    run_cuts(t, kills=1, snapshots=12)


@lab.scenario("power-cuts-many", seconds=3600, long=True)
def power_cuts_many(t):
    run_cuts(t, kills=11, snapshots=20)
