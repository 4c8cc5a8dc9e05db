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


@lab.scenario("numa-tables", seconds=180)
def numa_tables(t):
    """The machine's ACPI tables say what its processors and nodes are: of three processors the third is not enabled. A
    VM has its memory from the node of its processor."""
    script = "\r\n".join(("@echo -off", "fs0:", "\\nodes.efi", "\\nomp.efi",
                          "\\EFI\\mirrorball\\mirrorball.efi -cfg=\\t.conf", ""))
    config = lab.config(lab.vm_section("odd", "crash.elf", extra="keep", memory=64) + "cpus = 1\n",
                        lab.vm_section("hunter", "crash.elf", extra="hunt") + "cpus = 0\n")
    files = lab.kernels("crash") | lab.helper("nodes") | lab.helper("nomp")
    files |= {"startup.nsh": script.encode(), "t.conf": config.encode()}
    with t.machine(t.image(None, files, "shell"), cpus=3, memory=512) as m:
        m.start_script()
        m.wait("the tables are there", r"^nodes: tables installed")
        m.wait("the memory is on two nodes", r"mirrorball: machine memory: \d+ MiB in \d+ ranges on 2 nodes")
        m.wait("those processors are used that the MADT says are enabled",
               r"^mirrorball: processors: 2 of 2, started by INIT and SIPI", since=0)
        m.wait("a test guest finds its memory empty", r"^\[hunter\] PASS memory is empty at first$")
        m.wait("the other has touched its own", r"^\[odd\] crash: round 0, 0 words lost$", since=0)
        m.focus("the monitor")
        answer = m.command("numa")
        rows = {r[4]: r for r in re.findall(r"^ +(\d) +(\d+) +(\d+)  (\d+ \d+)\n +cpus (\d+)$", answer, re.M)}
        t.need("each processor is on its node, as far from the other as the SLIT says", set(rows) == {"0", "1"} and
               all(r[3] == ("10 17" if r[0] == "0" else "17 10") for r in rows.values()), answer)
        t.check("each has its memory", all(150 < int(r[1]) + int(r[2]) <= 256 for r in rows.values()), answer)
        t.check("a VM's memory is where its processor is", int(rows["1"][2]) >= 64 > int(rows["0"][2]), answer)
        m.send("exit\r")
        m.wait("exit returns to the firmware", r"^mirrorball: exit success$", 60)


SAMPLES = 12                    # in which a phase's memory has settled
LOCAL = 85                      # % that must then be local
QUEUE_PAGES, PAGE_MOVES = 64, 4


@lab.scenario("numa-policy", seconds=480)
def numa_policy(t):
    """Pages follow their use: alone, read by all, in other hands; what all write stays, to and fro has an end."""
    config = lab.config(lab.vm_section("numa", "numa.elf", memory=32, vcpus=2))
    config = config.replace("[global]\n", f"[global]\nnuma = fake:2\nnuma-interval = 20\nnuma-reset = 3600\n"
                                           f"numa-page-moves = {PAGE_MOVES}\n")
    with t.machine(t.image(config, lab.kernels("numa")), cpus=2, memory=384) as m:
        m.wait("the policy is on", r"^mirrorball: NUMA policy: pages follow their use$")
        m.wait("the guest is there", r"numa: 2 processors")
        m.focus("the monitor")
        before = lab.Placement(m, "numa")
        for key, what in (("o", "what one node uses alone"), ("t", "a table that all read"),
                          ("c", "what has changed hands")):
            lab.phase(m, "numa", key)
            after = lab.settled(m, "numa", SAMPLES)
            t.check(f"{what} is local", after.local >= LOCAL and after.uses >= 512, after.text)
            t.check(f"{what}: by moves" if key != "t" else f"{what}: by copies",
                    after.replications - before.replications >= 512 if key == "t" else
                    after.migrations - before.migrations >= 512, before.text + after.text)
            before = after
        lab.phase(m, "numa", "q")
        after = lab.settled(m, "numa", SAMPLES)
        t.check("what all write stays", after.migrations - before.migrations <= QUEUE_PAGES, before.text + after.text)
        before = after
        lab.phase(m, "numa", "p")
        after = lab.settled(m, "numa", 4 * SAMPLES)
        t.check("what goes to and fro is moved so often and no more",
                after.migrations - before.migrations <= 2 * QUEUE_PAGES * PAGE_MOVES, before.text + after.text)
        m.send("exit\r")
        m.wait("exit returns to the firmware", r"^mirrorball: exit success$", 60)
