# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The test kernels of tests/guests as guests, each on a processor of its own."""

import lab

# Name, vCPUs. "sensitive": the seventeen instructions. "privileged": the properties that Popek and
# Goldberg ask for, with writes to the port that switches Bochs off. "interrupts": the guest's
# controllers. "tasks": hardware task switches. "debug": debug exceptions.
KERNELS = (("sensitive", 1), ("privileged", 1), ("interrupts", 2), ("tasks", 1), ("debug", 1))


@lab.scenario("test-kernels", seconds=360)
def test_kernels(t):
    names = [name for name, _ in KERNELS]
    config = lab.config(*(lab.vm_section(name, f"{name}.elf", vcpus=vcpus) for name, vcpus in KERNELS))
    image = t.image(config, lab.kernels(*names))
    with t.machine(image, cpus=4) as m:
        m.wait("four processors are entered", r"^mirrorball: 4 processors: into our own world")
        start = m.at
        for name in names:
            m.wait(f"{name} runs to its end", rf"^\[{name}\] guest: \d+ passed, \d+ failed", since=start)
            m.wait(f"{name} powers itself off", rf"^mirrorball: vm {name}: off", since=start)
        m.wait("after the last guest Mirrorball leaves", r"^mirrorball: exit success$", since=start)
        for name in names:
            lab.count_guest(t, m, name)
