# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The demo: two unmodified Debian guests side by side, the console, the monitor, and the way out."""

import os
import re

import lab

GUESTS = ("alpha", "beta")
COMMANDS = ("help", "vm", "console", "numa", "mem", "stat", "log", "exit")


def ready(name):
    return rf"^\[{name}\] mirrorball-guest: {name} ready, 1 cpus, \d+ MiB"


def free_pages(m, *running):
    """The guests that run may touch a page between two numbers: ask until two answers agree."""
    counts = []
    for _ in range(4):
        counts.append(lab.memory_of(m).without(*running))
        if counts[-1] in counts[:-1]:
            break
    return counts[-1]


def monitor_speaks(t, m):
    """The monitor, while the guests run."""
    m.focus("the monitor")
    answer = m.command("help")
    for name in COMMANDS:
        t.check(f"help knows {name}", re.search(rf"^  {name} ", answer, re.M), answer)
    states = lab.vm_list(m)
    t.check("vm list shows both running", states == dict.fromkeys(GUESTS, "running"), states)
    answer = m.command("dance")
    t.check("an unknown command is answered", "dance: no such command" in answer, answer)
    answer = m.command("vm start gamma")
    t.check("an unknown VM is answered", "no VM has the name gamma" in answer, answer)
    answer = m.command("vm start alpha")
    t.check("a VM that runs cannot be started", "alpha is running: cannot start it now" in answer, answer)
    memory = lab.memory_of(m)
    t.check("mem counts what each guest touched", all(memory.vms.get(name, (0,))[0] > 1000 for name in GUESTS),
            memory.vms)
    t.check("mem: the kinds add up to the whole", memory.free + sum(memory.kinds.values()) == memory.total > 0,
            vars(memory))
    answer = m.command("stat alpha")
    t.check("stat counts exits by reason", re.search(r"vm alpha: \d+ exits\n  ", answer), answer)
    answer = m.command("stat")
    t.check("stat shows every guest", all(f"vm {name}: " in answer for name in GUESTS), answer)
    answer = m.command("log")
    t.check("log repeats what was said", "processors: into our own world" in answer, answer)


def guest_speaks(t, m, name):
    """A guest's shell answers to what is typed; its world is in order."""
    m.focus(name)
    m.send("\r")
    m.until(rf"{name}# ", 60)
    m.shell(f"{name}: a typed command answers", "echo in-$(hostname)-$((6*7))", rf"in-{name}-42$")
    m.shell(f"{name}: the time of day is the machine's", "date -u +is-%Y", r"is-2023$")
    m.shell(f"{name}: knows that it is a guest", "echo h=$(grep -cw hypervisor /proc/cpuinfo)", r"h=1$")
    m.shell(f"{name}: the kernel reports no fault", "echo f=$(dmesg | grep -cE 'Call Trace|BUG:|cut here')", r"f=0$")
    m.shell(f"{name}: the driver of its paravirtual device has loaded by itself",
            "ls -d /sys/bus/platform/drivers/*/MRBL*", r"drivers/mb_hints/MRBL0001:00$")
    m.shell(f"{name}: the TSC is its clock (kvmclock vouches for its rate)",
            "cat /sys/devices/system/clocksource/clocksource0/current_clocksource", r"^.*(tsc|kvm-clock)$")
    m.shell(f"{name}: sleeps as long as it should",
            "a=$(date +%s); sleep 3; b=$(date +%s); echo s=$((b-a))", r"s=[34]$")


def few_exits(t, m, name):
    """A timer tick costs two exits: its interrupt and the next deadline."""
    m.focus(name)
    m.send("while :; do :; done &\r")
    m.focus("the monitor")
    vcpus, reasons = lab.top_of(m, 3)
    pages = list(zip(vcpus.get((name, 0), []), reasons.get(name, [])))[1:]     # the first has the typing
    t.check(f"{name}: top shows who computes", pages and all(share > 95 for (share, _), _ in pages), vcpus)
    t.check(f"{name}: at most two exits for a timer tick", pages and all(
        0 < exits <= 2 * hottest.get("WRMSR", 0) + 2 for (_, exits), hottest in pages), f"{vcpus} {reasons}")
    m.focus(name)
    m.shell(f"{name}: the computing ends", "kill $!; echo killed=$?", r"killed=0$")


def one_ends(t, m):
    m.focus("alpha")
    start = m.mark()
    m.send("reboot -f\r")
    m.wait("reboot -f restarts alpha", r"^mirrorball: vm alpha: reset", 60, start)
    m.wait("alpha is ready a second time", ready("alpha"), 240, start)
    m.focus("alpha")
    m.until("alpha# ", 60, start)
    start = m.mark()
    m.send("poweroff -f\r")
    m.wait("poweroff -f ends alpha", r"^mirrorball: vm alpha: off", 60, start)
    m.focus("beta")
    m.shell("beta: answers with alpha off", "echo still-$(hostname)-$((40+2))", r"still-beta-42$")


def power_switches(t, m):
    """vm start, reset and stop, and the memory: all of it comes back."""
    m.focus("the monitor")
    states = lab.vm_list(m)
    t.check("vm list shows alpha off", states == {"alpha": "off", "beta": "running"}, states)
    memory = lab.memory_of(m)
    t.check("nothing counts for a VM that is off", not any(memory.vms.get("alpha", (1,))), memory.vms)
    before = free_pages(m, "beta")
    for verb, said in (("start", "starts with"), ("reset", "reset")):
        start = m.mark()
        m.command(f"vm {verb} alpha")
        m.wait(f"vm {verb} is carried out", rf"^mirrorball: vm alpha: {said}", 60, start)
        m.wait(f"alpha boots after vm {verb}", r"^\[alpha\] .*Linux version", 120, start)
    start = m.mark()
    m.command("vm stop alpha")
    m.wait("vm stop is carried out", r"^mirrorball: vm alpha: off", 60, start)
    after = free_pages(m, "beta")
    t.check("all of alpha's memory comes back", before == after > 0, f"{before} free pages before, {after} after")


@lab.scenario("two-guests", seconds=720)
def two_guests(t):
    with open(os.path.join(lab.REPO, "scripts", "mirrorball.conf"), encoding="ascii") as file:
        demo = file.read()
    # beta is as the demo has it; alpha, which boots four times, does not test its cryptography.
    demo = demo.replace("console=ttyS0 mb.name=alpha", f"{lab.LINUX_LINE} mb.name=alpha")
    t.check("alpha's command line is the short one", lab.LINUX_LINE in demo)
    with t.machine(t.image(demo, lab.linux()), cpus=3, memory=768) as m:
        m.wait("three processors are entered", r"^mirrorball: 3 processors: into our own world")
        start = m.at
        cpus = [m.wait(f"{name} starts", rf"^mirrorball: vm {name}: starts with 256 MiB and 1 vCPUs, the first on "
                       r"cpu (\d+)", since=start)[1] for name in GUESTS]
        t.check("each guest has a processor of its own", len(set(cpus)) == len(GUESTS), f"cpus {' and '.join(cpus)}")
        for name in GUESTS:
            m.wait(f"{name}: Debian's kernel speaks", rf"^\[{name}\] .*Linux version .*Debian", since=start)
        m.send("\r")
        m.wait("the monitor has the input and a prompt", lab.PROMPT, since=start)
        for name in GUESTS:
            m.wait(f"{name} is ready", ready(name), since=start)
        for name in GUESTS:
            guest_speaks(t, m, name)
        few_exits(t, m, GUESTS[1])
        monitor_speaks(t, m)
        one_ends(t, m)
        power_switches(t, m)
        m.send("exit\r")
        m.wait("exit stops beta", r"^mirrorball: vm beta: off", 60)
        m.wait("exit returns to the firmware", r"^mirrorball: exit success$", 60)
        m.wait("the firmware goes on to its boot menu or shell", r"UEFI Interactive Shell|starting Boot.* \"UiApp\"", 90)
