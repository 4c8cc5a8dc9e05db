# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Hints about memory: a guest that lies in every way, and Linux with the driver mb_hints."""

import re
import time

import lab

MIB_PAGES = 256
FILE_MIB = 96
HOG, HOG_MIB = "hog", 200       # fills memory
FILES, FILL_MIB = 8, 180        # and the other guest, with so many files at most, of so many MiB in all


def balloon(m):
    """What "mem" says of the Linux guest: pages given back over its life, MiB it is to keep, pages in its balloon."""
    found = re.search(r"^  vm alpha +gave back (\d+) pages; is to keep (\d+) MiB, its balloon has (\d+) pages$",
                      m.command("mem"), re.M)
    return tuple(map(int, found.groups())) if found else (0, 0, 0)


def touched(m):
    """MiB that the guest has touched and not given back."""
    return lab.memory_of(m).vms["alpha"][0] // MIB_PAGES


def until(t, m, name, condition, what):
    """A check that WHAT(m) comes to fulfil the CONDITION."""
    while not condition(value := what(m)) and not t.time_is_over():
        time.sleep(1)
    t.check(name, condition(value), value)
    return value


def in_guest(m, command):
    m.focus("alpha")
    m.send("\r")
    m.until("alpha# ", 60)
    since = m.mark()
    m.send(f"{command}; echo done=$?\r")
    m.until(r"done=0$", 120, since)
    text = m.text()[since:]
    m.focus("the monitor")
    return text


def memory_total(m):
    """MiB, as the guest sees it."""
    return int(re.search(r"MemTotal: +(\d+) kB", in_guest(m, "grep MemTotal /proc/meminfo"))[1]) // 1024


def reports_free_pages(t, m):
    until(t, m, "the driver reports free pages by itself", lambda pages: pages > 16 * MIB_PAGES,
          lambda m: balloon(m)[0])


def free_pages_are_reported(t, m):
    reports_free_pages(t, m)
    before = touched(m)
    in_guest(m, f"dd if=/dev/zero of=/tmp/file bs=1M count={FILE_MIB}")
    high = touched(m)
    t.check("a file in the guest's memory is touched memory", high >= before + FILE_MIB * 3 // 4, (before, high))
    in_guest(m, "rm /tmp/file")
    low = until(t, m, "when it is removed, the machine has its pages back", lambda n: n <= high - FILE_MIB * 3 // 4,
                touched)
    print(f"hints: touched {before} MiB, with a file of {FILE_MIB} MiB {high} MiB, without it {low} MiB")


def balloon_follows(t, m):
    total = memory_total(m)
    m.command("mem alpha 128")
    until(t, m, "the balloon takes what is above the target", lambda n: n == 128 * MIB_PAGES, lambda m: balloon(m)[2])
    until(t, m, "the guest touches no more than that", lambda n: n <= 129, touched)
    t.check("the guest knows what is left", abs(memory_total(m) - (total - 128)) <= 1, total)
    m.command("mem alpha 20")
    time.sleep(10)
    t.check("a target that it cannot reach does no harm: nothing is killed",
            "n=0" in in_guest(m, "echo n=$(dmesg | grep -ciE 'out of memory|oom-kill|Call Trace')"))
    held = balloon(m)[2]
    t.check("but it does what it can", 128 * MIB_PAGES < held <= 236 * MIB_PAGES, held)
    m.command("mem alpha 256")
    until(t, m, "without a target it has all again", lambda n: n == 0, lambda m: balloon(m)[2])
    t.check("and knows it", memory_total(m) == total, total)
    m.command("mem alpha 160")
    until(t, m, "the balloon is filled again", lambda n: n == 96 * MIB_PAGES, lambda m: balloon(m)[2])
    in_guest(m, "rmmod mb_hints")
    t.check("without the driver there is no balloon", balloon(m)[2] == 0, balloon(m))
    t.check("and the guest has its memory", memory_total(m) == total, total)
    t.check("the driver has left nothing behind",
            "n=0" in in_guest(m, "echo n=$(dmesg | grep -ciE 'Call Trace|BUG:|cut here')"))


def squeezed(m):
    """MiB that the guest is asked for because memory is short."""
    found = re.search(r"^  vm alpha +is asked for (\d+) MiB more while memory is short$", m.command("mem"), re.M)
    return int(found[1]) if found else 0


def free_mib(m):
    return lab.memory_of(m).free // MIB_PAGES


def fill_machine(t, m):
    """
    Files in the guest until memory is short. Each is as big as what is missing, but a part of it may come to lie where the
    guest has touched memory before and not given it back yet.
    """
    total = lab.memory_of(m).total // MIB_PAGES
    reports_free_pages(t, m)
    in_guest(m, f"mkdir /tmp/fill && mount -t tmpfs -o size={FILL_MIB}m none /tmp/fill")
    for number in range(FILES):
        missing = free_mib(m) - total // 20
        if missing <= 0:
            break
        in_guest(m, f"dd if=/dev/zero of=/tmp/fill/{number} bs=1M count={missing}")
    t.need("memory is short, but there is some", 0 < free_mib(m) < total // 16, (free_mib(m), total))


def memory_runs_short(t, m):
    """Another VM, and a file in the guest, leave the machine a little."""
    since = m.mark()
    m.command(f"vm start {HOG}")
    m.wait("another VM has filled its memory", rf"^\[{HOG}\] crash: round 0, 0 words lost$", 120, since)
    fill_machine(t, m)
    until(t, m, "then the guest is asked for some of its own", lambda n: n > 16, squeezed)
    until(t, m, "and its balloon takes it", lambda n: n > 16 * MIB_PAGES, lambda m: balloon(m)[2])
    t.check("nothing is killed there", "n=0" in in_guest(m, "echo n=$(dmesg | grep -ciE 'out of memory|oom-kill')"))
    since = m.mark()
    m.command(f"vm stop {HOG}")
    m.wait("the other VM stops", rf"^mirrorball: vm {HOG}: off", 60, since)
    in_guest(m, "umount /tmp/fill")
    until(t, m, "when there is enough again, nothing more is asked for", lambda n: n == 0, squeezed)
    until(t, m, "and it has all again", lambda n: n == 0, lambda m: balloon(m)[2])


def ready(t, m):
    """The liar has come to its end, Linux is at its shell, and nothing else runs."""
    m.wait("the hog is there", rf"^\[{HOG}\] crash: round 0", since=0)
    m.focus("the monitor")
    m.command(f"vm stop {HOG}")
    m.wait("the liar comes to its end", r"^\[liar\] guest: \d+ passed, \d+ failed", since=0)
    m.wait("the liar powers itself off", r"^mirrorball: vm liar: off", since=0)
    lab.count_guest(t, m, "liar")
    m.wait("Linux is ready", r"^\[alpha\] mirrorball-guest: alpha ready", since=0)
    m.focus("the monitor")


def machine(t):
    config = lab.config("overcommit = 200\n", lab.linux_section("alpha"),
                        lab.vm_section("liar", "hints.elf", memory=16, vcpus=2),
                        lab.vm_section(HOG, "crash.elf", extra="keep", memory=HOG_MIB))
    return t.machine(t.image(config, lab.linux() | lab.kernels("hints", "crash")), cpus=4, memory=512)


@lab.scenario("hints", seconds=420)
def hints(t):
    with machine(t) as m:
        ready(t, m)
        free_pages_are_reported(t, m)
        balloon_follows(t, m)


@lab.scenario("pressure", seconds=420, long=True)
def pressure(t):
    with machine(t) as m:
        ready(t, m)
        memory_runs_short(t, m)
