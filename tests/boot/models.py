# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Other processor models, with one, two and four processors; and guests of several vCPUs."""

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


def linux_on(t, model, cpus, guests):
    """Linux guests (name, vCPUs) come up, see their processors, and power themselves off."""
    sections = [lab.linux_section(name, memory=256, vcpus=vcpus) for name, vcpus in guests]
    image = t.image(lab.config(*sections), lab.linux())
    with t.machine(image, cpus=cpus, memory=1024, model=model, platform="bochs") as m:
        m.wait("Mirrorball runs", rf"^mirrorball: {cpus} processors?: into our own world", 120)
        start = m.at
        for name, vcpus in guests:
            head = rf"\[{name}\] " if len(guests) > 1 else ""
            m.wait(f"{name} is ready", rf"^{head}mirrorball-guest: {name} ready, {vcpus} cpus, \d+ MiB", since=start)
        for name, vcpus in guests:
            m.focus(name)
            m.send("\r")
            m.until(f"{name}# ", 60)
            m.shell(f"{name} answers", "echo in-$(hostname)-$((6*7))", rf"in-{name}-42$")
            m.shell(f"{name}: every processor works",
                    "for c in /sys/bus/cpu/devices/*; do taskset -c ${c##*cpu} echo on-${c##*cpu}; done",
                    rf"on-{vcpus - 1}$")
            m.shell(f"{name} has noticed nothing", "echo n=$(dmesg | grep -ciE 'stall|lockup|unstable|lost')", r"n=0$")
        for name, _ in guests:
            m.focus(name)
            m.send("poweroff -f\r")
            m.wait(f"{name} powers itself off", rf"^mirrorball: vm {name}: off", 60)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


@lab.scenario("linux-smp", seconds=480)
def linux_smp(t):
    linux_on(t, "corei7_skylake_x", 2, (("duo", 2),))


@lab.scenario("linux-shared-processor", seconds=480)
def linux_shared(t):
    linux_on(t, "corei7_haswell_4770", 1, (("one", 1), ("two", 1)))
