# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian guests with the driver mb_net on one network: what arrives is what was sent; its cost; lies; reloading."""

import collections
import re

import lab
from lab import at_shell, says

ADDRESS = {"alpha": "10.0.0.1", "beta": "10.0.0.2"}
ADDRESS6 = {"alpha": "fd00::1", "beta": "fd00::2"}
BIG_BYTES = 196608
FILE_MIB = 8
FRAMES = 7
LIES = ("mac", "arp", "arp-ip", "ip4", "ip6", "solicit", "advert", "router")     # tests/programs/frames.c
DRIVER = "/sys/bus/platform/drivers/mb_net"
COMPLAINTS = "Call Trace|BUG:|cut here|blocked for|hung|page_pool_release_retry"
# What tests/bench/net.c does: title, arguments, the most ticks and exits that a MiB or a round trip may cost (about a
# fifth above docs/evaluation.md).
Row = collections.namedtuple("Row", "title arguments units unit most_ticks most_exits")
ROWS = tuple(Row(*row) for row in (
    ("stream of 128 KiB messages", "send 10.0.0.2 32 131072", 32, "MiB", 1500000, 70),
    ("sendfile", "file 10.0.0.2 /tmp/file 4", 4 * FILE_MIB, "MiB", 1580000, 75),
    ("sendfile, dropped unread", "skip 10.0.0.2 /tmp/file 4", 4 * FILE_MIB, "MiB", 1370000, 70),
    ("stream of 64-byte messages", "send 10.0.0.2 1 64", 1, "MiB", 46000000, 1400),
    ("64-byte round trips", "echo 10.0.0.2 500 64", 500, "round trip", 65500, 7.1),
))


def guest_files(t):
    return lab.linux_with(t, {"bin/net": lab.program(t, "bench", "net.c"),
                              "bin/frames": lab.program(t, "programs", "frames.c")})


def section(name, vcpus=1, extra=""):
    return lab.linux_section(name, vcpus=vcpus, memory=160, extra=f"quiet {extra}".rstrip()) + \
        f"vif = lan0,ip={ADDRESS[name]},ip={ADDRESS6[name]}\n"


# The same with both ends polling (poll_busily).
POLLED = Row("64-byte round trips, busy polling", "echo 10.0.0.2 1000 64", 1000, "round trip", 43500, 4.2)
# Of the emulator's processor; so many ticks are what 100 us, the driver's default, and 50 us are on one of 3 GHz.
MHZ = 50
LATER_TICKS = 300000
POLL_TICKS = 150000


def up(name):
    return f"ifconfig eth0 {ADDRESS[name]} netmask 255.255.255.0 up"


def exits(m):
    """Of both guests, by guest and reason."""
    m.focus("the monitor")
    found = {(name, reason): n for name in ADDRESS for reason, n in lab.exits_of(m, name).items()}
    m.focus("alpha")
    return collections.Counter(found)


def counted(m, name):
    """What the switch has counted of a VM's port."""
    m.focus("the monitor")
    answer = m.command("net stat")
    m.focus(name)
    found = re.search(rf"^  {name}/0: sent (\d+) packets, (\d+) KiB; spoofed (\d+), senseless (\d+), for nobody (\d+)\n"
                      r" +received (\d+) packets, (\d+) KiB; no room for (\d+); pages placed (\d+), copied (\d+) KiB",
                      answer, re.M)
    names = ("sent", "sent_kib", "spoofed", "senseless", "nowhere", "received", "received_kib", "full", "placed",
             "copied")
    return dict(zip(names, map(int, found.groups()))) if found else {}


def talk(m, mhz=MHZ, later_ticks=LATER_TICKS):
    """Both to their shells and onto the network; beta answers calls, alpha has the input."""
    for name in ADDRESS:
        m.wait(f"{name} comes to its shell", rf"^\[{name}\] mirrorball-guest: {name} ready", since=0)
    for name in ("beta", "alpha"):
        at_shell(m, name)
        says(m, f"{name} has an interface", f"rmmod mb_net; modprobe mb_net later_us={later_ticks // mhz}; {up(name)}; "
             "cat /sys/class/net/eth0/carrier", r"^1$")
        if name == "beta":
            says(m, "beta answers calls", "net serve & sleep 1; echo serves", r"^serves$")
    says(m, "a ping is answered", "ping -c 3 -q 10.0.0.2", r"3 packets received")
    says(m, "a file arrives as it is", f"dd if=/dev/urandom of=/tmp/file bs=1M count={FILE_MIB} 2>/dev/null; "
            "net check 10.0.0.2 /tmp/file", r"^net: sums agree$", 120)


def run_once(m, arguments):
    """Ticks and exits of both guests."""
    before, since = exits(m), m.mark()
    m.send(f"net {arguments}\r")
    ticks = int(m.until(r"bench: net_\w+ (\d+) \d+$", 240, since)[1])
    after = exits(m)
    after.subtract(before)
    return ticks, after


def figures(m, row):
    """The same for each unit, without the exits of typing, of starting a program, and of what it prints; ticks, exits,
    and these by guest and reason."""
    _, idle = run_once(m, row.arguments.replace(row.arguments.split()[0], "none", 1))
    ticks, found = run_once(m, row.arguments)
    found.subtract(idle)
    return ticks / row.units, sum(found.values()) / row.units, {key: n / row.units for key, n in found.items()}


def measure(t, m, rows):
    for row in rows:
        ticks, n, _ = figures(m, row)
        print(f"linux-net: {row.title}: {ticks:.0f} ticks, {n:.2f} exits per {row.unit}")
        t.check(f"{row.title}: ticks", ticks <= row.most_ticks, ticks)
        t.check(f"{row.title}: exits", n <= row.most_exits, n)


def poll_busily(m, mhz=MHZ):
    """Sockets that are opened from now on, so the server starts anew."""
    us = POLL_TICKS // mhz
    where = "/proc/sys/net/core/busy_read /proc/sys/net/core/busy_poll /sys/module/mb_net/parameters/poll_us"
    for name in ("beta", "alpha"):
        at_shell(m, name)
        says(m, f"{name} polls for {us} us", f"for f in {where}; do echo {us} >$f; done; cat {where.split()[0]}",
             f"^{us}$")
        if name == "beta":
            says(m, "beta answers calls again", "killall net; net serve & sleep 1; echo serves", r"^serves$")
    says(m, "it answers at all", "net echo 10.0.0.2 10 64", r"bench: net_echo_64 \d+ 10$")


def waited(m):
    """Whoever polled has given the processor away meanwhile, most often until the answer came."""
    m.send("net stats eth0 | grep waits\r")
    waits = int(m.until(r"queue0_rx_waits: (\d+)", 60)[1])
    m.trial.check("the vCPU has waited for what came", waits >= POLLED.units, waits)


def lies(t, m):
    """An address that is not its own: nothing comes back, for nothing went out."""
    before = counted(m, "alpha")
    says(m, "nobody answers who asks with another's address", "ifconfig eth0:1 10.0.0.77 netmask 255.255.255.0 up; "
            "ping -c 2 -W 1 -I 10.0.0.77 -q 10.0.0.2; ifconfig eth0:1 down", r"0 packets received", 60)
    after = counted(m, "alpha")
    t.check("it was counted", after.get("spoofed", 0) > before.get("spoofed", 0), (before, after))
    frames(t, m)
    says(m, "its own address still works", "ping -c 1 -q 10.0.0.2", r"1 packets received")


def refused_and_arrived(m):
    """Of alpha's frames; alpha has the input afterwards."""
    received = counted(m, "beta")["received"]
    return counted(m, "alpha")["spoofed"], received


def frames(t, m):
    """Frames past its stack, to all: those that say what is so arrive, of the others none, and each is counted."""
    for kind in ("honest", *LIES):
        refused, arrived = refused_and_arrived(m)
        says(m, f"frames of the kind {kind}", f"frames eth0 {kind} {FRAMES}", f"^frames: {kind} {FRAMES}$")
        now = refused_and_arrived(m)
        if kind == "honest":
            t.check("they arrive", now[0] == refused and now[1] >= arrived + FRAMES, (refused, arrived, now))
        else:
            t.check(f"they are refused: {kind}", now[0] == refused + FRAMES and now[1] < arrived + FRAMES,
                    (refused, arrived, now))


def reload(m, times):
    traffic = "(net check 10.0.0.2 /tmp/file >/dev/null 2>&1 & ping -f -s 20000 -c 200 10.0.0.2 >/dev/null 2>&1 & " \
        "usleep 500000); "
    says(m, f"the module goes and comes {times} times under traffic",
         f"ping -i 0.2 -q 10.0.0.2 >/dev/null 2>&1 & n=0; while [ $n -lt {times} ]; do {traffic}"
         f"rmmod mb_net && modprobe mb_net && {up('alpha')} && n=$((n+1)) || break; "
         "[ $((n%10)) != 0 ] || echo at $n; done; echo reloaded=$n; killall net ping",
         rf"reloaded={times}$", 60 + 20 * times)
    says(m, "and a file arrives as it is", "net check 10.0.0.2 /tmp/file", r"^net: sums agree$", 120)


def unplug_receiver(m):
    """Beta's driver goes while alpha sends: alpha loses packets, and nothing else."""
    at_shell(m, "beta")
    says(m, "the receiver goes for a while", f"echo MRBL0003:00 >{DRIVER}/unbind; echo gone", r"^gone$")
    at_shell(m, "alpha")
    says(m, "nobody is there", "ping -c 2 -W 1 -q 10.0.0.2", r"0 packets received", 60)
    at_shell(m, "beta")
    says(m, "it comes again", f"echo MRBL0003:00 >{DRIVER}/bind; {up('beta')}; echo back", r"^back$")
    at_shell(m, "alpha")
    says(m, "and answers", "ping -c 2 -q 10.0.0.2; net check 10.0.0.2 /tmp/file",
         r"(?s)2 packets received.*sums agree$", 120)


def drivers_counts(m):
    """What ethtool -S shows, of alpha: packets and bytes of both ways, and that several packets have shared a call."""
    says(m, "the driver counts what goes through it", "net stats eth0 | sed 's/^/,/' | tr -d '\\n'; echo",
         r"mb_net on lan0,queue0_tx_calls: [1-9]\d*,queue0_tx_later: \d+,queue0_tx_packets: [1-9]\d*,"
         r"queue0_tx_bytes: [1-9]\d*,queue0_rx_packets: [1-9]\d*,queue0_rx_bytes: [1-9]\d*,queue0_rx_copied: [1-9]")


def big_mtu(m):
    """A datagram in one packet of 60 KiB instead of 42 of 1500 bytes."""
    for name in ("beta", "alpha"):
        at_shell(m, name)
        says(m, f"{name} takes a large MTU", "ifconfig eth0 mtu 65000; cat /sys/class/net/eth0/mtu", r"^65000$")
    before = counted(m, "alpha")
    says(m, "large pings are answered", "ping -c 3 -s 60000 -q 10.0.0.2", r"3 packets received")
    sent = counted(m, "alpha").get("sent", 0) - before.get("sent", 0)
    m.trial.check("each in one packet", 3 <= sent < 10, sent)
    says(m, "and a file arrives as it is", "net check 10.0.0.2 /tmp/file", r"^net: sums agree$", 120)


def big_tcp(m):
    """TCP over IPv6 in packets above 64 KiB, jumbograms."""
    for name in ("beta", "alpha"):
        at_shell(m, name)
        says(m, f"{name} takes packets of {BIG_BYTES} bytes over IPv6",
             "echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ifconfig eth0 add "
             f"{ADDRESS6[name]}/64; net big eth0 {BIG_BYTES}", f"^net: big {BIG_BYTES}$")


def big_tcp_arrives(m):
    big_tcp(m)
    before = counted(m, "alpha")
    says(m, "a file arrives as it is", f"net check {ADDRESS6['beta']} /tmp/file", r"^net: sums agree$", 120)
    since = m.mark()
    m.send(f"net send {ADDRESS6['beta']} 32 131072\r")
    m.until(r"bench: net_send", 240, since)
    after = counted(m, "alpha")
    packets, kib = (after.get(key, 0) - before.get(key, 0) for key in ("sent", "sent_kib"))
    m.trial.check("packets have more than 64 KiB", kib > 64 * packets, (packets, kib))


def receiver_vanishes(m):
    """Its VM ends in the middle of a transfer: the sender's packets are lost, and nothing else."""
    m.send("net send 10.0.0.2 4000 131072 &\r")
    m.until("alpha# ", 60)
    before = counted(m, "beta").get("received", 0)
    m.trial.check("a transfer goes on", counted(m, "beta").get("received", 0) > before, before)
    m.focus("the monitor")
    m.command("vm stop beta")
    m.focus("alpha")
    says(m, "the receiver is gone", "ping -c 2 -W 1 -q 10.0.0.2", r"0 packets received", 60)
    says(m, "the sender's driver can go", "killall net; rmmod mb_net && echo gone", r"^gone$")
    no_complaint(m, "alpha")


def no_complaint(m, name):
    at_shell(m, name)
    says(m, f"{name} has noticed nothing", f"echo n=$(dmesg | grep -ciE '{COMPLAINTS}')", r"n=0$")


def config(vcpus=1, extra=""):
    return lab.config(section("alpha", vcpus, extra), section("beta", vcpus, extra))


def run(t, times, vcpus=1, cpus=1):
    with t.machine(t.image(config(vcpus), guest_files(t)), cpus=cpus) as m:
        talk(m)
        if times < 10:
            measure(t, m, ROWS)
            poll_busily(m)
            measure(t, m, [POLLED])
            waited(m)
        else:
            says(m, "more of the file goes", "net file 10.0.0.2 /tmp/file 4", r"bench: net_file", 240)
        counts = counted(m, "beta")
        t.check("file pages were shared, not copied", counts.get("placed", 0) >= FILE_MIB * 256, counts)
        drivers_counts(m)
        lies(t, m)
        big_mtu(m)
        big_tcp_arrives(m)
        unplug_receiver(m)
        reload(m, times)
        for name in ("beta", "alpha"):
            no_complaint(m, name)
        receiver_vanishes(m)
        m.focus("the monitor")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


@lab.scenario("linux-net", seconds=900)
def linux_net(t):
    run(t, 3)


@lab.scenario("linux-net-reload", seconds=3000, long=True)
def linux_net_reload(t):
    """Two vCPUs, so two queues, on one processor: of two that are often idle Bochs counts every tick."""
    run(t, 100, vcpus=2)
