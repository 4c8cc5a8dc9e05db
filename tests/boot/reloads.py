# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Modules of a Debian guest that go and come 100 times while they are in use: mb_blk, mb_segment, mb_hints.

mb_net has a scenario of its own (linux_net.py).
"""

import hashlib
import os
import random

import hints
import lab
from lab import at_shell, says

TIMES = 100
MEMORY_MIB, KEPT_MIB = 192, 128
DISK_MIB, READ_MIB = 8, 4
LEAK_KIB = 6 << 10              # less than one page of each round's and queue's

# rounds WHAT TIMES: says how many rounds were well, and how much less memory is available after them.
ROUNDS = """\
#!/bin/sh
drivers=/sys/bus/platform/drivers
disk=/nodes/mbda
segment=/dev/mirrorball/db
available() { awk '/^MemAvailable:/ { print $2 }' /proc/meminfo; }
again() { while [ ! -e /stop ]; do "$@" >/dev/null 2>&1; done }
busy() { again "$@" & loops="$loops $!"; }

# MODULE DEVICE: the device goes under its users, the module when they have noticed.
reload() {
    echo "$2" >$drivers/$1/unbind
    tries=0
    until rmmod $1 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || return 1
        usleep 20000
    done
    modprobe $1
}

begin_blk() {                   # nodes that cannot be made: a write to a disk that is gone would make a file
    mkdir -p /nodes; mount -o bind /dev /nodes; mount -o remount,bind,ro /nodes
    for i in 1 2; do busy dd if=$disk of=/dev/null bs=64k count=64; done
    busy dd if=/dev/zero of=$disk bs=64k seek=64 count=32 conv=notrunc
}
round_blk() {
    echo "round $1" | dd of=$disk bs=4k seek=1792 conv=notrunc,fsync 2>/dev/null
    reload mb_blk MRBL0002:00 || return 1
    [ "$(dd if=$disk bs=4k skip=1792 count=1 2>/dev/null | head -n 1)" = "round $1" ]
}
begin_segment() { busy segment $segment wait; busy segment $segment sum; }
round_segment() {
    segment $segment fill $1 >/dev/null
    reload mb_segment MRBL0004:00 || return 1
    segment $segment sum | grep -q "filled with $1, 0 words are wrong"
}
begin_hints() { busy sh -c 'dd if=/dev/zero of=/tmp/f bs=1M count=24; rm /tmp/f'; }
round_hints() { rmmod mb_hints && modprobe mb_hints && usleep 50000; }

begin_$1
sleep 1
before=$(available)
n=0
while [ $n -lt $2 ] && round_$1 $n; do n=$((n + 1)); done
after=$(available)
touch /stop; kill $loops; wait; rm /stop
echo "rounds: $1 $n"
echo "rounds: $((before - after)) KiB less"
"""


def section():
    return lab.linux_section("alpha", memory=MEMORY_MIB, vcpus=2, extra="quiet") + \
        "share = team\nsegment = db,2\ndisk = \\guests\\data.img,cow,discard\n"


def files(t, content):
    script = os.path.join(t.work, "rounds")
    with open(script, "w", encoding="ascii") as file:
        file.write(ROUNDS)
    os.chmod(script, 0o755)
    return lab.linux_with(t, {"bin/rounds": script, "bin/segment": lab.program(t, "programs", "segment.c")}) | \
        {"guests/data.img": content}


def rounds(t, m, what, module):
    since = m.mark()
    m.send(f"rounds {what} {TIMES}\r")
    found = m.until(r"rounds: \w+ (\d+)\n(?:\[alpha\] )?rounds: (-?\d+) KiB less$", 1200, since)
    t.check(f"{module} goes and comes {TIMES} times while it is in use", int(found[1]) == TIMES, found[0])
    t.check(f"{module} has left no memory behind", int(found[2]) < LEAK_KIB, found[0])
    print(f"linux-reload: {module}: {found[1]} rounds, {found[2]} KiB less available")


@lab.scenario("linux-reload", seconds=1800, long=True)
def linux_reload(t):
    content = random.Random(8).randbytes(DISK_MIB << 20)
    with t.machine(t.image(lab.config("apicv = off\n", section()), files(t, content)), cpus=2, memory=512) as m:
        m.wait("alpha is ready", r"^mirrorball-guest: alpha ready", since=0)
        at_shell(m, "alpha")
        rounds(t, m, "blk", "mb_blk")
        says(m, "what nobody has written to is as it was", f"head -c {READ_MIB << 20} /dev/mbda | md5sum",
             f"^{hashlib.md5(content[:READ_MIB << 20]).hexdigest()} ", 120)
        rounds(t, m, "segment", "mb_segment")
        m.focus("the monitor")
        m.command(f"mem alpha {KEPT_MIB}")
        at_shell(m, "alpha")
        rounds(t, m, "hints", "mb_hints")
        m.focus("the monitor")
        hints.until(t, m, "in the end the balloon is as full as it is to be",
                    lambda n: n == (MEMORY_MIB - KEPT_MIB) * hints.MIB_PAGES, lambda m: hints.balloon(m)[2])
        lab.no_fault(m, "alpha")
        m.focus("the monitor")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
