# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian's kernel for any machine, not the one for clouds: our modules, built for it, and its own ext4 as modules."""

import random

import lab
from lab import at_shell, says
from linux_net import ADDRESS, COMPLAINTS, up

FILES, FILE_BYTES, IMAGE_MIB = 8, 256 << 10, 12
EXT4 = ("crc16", "mbcache", "jbd2", "crc32c_generic", "ext4")       # in the order in which they need each other


def guest_files(t):
    files = {f"lib/ext4/{name}.ko": lab.kernel_module(name, "generic") for name in EXT4}
    files |= {"bin/net": lab.program(t, "bench", "net.c"),
              "sbin/e2fsck": lab.debian_file("e2fsck-static", "sbin/e2fsck.static")}
    return lab.linux_with(t, files, kind="generic")


def section(name):
    return lab.linux_section(name, memory=256, extra="quiet") + \
        f"disk = \\guests\\data.img,cow,discard\nvif = lan0,ip={ADDRESS[name]}\n"


def disk(m, name):
    at_shell(m, name)
    says(m, f"{name} is the kernel for any machine", "uname -r | grep -vc cloud", r"^1$")
    says(m, f"{name} has loaded our modules", "lsmod | grep -oE '^mb_[a-z]+' | sort | tr '\\n' ' '; echo end",
         r"^mb_blk mb_hints mb_net mb_segment end$")
    says(m, f"{name} mounts the disk", f"for k in {' '.join(EXT4)}; do insmod /lib/ext4/$k.ko; done; "
         "mkdir -p /mnt; mount -t ext4 /dev/mbda /mnt && echo m=$(cat /sys/block/mbda/serial)", r"^m=data\.img$")
    says(m, f"{name} reads what the host wrote", "cd /mnt; md5sum -c sums | grep -c OK; cd", rf"^{FILES}$", 120)
    says(m, f"{name} writes, trims, and is clean", f"cat /mnt/file0 /mnt/file1 >/mnt/{name}; rm /mnt/file2; sync; "
         "fstrim /mnt; ls /mnt | tr '\\n' ' '; umount /mnt; e2fsck -fn /dev/mbda; echo fsck=$?",
         rf"(?s)^{name} file0 file1 file3 .*fsck=0$", 120)
    says(m, f"{name} sees its own file alone", "mount -t ext4 /dev/mbda /mnt; ls /mnt | grep -E 'alpha|beta'",
         rf"^{name}$")


def net(m):
    for name in ("beta", "alpha"):
        at_shell(m, name)
        says(m, f"{name} has an interface", f"{up(name)}; cat /sys/class/net/eth0/carrier", r"^1$")
        if name == "beta":
            says(m, "beta answers calls", "net serve & sleep 1; echo serves", r"^serves$")
    says(m, "a ping is answered", "ping -c 3 -q 10.0.0.2", r"3 packets received")
    says(m, "a file arrives as it is", "dd if=/dev/urandom of=/tmp/file bs=1M count=4 2>/dev/null; "
            "net check 10.0.0.2 /tmp/file", r"^net: sums agree$", 120)


def modules_go(m):
    """Each goes and comes again; the disk is then as it was left."""
    says(m, "modules can go", "umount /mnt; ifconfig eth0 down; rmmod mb_blk mb_net mb_hints mb_segment; "
         "echo left=$(lsmod | grep -c ^mb_)$(ls /sys/block | grep -c mbd)", r"^left=00$")
    says(m, "and come again", f"modprobe mb_blk; modprobe mb_net; {up('alpha')}; mount -t ext4 /dev/mbda /mnt; "
         "ls /mnt | grep alpha; ping -c 3 -q 10.0.0.2", r"(?s)^alpha$.*3 packets received", 90)


@lab.scenario("linux-generic", seconds=480, long=True)
def linux_generic(t):
    chance = random.Random(3)
    image = lab.ext4(t, "data", IMAGE_MIB, {f"file{n}": chance.randbytes(FILE_BYTES) for n in range(FILES)})
    files = guest_files(t) | {"guests/data.img": image}
    with t.machine(t.image(lab.config("apicv = off\n", *map(section, ADDRESS)), files), cpus=1, memory=1024) as m:
        for name in ADDRESS:
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", since=0)
        for name in ADDRESS:
            disk(m, name)
        net(m)
        modules_go(m)
        for name in ADDRESS:
            at_shell(m, name)
            says(m, f"{name} has noticed nothing", f"echo n=$(dmesg | grep -ciE '{COMPLAINTS}|EXT4-fs error')", r"n=0$")
        m.focus("the monitor")
        m.send("exit\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
