# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""A whole Debian that has its root on a paravirtual disk: the initramfs hook, udev's names, systemd, clean at reset."""

import os

import lab

HOOKS = ("initramfs-hook", "60-mirrorball.rules")
LINE = f"{lab.LINUX_LINE} quiet root=LABEL=root ro"
MODEL = "corei7_haswell_4770"   # with which it was tried


def debian():
    """Made once, which takes minutes and root's rights; again when our drivers or how it is made have changed."""
    directory, drivers = os.path.join(lab.WORK, "debian"), os.path.join(lab.BUILD, "drivers", "cloud", "root")
    hooks = [os.path.join(lab.REPO, "guest", "linux-pv-drivers", name) for name in HOOKS]
    with lab.made_once(directory, drivers, os.path.join(lab.REPO, "scripts", "debian.py"), *hooks) as again:
        if again:
            lab.run([lab.MKGUEST, "--debian", "--output", directory, "--name", "debian", "--tree", drivers])
    return {f"guests/{name}": os.path.join(directory, name) for name in ("vmlinuz", "initrd", "root.img")}


def log_in(m, name, since):
    """A prompt is shown without its line's end only of the guest that has the input."""
    m.wait(name, r"^(\[debian\] )?Debian GNU/Linux 12 debian ttyS0", since=since)
    m.focus("debian")
    m.send("\r")
    m.until(r"debian login: ", 60)
    m.send("root\r")
    m.until(r"root@debian", 120)


@lab.scenario("debian-root", seconds=900, long=True)
def debian_root(t):
    section = lab.vm_section("debian", "vmlinuz", "initrd", LINE, 384)
    section += "disk = \\guests\\root.img,cow,discard\n"
    config = lab.config("apicv = off\nscan = 0\n", section)      # docs/testing.md
    with t.machine(t.image(config, debian()), cpus=1, memory=1024, model=MODEL) as m:
        log_in(m, "Debian comes up", 0)
        m.shell("its root is on the disk", "findmnt -no SOURCE,FSTYPE,OPTIONS /", r"^/dev/mbda +ext4 +rw")
        m.shell("udev has names for it", "ls /dev/disk/by-label /dev/disk/by-id | tr '\\n' ' '; echo",
                r"mirrorball-root\.img.*by-label: root")
        m.shell("nothing has failed", "systemctl --failed --no-legend | cat; systemctl is-system-running --wait",
                r"^running$", 120)
        m.shell("it writes", "echo mine >/root/mine; sync; echo there=$(cat /root/mine)", r"^there=mine$")
        since = m.mark()
        m.send("reboot\r")
        log_in(m, "it starts again", since)
        m.shell("what it had written is gone", "ls -A /root | grep -c mine", r"^0$")
        m.send("poweroff\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 120)
