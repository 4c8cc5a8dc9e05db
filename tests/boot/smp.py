# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Linux with four vCPUs on four processors: all at work, and quiet when there is none."""

import re

import lab

IDLE = 10                               # seconds of the guest's time


def exits(m):
    m.focus("the monitor")
    text = m.command("stat four")
    return int(re.search(r"^vm four: (\d+) exits", text, re.M)[1]), text


@lab.scenario("linux-four", seconds=600, draft=True)
def linux_four(t):
    image = t.image(lab.config(lab.linux_section("four", memory=256, vcpus=4)), lab.linux())
    with t.machine(image, cpus=4, memory=1024) as m:
        m.wait("four is ready, with all its processors", r"^mirrorball-guest: four ready, 4 cpus, \d+ MiB")
        m.focus("four")
        m.send("\r")
        m.until("four# ", 60)
        m.shell("every processor works", "for c in 0 1 2 3; do taskset -c $c echo on-$c; done", r"on-3$")
        m.shell("they interrupt each other for translations", "grep -E '^ *(TLB|RES|CAL):' /proc/interrupts; echo done-$?",
                r"TLB:(?s:.)*done-0$")
        m.shell("the clock is kvm-clock", "cat /sys/devices/system/clocksource/clocksource0/current_clocksource",
                r"^kvm-clock")
        before, first = exits(m)
        m.focus("four")
        m.shell("it sleeps", f"sleep {IDLE}; echo awake-$((40+2))", r"awake-42$", 300)
        after, text = exits(m)
        t.check("idle, it exits rarely", after - before < 4 * 5 * IDLE, f"{after - before} exits in {IDLE} s\n{first}{text}")
        m.focus("four")
        m.shell("it has noticed nothing", "echo n=$(dmesg | grep -ciE 'stall|lockup|unstable|lost')", r"n=0$")
        m.send("poweroff -f\r")
        m.wait("it powers itself off", r"^mirrorball: vm four: off", 60)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
