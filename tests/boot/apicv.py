# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The guest's interrupt controllers, by the processor (APICv) and in software; what they cost."""

import lab


def guest(t, kernel, setting, said, extra=None):
    config = lab.config(f"apicv = {setting}\n", lab.vm_section("one", f"{kernel}.elf", extra=extra, vcpus=2))
    image = t.image(config, lab.kernels(kernel), name=kernel)
    with t.machine(image, kernel, cpus=2) as m:
        m.wait(f"APICv is {said}", rf"^mirrorball: APICv: {said}$")
        m.wait(f"{kernel} runs to its end", r"^guest: \d+ passed, \d+ failed")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$")
        lab.count_guest(t, m, "one", prefix=False)


@lab.scenario("apicv-on", seconds=360)
def apicv_on(t):
    guest(t, "interrupts", "auto", "used")
    guest(t, "timing", "auto", "used", "apicv")


@lab.scenario("apicv-off", seconds=360)
def apicv_off(t):
    guest(t, "interrupts", "off", "not used, as configured")
    guest(t, "timing", "off", "not used, as configured")
