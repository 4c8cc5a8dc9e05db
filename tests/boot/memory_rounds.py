# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A VM that comes and goes two hundred times: nothing is lost, and it never finds what it left."""

import re

import lab

ROUNDS = 200
KEEPER, HUNTER = "keeper", "hunter"


@lab.scenario("memory-rounds", seconds=360)
def memory_rounds(t):
    config = lab.config(lab.vm_section(KEEPER, "crash.elf", extra="cli-hlt", memory=8),
                        lab.vm_section(HUNTER, "crash.elf", extra="hunt", memory=6))
    with t.machine(t.image(config, lab.kernels("crash")), cpus=2, memory=256) as m:
        over = rf"^mirrorball: vm {HUNTER}: off"
        m.wait("the hunter runs once", over)
        m.send("\r")
        m.until(lab.PROMPT, 60)
        before = lab.memory_of(m)
        for _ in range(ROUNDS):
            start = m.mark()
            m.send(f"vm start {HUNTER}\r")
            m.until(over, 60, start)
        after = lab.memory_of(m)
        t.check(f"{ROUNDS} rounds leave as many free pages", after.without(KEEPER) == before.without(KEEPER) > 0,
                f"{before.without(KEEPER)} before, {after.without(KEEPER)} after")
        found = len(re.findall(rf"^\[{HUNTER}\] PASS memory is empty at first$", m.text(), re.M))
        t.check("it never finds anything in its memory", found == ROUNDS + 1, f"{found} of {ROUNDS + 1} times")
        m.send("exit\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
