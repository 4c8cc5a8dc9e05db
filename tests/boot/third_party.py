# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Kernels of other people, unmodified, out of Debian's packages."""

import gzip
import struct

import lab

XEN = ("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.gz")      # multiboot, an ELF file
MEMTEST = ("memtest86+", "boot/memtest86+x64.bin")                 # bzImage
INVADERS = ("grub-invaders", "boot/invaders.exec")                 # multiboot with addresses in its header


def pvh():
    """Debian's kernel, unpacked, without the table by which Mirrorball would move it: what is left is a PVH kernel."""
    with open(lab.vmlinux()["guests/vmlinux"], "rb") as file:
        kernel = file.read()
    sections, = struct.unpack_from("<Q", kernel, 0x28)
    size, count = struct.unpack_from("<HH", kernel, 0x3a)
    return {"guests/pvh": kernel[:sections + size * count]}


def kernels():
    with gzip.open(lab.debian_file(*XEN)) as xen:
        return {"guests/xen": xen.read(), "guests/generic": lab.linux("generic")["guests/vmlinuz"],
                "guests/memtest": lab.debian_file(*MEMTEST), "guests/invaders": lab.debian_file(*INVADERS)}


def linux_is_well(t, m, name, release):
    m.focus(name)
    m.send("\r")
    m.until(rf"{name}# ", 60)
    m.shell(f"{name}: its shell answers", "echo in-$(hostname)-$((6*7))", rf"in-{name}-42$")
    m.shell(f"{name}: is the kernel it should be", "echo r-$(uname -r)", release)
    m.shell(f"{name}: the kernel reports no fault", "echo f=$(dmesg | grep -cE 'Call Trace|BUG:|cut here')", r"f=0$")
    m.send("poweroff -f\r")
    m.wait(f"{name}: powers itself off", rf"^mirrorball: vm {name}: off", 60)


def stop(m, name):
    start = m.mark()
    m.command(f"vm stop {name}")
    m.wait(f"{name}: is stopped", rf"^mirrorball: vm {name}: off", 60, start)


@lab.scenario("third-party", seconds=540)
def third_party(t):
    config = lab.config(
        lab.vm_section("invaders", "invaders", memory=16),
        lab.vm_section("generic", "generic", "initrd", f"{lab.LINUX_LINE} mb.name=generic", 384),
        lab.vm_section("pvh", "pvh", "initrd", f"{lab.LINUX_LINE} mb.name=pvh", 256),
        lab.vm_section("memtest", "memtest", extra="console=ttyS0,115200", memory=32),
        lab.vm_section("xen", "xen", "vmlinuz", "com1=115200,8n1 console=com1 noreboot dom0_mem=128M", 384))
    files = lab.linux() | pvh() | kernels()
    with t.machine(t.image(config, files), cpus=2, memory=1536) as m:
        m.wait("Mirrorball runs", r"^mirrorball: 2 processors: into our own world")
        start = m.at
        m.wait("Xen speaks (multiboot, an ELF file)", r"^\[xen\] .*Xen version 4\.17", since=start)
        m.wait("Xen sees its memory map", r"^\[xen\] .*\[0000000000100000, ", since=start)
        m.wait("Xen finds the I/O APIC", r"^\[xen\] .*Enabling APIC mode", since=start)
        m.wait("Xen builds its dom0 and enters it", r"^\[xen\] .*Serial input to DOM0", since=start)
        m.wait("memtest86+ speaks (bzImage)", r"^\[memtest\] .*Memtest86\+", since=start)
        m.wait("memtest86+ tests and finds no errors", r"^\[memtest\] .*Pass:  0 +Errors: 0", since=start)
        states = lab.vm_list(m)
        t.check("GRUB Invaders runs (multiboot, addresses in the header)", states.get("invaders") == "running", states)
        for name in ("invaders", "memtest", "xen"):
            stop(m, name)
        for name in ("generic", "pvh"):
            m.wait(f"Debian's kernel comes up ({name})", rf"^\[{name}\] mirrorball-guest: {name} ready, 1 cpus", since=start)
        linux_is_well(t, m, "generic", r"r-6\.1\.0-\d+-amd64$")
        linux_is_well(t, m, "pvh", r"r-6\.1\.0-\d+-cloud-amd64$")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 120)
