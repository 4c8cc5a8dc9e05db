# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Other processor models, with one, two and four processors."""

import lab

MODELS = ("corei7_skylake_x", "corei7_icelake_u", "tigerlake", "broadwell_ult", "corei7_haswell_4770")


def quick(t, model, cpus):
    """A guest on every processor, and one of two vCPUs where there are two; one processor is shared."""
    name = f"{model}-{cpus}"
    vcpus = min(cpus, 2)
    vms = [lab.vm_section("a", "sensitive.elf", vcpus=vcpus), lab.vm_section("b", "crash.elf", extra="vmcalls")]
    image = t.image(lab.config(*vms), lab.kernels("sensitive", "crash"), name=name)
    with t.machine(image, name, cpus=cpus, memory=256, model=model, platform="bochs") as m:
        m.wait(f"{name}: Mirrorball runs", rf"^mirrorball: {cpus} processors?: into our own world", 120)
        start = m.at
        m.wait(f"{name}: a guest runs to its end", r"^\[a\] guest: \d+ passed, 0 failed$", 60, start)
        m.wait(f"{name}: so does another", r"^\[b\] crash: survived vmcalls$", 60, start)
        m.wait(f"{name}: the firmware has the machine again", r"^mirrorball: exit success$", 60, start)


def register(model):
    @lab.scenario(f"model-{model}", seconds=240)
    def boot(t):
        for cpus in (1, 2, 4):
            try:
                quick(t, model, cpus)
            except lab.Stop:
                pass            # the others may still work


for each in MODELS:
    register(each)
