# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""What the boot scenarios are written with: trials, disk images, machines and their consoles.

A scenario is a function with @scenario(NAME, seconds=LIMIT) that takes a Trial. It makes a
disk image with trial.image(), boots it with trial.machine(), and states what it expects:
each check has a name and counts. A check that the rest depends on ends the scenario.
"""

import contextlib
import hashlib
import os
import pty
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
import tty

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(REPO, "scripts"))
from packages import fetch, kernel_package  # noqa: E402

BUILD = os.path.join(REPO, "build")
WORK = os.path.join(BUILD, "test")
LOGS = os.path.join(BUILD, "test-logs")
BOOT = os.path.join(REPO, "scripts", "boot")
MKGUEST = os.path.join(REPO, "scripts", "mkguest")
MKIMAGE = os.path.join(REPO, "scripts", "mkimage")
TAIL_LINES = 40
# Self-tests of its cryptography would take Linux 15 seconds, and the emulator as long. With ERMS it would copy and zero
# by single bytes, each of which counts there.
LINUX_LINE = "console=ttyS0 cryptomgr.notests clearcpuid=erms"
POLL_SECONDS = 0.1
QUIET_POLLS = 5                 # after a prompt: nothing is behind it
ESCAPE = re.compile(rb"\x1b(?:\[[0-9;?=]*[A-Za-z]|[()][0-9A-B]|[78=>cDEHM])|[\0\r]")
PANIC = re.compile(r"^mirrorball: panic: .*", re.MULTILINE)
SWITCH = "\x01\x01\x01"         # Ctrl-a three times
QUIT = "\x1d"                   # ends scripts/boot
PROMPT = r"^mirrorball> "

scenarios = []


class Stop(Exception):
    """A check failed on which the rest of the scenario depends; it has been counted."""


class Failure(Exception):
    """Something a scenario needs cannot be made."""


class Scenario:
    def __init__(self, name, seconds, run, long):
        self.name, self.seconds, self.run, self.long = name, seconds, run, long


def scenario(name, seconds, long=False):
    """Registers a scenario and its time limit; a long one is run only if it is asked for."""
    def register(function):
        scenarios.append(Scenario(name, seconds, function, long))
        return function
    return register


def tail(text, lines=TAIL_LINES):
    return "\n".join(text.rstrip("\n").split("\n")[-lines:])


class Trial:
    """One run of a scenario: its checks, its directories, its time."""

    def __init__(self, name, seconds, slow=1.0, platform="bochs"):
        self.name = name
        self.slow = slow
        self.platform = platform
        self.results = []       # (name, passed, detail)
        self.work = os.path.join(WORK, name)
        self.logs = os.path.join(LOGS, name)
        self.deadline = time.monotonic() + seconds * slow
        for directory in (self.work, self.logs):
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)

    def check(self, name, passed, detail=""):
        """Counts a check; returns whether it passed."""
        self.results.append((name, bool(passed), "" if passed else str(detail)))
        return bool(passed)

    def time_is_over(self):
        return time.monotonic() >= self.deadline

    def need(self, name, passed, detail=""):
        """A check that the rest depends on."""
        if not self.check(name, passed, detail):
            raise Stop(name)

    def image(self, config, files, layout="boot", name="disk"):
        """Makes a disk image; FILES maps paths on it to host paths, or to bytes."""
        root = os.path.join(self.work, name)
        for path, source in files.items():
            target = os.path.join(root, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            if isinstance(source, bytes):
                with open(target, "wb") as file:
                    file.write(source)
            elif not os.path.exists(source):
                raise Failure(f"{source} is missing: 'make test' builds it")
            else:
                shutil.copyfile(source, target)
        os.makedirs(root, exist_ok=True)
        image = f"{root}.img"
        command = [MKIMAGE, "--root", root, "--output", image, "--layout", layout]
        command += self.config_option(config, name)
        run(command)
        return image

    def config_option(self, config, name):
        if config is None:
            return ["--no-config"]
        path = os.path.join(self.work, f"{name}.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(config)
        return ["--config", path]

    @contextlib.contextmanager
    def machine(self, image, name="machine", **options):
        """Boots an image; the block talks to the Machine, which ends with the block."""
        machine = Machine(self, image, name, **options)
        try:
            yield machine
        finally:
            machine.close()
        self.check(f"{name}: the hypervisor has not panicked", not PANIC.search(machine.text()))


class Machine:
    """A machine in an emulator (scripts/boot on a pseudo-terminal) and its serial port."""

    def __init__(self, trial, image, name, cpus=4, memory=512, model=None, platform=None,
                 arguments=()):
        """A machine of MEMORY MiB; little, because the firmware overwrites all that it gets back."""
        self.trial = trial
        self.log = os.path.join(trial.logs, f"{name}.serial")
        self.at = 0             # what wait() found last ends here
        self.raw = b""          # read, but perhaps the beginning of an escape sequence
        self.seen = ""
        limit = max(1, trial.deadline - time.monotonic())
        command = [BOOT, "--image", image, "--platform", platform or trial.platform,
                   "--cpus", str(cpus), "--memory", str(memory), "--timeout", f"{limit:.0f}",
                   "--serial", self.log,
                   "--bochs-log", os.path.join(trial.logs, f"{name}.bochs")]
        command += ["--model", model] if model else []
        command += ["--qemu-tcg"] if platform == "qemu" else []
        command += arguments    # more of scripts/boot's own
        self.terminal, slave = pty.openpty()
        tty.setraw(slave)
        open(self.log, "wb").close()
        self.file = open(self.log, "rb")
        with open(os.path.join(trial.logs, f"{name}.boot"), "wb") as output:
            self.process = subprocess.Popen(command, stdin=slave, stdout=subprocess.DEVNULL,
                                            stderr=output, start_new_session=True)
        os.close(slave)
        self.boot_log = output.name

    # --- reading ---

    def text(self):
        """The serial output so far, without escape sequences and carriage returns."""
        if not self.file.closed:
            self.raw += self.file.read()
        start = self.raw.rfind(b"\x1b", max(0, len(self.raw) - 16))
        if start >= 0 and not ESCAPE.match(self.raw, start) and self.process.poll() is None:
            ready, self.raw = self.raw[:start], self.raw[start:]
        else:
            ready, self.raw = self.raw, b""
        self.seen += ESCAPE.sub(b"", ready).decode("latin-1")
        return self.seen

    def mark(self):
        """Here: for wait() and find() to search from."""
        return len(self.text())

    def find(self, regex, since=0):
        """A $ that ends REGEX stands for the end of a whole line, not of as much of it as has come."""
        regex = re.sub(r"\$$", r"(?=\n)", regex)
        return re.compile(regex, re.MULTILINE).search(self.text(), since)

    def wait(self, name, regex, seconds=None, since=None):
        """A check that REGEX appears, behind the last match or behind SINCE; returns the match."""
        match, why = self.watch(regex, seconds, self.at if since is None else since)
        if match:
            self.at = max(self.at, match.end())
        self.trial.need(name, match, f"{why}, waiting for: {regex}\n{self.report()}")
        return match

    def until(self, regex, seconds=None, since=None):
        """Like wait(), but counts only if it fails."""
        match, why = self.watch(regex, seconds, self.at if since is None else since)
        if not match:
            self.trial.need(f"the next step ({regex}) comes", False, f"{why}\n{self.report()}")
        self.at = max(self.at, match.end())
        return match

    def watch(self, regex, seconds, since):
        """The match, or None and why it did not come."""
        limit = self.trial.deadline
        if seconds is not None:
            limit = min(limit, time.monotonic() + seconds * self.trial.slow)
        while True:
            ended = self.process.poll() is not None
            match = self.find(regex, since)
            panic = PANIC.search(self.text())
            if match or panic or ended or time.monotonic() >= limit:
                why = panic[0] if panic else "the machine ended" if ended else "time is over"
                return match, why
            time.sleep(POLL_SECONDS)

    def report(self):
        with open(self.boot_log, encoding="utf-8", errors="replace") as file:
            boot = file.read().strip()
        return f"--- the last lines of {os.path.relpath(self.log, REPO)}:\n{tail(self.text())}\n" \
               f"--- scripts/boot: {tail(boot, 5)}"

    # --- writing ---

    def send(self, text):
        data = text.encode()
        while data:
            data = data[os.write(self.terminal, data):]

    def start_script(self):
        """Saves the firmware's shell its count-down before startup.nsh."""
        self.until(r"Press ESC in \d seconds to skip", 180)
        self.send(" ")

    def focus(self, name):
        """Moves the console's input to a VM, or to "the monitor"."""
        for _ in range(10):
            since = self.mark()
            self.send(SWITCH)
            if self.until(r"^mirrorball: console: input goes to (.+) \(", 60, since)[1] == name:
                return
        self.trial.need(f"the console's input can go to {name}", False, self.report())

    def command(self, text, seconds=60):
        """Gives the monitor, which has the input, a command; returns what it answers."""
        line = self.text().rfind("\n") + 1      # the prompt may stand there already
        self.send(text + "\r")
        start = self.until(rf"^mirrorball> {re.escape(text)}\n", seconds, line).end()
        while True:
            end = self.until(PROMPT, seconds, start)
            if not self.is_shown_again(end.end(), text):
                return self.seen[start:end.start()]
            start = self.until(re.escape(text) + "\n", seconds, end.end()).end()

    def is_shown_again(self, at, text):
        """Lines of others may come between: then the prompt and TEXT, typed so far, are shown again."""
        for _ in range(QUIET_POLLS):
            if len(self.text()) > at:
                return self.seen.startswith(text[0], at)
            time.sleep(POLL_SECONDS)
        return False

    def shell(self, name, text, regex, seconds=60):
        """A check that the guest with the input, at its shell, answers TEXT with REGEX."""
        since = self.mark()
        self.send(text + "\r")
        match, why = self.watch(regex, seconds, since)
        self.trial.check(name, match, f"{why}, waiting for: {regex}\n{tail(self.seen[since:])}")

    # --- the end ---

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.text()
        os.close(self.terminal)
        self.file.close()


# --- what the monitor says --------------------------------------------------------------

class Memory:
    """The answer to "mem", in pages."""

    def __init__(self, text):
        head = re.search(r"machine memory: (\d+) pages .*?, (\d+) free", text)
        self.total, self.free = (int(n) for n in head.groups()) if head else (0, 0)
        self.kinds = {k: int(n) for k, n in re.findall(r"^  (\w+) +(\d+) pages", text, re.M)}
        self.vms = {name: tuple(map(int, numbers)) for name, *numbers in re.findall(
            r"^  vm (\S+) .*touched (\d+) pages, \d+ faults, EPT (\d+) pages, pmap (\d+) pages",
            text, re.M)}
        self.shared = {name: sum(map(int, numbers)) for name, *numbers in re.findall(
            r"^  vm (\S+) +shares by origin (\d+), by content (\d+), zeros (\d+);", text, re.M)}
        found = re.search(r"^no page was left (\d+) times; found (\d+) copies on other nodes, (\d+) disk blocks, "
                          r"(\d+) tables of EPTs, (\d+) zeros, (\d+) kept for a GiB in one piece$", text, re.M)
        self.found = dict(zip(("calls", "copies", "blocks", "tables", "zeros", "kept"),
                              map(int, found.groups() if found else (0,) * 6)))

    def without(self, *running):
        """Free pages if the VMs that run had touched nothing: they go on while we count."""
        own = sum(sum(self.vms.get(name, ())) - self.shared.get(name, 0) for name in running)
        return self.free + own + sum(self.kinds[k] for k in ("origin", "content", "replicas"))


class Placement:
    """What "numa" says of a VM: its moves, and how much of what it used lately was local (%)."""

    def __init__(self, machine, name):
        self.text = machine.command("numa")
        moves = re.search(rf"^  vm {name} +migrations (\d+), replications (\d+), collapses (\d+), splits (\d+); "
                          r"replicas (\d+)$", self.text, re.M)
        use = re.search(rf"^  vm {name} +uses (\d+), local (\d+\.\d)%; mean distance (\d+\.\d), "
                        r"if interleaved (\d+\.\d)$", self.text, re.M)
        sample = re.search(r"^sample (\d+) of all pages", self.text, re.M)
        if not moves or not use or not sample:
            raise Failure(f"the monitor's answer to numa is not understood:\n{self.text}")
        self.migrations, self.replications, self.collapses, self.splits, self.replicas = map(int, moves.groups())
        self.uses, self.sample = int(use[1]), int(sample[1])
        self.local, self.distance, self.interleaved = map(float, use.groups()[1:])


def phase(machine, name, key):
    """Gives the test guest "numa" another phase; the monitor has the input before and after."""
    machine.focus(name)
    since = machine.mark()
    machine.send(key)
    machine.until(f"numa: phase {key}", 60, since)
    machine.focus("the monitor")


def settled(machine, name, samples):
    """The placement after so many samples more."""
    first = Placement(machine, name)
    while True:
        time.sleep(POLL_SECONDS)
        now = Placement(machine, name)
        if now.sample >= first.sample + samples:
            return now
        machine.trial.need("the samples go on", not machine.trial.time_is_over(), now.text)


def memory_of(machine):
    return Memory(machine.command("mem"))


def top_of(machine, pages):
    """So many pages of "top": for each of the VMs' vCPUs its share of the pCPU in % and its exits per second, and
    for each VM its hottest reasons."""
    start = machine.mark()
    machine.send("top\r")
    machine.until(r"(?:\(any key ends this\)[^()]*){%d}" % pages, 60 * pages, start)
    machine.send("q")
    machine.until(PROMPT, 60)
    text = machine.text()[start:]
    vcpus, reasons = {}, {}
    for name, vcpu, share, exits in re.findall(r"^(\S+) +(\d+) +\d+ +(\d+\.\d) +(\d+)$", text, re.M):
        vcpus.setdefault((name, int(vcpu)), []).append((float(share), int(exits)))
    for name, hottest in re.findall(r"^(\S+) +exits/s:(.*)$", text, re.M):
        reasons.setdefault(name, []).append({r: int(n) for r, n in re.findall(r"(\w+) (\d+)", hottest)})
    return vcpus, reasons


def exits_of(machine, vm):
    """Its VM exits until now, by reason."""
    return {reason: int(count) for reason, count in
            re.findall(r"^  ([A-Z_]+) +(\d+)", machine.command(f"stat {vm}"), re.M)}


SETTLED_SECONDS = 30


def idle_exits(machine, vms, seconds):
    """Of each VM, while so many pages of "top" appear: exits a second, its vCPUs together, and all its exits by reason
    (in little more time: what is printed in between takes some). Before, what was typed, and what Linux puts off when it
    boots, may have their consequences. The monitor has the keyboard."""
    top_of(machine, SETTLED_SECONDS)
    before = {vm: exits_of(machine, vm) for vm in vms}
    vcpus, _ = top_of(machine, seconds + 1)
    means = {vm: [statistics.mean(exits for _, exits in pages[1:]) for (name, _), pages in vcpus.items() if name == vm]
             for vm in vms}
    rates = {vm: sum(means[vm]) if means[vm] else float("inf") for vm in vms}
    after = {vm: exits_of(machine, vm) for vm in vms}
    return rates, {vm: {reason: more for reason, count in after[vm].items()
                        if (more := count - before[vm].get(reason, 0))} for vm in vms}


def vm_list(machine):
    """State by name."""
    return dict(re.findall(r"^(\S+) +(off|starting|running|paused|stopping) +\d", machine.command("vm list"), re.M))


def vm_section(name, kernel, ramdisk=None, extra=None, memory=32, vcpus=1):
    lines = [f"[vm {name}]", f"kernel = \\guests\\{kernel}"]
    lines += [f"ramdisk = \\guests\\{ramdisk}"] if ramdisk else []
    lines += [f"extra = {extra}"] if extra else []
    return "\n".join(lines + [f"memory = {memory}", f"vcpus = {vcpus}", ""])


def config(*sections):
    return "[global]\nconsole = com1\n" + "".join(sections)


def linux_section(name, kernel="vmlinuz", memory=256, vcpus=1, extra=""):
    line = f"{LINUX_LINE} mb.name={name} {extra}".rstrip()
    return vm_section(name, kernel, "initrd", line, memory, vcpus)


# --- at a guest's shell -----------------------------------------------------------------

def at_shell(machine, name):
    """The guest has the input, and shows its prompt."""
    machine.focus(name)
    machine.send("\r")
    machine.until(f"{name}# ", 60)


def says(machine, what, command, regex, seconds=60):
    """A check that the guest with the input answers so; ^ is where its line begins."""
    machine.shell(what, command, regex.replace("^", r"^(?:\[\w+\] )?"), seconds)


def no_fault(machine, name):
    at_shell(machine, name)
    says(machine, f"{name}'s kernel reports no fault",
         "echo f=$(dmesg | grep -cE 'Call Trace|BUG:|cut here|blocked for')", r"f=0$")


# --- guests -----------------------------------------------------------------------------

once = threading.Lock()


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def fingerprint(*paths):
    """Of the contents of files, and of all that is in directories: times tell nothing of trees that were copied."""
    total = hashlib.sha256()
    for path in paths:
        if not os.path.exists(path):
            raise Failure(f"{path} is missing: 'make drivers' builds it")
        below = [os.path.join(d, name) for d, _, names in os.walk(path) for name in names] or [path]
        for file in sorted(below):
            with open(file, "rb") as content:
                total.update(os.path.relpath(file, path).encode() + b"\0")
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


@contextlib.contextmanager
def made_once(directory, *sources):
    """Gives whether what is in DIRECTORY was made of other SOURCES, and has to be made again; then notes of which."""
    made, now = os.path.join(directory, "made"), fingerprint(*sources)
    with once:
        old = ""
        if os.path.exists(made):
            with open(made, encoding="ascii") as file:
                old = file.read()
        yield old != now
        if old != now:
            with open(made, "w", encoding="ascii") as file:
                file.write(now)


def linux(kind="cloud"):
    """Debian's kernel and a busybox initial ramdisk with our drivers: image paths to host files."""
    directory, drivers = os.path.join(WORK, f"linux-{kind}"), os.path.join(BUILD, "drivers", kind)
    with made_once(directory, os.path.join(drivers, "root"), MKGUEST) as again:
        if again:
            run([MKGUEST, "--output", directory, "--kernel", kind, "--vmlinux",
                 "--tree", os.path.join(drivers, "root")])
    return {f"guests/{name}": os.path.join(directory, name) for name in ("vmlinuz", "initrd")}


def program(t, *source):
    """A C program of tests/, for a guest."""
    made = os.path.join(t.work, os.path.basename(source[-1]).replace(".c", ".bin"))
    run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-static", "-o", made, os.path.join(REPO, "tests", *source)])
    return made


def linux_with(t, files, drivers=True, kind="cloud"):
    """The usual guest, and in its ramdisk more FILES: what is where there."""
    output, added = os.path.join(t.work, "guest"), [w for to, file in files.items() for w in ("--add", f"{file}:{to}")]
    if drivers:
        added += ["--tree", os.path.join(BUILD, "drivers", kind, "root")]
    run([MKGUEST, "--output", output, "--no-kernel", *added])
    return linux(kind) | {"guests/initrd": os.path.join(output, "initrd")}


def modules_tree(t, names):
    """A directory for a guest (mkguest --tree) with our drivers and these modules of Debian's kernel; all at once, for
    to unpack the kernel's package takes long."""
    root = os.path.join(t.work, "root")
    shutil.copytree(os.path.join(BUILD, "drivers", "cloud", "root"), root)
    [version] = os.listdir(os.path.join(root, "lib", "modules"))
    directory = os.path.join(root, "lib", "modules", version, "kernel")
    package = fetch(kernel_package("cloud"), os.path.join(BUILD, "cache"))
    os.makedirs(directory)
    run(["sh", "-c", f"dpkg-deb --fsys-tarfile {package} | tar -x -C {directory} --wildcards --transform 's,.*/,,' " +
         " ".join(f"'*/{name}.ko'" for name in names)])
    run(["busybox", "depmod", "-b", root, version])
    return root


def vmlinux(kind="cloud"):
    linux(kind)
    return {"guests/vmlinux": os.path.join(WORK, f"linux-{kind}", "vmlinux")}


def kernels(*names):
    """Test kernels of tests/guests."""
    return {f"guests/{name}.elf": os.path.join(BUILD, "guests", f"{name}.elf") for name in names}


def kernel_module(name, kind="cloud"):
    """A module of Debian's kernel, out of its package."""
    directory = os.path.join(WORK, f"linux-{kind}", "modules")
    path = os.path.join(directory, f"{name}.ko")
    with once:
        if not os.path.exists(path):
            os.makedirs(directory, exist_ok=True)
            package = fetch(kernel_package(kind), os.path.join(BUILD, "cache"))
            run(["sh", "-c", f"dpkg-deb --fsys-tarfile {package} | tar -xO --wildcards '*/{name}.ko' >{path}.new"])
            os.replace(f"{path}.new", path)
    return path


def ext4(t, name, mib, files):
    """An ext4 image with these files, and the sums of all in `sums`; needs the trial's directory."""
    root, image = os.path.join(t.work, f"{name}.root"), os.path.join(t.work, f"{name}.ext4")
    os.makedirs(root)
    for path, content in files.items():
        with open(os.path.join(root, path), "wb") as file:
            file.write(content)
    run(["sh", "-c", f"cd {root} && md5sum * > /tmp/sums.$$ && mv /tmp/sums.$$ sums"])
    run(["mkfs.ext4", "-q", "-F", "-b", "4096", "-d", root, image, f"{mib}M"])
    return image


def helper(name):
    """A UEFI program of tests/boot/efi, at the image's root."""
    return {f"{name}.efi": os.path.join(BUILD, "tests", f"{name}.efi")}


def debian_file(package, member):
    """A file out of a Debian package, which is downloaded, not installed."""
    directory = os.path.join(BUILD, "cache", package)
    path = os.path.join(directory, "root", member)
    with once:
        if not os.path.exists(path):
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory)
            download(package, directory)
    if not os.path.exists(path):
        raise Failure(f"the package {package} has no {member}")
    return path


def download(package, directory):
    done = subprocess.run(["apt-get", "-q", "download", package], cwd=directory, capture_output=True,
                          text=True, check=False)
    files = [name for name in os.listdir(directory) if name.endswith(".deb")]
    if done.returncode or len(files) != 1:
        raise Failure(f"cannot download the package {package}: {done.stderr.strip()}")
    run(["dpkg-deb", "-x", os.path.join(directory, files[0]), os.path.join(directory, "root")])


def count_guest(trial, machine, vm, prefix=True):
    """Turns what a test kernel printed into checks; it has finished."""
    head = rf"\[{vm}\] " if prefix else ""
    text = machine.text()
    for verdict, name in re.findall(rf"^{head}(PASS|FAIL) (.*)$", text, re.M):
        trial.check(f"{vm}: {name}", verdict == "PASS", os.path.relpath(machine.log, REPO))
    end = re.search(rf"^{head}guest: (\d+) passed, (\d+) failed$", text, re.M)
    passed = len(re.findall(rf"^{head}PASS ", text, re.M))
    trial.check(f"{vm}: its closing line counts what it printed and no failure",
                end and int(end[1]) == passed > 0 and end[2] == "0",
                f"{end[0] if end else 'no closing line'}, {passed} PASS lines")
