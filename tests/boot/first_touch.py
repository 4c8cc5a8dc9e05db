# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""What memory costs: first writes, from pages zeroed ahead, and writes to shared pages. On Bochs the figures repeat."""

import os
import re

import lab

# Most ticks: a first write to a 4 KiB page, to a 2 MiB page (20 for each 4 KiB), a write that breaks a share.
LIMITS = {"touch_small": 250, "touch_large": 20 * 512, "cow_break": 1500}


@lab.scenario("first-touch", seconds=120)
def first_touch(t):
    section = lab.vm_section("one", "memory.elf", memory=64) + "ramdisk = \\guests\\file\n" * 2
    image = t.image(lab.config(section), lab.kernels("memory") | {"guests/file": os.urandom(1 << 16)})
    with t.machine(image, cpus=1, memory=384) as m:
        m.wait("the guest has measured", r"^bench: done$", 90)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
        figures = {name: int(ticks) for name, ticks in re.findall(r"^bench: (\w+) (\d+)$", m.text(), re.M)}
        for name, limit in LIMITS.items():
            t.check(f"{name}: at most {limit} ticks", figures.get(name, limit + 1) <= limit, f"{figures}")
        print("first touch: " + ", ".join(f"{name} {ticks}" for name, ticks in figures.items()))
