# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian guests with the driver mb_blk: an ext4 image of two, each with writes of its own; what reading costs."""

import random
import re
import struct

import lab
from lab import at_shell, says

FILES, FILE_BYTES, IMAGE_MIB, SMALL_MIB = 16, 512 << 10, 24, 4
SECTOR = 512
PARTITION = 2048                # its first sector
BENCH_PAGES = 2048
# what tests/bench/disk.c does, its calls, the most ticks that 4 KiB may cost (status.md's, and a tenth to a third), and
# the most hypercalls a MiB
READS = (
    ("direct_4k", "4 KiB O_DIRECT reads", 6900, 256),
    ("direct_16", "4 KiB O_DIRECT reads, 16 at once", 8200, 16),
    ("direct_128k", "128 KiB O_DIRECT reads", 1060, 8),
    ("direct_1m", "1 MiB O_DIRECT reads", 720, 1),
    ("buffered", "reads through the page cache", 6300, 4),
)
WRITES = (
    ("write_4k", "4 KiB O_DIRECT writes", 19800, 256),
    ("write_128k", "128 KiB O_DIRECT writes", 1900, 8),
)
# the same without a request queue (use_bio)
BIO_READS = (
    ("direct_4k", "4 KiB O_DIRECT reads", 5000, 256),
    ("direct_16", "4 KiB O_DIRECT reads, 16 at once", 6900, 16),
    ("direct_128k", "128 KiB O_DIRECT reads", 750, 8),
    ("direct_1m", "1 MiB O_DIRECT reads", 690, 1),
    ("buffered", "reads through the page cache", 6300, 4),
)
DEVICE = "MRBL0002:00"
DRIVER = "/sys/bus/platform/drivers/mb_blk"
COMPLAINTS = "Call Trace|BUG:|cut here|blocked for|EXT4-fs error|EXT4-fs warning"


def partitioned(image):
    """A disk with an MBR and one partition, which holds the image."""
    with open(image, "rb") as file:
        content = file.read()
    entry = struct.pack("<B3sB3sII", 0, b"\0" * 3, 0x83, b"\0" * 3, PARTITION, len(content) // SECTOR)
    return (b"\0" * 446 + entry + b"\0" * 48 + b"\x55\xaa").ljust(PARTITION * SECTOR, b"\0") + content


def guest_files(t):
    """The usual guest, and in its ramdisk a checker of file systems and the measuring program."""
    return lab.linux_with(t, {"bin/disk": lab.program(t, "bench", "disk.c"),
                              "sbin/e2fsck": lab.debian_file("e2fsck-static", "sbin/e2fsck.static")})


def images(t):
    chance = random.Random(5)
    big = lab.ext4(t, "big", IMAGE_MIB, {f"file{n}": chance.randbytes(FILE_BYTES) for n in range(FILES)})
    small = lab.ext4(t, "small", SMALL_MIB, {"readme": b"read only\n"})
    return {"guests/big.img": big, "guests/small.img": partitioned(small)}


def section(name, vcpus):
    return lab.linux_section(name, vcpus=vcpus, extra="quiet") + \
        "disk = \\guests\\big.img,cow,discard\ndisk = \\guests\\small.img,readonly\n"


def looks(m):
    """Queues, serial numbers, partitions; what is read is what the host wrote."""
    says(m, "a disk has a queue for each vCPU", "ls /sys/block/mbda/mq | tr '\\n' ' '; echo queues", r"^0 1 queues$")
    says(m, "its serial number is its file's name", "cat /sys/block/mbda/serial", r"^big\.img$")
    says(m, "it says what it can", "cd /sys/block/mbda/queue; echo $(cat discard_granularity discard_max_bytes "
         "write_zeroes_max_bytes write_cache rotational physical_block_size max_hw_sectors_kb scheduler); cd",
            r"^4096 1048576 1048576 write back 0 4096 1024 \[none\]")
    says(m, "the file system is mounted, and its files are the host's",
         "mkdir -p /mnt /small; mount -t ext4 /dev/mbda /mnt && cd /mnt && md5sum -c sums | grep -c OK; cd",
            rf"^{FILES}$")
    says(m, "a partition of the disk that cannot be written has its own",
            "mount -t ext4 -o ro,noload /dev/mbdb1 /small && cd /small && md5sum -c sums; cd", r"^readme: OK$")
    says(m, "writing there is refused", "echo x >/dev/mbdb; mount -o remount,rw /small; "
            "echo ro=$(cat /sys/block/mbdb/ro)", r"(?s)rror.*ro=1$|not permitted.*ro=1$|ead-only.*ro=1$")


def writes(m, name):
    """Files of its own, zeros, trim."""
    says(m, f"{name} writes", f"cd /mnt; rm file0; cat file1 file2 >own-{name}; md5sum own-{name} >own-sum; cd; "
         "sync; echo 3 >/proc/sys/vm/drop_caches; cd /mnt; md5sum -c own-sum; ls | grep own | tr '\\n' ' '; cd; "
            "echo", rf"(?s)own-{name}: OK.*^own-{name} own-sum $")
    says(m, f"{name} zeroes and trims", "fallocate -l 1M /mnt/zeros; rm /mnt/zeros; fstrim -v /mnt",
            r"^/mnt: [1-9]\d+ bytes trimmed|^/mnt: .*[1-9].*trimmed")
    says(m, f"{name}'s file system is clean", "umount /mnt; e2fsck -fn /dev/mbda; echo fsck=$?", r"fsck=0$", 120)


def vmcalls(m, name):
    m.focus("the monitor")
    calls = lab.exits_of(m, name).get("VMCALL", 0)
    m.focus(name)
    return calls


def measure(t, m, name, rows, kind):
    says(m, "what will be measured is in the buffer cache", "dd if=/dev/mbda of=/dev/null bs=1M count=8; echo read=$?",
         r"read=0$")
    before, mib = vmcalls(m, name), BENCH_PAGES // 256
    for what, title, most_ticks, most_calls in rows:
        since = m.mark()
        m.send(f"echo 3 >/proc/sys/vm/drop_caches; disk /dev/mbda {what}\r")
        ticks = int(m.until(rf"bench: disk_{what} (\d+) {BENCH_PAGES}$", 120, since)[1])
        calls = -before + (before := vmcalls(m, name))
        print(f"linux-disks: {kind}: {title}: {ticks} ticks per 4 KiB, {calls / mib:.2f} calls per MiB")
        t.check(f"{kind}: {title}: ticks", ticks <= most_ticks, ticks)
        t.check(f"{kind}: {title}: calls", calls <= most_calls * mib + 8, calls)


def counted(t, m):
    """What the monitor says of alpha's disks."""
    m.focus("the monitor")
    answer = m.command("disk info")
    found = re.findall(r"^vm alpha, disk \d: (\S+), (\S+), \d+ sectors, .*\n +requests (\d+), errors (\d+); .*\n"
                       r" +blocks placed (\d+), copied (\d+); of its own (\d+)$", answer, re.M)
    t.check("the monitor knows the disks", [f[:2] for f in found] ==
            [("big.img", "cow,discard"), ("small.img", "readonly")], answer)
    requests, errors, placed, _, own = (int(n) for n in found[0][2:]) if found else (0, 1, 0, 0, 0)
    t.check("its counters are those of the work that was done", requests > 2 * BENCH_PAGES and not errors and
            placed > 3 * BENCH_PAGES and BENCH_PAGES <= own <= IMAGE_MIB * 256, answer)
    m.focus("alpha")


def unbind(m):
    """The disk goes while it is read and written; nobody hangs, and it comes again."""
    says(m, "it goes under load, and nobody hangs",
         f"cd {DRIVER}; for i in 1 2 3; do while dd if=/dev/mbda of=/dev/null bs=64k 2>/dev/null; do :; done & done; "
         "while dd if=/dev/zero of=/dev/mbda bs=64k count=32 conv=notrunc 2>/dev/null; do :; done & "
         f"usleep 500000; echo {DEVICE} >unbind; usleep 200000; kill $(jobs -p); wait; ls /sys/block | grep -c mbd; cd",
         r"^0$", 90)
    says(m, "it comes again", f"rm -f /dev/mbda; echo {DEVICE} >{DRIVER}/bind; e2fsck -V 2>&1 | head -n 1; "
            "dd if=/dev/mbda of=/dev/null bs=1M count=4; echo read=$?", r"read=0$")


def rebind(m, use_bio):
    says(m, f"use_bio={use_bio}", f"echo {use_bio} >/sys/module/mb_blk/parameters/use_bio; cd {DRIVER}; "
         f"echo {DEVICE} >unbind; echo {DEVICE} >bind; cd; ls -d /sys/block/mbda/mq/0 2>/dev/null | wc -l",
         rf"^{1 - use_bio}$")


def reads(t, m):
    """What reading costs with a request queue and without, before anything is written: the layer's own is copied."""
    measure(t, m, "alpha", READS, "blk-mq")
    rebind(m, 1)
    measure(t, m, "alpha", BIO_READS, "use_bio")
    rebind(m, 0)


def without_queue(t, m):
    """The disks are bound again without a request queue: files, statistics; they go under load."""
    rebind(m, 1)
    says(m, "it has files, its flushes, zeros and trim", "echo 1 >/sys/block/mbda/queue/iostats; "
         "mount -t ext4 /dev/mbda /mnt; cd /mnt; cat file3 file4 >bio; sync; "
         "dd if=/dev/urandom of=direct bs=1M count=2 conv=fsync 2>/dev/null; md5sum bio direct >bio-sum; sync; "
         "echo 3 >/proc/sys/vm/drop_caches; md5sum -c bio-sum; fallocate -l 1M zeros; rm zeros; cd; fstrim -v /mnt; "
         "umount /mnt; e2fsck -fn /dev/mbda; echo fsck=$?", r"(?s)bio: OK.*direct: OK.*trimmed.*fsck=0$", 120)
    says(m, "they are counted", "set -- $(cat /sys/block/mbda/stat); "
         "echo $(($1 > 5 && $5 > 5 && ${12} > 0)) in flight $9", r"^1 in flight 0$")
    says(m, "writing where it is refused", "dd if=/dev/zero of=/dev/mbdb bs=4k count=1; echo end=$?", r"end=1$")
    unbind(m)
    rebind(m, 0)


def no_complaint(m, name):
    says(m, f"{name} has noticed nothing", f"echo n=$(dmesg | grep -ciE '{COMPLAINTS}')", r"n=0$")


def by_origin(m):
    """What each VM shares because it comes from the same file, and what the machine has of that, in pages."""
    m.focus("the monitor")
    memory = m.command("mem")
    return [int(n) for n in re.findall(r"shares by origin (\d+),", memory)], \
        int(re.search(r"^  origin +(\d+) pages", memory, re.M)[1])


def beta_reads(t, m):
    """What alpha has read."""
    before, there = by_origin(m)
    at_shell(m, "beta")
    says(m, "beta reads the same", "mkdir -p /mnt; mount -t ext4 /dev/mbda /mnt && cd /mnt && md5sum -c sums | "
            "grep -c OK; cd", rf"^{FILES}$")
    after, there_now = by_origin(m)
    pages = FILES * FILE_BYTES // 4096
    print(f"linux-disks: by origin {before}, then {after} pages of the VMs are {there}, then {there_now} of the machine")
    t.check("what both have read is there once", len(before) == len(after) == 2 and
            after[1] - before[1] >= pages * 3 // 4 and there_now - there <= pages // 4,
            f"{before} {there} {after} {there_now}")


@lab.scenario("linux-disks", seconds=480)
def linux_disks(t):
    files = guest_files(t) | images(t)
    config = lab.config("apicv = off\n", section("alpha", 2), section("beta", 1))     # docs/testing.md
    with t.machine(t.image(config, files), cpus=3, memory=1024) as m:
        for name in ("alpha", "beta"):
            m.wait(f"{name} is ready", rf"^\[{name}\] mirrorball-guest: {name} ready", since=0)
        at_shell(m, "alpha")
        reads(t, m)
        looks(m)
        beta_reads(t, m)
        at_shell(m, "alpha")
        writes(m, "alpha")
        at_shell(m, "beta")
        says(m, "beta does not see it", "umount /mnt; mount -t ext4 /dev/mbda /mnt; ls /mnt | grep -c own", r"^0$")
        writes(m, "beta")
        no_complaint(m, "beta")
        m.send("poweroff -f\r")
        m.wait("beta powers itself off", r"^mirrorball: vm beta: off", 60)
        at_shell(m, "alpha")
        without_queue(t, m)
        measure(t, m, "alpha", WRITES, "blk-mq")
        counted(t, m)
        unbind(m)
        no_complaint(m, "alpha")
        since = m.mark()
        m.send("reboot -f\r")
        m.wait("alpha starts again", r"^(\[alpha\] )?mirrorball-guest: alpha ready", since=since)
        at_shell(m, "alpha")
        says(m, "what it had written is gone", "mkdir -p /mnt; e2fsck -fn /dev/mbda; echo fsck=$?; mount -t ext4 "
                "/dev/mbda /mnt && cd /mnt && md5sum -c sums | grep -c OK; ls | grep -c own; cd",
                rf"(?s)fsck=0$.*^{FILES}$.*^0$")
        m.send("poweroff -f\r")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)
