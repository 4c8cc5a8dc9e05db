# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Two VMs on one network: one sends to itself, the right and the wrong; the other sees only what is for all."""

import re

import lab


def section(name, mark, *vifs):
    return lab.vm_section(name, "net.elf", extra=mark, memory=32) + "".join(f"vif = {vif}\n" for vif in vifs)


@lab.scenario("nets", seconds=240)
def nets(t):
    config = lab.config(section("two", "watch", "lan0"),
                        section("one", "send", "lan0,mac=52:54:00:00:00:01", "lan0,mac=52:54:00:00:00:02"))
    with t.machine(t.image(config, lab.kernels("net")), cpus=2) as m:
        m.wait("one says what it found", r"^(\[one\] )?guest: \d+ passed, 0 failed$", since=0)
        m.wait("one's interface stopped when its ring lied",
               r"^mirrorball: vm one: interface one/0 has stopped: more packets were submitted", since=0)
        m.wait("two has seen nothing of others", r"^(\[two\] )?guest: \d+ passed, 0 failed$", since=0)
        for name, count, ticks, written in re.findall(r"bench: net_(copied|shared|again)_(\d+) (\d+), .* (\d+)$",
                                                      m.text(), re.M):
            print(f"nets: {count} pages {name}: {ticks} ticks, writing to them after that {written}")
        for name, ticks in re.findall(r"bench: net_(send_\w+) (\d+)$", m.text(), re.M):
            print(f"nets: {name}: {ticks} ticks")
        t.check("no check failed in them", not m.find(r"FAIL"), m.report())
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
