# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""What memory and turns cost, in ticks, of guests that are alone on one processor. On Bochs the figures repeat."""

import os
import re

import lab

# Most ticks: a first write to a 4 KiB page, to a 2 MiB page (20 for each 4 KiB), a write that breaks a share, zeros for
# all of a shared page (1859 if it is copied and then written), a first write to a 4 KiB page that must be zeroed then.
MEMORY_LIMITS = {"touch_small": 250, "touch_large": 20 * 512, "cow_break": 1500, "zero_shared": 1500,
                 "touch_dirty": 700}
ZEROING = 4096 // 32            # and at least so many ticks more than from the zeroed stock
# From one vCPU to another of its VM: when the first halts, and when it spins with PAUSE (a turn is 500,000 ticks).
TURN_LIMITS = {"switch": ("vCPU switch", 950), "spin": ("spin", 20000)}


@lab.scenario("first-touch", seconds=150)
def first_touch(t):
    figures = {}
    for name, extra, memory in (("zeroed", "", 64), ("dirty", "dirty", 65)):
        section = lab.vm_section("one", "memory.elf", memory=memory, extra=extra) + "ramdisk = \\guests\\file\n" * 2
        image = t.image(lab.config(section), lab.kernels("memory") | {"guests/file": os.urandom(1 << 16)}, name=name)
        with t.machine(image, name, cpus=1, memory=384) as m:
            m.wait(f"{name}: the guest has measured", r"^bench: done$", 90)
            m.wait(f"{name}: Mirrorball leaves", r"^mirrorball: exit success$", 60)
            figures |= {what: int(ticks) for what, ticks in re.findall(r"^bench: (\w+) (\d+)$", m.text(), re.M)}
    for what, limit in MEMORY_LIMITS.items():
        t.check(f"{what}: at most {limit} ticks", figures.get(what, limit + 1) <= limit, f"{figures}")
    zeroing = figures.get("touch_dirty", 0) - figures.get("touch_small", 0)
    t.check("the last is of a page that was zeroed then", zeroing >= ZEROING, f"{figures}")
    print("first touch: " + ", ".join(f"{what} {ticks}" for what, ticks in figures.items()))


@lab.scenario("turns", seconds=180)
def turns(t):
    for guest, (name, limit) in TURN_LIMITS.items():
        image = t.image(lab.config(lab.vm_section("one", f"{guest}.elf", vcpus=2)), lab.kernels(guest), name=guest)
        with t.machine(image, name=guest, cpus=1) as m:
            m.wait(f"{guest}: the guest has measured", rf"^ticks: {name} (\d+)$", 80)
            m.wait(f"{guest}: Mirrorball leaves", r"^mirrorball: exit success$", 60)
            ticks = int(m.find(rf"^ticks: {name} (\d+)$")[1])
            t.check(f"{name}: at most {limit} ticks", ticks <= limit, f"{ticks}")
            print(f"turns: {name} {ticks}")
