# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
"""Debian guests of several vCPUs, with a processor each and sharing them: all work at the same time; their clocks; what
they leave for when they do nothing."""

import re

import lab

# Kernel command line: without the kernel's own regular work (docs/configuration.md, "Quiet guests").
QUIET = "nowatchdog sysctl.vm.compaction_proactiveness=0 sysctl.vm.stat_interval=3600"
IDLE_SECONDS = 10
PAUSE_SECONDS = 4
COMPLAINTS = "stall|lockup|unstable|skew|lost|hung|Call Trace|BUG:|cut here"
# n: centiseconds since the guest's start. w PROCESSOR...: how long a loop on each of them takes, all at the same time.
FUNCTIONS = ("n() { sed 's/ .*//;s/[.]//' /proc/uptime; }",
             "w() ( a=$(n); for c; do taskset -c $c awk 'BEGIN{while(i++<20000);}' & done; wait; "
             "echo took-$# $(($(n)-a)) )")
CLOCKS = "echo clocks $(cat /sys/class/rtc/rtc0/since_epoch) $(date +%s) $(n)"


def ready(m, name, vcpus, start, head):
    m.wait(f"{name} is ready, with {vcpus} processors",
           rf"^{head}mirrorball-guest: {name} ready, {vcpus} cpus, \d+ MiB", since=start)


def at_shell(m, name, vcpus):
    lab.at_shell(m, name)
    m.shell(f"{name} answers", "echo in-$(hostname)-$((6*7))", rf"in-{name}-42$")
    m.shell(f"{name}: every processor works",
            "for c in /sys/bus/cpu/devices/*; do taskset -c ${c##*cpu} echo on-${c##*cpu}; done", rf"on-{vcpus - 1}$")


def power_off(m, name):
    m.focus(name)
    m.send("poweroff -f\r")
    m.wait(f"{name} powers itself off", rf"^mirrorball: vm {name}: off", 60)


def no_complaint(m, name):
    m.shell(f"{name} has noticed nothing", f"echo n=$(dmesg | grep -ciE '{COMPLAINTS}')", r"n=0$")


def define(m, name):
    for function in FUNCTIONS:
        m.shell(f"{name} takes a function", f"{function}; echo def=$?", r"def=0$")


def took(m, *processors):
    """Seconds of the guest's time that loops on these processors take."""
    since = m.mark()
    m.send(f"w {' '.join(map(str, processors))}\r")
    return int(m.until(rf"took-{len(processors)} (\d+)$", 240, since)[1]) / 100


def scales(t, m, name, vcpus, most):
    """Loops on all vCPUs take at most so many times as long as one does."""
    alone, together = min(took(m, 0), took(m, 1)), took(m, *range(vcpus))
    print(f"{name}: a loop takes {alone} s, {vcpus} at once {together} s, {together / alone:.2f} times as long")
    t.check(f"{name}: its processors work at the same time", 0 < together <= most * alone, f"{alone} s, {together} s")


def places(m, name):
    return [int(cpu) for cpu in re.findall(r"vcpu \d+ on cpu (\d+): ran", m.command(f"stat {name}"))]


@lab.scenario("linux-smp", seconds=480)
def linux_smp(t):
    """A processor for each vCPU."""
    config = lab.config(lab.linux_section("quad", vcpus=4, extra=QUIET))
    with t.machine(t.image(config, lab.linux()), cpus=4, memory=1024) as m:
        ready(m, "quad", 4, 0, "")
        at_shell(m, "quad", 4)
        define(m, "quad")
        m.shell("its processors have fast string instructions", "echo fast=$(grep -cw rep_good /proc/cpuinfo)", r"fast=4$")
        scales(t, m, "quad", 4, 1.25)
        no_complaint(m, "quad")
        m.focus("the monitor")
        t.check("each vCPU has its own processor", sorted(places(m, "quad")) == [0, 1, 2, 3], m.text()[-400:])
        rate, exits = lab.idle_exits(m, ["quad"], IDLE_SECONDS)
        print(f"quad, quiet and idle: {rate['quad']:.1f} exits a second, by reason: {exits}")
        t.check("idle, each vCPU has fewer than five exits a second", rate["quad"] < 4 * 5, f"{rate} {exits}")
        power_off(m, "quad")
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


# Both compute; then, of 100 ticks of its clock, how many were the other one's.
BUSY = "while :; do :; done & sleep 3"
STOLEN = ("s() { set -- $(head -n 1 /proc/stat); t=$(($2+$3+$4+$5+$6+$7+$8+$9)); x=$9; }; "
          "s; T=$t X=$x; sleep 4; s; echo stolen=$(((x-X)*100/(t-T)))")


def half_is_stolen(m, names):
    for name in names:
        m.focus(name)
        m.send(f"{BUSY}\r")
    m.shell("two that compute have half of the processor each, and know it", STOLEN, r"stolen=(4\d|5\d)$")
    for name in names:
        m.focus(name)
        m.send("kill $!\r")


@lab.scenario("linux-shared-processor", seconds=480)
def linux_shared(t):
    names = ("one", "two")
    config = lab.config(*map(lab.linux_section, names))
    with t.machine(t.image(config, lab.linux()), cpus=1, memory=1024, model="corei7_haswell_4770",
                   platform="bochs") as m:
        for name in names:
            ready(m, name, 1, 0, rf"\[{name}\] ")
        for name in names:
            at_shell(m, name, 1)
            no_complaint(m, name)
        half_is_stolen(m, names)
        for name in names:
            power_off(m, name)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


def with_vectors(t):
    """The usual guest, and a program that looks whether its registers stay its own."""
    return lab.linux_with(t, {"bin/vectors": lab.program(t, "programs", "vectors.c")})


def lose(m):
    """How many of the processes of the guest with the input lose something."""
    since = m.mark()
    m.send("vectors\r")
    return int(m.until(r"vectors: (\d+) processes lost theirs$", 240, since)[1])


# RDMSR: Linux that goes idle looks once a second whether its TSC was adjusted. INTERRUPT_WINDOW: Bochs with APICv
# (docs/testing.md), after a deadline that is over when Linux sets it, with IF clear.
TIMER_EXITS = {"HLT", "WRMSR", "EXTERNAL_INTERRUPT", "PREEMPTION_TIMER", "RDMSR", "INTERRUPT_WINDOW"}
SWITCH_OFF = "cd /proc/sys; echo 0 >vm/compaction_proactiveness; echo 3600 >vm/stat_interval; " \
    "echo 0 >kernel/watchdog; cd /"


def idle(t, m, quiet, default):
    """Who does nothing causes no exits but for its own timers."""
    m.focus(quiet)
    m.shell(f"{quiet}: the kernel's own regular work can be switched off", f"{SWITCH_OFF}; echo quiet=$?", r"quiet=0$")
    m.focus("the monitor")
    rate, exits = lab.idle_exits(m, (quiet, default), IDLE_SECONDS)
    print(f"exits a second, idle: {rate[default]:.1f}, quiet: {rate[quiet]:.1f}; by reason: {exits}")
    t.check(f"{quiet}: fewer than five exits a second when it is idle", rate[quiet] < 5, f"{rate} {exits}")
    for name, reasons in exits.items():
        t.check(f"{name}: halts and its timer are all that it leaves for",
                set(reasons) <= TIMER_EXITS and (reasons or name == quiet), exits)


@lab.scenario("linux-vectors", seconds=480)
def linux_vectors(t):
    """AVX-512 registers stay each process' own, among processes and among guests on one processor; then both are
    idle."""
    names = ("one", "two")
    with t.machine(t.image(lab.config(*map(lab.linux_section, names)), with_vectors(t)), cpus=1, memory=1024,
                   platform="bochs") as m:
        for name in names:
            ready(m, name, 1, 0, rf"\[{name}\] ")
        m.focus("one")
        m.send("while :; do vectors; done >/dev/null &\r")
        m.focus("two")
        t.check("nothing is lost to others", lose(m) == 0)
        m.focus("one")
        t.check("nor to another guest", lose(m) == 0)
        m.send("kill $!\r")
        for name in names:
            m.focus(name)
            m.shell(f"{name}: its kernel has seen nothing", "echo n=$(dmesg | grep -c 'Bad FPU')", r"n=0$")
        idle(t, m, "two", "one")
        for name in names:
            power_off(m, name)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


# --- clocks -----------------------------------------------------------------------------

class Clocks:
    """What the guest with the keyboard says the time is, and the machine's TSC then: that of its last exit."""

    def __init__(self, m, name):
        since = m.mark()
        m.send(f"sleep 1; {CLOCKS}\r")
        m.focus("the monitor")
        while not (found := m.find(r"clocks (\d+) (\d+) (\d+)$", since)) and not m.trial.time_is_over():
            m.command(f"trace {name}")
        self.ticks = max(int(tsc) for tsc in re.findall(r"tsc (\d+)", m.command(f"trace {name}")))
        self.rtc, self.date, self.up = int(found[1]), int(found[2]), int(found[3]) / 100


def pause(m, name, seconds):
    """Stops a VM for at least so many seconds of the machine; the monitor has the keyboard."""
    m.command(f"vm pause {name}")
    lab.top_of(m, seconds + 1)
    m.command(f"vm resume {name}")


def clocks_agree(t, m, name, before, after, paused, tolerance):
    """All clocks of the guest have gone on alike, and with the machine but for a pause of at least so many seconds."""
    hz = float(m.find(r"^mirrorball: TSC runs at (\d+\.\d+) MHz")[1]) * 1e6
    host, up = (after.ticks - before.ticks) / hz, after.up - before.up
    rtc, date = after.rtc - before.rtc, after.date - before.date
    seen = f"the machine's clock {host:.2f} s, its own {up:.2f} s, RTC {rtc} s, date {date} s, paused for {paused} s"
    print(f"{name}: {seen}")
    t.check(f"{name}: its clocks agree", max(abs(rtc - up), abs(date - up)) <= 1 + tolerance * up, seen)
    if paused:
        t.check(f"{name}: its time stood still meanwhile", up <= host - paused + 1 + tolerance * host, seen)
    else:
        t.check(f"{name}: its clock goes with the machine's", abs(host - up) <= 1 + tolerance * host, seen)


def clock_stands_still(t, m, name):
    """Over a pause; before it the guest's clock goes with the machine's."""
    first = Clocks(m, name)
    m.focus(name)
    second = Clocks(m, name)
    clocks_agree(t, m, name, first, second, 0, 0.01)
    pause(m, name, PAUSE_SECONDS)
    m.focus(name)
    clocks_agree(t, m, name, second, Clocks(m, name), PAUSE_SECONDS, 0.01)


@lab.scenario("linux-many-vcpus", seconds=900, long=True)
def linux_many(t):
    """More vCPUs than processors; one guest is held to one of them."""
    octo, one = lab.linux_section("octo", memory=384, vcpus=8), lab.linux_section("one") + "cpus = 2\n"
    with t.machine(t.image(lab.config(octo, one), lab.linux()), cpus=4, memory=1024) as m:
        for name, vcpus in (("octo", 8), ("one", 1)):
            ready(m, name, vcpus, 0, rf"\[{name}\] ")
        at_shell(m, "one", 1)
        at_shell(m, "octo", 8)
        define(m, "octo")
        scales(t, m, "octo", 8, 2.5)
        clock_stands_still(t, m, "octo")
        t.check("pinning is honoured", places(m, "one") == [2], m.text()[-400:])
        for name in ("octo", "one"):
            m.focus(name)
            no_complaint(m, name)
            power_off(m, name)
        m.wait("Mirrorball leaves", r"^mirrorball: exit success$", 90)


@lab.scenario("ten-minutes", seconds=3600, long=True)
def ten_minutes(t):
    """Idle for more than ten minutes of its time, with a pause in the midst: no clock is complained of."""
    with t.machine(t.image(lab.config(lab.linux_section("calm", vcpus=2)), lab.linux()), cpus=1, platform="bochs") as m:
        ready(m, "calm", 2, 0, "")
        at_shell(m, "calm", 2)
        define(m, "calm")
        for seconds, paused in ((300, 5), (300, 0)):
            before = Clocks(m, "calm")
            if paused:
                pause(m, "calm", paused)
            m.focus("calm")
            m.shell(f"it sleeps for {seconds} s", f"sleep {seconds}; echo slept=$?", "slept=0$", 1500)
            clocks_agree(t, m, "calm", before, Clocks(m, "calm"), paused, 0.01)
            m.focus("calm")
        no_complaint(m, "calm")
        m.shell("its clock is still the TSC or kvmclock",
                "cat /sys/devices/system/clocksource/clocksource0/current_clocksource", r"^.*(tsc|kvm-clock)$")
        power_off(m, "calm")
