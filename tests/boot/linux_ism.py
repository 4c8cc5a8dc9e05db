# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian guests whose TCP sockets are SMC's: mb_ism moves what they send into the other's buffers."""

import os
import re

import lab
import linux_net
from lab import at_shell, says
from linux_net import Row
from packages import program_tree

MODULES = ("smc", "ib_core", "configfs")
DRIVER = "/sys/bus/platform/drivers/mb_ism"
BUFFER_BYTES = 1 << 20          # the largest that SMC-D has
SMALL_KIB = 256
# As linux_net.ROWS.
ROWS = tuple(Row(*row) for row in (
    ("SMC: stream of 128 KiB messages", "smc send 10.0.0.2 32 131072", 32, "MiB", 690000, 45),
    ("SMC: stream of 512 KiB messages", "smc send 10.0.0.2 64 524288", 64, "MiB", 600000, 36),
    ("SMC: stream of 1 MiB messages", "smc send 10.0.0.2 64 1048576", 64, "MiB", 600000, 36),
    ("SMC: sendfile", "smc file 10.0.0.2 /tmp/file 4", 4 * linux_net.FILE_MIB, "MiB", 1100000, 42),
    ("SMC: stream of 64-byte messages", "smc send 10.0.0.2 1 64", 1, "MiB", 54000000, 2400),
    ("SMC: 64-byte round trips", "smc echo 10.0.0.2 1000 64", 1000, "round trip", 21000, 4),
))


def guest_files(t):
    output, root = os.path.join(t.work, "guest"), lab.modules_tree(t, MODULES)
    program_tree({"usr/bin/iperf3": "iperf3"}, os.path.join(lab.BUILD, "cache"), root)
    lab.run(["make", "-s", "-C", os.path.join(lab.REPO, "guest", "smc"), "install", f"OUT={t.work}", f"DESTDIR={root}"])
    lab.run([lab.MKGUEST, "--output", output, "--no-kernel", "--tree", root,
             "--add", f"{lab.program(t, 'bench', 'net.c')}:bin/net"])
    return lab.linux("cloud") | {"guests/initrd": os.path.join(output, "initrd")}


def speak_smc(m, mhz=linux_net.MHZ):
    """Both, from now on; beta answers SMC's calls and TCP's."""
    parameters = f"poll_us={linux_net.POLL_TICKS // mhz} later_us={linux_net.LATER_TICKS // mhz}"
    sizes = " ".join(f"/proc/sys/net/smc/{name}" for name in ("wmem", "rmem"))
    for name in ("beta", "alpha"):
        at_shell(m, name)
        says(m, f"{name} can speak SMC", f"modprobe mb_ism {parameters}; for f in {sizes}; do echo {BUFFER_BYTES} >$f; "
             "done; /usr/local/sbin/smc-eid", r"^smc-eid: MIRRORBALL, devices: 1$")
        if name == "beta":
            serve(m)


def serve(m):
    says(m, "beta answers calls", "killall net; net smc serve & sleep 1; echo serves", r"^serves$")


def moved_kib(m, name):
    """What the hypervisor has moved for this VM into others' buffers."""
    m.focus("the monitor")
    answer = m.command("net stat")
    m.focus(name)
    found = re.search(rf"^  {name}/0: sent .*\n.*\n +moved (\d+) KiB", answer, re.M)
    return int(found[1]) if found else 0


def arrives(m, how, is_moved, file="/tmp/file", kib=1024 * linux_net.FILE_MIB):
    before = moved_kib(m, "alpha")
    says(m, f"a file arrives as it is: {how}", f"net smc check 10.0.0.2 {file}", r"^net: sums agree$", 120)
    moved = moved_kib(m, "alpha") - before
    m.trial.check(f"it was moved into the other's buffer, or not: {how}",
                  moved >= kib if is_moved else moved == 0, moved)


def several(m):
    """Connections at the same time, some of them on other CPUs if there are any."""
    says(m, "a smaller file", f"head -c {SMALL_KIB}k /tmp/file >/tmp/small; echo so", r"^so$")
    says(m, "six arrive at the same time", "for i in 1 2 3 4 5 6; do "
         "net smc check 10.0.0.2 /tmp/small >/tmp/sum$i & done; wait; echo agree=$(cat /tmp/sum? | grep -c agree)",
         r"^agree=6$", 240)


def iperf(m):
    """Debian's own program, which knows TCP only."""
    at_shell(m, "beta")
    preload = "LD_PRELOAD=/usr/local/lib/smc-run.so"
    says(m, "iperf3 serves", f"{preload} iperf3 -s -D; echo so", r"^so$")
    at_shell(m, "alpha")
    before = moved_kib(m, "alpha")
    says(m, "iperf3 measures", f"{preload} iperf3 -c 10.0.0.2 -n 16M -l 256K -f M | grep sender",
         r"16\.0 MBytes .*sender", 240)
    moved = moved_kib(m, "alpha") - before
    m.trial.check("iperf3's stream was moved", moved >= 15 * 1024, moved)


def start_stream(m):
    says(m, "a stream begins", "net smc send 10.0.0.2 4000 131072 >/dev/null 2>&1 & sleep 0.3; echo runs", r"^runs$")


def reload(m, times):
    """The device goes while it is in use, at either end: connections break, new ones are TCP's until it comes back."""
    for i in range(times):
        end = ("alpha", "beta")[i % 2]
        at_shell(m, "alpha")
        start_stream(m)
        at_shell(m, end)
        says(m, f"{end} unloads it, {i}", f"rmmod mb_ism; ls {DRIVER} 2>/dev/null; echo gone", r"^gone$", 120)
        at_shell(m, "alpha")
        says(m, f"the sender has noticed, {i}", "wait; echo ended", r"^ended$", 120)
        arrives(m, f"without the device at {end}, {i}", False, "/tmp/small", SMALL_KIB)
        at_shell(m, end)
        says(m, f"{end} has it again, {i}", f"modprobe mb_ism; ls -d {DRIVER}/MRBL0005:00", rf"^{DRIVER}/MRBL0005:00$")
        at_shell(m, "alpha")
    arrives(m, "with the device again", True)


def receiver_vanishes(m):
    """Its VM ends in the middle of a stream."""
    start_stream(m)
    m.focus("the monitor")
    m.command("vm stop beta")
    m.focus("alpha")
    says(m, "the sender has noticed", "wait; echo ended", r"^ended$", 120)
    says(m, "and its device can go", "rmmod mb_ism && echo gone", r"^gone$", 120)


def run(t, times, vcpus=1, cpus=1):
    config = lab.config(*(linux_net.section(name, vcpus) for name in ("alpha", "beta")))
    with t.machine(t.image(config, guest_files(t)), cpus=cpus) as m:
        linux_net.talk(m)
        speak_smc(m)
        arrives(m, "by SMC", True)
        several(m)
        if times < 10:
            linux_net.measure(t, m, ROWS)
        iperf(m)
        reload(m, times)
        for name in ("beta", "alpha"):
            linux_net.no_complaint(m, name)
        receiver_vanishes(m)
        linux_net.no_complaint(m, "alpha")
        m.focus("the monitor")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


@lab.scenario("linux-ism", seconds=900)
def linux_ism(t):
    run(t, 2)


@lab.scenario("linux-ism-reload", seconds=5000, long=True)
def linux_ism_reload(t):
    """Two vCPUs, on one processor as in linux-net-reload."""
    run(t, 100, vcpus=2)
