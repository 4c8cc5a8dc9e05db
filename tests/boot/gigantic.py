# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A GiB of a VM's memory comes to be mapped by one EPT entry, which a page that is given back splits, and again."""

import re
import time

import lab

FIGURES = r"^one EPT entry for a GiB: (\d+) times; (\d+) large pages moved for that, (\d+) times begun in vain$"


def merged(t, m, what, times, seconds=300):
    """Waits until entries were made so often; how many large pages were moved for them."""
    end = time.monotonic() + seconds * t.slow
    while True:
        mem = m.command("mem")
        found = re.search(FIGURES, mem, re.M)
        if found and int(found[1]) >= times or time.monotonic() > end:
            break
        time.sleep(2)
    t.need(what, found and int(found[1]) == times, mem)
    return int(found[2])


def key(m, what, character):
    """Presses a key of the guest's, and comes back to the monitor when it has done what that asks for."""
    m.focus("one")
    since = m.mark()
    m.send(character)
    m.wait(what, rf"^(?:\[one\] )?gigantic: {character} done$", 120, since)
    m.focus("the monitor")


@lab.scenario("gigantic", seconds=900, long=True)
def gigantic(t):
    image = t.image(lab.config(lab.vm_section("one", "gigantic.elf", memory=2048)), lab.kernels("gigantic"))
    with t.machine(image, cpus=1, memory=4096) as m:
        m.wait("its second GiB is filled", r"^(?:\[one\] )?gigantic: filled$", since=0)
        m.send("\r")
        m.until(lab.PROMPT, 60)
        moved = merged(t, m, "one entry maps it", 1)
        t.check("its large pages were moved for that", moved == 512, moved)
        key(m, "all is as it was", "c")
        key(m, "two pages are given back", "g")
        key(m, "the large page they were of comes anew", "w")
        moved = merged(t, m, "one entry maps it again", 2)
        key(m, "all is as it was", "c")
        t.check("nothing is wrong in the guest", not m.find("FAIL"), m.report())
        print(f"gigantic: {moved} large pages were moved")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 120)
