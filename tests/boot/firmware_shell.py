# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Started from the firmware's shell: whose next command runs, reads a file and starts Mirrorball again; and what it
answers when it cannot run."""

import re

import lab

EFI = "\\EFI\\mirrorball\\mirrorball.efi"
SUCCESS = "0x0"
# Errors without the topmost bit, as the shell keeps them.
UNSUPPORTED, INVALID, NOT_FOUND, NO_MEMORY, LOAD_ERROR = "0x3", "0x2", "0xE", "0x9", "0x1"
WORDS = {SUCCESS: "success", UNSUPPORTED: "unsupported", INVALID: "invalid-parameter", NOT_FOUND: "not-found",
         NO_MEMORY: "out-of-resources", LOAD_ERROR: "load-error"}


def script(*lines):
    return "\r\n".join(("@echo -off", "fs0:", *lines, "echo the-script-has-ended", "")).encode()


def start(number, path=None):
    """Lines of a script: start Mirrorball, tell its status, read a file."""
    options = f" -cfg={path or f'{chr(92)}tests{chr(92)}{number}.conf'}"
    return (f"{EFI}{options}", f"echo status {number} is %lasterror%", f"type \\tests\\{number}.txt")


def proof(number):
    return f"read-from-the-disk-{number}"


def proofs(numbers):
    return {f"tests/{n}.txt": proof(n).encode() + b"\r\n" for n in numbers}


def after_run(t, m, number, what, status, said=None):
    """Checks of what follows one run: the last line, the shell's idea of it, the disk. Ends behind it."""
    since = m.at
    m.wait(f"{what}: the shell goes on and reads a file", rf"^{proof(number)}", 120)
    text = m.text()[since:m.at]
    last = (re.findall(r"^mirrorball: .*$", text, re.M) or [""])[-1]
    t.check(f"{what}: the last line is 'mirrorball: exit {WORDS[status]}'", last == f"mirrorball: exit {WORDS[status]}",
            f"{last}\n{lab.tail(text, 15)}")
    t.check(f"{what}: the shell sees EFI_STATUS {status}", re.search(rf"^status {number} is {status}\s*$", text, re.M),
            lab.tail(text, 15))
    if said:
        t.check(f"{what}: says why", re.search(said, text, re.M), f"wanted {said}\n{lab.tail(text, 15)}")
    return text


@lab.scenario("shell", seconds=480)
def shell(t):
    def spinning(name):
        return lab.vm_section(name, "crash.elf", extra="spin")
    files = lab.kernels("crash", "sensitive") | proofs((0, 1, 2, 3)) | {
        "startup.nsh": script("type \\tests\\0.txt", *start(1), *start(2), *start(3)),
        "tests/1.conf": lab.config(lab.vm_section("quick", "sensitive.elf")).encode(),
        "tests/2.conf": lab.config(spinning("one"), spinning("two")).encode(),
        "tests/3.conf": lab.config(lab.vm_section("quick", "sensitive.elf", vcpus=2)).encode(),
    }
    with t.machine(t.image(None, files, "shell"), cpus=4) as m:
        m.start_script()
        m.wait("the shell's script runs", rf"^{proof(0)}", 120)
        after_run(t, m, 1, "a guest that ends by itself", SUCCESS, r"^guest: \d+ passed, 0 failed$")
        m.wait("Mirrorball starts a second time", r"^mirrorball: vm two: starts")
        since = m.mark()
        m.send("\r")
        m.until(lab.PROMPT, 60, since)
        states = lab.vm_list(m)
        t.check("its guests run", states == {"one": "running", "two": "running"}, states)
        m.send("exit\r")
        after_run(t, m, 2, "the monitor's exit, with guests that never end", SUCCESS)
        after_run(t, m, 3, "a third start", SUCCESS, r"^guest: \d+ passed, 0 failed$")
        m.wait("the script runs to its end", r"^the-script-has-ended", 60)
        sizes = re.findall(r"^mirrorball: memory: (\d+) MiB in (\d+) ranges", m.text(), re.M)
        t.check("each start finds as much memory as the first", len(set(sizes)) == 1 and len(sizes) == 3, sizes)


def section(*lines):
    return ("[global]\nconsole = com1\n\n[vm one]\n" + "\n".join(lines) + "\n").encode()


GOOD = ("kernel = \\guests\\sensitive.elf", "memory = 32")
# What is tried, its configuration, the status, what is said.
REFUSALS = (
    ("a missing configuration", None, NOT_FOUND, r"^mirrorball: .*2.*none\.conf \(configuration\): not found"),
    ("an empty configuration", b"\n", INVALID, r"^mirrorball: 3\.conf:\d+: .*\[vm NAME\]"),
    ("an unknown key", section(*GOOD, "memmory = 64"), INVALID, r"^mirrorball: 4\.conf:7: memmory: unknown key, expected"),
    ("a wrong value", section(GOOD[0], "memory = much"), INVALID, r"^mirrorball: 5\.conf:6: memory: expected a number"),
    ("a binary configuration", bytes(range(256)) * 8, INVALID, r"^mirrorball: 6\.conf:\d+: .*expected"),
    ("a VM without a kernel", section("memory = 32"), INVALID, r"^mirrorball: 7\.conf:\d+: .*kernel"),
    ("a missing kernel", section("kernel = \\guests\\none", "memory = 32"), NOT_FOUND,
     r"^mirrorball: \\guests\\none \(kernel of vm one\): not found"),
    ("a missing ramdisk", section(*GOOD, "ramdisk = \\guests\\none"), NOT_FOUND,
     r"^mirrorball: \\guests\\none \(ramdisk of vm one\): not found"),
    ("what is not a kernel", section("kernel = \\guests\\text", "memory = 32"), LOAD_ERROR,
     r"^mirrorball: vm one: not a kernel"),
    ("a kernel that is cut short", section("kernel = \\guests\\cut", "memory = 32"), LOAD_ERROR,
     r"^mirrorball: vm one: kernel is truncated"),
    ("a kernel too big for its VM", section("kernel = \\guests\\vmlinuz", "memory = 16"), NO_MEMORY,
     r"^mirrorball: vm one: kernel needs \d+ MiB .*the VM has 16 MiB"),
    ("more memory than there is", section(GOOD[0], "memory = 4000"), NO_MEMORY,
     r"^mirrorball: vm one: memory = 4000 MiB is more than there is"),
    ("more memory than there is, in two VMs", section(GOOD[0], "memory = 250", "[vm two]", GOOD[0], "memory = 251"),
     NO_MEMORY, r"^mirrorball: vm two: memory = 251 MiB is more than there is"),
    ("processors that are not there", section(*GOOD, "cpus = 2-5"), INVALID,
     r"^mirrorball: vm one: cpus: none of them is"),
    ("more vCPUs than allowed", section(*GOOD, "vcpus = 65"), INVALID,
     r"vcpus: expected a number of processors from 1 to 64"),
)


@lab.scenario("refusals", seconds=360)
def refusals(t):
    numbers = range(2, 2 + len(REFUSALS))
    last = numbers[-1] + 1
    files = lab.kernels("sensitive") | proofs((1, *numbers, last)) | {
        "guests/text": b"This is a text, not a kernel.\n" * 200, f"tests/{last}.conf": section(*GOOD)}
    files["guests/vmlinuz"] = lab.linux()["guests/vmlinuz"]
    with open(files["guests/vmlinuz"], "rb") as kernel:
        files["guests/cut"] = kernel.read(1 << 20)
    lines = ["type \\tests\\1.txt"]
    for number, (_, text, _, _) in zip(numbers, REFUSALS):
        lines += start(number, f"\\tests\\{number}none.conf" if text is None else None)
        if text is not None:
            files[f"tests/{number}.conf"] = text
    files["startup.nsh"] = script(*lines, *start(last))
    with t.machine(t.image(None, files, "shell"), cpus=2) as m:
        m.start_script()
        m.wait("the shell's script runs", rf"^{proof(1)}", 120)
        for number, (what, _, status, said) in zip(numbers, REFUSALS):
            after_run(t, m, number, what, status, said)
        after_run(t, m, last, "a good configuration after all these", SUCCESS, r"^guest: \d+ passed, 0 failed$")
        m.wait("the script runs to its end", r"^the-script-has-ended", 60)


def hardware(t, name, what, row, platform=None, model=None, before=(), files=None, cpus=2, vcpus=1, said=None,
             need="needed"):
    """One boot on a machine that lacks something; ROW of the printed table says so."""
    image = t.image(None, lab.kernels("sensitive") | proofs((1,)) | (files or {}) | {
        "startup.nsh": script(*before, *start(1)), "tests/1.conf": section(*GOOD, f"vcpus = {vcpus}")}, "shell", name)
    with t.machine(image, name, cpus=cpus, platform=platform, model=model) as m:
        m.start_script()
        m.wait(f"{what}: Mirrorball prints its table", r"^mirrorball: hardware:", 120)
        text = after_run(t, m, 1, what, UNSUPPORTED, said or rf"^mirrorball: refused: needed but not found: .*{row}")
        t.check(f"{what}: the table's row says so", re.search(rf"^  {row} +{need} +no ", text, re.M), lab.tail(text, 60))
        m.wait(f"{what}: the script runs to its end", r"^the-script-has-ended", 60)
        return text


@lab.scenario("lacking-hardware", seconds=300)
def lacking_hardware(t):
    hardware(t, "tcg", "no VMX (QEMU's own emulation)", "Intel VT-x", platform="qemu")
    hardware(t, "penryn", "VMX without EPT", r"extended page tables \(EPT\)", platform="bochs", model="core2_penryn_t9600")
    text = hardware(t, "locked", "VMX locked off", "VT-x not locked off", platform="bochs",
                    before=("\\lockvmx.efi",), files=lab.helper("lockvmx"))
    t.check("VMX locked off: what to do is told", "enable VT-x in the firmware's setup" in text)
    hardware(t, "nomp", "no MP services and nobody answers SIPI", "firmware's MP services", platform="bochs", cpus=1,
             vcpus=2, before=("\\nomp.efi",), files=lab.helper("nomp"), need="wanted",
             said=r"^mirrorball: refused: the firmware has no MP services, and INIT and SIPI bring 1 of the 2 ")
    unfit_firmware(t)


def unfit_firmware(t):
    """The hardware is good, but the firmware's world is one that Mirrorball cannot come back to."""
    files = lab.kernels("sensitive") | proofs((1,)) | lab.helper("pcid") | {
        "startup.nsh": script("\\pcid.efi", *start(1)), "tests/1.conf": section(*GOOD)}
    with t.machine(t.image(None, files, "shell", "pcid"), "pcid", cpus=2, platform="bochs") as m:
        m.start_script()
        m.wait("PCIDs: the helper switches them on", r"^pcid: PCIDs are on", 120)
        after_run(t, m, 1, "PCIDs", UNSUPPORTED, r"^mirrorball: cpu 0 \(APIC id 0\): the firmware uses PCIDs")
        m.wait("PCIDs: the script runs to its end", r"^the-script-has-ended", 60)


@lab.scenario("init-sipi", seconds=300)
def init_sipi(t):
    """Without MP services the processors are started by INIT and SIPI, also a second time."""
    for cpus in (2, 4):
        files = lab.kernels("sensitive", "interrupts") | proofs((1, 2)) | lab.helper("nomp") | {
            "startup.nsh": script("\\nomp.efi", *start(1), *start(2)),
            "tests/1.conf": lab.config(lab.vm_section("one", "interrupts.elf", vcpus=2)).encode(),
            "tests/2.conf": lab.config(lab.vm_section("one", "sensitive.elf", vcpus=cpus)).encode()}
        with t.machine(t.image(None, files, "shell", f"cpus{cpus}"), f"cpus{cpus}", cpus=cpus, platform="bochs") as m:
            m.start_script()
            m.wait(f"{cpus} processors: the helper takes the MP services away", r"^nomp: MP services removed", 120)
            m.wait(f"{cpus} processors: the table says what is used",
                   r"^  firmware's MP services +wanted +no +INIT and SIPI are used")
            for number in (1, 2):
                text = after_run(t, m, number, f"{cpus} processors, start {number}", SUCCESS,
                                 r"^guest: \d+ passed, 0 failed$")
                t.check(f"{cpus} processors, start {number}: all are used",
                        re.search(rf"^mirrorball: processors: {cpus} of {cpus}, started by INIT and SIPI", text, re.M))
