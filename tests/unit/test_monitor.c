/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#include "lib/errno.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"

#include "core/monitor.c"
#include "core/disks.h"
#include "core/firmware_disk.h"
#include "core/uplinks.h"

/* Two VMs that note what they are told, and the screen. */
static char screen[65536];
static size_t screen_length;
static struct vm_config configs[2] = { { .name = "alpha", .memory_mib = 256, .vcpus = 2 },
                                       { .name = "beta", .memory_mib = 64, .vcpus = 1 } };
static struct vm vms[2];
static struct { unsigned starts, stops, resets, pauses, resumes; } told[2];
static int result, focus;
static unsigned ends, traces, traced_cpu;
static const struct vm *traced_vm;
static bool alive;

static unsigned pieces;

void console_monitor(const char *text, size_t n)
{
    pieces += n > 0;
    assert_true(screen_length + n < sizeof(screen));
    memcpy(screen + screen_length, text, n);
    screen[screen_length += n] = 0;
}

int console_focus(void) { return focus; }

/* It prints, so what the monitor has said must be out. */
void console_set_focus(int owner)
{
    focus = owner;
    console_monitor("input goes on\n", 14);
}

struct storage *disks_storage_at(unsigned n, const char **name) { return NULL; }
static struct card card = { .name = "e1000 00:03.0", .up = true, .counts = { .sent = 3, .sent_bytes = 2048, .bad = 1 } };
const struct card *uplinks_at(unsigned n, const char **net)
{
    *net = "lan0";
    return n ? NULL : &card;
}
bool firmware_disk_count(const struct disk *d, struct firmware_disk_counts *out) { return false; }

unsigned vm_count(void) { return 2; }
struct vm *vm_at(unsigned index) { return &vms[index]; }
bool vm_any_alive(void) { return alive; }
int vm_start(struct vm *vm) { told[vm->index].starts++; return result; }
int vm_stop(struct vm *vm) { told[vm->index].stops++; return result; }
int vm_pause(struct vm *vm) { told[vm->index].pauses++; return result; }
int vm_resume(struct vm *vm) { told[vm->index].resumes++; return result; }
int vm_reset(struct vm *vm) { told[vm->index].resets++; return result; }
const char *vm_state_name(const struct vm *vm) { return vm->index ? "off" : "running"; }
void sched_end(void) { ends++; }

struct vm *vm_by_name(const char *name)
{
    for (unsigned i = 0; i < 2; i++)
        if (!strcmp(configs[i].name, name))
            return &vms[i];
    return NULL;
}

static struct { const struct vm *vm; unsigned disk; enum persist_how how; } log_task;

int vm_log_task(struct vm *vm, unsigned disk, enum persist_how how)
{
    if (disk > 1)
        return -EINVAL;
    log_task.vm = vm;
    log_task.disk = disk;
    log_task.how = how;
    return vm->index ? 0 : -EBUSY;
}

void vm_set_target(struct vm *vm, uint64_t mib) { vm->target_mib = mib; }

void vm_exits(struct vm *vm, struct exit_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->count[EXIT_REASON_CPUID] = 12 + vm->index;
    out->count[EXIT_REASON_IO] = 1000;
    for (unsigned i = 0; i < 3; i++)
        exit_stats_time(out, EXIT_REASON_IO, 200 * (i + 1));
    exit_stats_time(out, EXIT_REASON_IO, 1ull << 40);
}

int vm_vcpu_exits(struct vm *vm, unsigned vcpu, struct exit_stats *out)
{
    if (vcpu >= vm->config->vcpus)
        return -ENOENT;
    vm_exits(vm, out);
    out->count[EXIT_REASON_CPUID] = 4;
    return 0;
}

void vm_shares(struct vm *vm, void (*out)(const char *text)) { out("  vcpu 0 on cpu 3"); }

void vm_trace(struct vm *vm, unsigned cpu, void (*out)(const char *text))
{
    traces++;
    traced_vm = vm;
    traced_cpu = cpu;
    out("  vcpu 0 exits");
}

uint64_t sched_ran(const struct slot *s) { return s->share.ran; }

static int setup(void **state)
{
    static uint64_t machine;

    (void)state;
    if (!machine)
        machine = machine_memory(4 * MIB, 0);
    for (unsigned i = 0; i < 2; i++)
        vms[i] = (struct vm){ .config = &configs[i], .index = i, .home = 3 - i };
    memset(told, 0, sizeof(told));
    screen_length = ends = traces = 0;
    answered = 0;
    screen[0] = 0;
    result = 0;
    alive = true;
    leaving = false;
    focus = CONSOLE_MONITOR;
    length = 0;
    return 0;
}

/* Types a line; what the monitor says to it, without the echo. */
static const char *say(const char *text)
{
    size_t echo = screen_length + strlen(text) + 1;

    while (*text)
        monitor_input(*text++);
    monitor_input('\r');
    return screen + echo;
}

#define assert_says(text, what) do {                                                         \
        const char *said_ = say(text);                                                       \
        if (!strstr(said_, what))                                                            \
            fail_msg("%s: %s", text, said_);                                                 \
    } while (0)

static void test_echo_and_prompt(void **state)
{
    monitor_prompt();
    say("");
    assert_string_equal(screen, "mirrorball> \nmirrorball> ");
    say("zz");
    assert_string_equal(screen, "mirrorball> \nmirrorball> zz\nzz: no such command (see: help)\nmirrorball> ");
}

static void test_editing(void **state)
{
    for (const char *p = "\x7f\bvm lost\b\x7f\x08st\x01\x1b\r"; *p; p++)
        monitor_input(*p);
    assert_non_null(strstr(screen, "lost\b \b\b \b\b \bst\n"));
    assert_null(strchr(screen, 0x1b));
    assert_non_null(strstr(screen, "usage: vm"));    /* it is "vm lst" now */
}

/* What does not fit is not taken; the line works as far as it goes. */
static void test_long_line(void **state)
{
    for (unsigned i = 0; i < 1000; i++)
        monitor_input('x');
    assert_int_equal(screen_length, INPUT_LINE - 1);
    assert_says("", "no such command");
}

static void test_spaces_and_arguments(void **state)
{
    assert_says("   vm    start   alpha   ", "mirrorball> ");
    assert_int_equal(told[0].starts, 1);
    say("vm start alpha now please do");             /* too many */
    assert_int_equal(told[0].starts, 1);
    assert_string_equal(say("    "), "mirrorball> ");
    assert_says("VM list", "no such command");
    assert_says("v list", "no such command");
}

static void test_help_lists_every_command(void **state)
{
    const char *text = say("help");

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        assert_non_null(strstr(text, commands[i].name));
}

static void test_disk_info(void **state)
{
    static struct image image = { .size = MIB, .pages = 3 };
    struct blk_disk *d;

    assert_says("disk", "usage: disk info");
    assert_says("disk reset alpha", "usage: disk info, disk reset VM DISK, disk commit VM DISK");
    assert_says("disk reset none 0", "no VM has the name none");
    assert_says("disk reset alpha 2", "alpha has no disk 2 with a log");
    assert_says("disk commit alpha x", "alpha has no disk x with a log");
    assert_says("disk reset alpha 1", "alpha is running: it is done when the VM starts next (vm reset alpha)");
    assert_true(log_task.vm == &vms[0] && log_task.disk == 1 && log_task.how == PERSIST_RESET);
    assert_says("disk commit beta 0", "");
    assert_true(log_task.vm == &vms[1] && log_task.disk == 0 && log_task.how == PERSIST_COMMIT);
    assert_says("disk info", "no VM that runs has a disk");
    blk_init(&vms[0].disks, NULL, 2, "alpha");
    d = blk_add(&vms[0].disks, &image, "a-name-of-25-letters.image");
    d->queue[0].counts = (struct blk_counts){ .requests = 5, .errors = 1, .read = 16 };
    d->queue[1].counts = (struct blk_counts){ .requests = 4, .read = 4, .written = 8 };
    d->layer.placed = 2;
    d->layer.copied = 3;
    d->layer.pages = 1;
    assert_says("disk info", "no VM that runs has a disk");
    atomic_store(&vms[0].state, VM_RUNNING);
    assert_says("disk info", "vm alpha, disk 0: a-name-of-25-letters, cow,discard, 2048 sectors, 3 blocks of the image "
                             "in the cache\n  requests 9, errors 1; read 10 KiB, written 4 KiB\n"
                             "  blocks placed 2, copied 3; of its own 1\n");
    d->readonly = true;
    d->stopped = true;
    assert_says("disk info", "readonly, 2048 sectors, 3 blocks of the image in the cache; has stopped\n");
}

static void test_uplinks(void **state)
{
    assert_says("net stat", "card e1000 00:03.0 of network lan0: link up\n"
                            "    sent 3 frames, 2 KiB; no room for 0, no link for 0\n"
                            "    received 0 frames, 0 KiB; bad 1, missed 0; resets 0\n");
}

static void test_vm_list(void **state)
{
    const char *text = say("vm list");

    assert_non_null(strstr(text, "alpha            running       2       256"));
    assert_non_null(strstr(text, "beta             off           1        64"));
}

static void test_vm_verbs(void **state)
{
    say("vm start alpha");
    say("vm stop alpha");
    say("vm reset beta");
    assert_int_equal(told[0].starts, 1);
    assert_int_equal(told[0].stops, 1);
    assert_int_equal(told[0].resets, 0);
    assert_int_equal(told[1].resets, 1);
    result = -EBUSY;
    assert_says("vm start alpha", "alpha is running: cannot start it now");
    assert_says("vm stop gamma", "no VM has the name gamma");
    assert_says("vm", "usage: vm list");
    assert_says("vm start", "usage: vm list");
    assert_says("vm break alpha", "usage: vm list");
}

/* No prompt when the input has gone elsewhere. */
static void test_console(void **state)
{
    assert_says("console", "usage");
    assert_says("console gamma", "no VM has the name gamma");
    assert_int_equal(focus, CONSOLE_MONITOR);
    assert_string_equal(say("console beta"), "input goes on\n");
    assert_int_equal(focus, 1);
}

/* Guests print too: an answer comes in one piece, with the newline before it and the prompt behind. */
static void test_one_piece(void **state)
{
    unsigned before;

    for (const char *p = "stat"; *p; p++)
        monitor_input(*p);
    before = pieces;
    monitor_input('\r');
    assert_int_equal(pieces, before + 1);
    assert_non_null(strstr(screen, "stat\nvm alpha"));
}

/* All of a log that is longer than one piece. */
static void test_long_answer(void **state)
{
    log_set_level(LOG_INFO);
    for (unsigned i = 0; i < 400; i++)
        log_info("line %u of a long log", i);
    say("log");
    for (unsigned i = 200; i < 400; i++) {
        char want[40];

        format(want, sizeof(want), "line %u of a long log\n", i);
        assert_non_null(strstr(screen, want));
    }
}

static void test_mem(void **state)
{
    const char *text = say("mem");
    char want[64];
    struct page_counts c;

    page_count(NUMA_MAX_NODES, &c);
    format(want, sizeof(want), "%lu pages", c.total);
    assert_non_null(strstr(text, want));
    assert_non_null(strstr(text, "vm alpha"));
    assert_non_null(strstr(text, "vm beta"));
    assert_null(strstr(text, "(null)"));             /* each kind of page has a name */
}

static void test_mem_target(void **state)
{
    assert_null(strstr(say("mem"), "balloon"));
    say("mem beta 40");
    assert_int_equal(vms[1].target_mib, 40);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const wrong[] = { "mem beta 0", "mem beta 65", "mem beta x", "mem beta 99999999999999999999" };

        assert_non_null(strstr(say(wrong[i]), "beta can keep 1 to 64 MiB"));
        assert_int_equal(vms[1].target_mib, 40);
    }
    assert_non_null(strstr(say("mem gamma 3"), "no VM has the name gamma"));
    assert_non_null(strstr(say("mem beta"), "usage: mem"));
    vms[1].has_balloon = true;
    vms[1].balloon = 6144;
    assert_non_null(strstr(say("mem"), "vm beta         gave back 0 pages; is to keep 40 MiB, its balloon has 6144 pages"));
}

static void test_stat(void **state)
{
    const char *text = say("stat beta");

    assert_non_null(strstr(text, "vm beta: 1013 exits"));
    assert_non_null(strstr(text, "CPUID"));
    assert_null(strstr(text, "HLT"));                /* none: not listed */
    text = say("stat");
    assert_non_null(strstr(text, "vm alpha: 1012 exits"));
    assert_non_null(strstr(text, "vm beta: 1013 exits"));
    assert_says("stat gamma", "no VM");
}

/* How long they took: what was not timed went the short way. */
static void test_stat_times(void **state)
{
    assert_says("stat beta", "  IO                               1000  short 996  mean 274877907244 "
                             " <2^8 1 <2^9 1 <2^10 1 more 1\n");
    assert_says("stat beta", "  CPUID                              13  short 13\n");
    assert_null(strstr(say("stat"), "mean"));
    assert_says("stat alpha 1", "vm alpha, vCPU 1: 1004 exits\n");
    assert_says("stat alpha 2", "vm alpha has no vCPU 2 now\n");
    assert_says("stat alpha x", "vm alpha has no vCPU x now\n");
    assert_says("stat alpha 99999999999999999999", "has no vCPU");
    assert_says("stat gamma 0", "no VM");
}

static void test_trace(void **state)
{
    fake_percpu_enter(0);
    assert_says("trace alpha", "  vcpu 0 exits\n");
    assert_ptr_equal(traced_vm, &vms[0]);
    assert_int_equal(traced_cpu, TRACE_ALL_CPUS);
    assert_says("trace cpu 3", "  vcpu 0 exits\n");
    assert_null(traced_vm);
    assert_int_equal(traced_cpu, 3);
    assert_says("trace", "  vcpu 0 exits\n");
    assert_null(traced_vm);
    assert_int_equal(traced_cpu, TRACE_ALL_CPUS);
    assert_says("trace gamma", "no VM");
    assert_says("trace cpu 4", "usage: trace cpu CPU, 0 to 3");
    assert_says("trace cpu x", "usage");
    assert_int_equal(traces, 3);
}

/* beta's vCPU ran for a quarter of the second and left the guest 13 times, for IO most often. */
static void test_top(void **state)
{
    static struct slot slots[2];
    struct vcpu *v = &slots[1].vcpu;

    for (unsigned i = 0; i < 2; i++) {
        slots[i] = (struct slot){ .vm = &vms[i], .vcpu.cpu = 3 - i };
        vms[i].slots[0] = &slots[i];
    }
    fake_cpu.tsc = 10000000;
    fake_cpu.tsc_step = 0;
    v->exit_count = v->exits.count[EXIT_REASON_HLT] = 100;
    say("top");
    assert_null(strstr(screen, "%"));
    fake_cpu.tsc += 1000 * tsc_khz() - 1;
    monitor_poll();
    assert_null(strstr(screen, "%"));
    fake_cpu.tsc += 1;
    slots[1].share.ran += 250 * tsc_khz();
    v->exit_count += 13;
    v->exits.count[EXIT_REASON_CPUID] = 2;
    v->exits.count[EXIT_REASON_IO] = 10;
    v->exits.count[EXIT_REASON_HLT] += 1;
    monitor_poll();
    assert_non_null(strstr(screen, "cpu %   exits/s\n"));
    assert_non_null(strstr(screen, "(any key ends this)\n"));
    assert_int_equal(vms[0].lock.next, vms[0].lock.serving);
    assert_true(vms[0].lock.next > 0);         /* while it looks nothing goes away */
    assert_non_null(strstr(screen, "beta                0    2  25.0        13\n"));
    assert_non_null(strstr(screen, "beta             exits/s:  IO 10  CPUID 2  HLT 1\n"));
    assert_non_null(strstr(screen, "alpha               0    3   0.0         0\n"));
    screen[screen_length = 0] = 0;
    fake_cpu.tsc += 2000 * tsc_khz();
    v->exits.count[EXIT_REASON_IO] += 6;
    v->exit_count = 4;                               /* a new life */
    monitor_poll();
    assert_non_null(strstr(screen, "beta                0    2   0.0         2\n"));
    assert_non_null(strstr(screen, "exits/s:  IO 3\n"));
    assert_null(strstr(screen, MONITOR_PROMPT));
    monitor_input('\r');                             /* any key ends it */
    assert_non_null(strstr(screen, MONITOR_PROMPT));
    screen[screen_length = 0] = 0;
    fake_cpu.tsc += 5000 * tsc_khz();
    monitor_poll();
    assert_string_equal(screen, "");
    assert_string_equal(say("zz"), "zz: no such command (see: help)\nmirrorball> ");
}

static void test_log(void **state)
{
    log_set_level(LOG_INFO);
    log_info("something has happened");
    assert_says("log", "something has happened");
    say("log error");
    assert_int_equal(log_get_level(), LOG_ERROR);
    say("log debug");
    assert_int_equal(log_get_level(), LOG_DEBUG);
    assert_says("log loud", "usage: log");
    assert_int_equal(log_get_level(), LOG_DEBUG);
}

static void test_nmi(void **state)
{
    fake_percpu_enter(0);
    fake_apic.nmis = 0;
    say("nmi 3");
    assert_int_equal(fake_apic.nmis, 1);
    assert_int_equal(fake_apic.nmi_to, 6);
    assert_says("nmi 4", "usage: nmi CPU, 0 to 3");
    assert_says("nmi 99999999999999999999", "usage: nmi");
    assert_says("nmi 1x", "usage: nmi");
    assert_says("nmi", "usage: nmi");
    assert_int_equal(fake_apic.nmis, 1);
}

/* The VMs are stopped, and the last that goes ends us; asked again, we do not wait for them. */
static void test_exit(void **state)
{
    say("exit");
    assert_int_equal(told[0].stops, 1);
    assert_int_equal(told[1].stops, 1);
    assert_int_equal(ends, 0);
    say("exit");
    assert_int_equal(ends, 1);
}

static void test_exit_with_nothing_alive(void **state)
{
    alive = false;
    say("exit");
    assert_int_equal(ends, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_echo_and_prompt, setup),
        cmocka_unit_test_setup(test_editing, setup),
        cmocka_unit_test_setup(test_long_line, setup),
        cmocka_unit_test_setup(test_spaces_and_arguments, setup),
        cmocka_unit_test_setup(test_help_lists_every_command, setup),
        cmocka_unit_test_setup(test_disk_info, setup),
        cmocka_unit_test_setup(test_uplinks, setup),
        cmocka_unit_test_setup(test_vm_list, setup),
        cmocka_unit_test_setup(test_vm_verbs, setup),
        cmocka_unit_test_setup(test_console, setup),
        cmocka_unit_test_setup(test_one_piece, setup),
        cmocka_unit_test_setup(test_long_answer, setup),
        cmocka_unit_test_setup(test_mem, setup),
        cmocka_unit_test_setup(test_mem_target, setup),
        cmocka_unit_test_setup(test_stat, setup),
        cmocka_unit_test_setup(test_stat_times, setup),
        cmocka_unit_test_setup(test_trace, setup),
        cmocka_unit_test_setup(test_top, setup),
        cmocka_unit_test_setup(test_log, setup),
        cmocka_unit_test_setup(test_nmi, setup),
        cmocka_unit_test_setup(test_exit, setup),
        cmocka_unit_test_setup(test_exit_with_nothing_alive, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
