# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""More vCPUs than processors: shares by weight, waking up beside others that compute, pinning, pause and resume."""

import re

import lab

WEIGHTS = {"one": 128, "two": 256, "three": 384, "four": 512}
SLICE_US = 10000


def computing(name, vcpus, *lines):
    return lab.vm_section(name, "share.elf", extra="compute", memory=8, vcpus=vcpus) + "\n".join([*lines, ""])


def vcpus_of(m, name):
    """(pCPU, ms run, longest wait in us) of each vCPU."""
    return [tuple(map(int, found)) for found in re.findall(
        r"vcpu \d+ on cpu (\d+): ran (\d+) ms, longest wait after waking (\d+) us", m.command(f"stat {name}"))]


def ran(m, names):
    return {name: sum(vcpu[1] for vcpu in vcpus_of(m, name)) for name in names}


def follow_weights(t, m):
    before = ran(m, WEIGHTS)
    while sum((after := ran(m, WEIGHTS)).values()) - sum(before.values()) < 4000:
        if t.time_is_over():
            break
    times = {name: after[name] - before[name] for name in WEIGHTS}
    for name, weight in WEIGHTS.items():
        share = times[name] / sum(times.values()) * sum(WEIGHTS.values()) / weight
        print(f"shares: {name}, weight {weight}: {times[name]} ms, {share:.3f} of its due")
        t.check(f"{name} has its share within a tenth", 0.9 < share < 1.1, times)


@lab.scenario("shares", seconds=300)
def shares(t):
    config = lab.config(*(computing(name, 2, f"weight = {weight}") for name, weight in WEIGHTS.items()))
    with t.machine(t.image(config, lab.kernels("share")), cpus=4) as m:
        for name in WEIGHTS:
            m.wait(f"{name} computes", rf"^\[{name}\] share: computes", since=0)
        follow_weights(t, m)


@lab.scenario("wake-up", seconds=300)
def wake_up(t):
    config = lab.config(lab.vm_section("sleeper", "share.elf", extra="sleep", memory=8) + "cpus = 1\n",
                        *(computing(f"busy{i}", 1, "cpus = 1") for i in range(3)))
    with t.machine(t.image(config, lab.kernels("share")), cpus=2) as m:
        for i in range(3):
            m.wait(f"busy{i} computes", rf"^\[busy{i}\] share: computes", since=0)
        vcpus_of(m, "sleeper")      # forgets how it was while the VMs were built
        m.wait("the sleeper is woken again and again", r"^\[sleeper\] share: 200 ticks, 0 backwards")
        [(cpu, _, wait)] = vcpus_of(m, "sleeper")
        print(f"wake-up: longest wait {wait} us")
        t.check("it is run within one slice", wait <= SLICE_US, f"{wait} us")
        t.check("pinning is honoured", {c for name in ("sleeper", "busy0", "busy1", "busy2")
                                        for c, _, _ in vcpus_of(m, name)} == {1}, cpu)
        m.command("vm pause sleeper")
        t.check("it is paused", re.search(r"^sleeper +paused", m.command("vm list"), re.M))
        ticks = int(re.findall(r"share: (\d+) ticks", m.text())[-1])
        start = ran(m, ["busy0"])["busy0"]
        while ran(m, ["busy0"])["busy0"] < start + 700 and not t.time_is_over():
            pass
        t.check("paused, it says nothing", int(re.findall(r"share: (\d+) ticks", m.text())[-1]) <= ticks + 25)
        mark = m.mark()
        m.command("vm resume sleeper")
        m.wait("resumed, it goes on; time has not gone backwards",
               rf"^\[sleeper\] share: {ticks + 50} ticks, 0 backwards", since=mark)
