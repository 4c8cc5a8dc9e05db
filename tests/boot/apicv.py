# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The guest's interrupt controllers, by the processor (APICv) and in software."""

import lab


def interrupts(t, setting, said):
    config = lab.config(f"apicv = {setting}\n", lab.vm_section("one", "interrupts.elf", vcpus=2))
    with t.machine(t.image(config, lab.kernels("interrupts")), cpus=2) as m:
        m.wait(f"APICv is {said}", rf"^mirrorball: APICv: {said}$")
        m.wait("the guest runs to its end", r"^guest: \d+ passed, \d+ failed")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$")
        lab.count_guest(t, m, "one", prefix=False)


@lab.scenario("apicv-on", seconds=240)
def apicv_on(t):
    interrupts(t, "auto", "used")


@lab.scenario("apicv-off", seconds=240)
def apicv_off(t):
    interrupts(t, "off", "not used, as configured")
