# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""The machine's own disks, while guests run: through the firmware and by a driver of ours."""

import random
import re
import struct

import lab

SIZE = 3 * 1024 * 1024 + 512 * 3
DISK = r"\guests\data.img"


def sum_of(data):
    """As the monitor's "storage read" computes it."""
    total = 0
    for (word,) in struct.iter_unpack("<Q", data):
        total = (total * 31 + word) & 0xffffffffffffffff
    return f"{total:016x}"


def read(m, number, kib, count, meanwhile=lambda: None):
    """Ticks of a read, those of the processor, and the sum."""
    since = m.mark()
    m.command(f"storage read {number} {kib} {count}")
    meanwhile()
    found = m.until(rf"storage {number}: (\d+) reads of {kib} KiB, (\d+) ticks each, of which the processor works (\d+); "
                    r"sum ([0-9a-f]{16})$", 300, since)
    m.send("\r")
    m.until(lab.PROMPT, 60)
    return int(found[2]), int(found[3]), found[4]


@lab.scenario("storage", seconds=420)
def storage(t):
    """The same disk, through the firmware and by our ATA driver; the shell reads it again afterwards."""
    from firmware_shell import after_run, proof, proofs, script, start, SUCCESS
    data = random.Random(5).randbytes(SIZE)
    want = sum_of(data)

    def config(disks):
        return (f"[global]\nconsole = com1\ndisks = {disks}\n" + lab.vm_section("one", "crash.elf", extra="spin")
                + f"cpus = 1\ndisk = {DISK},cow,discard\n" + lab.vm_section("two", "privileged.elf") + "cpus = 0\n").encode()
    files = lab.kernels("crash", "privileged") | proofs((0, 1, 2)) | {
        "guests/data.img": data, "startup.nsh": script("type \\tests\\0.txt", *start(1), *start(2)),
        "tests/1.conf": config("firmware"), "tests/2.conf": config("auto")}
    with t.machine(t.image(None, files, "shell"), cpus=2) as m:
        m.start_script()
        m.wait("the shell's script runs", rf"^{proof(0)}", 120)
        ticks = {}
        for number, who in ((1, "firmware"), (2, "ata")):
            since = m.mark()
            m.wait(f"{who}: the disk is driven by it", rf"^mirrorball: disk \d+: {who} ", since=since)
            m.wait(f"{who}: the file's place on it is known", r"^mirrorball: .*data\.img: on disk \d+, 3073 KiB in \d+ pieces")
            m.wait(f"{who}: a guest runs", r"^mirrorball: vm one: starts", since=since)
            m.wait(f"{who}: a guest on the boot processor runs to its end", r"guest: \d+ passed, 0 failed$", since=since)
            m.wait(f"{who}: it is off", r"^mirrorball: vm two: off$", since=since)
            m.send("\r")
            m.until(lab.PROMPT, 60, m.at)
            since = m.mark()
            m.command("vm start two")
            small, work, _ = read(m, 0, 4, 300, lambda: t.check(
                f"{who}: what is typed meanwhile is not lost", lab.vm_list(m).get("one") == "running"))
            m.wait(f"{who}: and again beside reads", r"guest: \d+ passed, \d+ failed$", since=since)
            # The firmware has the processor in between: it may be slow, but is wrong in nothing else.
            wrong = [f for f in re.findall(r"\[two\] FAIL (.*)$", m.text()[since:], re.M) if "at native speed" not in f]
            t.check(f"{who}: it has found nothing wrong but its speed", not wrong, wrong)
            large, large_work, total = read(m, 0, 128, 1000)
            t.check(f"{who}: what is read is what the file holds", total == want, f"{total}, wanted {want}")
            ticks[who] = (small, work, large, large_work)
            text = m.command("storage")
            t.check(f"{who}: no errors", re.search(rf"^disk {who} .*errors 0, time-outs 0, resets 0$", text, re.M), text)
            t.check(f"{who}: the guest runs still", lab.vm_list(m).get("one") == "running", text)
            m.send("exit\r")
            after_run(t, m, number, who, SUCCESS)
        m.wait("the script runs to its end", r"^the-script-has-ended", 60)
        for what, i in (("4 KiB", 0), ("4 KiB, of the processor", 1), ("128 KiB", 2), ("128 KiB, of the processor", 3)):
            mine, firmware = ticks["ata"][i], ticks["firmware"][i]
            t.check(f"our driver is faster, ticks of a read of {what}: {mine}, through the firmware {firmware}",
                    3 * mine < firmware)


EFI = "\\EFI\\mirrorball\\mirrorball.efi"


def selftest(t, name, platform, disks, arguments=(), files=None):
    """Each of DISKS, which our driver of that name knows, reads as by the firmware, is written where it may be, and
    is the firmware's again afterwards."""
    from firmware_shell import proof, proofs, script
    lines = ["type \\tests\\0.txt"]
    for number in range(len(disks)):
        lines += [f"{EFI} -selftest=disks -scratch={number}:64:500", f"type \\tests\\{number + 1}.txt"]
    files = proofs(range(len(disks) + 1)) | {"startup.nsh": script(*lines)} | (files or {})
    with t.machine(t.image(None, files, "shell", name), name, cpus=1, platform=platform, arguments=arguments) as m:
        m.start_script()
        m.wait(f"{name}: the shell's script runs", rf"^{proof(0)}", 120)
        for number in range(len(disks)):
            since = m.mark()
            m.wait(f"{name}: the shell reads a file after self-test {number}", rf"^{proof(number + 1)}", 120)
            text = m.text()[since:m.at]
            found = re.search(r"^mirrorball: selftest: (\d+) disks, (\d+) passed, (\d+) failed$", text, re.M)
            t.check(f"{name}: self-test {number} passes", found and found[3] == "0" and int(found[1]) >= len(disks), text)
            wrote = re.findall(r"selftest: disk \d+, (\w+).*: writes, flushes and reads back: passed", text)
            t.check(f"{name}: self-test {number} writes on one disk", len(wrote) == 1 and wrote[0] in disks, text)
        m.wait(f"{name}: the script runs to its end", r"^the-script-has-ended", 60)


@lab.scenario("storage-selftest", seconds=300)
def storage_selftest(t):
    """Our drivers without VT-x: AHCI and NVMe on QEMU, ATA on Bochs."""
    empty = f"{t.work}/nvme.raw"
    with open(empty, "wb") as file:
        file.write(random.Random(6).randbytes(1 << 20))
        file.truncate(64 << 20)
    selftest(t, "qemu", "qemu", ("ahci", "nvme"), [
        f"--qemu-arg={a}" for a in ("-drive", f"file={empty},format=raw,if=none,id=nvme,snapshot=on", "-device",
                                    "nvme,drive=nvme,serial=mirrorball")])
    selftest(t, "bochs", "bochs", ("ata",))


LOAD_VMS, LOAD_MIB, STEP = 4, 2, 0x9e3779b97f4a7c15


def loads(t, who, disks):
    """Four VMs read a disk each, all at once, and compute: ticks of the longest, share of its time that one computed."""
    files = lab.kernels("diskload")
    config = f"disks = {disks}\n"
    sections = []
    for n in range(1, LOAD_VMS + 1):
        words = LOAD_MIB * 131072
        files[f"guests/{n}.img"] = struct.pack(f"<{words}Q", *((i + ord(str(n))) * STEP % 2**64 for i in range(words)))
        sections.append(lab.vm_section(f"vm{n}", "diskload.elf", extra=str(n), memory=16) +
                        f"cpus = {n % 2}\ndisk = \\guests\\{n}.img,cow,discard\n")
    with t.machine(t.image(lab.config(config, *sections), files, name=who), who, cpus=2) as m:
        m.wait(f"{who}: it drives the disk", rf"^mirrorball: disk \d+: {who} ", since=0)
        for n in range(1, LOAD_VMS + 1):
            m.wait(f"{who}: vm{n} has read all", rf"^\[vm{n}\] diskload: done: ", since=0)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 60, since=0)
        t.check(f"{who}: what is read is right", "FAIL" not in m.text(), m.report())
        found = re.findall(r"diskload: done: (\d+) ticks, (\d+) units of work, of (\d+) ticks each$", m.text(), re.M)
    ticks = [int(f[0]) for f in found]
    shares = [100 * int(f[1]) * int(f[2]) // int(f[0]) for f in found]
    print(f"storage-four: {who}: {LOAD_VMS} VMs read {LOAD_MIB} MiB each in {max(ticks)} ticks, "
          f"{max(ticks) // (LOAD_VMS * LOAD_MIB * 256)} for each 4 KiB, and computed for {shares} % of that")
    t.check(f"{who}: they compute meanwhile", min(shares) >= 5, shares)
    return max(ticks)


@lab.scenario("storage-four", seconds=240)
def storage_four(t):
    firmware, ata = loads(t, "firmware", "firmware"), loads(t, "ata", "auto")
    t.check(f"our driver is faster: {ata} ticks, the firmware {firmware}", 2 * ata < firmware)
