# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""More memory promised than there is: what one guest does not need goes to another; who asks for what nobody can do
without is stopped, and nobody else."""

import lab

OTHERS = ("sparse", "keep")
STOPPED = r"^mirrorball: vm greedy has failed and is stopped: the machine has no memory left for it$"


def section(name, word, memory):
    return lab.vm_section(name, "crash.elf", extra=word, memory=memory)


def asks_for_too_much(t, m, since):
    """The greedy guest comes to its end; what the monitor says of memory then."""
    m.wait("who asks for more is stopped, and it is said why", STOPPED, since=since)
    m.wait("it is off", r"^mirrorball: vm greedy: off$", since=since)
    start = m.mark()
    for name in OTHERS:
        m.wait(f"{name} goes on with what it had", rf"^\[{name}\] crash: round \d+, 0 words lost$", since=start)
    t.check("no word is lost", not m.find(r"crash: round \d+, [1-9]"), m.report())
    return m.command("mem")


@lab.scenario("exhaustion", seconds=150)
def exhaustion(t):
    config = lab.config("overcommit = 400\n", section("sparse", "sparse", 96), section("keep", "keep", 64),
                        section("greedy", "hunt", 176))
    with t.machine(t.image(config, lab.kernels("crash")), cpus=4, memory=300) as m:
        m.wait("the greedy guest comes to an end", r"^mirrorball: vm greedy: off$", since=0)
        m.send("\r")
        m.until(lab.PROMPT, 60)
        first = asks_for_too_much(t, m, 0)
        found = lab.Memory(first).found
        t.need("before that, what could be spared was found", found["zeros"] > 40 * 500, first)
        print(f"exhaustion: no page was left, and what was found: {found}")
        start = m.mark()
        m.command("vm start greedy")
        second = asks_for_too_much(t, m, start)
        t.check("its memory came back", lab.Memory(first).free == lab.Memory(second).free > 60 * 256, first + second)
        t.check("nobody else was stopped", not m.find(r"^mirrorball: vm (?!greedy)\S+ has failed"), m.report())
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)
