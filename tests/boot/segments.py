# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Shared segments: what one VM writes the others see, and only those that have it; test guests, then Debian. Its kernel
is unpacked, and lies at one address in all of the domain."""

import os
import re

import lab
from lab import at_shell, says

DB_MIB, LOG_MIB = 8, 2
FILE = "/dev/mirrorball"
DRIVER = "/sys/bus/platform/drivers/mb_segment"
DEVICE = "MRBL0004:00"


def section(name, argument, *lines):
    return lab.vm_section(name, "segment.elf", extra=argument, memory=8) + "\n".join([*lines, ""])


def segments_of(m):
    """Name: (MiB, pages, VMs) as the monitor says, and the machine's pages of segments."""
    text = m.command("mem")
    found = {name: (int(mib), int(pages), vms) for name, mib, pages, vms in re.findall(
        r"^  segment (\S+) +(\d+) MiB, touched (\d+) pages; VMs that have it: (.+)$", text, re.M)}
    return found, lab.Memory(text).kinds["segments"]


@lab.scenario("segments", seconds=240)
def segments(t):
    config = lab.config(
        section("writer", "writer", "share = team", "segment = db,4"),
        section("reader", "reader", "share = team", "segment = db,4,ro"),
        section("outsider", "outsider", "share = team"),
        section("stranger", "outsider", "share = others"))
    with t.machine(t.image(config, lab.kernels("segment")), cpus=2) as m:
        for name in ("writer", "reader", "outsider", "stranger"):
            m.wait(f"{name} has done all", rf"^\[{name}\] segment: done$", since=0)
        t.check("its memory is there once",
                segments_of(m) == ({"db": (4, 1024, "writer reader (ro)")}, 1024), segments_of(m))
        since = m.mark()
        m.command("vm reset reader")
        m.wait("it is there for a reader that starts again", r"^\[reader\] segment: done$", since=since)
        m.command("vm stop writer")
        m.wait("the writer goes", r"^mirrorball: vm writer: off", 60)
        t.check("the memory stays for the other", segments_of(m) == ({"db": (4, 1024, "reader (ro)")}, 1024),
                segments_of(m))
        m.command("vm stop reader")
        m.wait("the reader goes", r"^mirrorball: vm reader: off", 60)
        t.check("with the last one its memory comes back", segments_of(m) == ({}, 0), segments_of(m))
        t.check("no check failed in them", not m.find(r"FAIL"), m.report())
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60)


# --- Debian ---------------------------------------------------------------------------------

def guest_files(t):
    script = os.path.join(t.work, "addresses")
    with open(script, "wb") as file:
        file.write(ADDRESSES_SCRIPT)
    os.chmod(script, 0o755)
    return lab.linux_with(t, {"bin/segment": lab.program(t, "programs", "segment.c"), ADDRESSES: script})


def files(m):
    """In beta, which may not write to log."""
    says(m, "the files are there, their size and mode are told",
         f"cd {FILE}; ls | tr '\\n' ' '; cat /sys/class/misc/mirrorball-*/size | tr '\\n' ' '; "
         "cat /sys/class/misc/mirrorball-*/ro | tr '\\n' ' '; stat -c %a db log | tr '\\n' ' '; cd; echo files",
         rf"^db log {DB_MIB << 20} {LOG_MIB << 20} 0 1 600 400 files$")
    says(m, "one that must not be written cannot be", f"segment {FILE}/log refused",
         r"^segment: refused: to open it for writing 1, to map it so 1, to make a mapping so 1, private 1, "
         r"behind its end 1, code 1$")
    says(m, "its memory is write-back", "mount -t debugfs none /sys/kernel/debug; "
         f"segment {FILE}/db wait >/dev/null & sleep 1; grep 100000000- /sys/kernel/debug/x86/pat_memtype_list; "
         "kill $!",
         r"^PAT: \[mem 0x0*100000000-0x0*100800000\] write-back$")


def exchange(m):
    at_shell(m, "beta")
    says(m, "beta waits for the bell", f"segment {FILE}/db wait &", r"segment: waits$")
    at_shell(m, "alpha")
    says(m, "alpha writes", f"segment {FILE}/db fill 77; segment {FILE}/log fill 78; segment {FILE}/db ring",
         rf"(?s)^segment: fill 77: {DB_MIB << 20} bytes$.*^segment: fill 78: .*^segment: ring: 1$")
    says(m, "its own bell does not ring", f"segment {FILE}/db hear", r"^segment: hear: not ready, 0 rings$")
    m.wait("beta hears it, once", r"(?s)^\[beta\] segment: wait: ready, 1 rings$.*^\[beta\] segment: wait: not ready, "
           r"0 rings$", 60, 0)
    at_shell(m, "beta")
    says(m, "beta reads what alpha wrote", f"segment {FILE}/db sum; segment {FILE}/log sum",
         r"(?s)^segment: sum: filled with 77, 0 words are wrong$.*^segment: sum: filled with 78, 0 words are wrong$")
    says(m, "beta writes in its turn", f"segment {FILE}/db fill 79", r"^segment: fill 79: ")
    at_shell(m, "alpha")
    says(m, "alpha reads that", f"segment {FILE}/db sum", r"^segment: sum: filled with 79, 0 words are wrong$")


def unbind(m):
    """In alpha: nobody who waits hangs, what is mapped stays, and it comes again."""
    says(m, "the device goes while it is in use",
         f"segment {FILE}/db wait & sleep 1; echo {DEVICE} >{DRIVER}/unbind; wait; ls {FILE} 2>/dev/null | wc -l",
         r"(?s)^segment: wait failed: read: No such device$.*^0$")
    says(m, "it comes again", f"echo {DEVICE} >{DRIVER}/bind; segment {FILE}/db sum",
         r"^segment: sum: filled with 79, 0 words are wrong$")
    says(m, "the module goes and comes", f"rmmod mb_segment; modprobe mb_segment; segment {FILE}/db sum",
         r"^segment: sum: filled with 79, 0 words are wrong$")


LINKED = "ffffffff81000000"     # where Debian's kernel is linked to
VMALLOC = "ffffc90000"          # where its vmalloc area begins if it does not draw that itself
ADDRESSES = "/bin/addresses"
ADDRESSES_SCRIPT = b"""#!/bin/sh
echo 1 >/proc/sys/kernel/kptr_restrict
text=$(grep ' _text$' /proc/kallsyms | cut -c-16)
code=$(grep 'Kernel code' /proc/iomem | cut -d- -f1 | tr -d ' ')
echo at-$text-$code-$(head -n 1 /proc/vmallocinfo | cut -c3-12)
"""


def addresses(m, name):
    """Where its kernel lies: its addresses, and in memory; and how the first one in its vmalloc area begins."""
    at_shell(m, name)
    since = m.mark()
    m.send(ADDRESSES + "\r")
    return m.until(r"^(?:\[\w+\] )?at-([0-9a-f]{16})-([0-9a-f]+)-([0-9a-f]+)$", 60, since).groups()


def one_address(t, m):
    """The unpacked kernel lies at one address in the domain, and at another outside of it."""
    found = {name: addresses(m, name) for name in ("alpha", "beta", "gamma")}
    print(f"linux-segments: kernels at {found}")
    t.check("the domain's kernels lie at one address", found["alpha"] == found["beta"], found)
    t.check("it is not the one they are linked to", found["alpha"][0] != LINKED or found["gamma"][0] != LINKED, found)
    t.check("the kernel outside of the domain lies elsewhere", found["gamma"][:2] != found["alpha"][:2], found)
    t.check("it draws more itself, those in the domain do not",
            found["gamma"][2] != VMALLOC and found["alpha"][2] == VMALLOC, found)
    return found["alpha"]


def linux_section(name, *segments):
    head = lab.linux_section(name, "vmlinux", memory=192) + "share = team\n"
    return head + "".join(f"segment = {s}\n" for s in segments)


@lab.scenario("linux-segments", seconds=480)
def linux_segments(t):
    config = lab.config("apicv = off\nscan = 0\n", linux_section("alpha", f"db,{DB_MIB}", f"log,{LOG_MIB}"),
                        linux_section("beta", f"db,{DB_MIB}", f"log,{LOG_MIB},ro"),
                        lab.linux_section("gamma", "vmlinux", memory=128))
    with t.machine(t.image(config, guest_files(t) | lab.vmlinux()), cpus=1, memory=1024) as m:
        for name in ("alpha", "beta", "gamma"):
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", since=0)
        address = one_address(t, m)
        at_shell(m, "beta")
        files(m)
        exchange(m)
        unbind(m)
        m.focus("the monitor")
        found, pages = segments_of(m)
        t.check("the memory of both is there once", found == {
            "db": (DB_MIB, DB_MIB * 256, "alpha beta"), "log": (LOG_MIB, LOG_MIB * 256, "alpha beta (ro)")
        } and pages == (DB_MIB + LOG_MIB) * 256, (found, pages))
        m.focus("alpha")
        since = m.mark()
        m.send("reboot -f\r")
        m.wait("alpha starts again", r"^\[alpha\] mirrorball-guest: alpha ready", since=since)
        at_shell(m, "alpha")
        says(m, "what beta has kept is there", f"segment {FILE}/db sum",
             r"^segment: sum: filled with 79, 0 words are wrong$")
        found = addresses(m, "alpha")
        t.check("its kernel lies where it lay", found == address, (found, address))
        for name in ("alpha", "beta", "gamma"):
            at_shell(m, name)
            says(m, f"{name}'s kernel reports no fault", "echo f=$(dmesg | grep -cE 'Call Trace|BUG:|cut here')",
                 r"f=0$")
        m.focus("the monitor")
        m.command("exit")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
