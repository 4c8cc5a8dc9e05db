# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Non-maskable interrupts of the machine: on the boot processor, on one that runs a guest, on one that idles."""

import re

import lab


@lab.scenario("nmi", seconds=180)
def nmi(t):
    image = t.image(lab.config(lab.vm_section("one", "crash.elf", extra="loop")), lab.kernels("crash"))
    with t.machine(image, cpus=3) as m:
        m.wait("the guest starts", r"^mirrorball: vm one: starts .* on cpu (\d)", 120)
        busy = int(m.find(r"^mirrorball: vm one: starts .* on cpu (\d)")[1])
        m.send("\r")
        m.until(lab.PROMPT, 60)
        for cpu in range(3):
            since = m.mark()
            m.command(f"nmi {cpu}")
            m.wait(f"cpu {cpu}{' with the guest' if cpu == busy else ''} survives it, and it is logged",
                   rf"^mirrorball: 1 NMI of the machine: unknown source; last on cpu {cpu}$", 30, since)
        text = m.command("stat one")
        t.check("the guest left for one of them", re.search(r"^ +EXCEPTION_NMI +1 ", text, re.M), text)
        t.check("the guest goes on", lab.vm_list(m) == {"one": "running"})
        t.check("there is no such processor", "usage: nmi CPU, 0 to 2" in m.command("nmi 3"))
        m.send("exit\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
