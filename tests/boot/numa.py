# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A machine that is told to have two nodes: each VM's memory comes from where its vCPUs run."""

import re

import lab


@lab.scenario("numa-fake", seconds=480)
def numa_fake(t):
    config = lab.config(lab.linux_section("wide", vcpus=2), lab.vm_section("hunter", "crash.elf", extra="hunt"))
    config = config.replace("[global]\n", "[global]\nnuma = fake:2\n")
    with t.machine(t.image(config, lab.linux() | lab.kernels("crash")), cpus=2, memory=768) as m:
        m.wait("the memory is on two nodes", r"mirrorball: machine memory: \d+ MiB in \d+ ranges on 2 nodes")
        m.wait("a test guest finds its memory empty", r"^\[hunter\] PASS memory is empty at first$")
        m.wait("Linux with a vCPU on each node is ready", r"^\[wide\] mirrorball-guest: wide ready, 2 cpus")
        m.focus("the monitor")
        answer = m.command("numa")
        rows = re.findall(r"^ +(\d) +(\d+) +(\d+)  (\d+) (\d+)\n +cpus (\d+)$", answer, re.M)
        t.check("numa shows both, with distances and processors",
                [(r[0], r[3], r[4], r[5]) for r in rows] == [("0", "10", "20", "0"), ("1", "20", "10", "1")], answer)
        t.check("memory of both is used", all(int(r[2]) >= 16 for r in rows), answer)
        m.focus("wide")
        m.send("\r")
        m.until("wide# ", 60)
        m.shell("it works on both", "echo on $(for c in 1 2; do taskset $c echo $((40+c)); done)", r"on 41 42$")
        m.shell("its kernel reports no fault", "echo f=$(dmesg | grep -cE 'Call Trace|BUG:|cut here')", r"f=0$")
        m.focus("the monitor")
        m.send("exit\r")
        m.wait("exit returns to the firmware", r"^mirrorball: exit success$", 60)
