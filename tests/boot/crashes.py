# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Guests that misbehave in every way we know, beside a Linux guest that must not notice."""

import re

import lab

# These cannot go on: what the hypervisor says of each.
STOPPED = {
    "triple": r"triple fault",
    "nowhere": r"it executes where there is no memory",
    "giveaway": r"triple fault",
}
# These go on where the processor would let them, or are stopped like those above; no third way.
ENDS = ("ports", "msrs", "badstate", "realmode", "vmcalls", "hunt")
# These never end.
ENDLESS = ("spin", "loop", "cli-hlt")
WITNESS = "witness"


def stopped(name, why=r".+"):
    return rf"^mirrorball: vm {name} has failed and is stopped: {why}$"


def off(name):
    return rf"^mirrorball: vm {name}: off$"


def stop(t, m, name):
    start = m.mark()
    while not m.find(off(name), start) and not t.time_is_over():
        m.command(f"vm stop {name}")
        m.watch(off(name), 10, start)       # "reset" may be between two lives: then once more
    t.check(f"vm stop ends {name}", m.find(off(name), start), m.report())


def ends(t, m, start):
    m.wait("reset is reset again and again", r"^mirrorball: vm reset: reset$(?s:.*)^mirrorball: vm reset: reset$",
           since=start)
    m.send("\r")
    m.until(lab.PROMPT, 60)
    stop(t, m, "reset")
    t.check("reset: ran anew each time", len(re.findall(r"^\[reset\] crash: reset$", m.text(), re.M)) >= 2)
    for name, why in STOPPED.items():
        m.wait(f"{name} is stopped", stopped(name), since=start)
        t.check(f"{name}: the reason is told", m.find(stopped(name, why), start), m.find(stopped(name), start)[0])
        m.wait(f"{name} is off", off(name), since=start)
    for name in ENDS:
        m.wait(f"{name} is off", off(name), since=start)
        t.check(f"{name} survives, or is stopped with a reason",
                m.find(rf"^\[{name}\] crash: survived {name}$", start) or m.find(stopped(name), start),
                m.report())
    t.check("a hunter finds no other guest's data", m.find(r"^\[hunt\] PASS memory is empty at first$", start),
            (m.find(r"^\[hunt\] .*words.*$", start) or ["nothing"])[0])


def stop_endless(t, m):
    states = lab.vm_list(m)
    wanted = dict.fromkeys((*STOPPED, *ENDS, "reset"), "off") | dict.fromkeys((*ENDLESS, WITNESS), "running")
    t.check("vm list knows who lives", states == wanted, states)
    t.check("a guest that halts for ever is told of",
            m.find(r"^mirrorball: vm cli-hlt: has halted with interrupts off; .+$"), m.report())
    for name in ENDLESS:
        stop(t, m, name)


def dump_is_readable(t, text):
    for what, regex in {
        "names the vCPU and the reason": r"^mirrorball: vcpu 0 on cpu \d+: triple fault$",
        "shows where it was": r"^mirrorball:   rip [0-9a-f]{16}  rsp [0-9a-f]{16}  rflags [0-9a-f]{8}",
        "shows the registers": r"^mirrorball:   rax [0-9a-f]{16}  rbx ",
        "shows the control registers": r"^mirrorball:   cr0 [0-9a-f]{8}  cr3 ",
        "shows the segments": r"^mirrorball:   cs +[0-9a-f]{4}  base ",
        "shows the last exits by name": r"^mirrorball:   last \d+ exits of \d+:\nmirrorball: +tsc \d+ .*[A-Z]{2,}",
    }.items():
        t.check(f"the dump of a triple fault {what}", re.search(regex, text, re.M), text)


def memory_returns(t, m):
    before = lab.memory_of(m)
    t.check("what is off holds no memory", not any(sum(pages) for name, pages in before.vms.items() if name != WITNESS),
            before.vms)
    for name in ("triple", "nowhere", "badstate", "hunt"):
        start = m.mark()
        m.command(f"vm start {name}")
        m.wait(f"{name} runs and ends again", off(name), 60, start)
        after = lab.memory_of(m)
        t.check(f"the memory of {name} comes back", after.without(WITNESS) == before.without(WITNESS) > 0,
                f"{before.without(WITNESS)} free pages before, {after.without(WITNESS)} after")
        if name == "triple":
            dump_is_readable(t, m.text()[start:])
        if name == "hunt":
            t.check("a hunter finds nothing in memory used before",
                    m.find(r"^\[hunt\] PASS memory is empty at first$", start),
                    (m.find(r"^\[hunt\] .*words.*$", start) or ["nothing"])[0])


@lab.scenario("crashes", seconds=480)
def crashes(t):
    names = (*STOPPED, *ENDS, *ENDLESS, "reset")
    config = lab.config(lab.linux_section(WITNESS),
                        *(lab.vm_section(name, "crash.elf", extra=name, memory=32) for name in names))
    with t.machine(t.image(config, lab.linux() | lab.kernels("crash")), cpus=4, memory=1024) as m:
        m.wait("four processors are entered", r"^mirrorball: 4 processors: into our own world")
        start = m.at
        ends(t, m, start)
        stop_endless(t, m)
        memory_returns(t, m)
        m.wait("the Linux guest comes up beside them", r"^\[witness\] mirrorball-guest: witness ready", since=start)
        m.focus(WITNESS)
        m.send("\r")
        m.until("witness# ", 60)
        m.shell("it answers", "echo in-$(hostname)-$((6*7))", r"in-witness-42$")
        m.shell("it has noticed nothing", "echo n=$(dmesg | grep -ciE 'stall|lockup|unstable|lost')", r"n=0$")
        m.send("poweroff -f\r")
        m.wait("it powers itself off, and Mirrorball leaves", r"^mirrorball: exit success$", 90)
