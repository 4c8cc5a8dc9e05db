/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/monitor.h"
#include "arch/x86/apic.h"
#include "arch/x86/percpu.h"
#include "core/console.h"
#include "core/monitor_parts.h"
#include "core/sched.h"
#include "core/vm.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

#define MAX_ARGS    6
#define INPUT_LINE 128

/* An answer is printed in one piece, so that no guest's line comes in between (but for one longer than this). */
static char answer[8 * KIB];
static size_t answered;

static void flush(void)
{
    console_monitor(answer, answered);
    answered = 0;
}

static void print_text(const char *text, size_t n)
{
    if (answered + n > sizeof(answer))
        flush();
    memcpy(answer + answered, text, n);
    answered += n;
}

void monitor_print(const char *fmt, ...)
{
    char text[256];
    va_list ap;

    va_start(ap, fmt);
    format_v(text, sizeof(text), fmt, ap);
    va_end(ap);
    print_text(text, strlen(text));
}

struct command {
    const char *name, *args, *help;
    void (*run)(int argc, char **argv);
};

struct vm *monitor_find_vm(const char *name)
{
    struct vm *vm = vm_by_name(name);

    if (!vm)
        monitor_print("no VM has the name %s (see: vm list)\n", name);
    return vm;
}

unsigned monitor_number(const char *text, unsigned limit)
{
    unsigned n = 0;
    const char *s = text;

    for (; *s >= '0' && *s <= '9' && n < limit; s++)
        n = 10 * n + (unsigned)(*s - '0');
    return *s || s == text || n > limit ? limit : n;
}

static void list_vms(void)
{
    monitor_print("%-16s %-9s %5s %9s %9s  %s\n", "name", "state", "vcpus", "MiB", "touched", "first cpu");
    for (unsigned i = 0; i < vm_count(); i++) {
        const struct vm *vm = vm_at(i);

        monitor_print("%-16s %-9s %5u %9lu %9lu  %u\n", vm->config->name, vm_state_name(vm), vm->config->vcpus,
                      vm->config->memory_mib, vm->pmap.counts.touched * PAGE_SIZE / MIB, vm->home);
    }
}

static void cmd_vm(int argc, char **argv)
{
    static const struct { const char *verb; int (*act)(struct vm *vm); } verbs[] = {
        { "start", vm_start }, { "stop", vm_stop }, { "reset", vm_reset },
        { "pause", vm_pause }, { "resume", vm_resume },
    };
    struct vm *vm;

    if (argc == 2 && !strcmp(argv[1], "list")) {
        list_vms();
        return;
    }
    for (size_t i = 0; argc == 3 && i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(argv[1], verbs[i].verb))
            continue;
        vm = monitor_find_vm(argv[2]);
        if (vm && verbs[i].act(vm))
            monitor_print("%s is %s: cannot %s it now\n", argv[2], vm_state_name(vm), argv[1]);
        return;
    }
    monitor_print("usage: vm list | vm start NAME | vm stop NAME | vm reset NAME | vm pause NAME | vm resume NAME\n");
}

static void cmd_console(int argc, char **argv)
{
    struct vm *vm = argc == 2 ? monitor_find_vm(argv[1]) : NULL;

    if (argc != 2)
        monitor_print("usage: console NAME\n");
    flush(); /* what follows is not the monitor's */
    if (vm)
        console_set_focus((int)vm->index);
}

static void print_log(void)
{
    char text[256];
    size_t pos = 0, n;

    while ((n = log_read(&pos, text, sizeof(text))))
        print_text(text, n);
}

static void cmd_log(int argc, char **argv)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };

    if (argc == 1) {
        print_log();
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
        if (!strcmp(argv[1], levels[i])) {
            log_set_level((enum log_level)i);
            return;
        }
    }
    monitor_print("usage: log | log error|warn|info|debug\n");
}

/* As hardware would send it: shows whether that processor still answers. */
static void cmd_nmi(int argc, char **argv)
{
    unsigned cpu = monitor_number(argc == 2 ? argv[1] : "", cpu_count());

    if (cpu == cpu_count())
        monitor_print("usage: nmi CPU, 0 to %u\n", cpu_count() - 1);
    else
        apic_nmi(cpu_of(cpu)->apic_id);
}

static bool leaving;

static void cmd_exit(int argc, char **argv)
{
    (void)argc, (void)argv;
    if (leaving || !vm_any_alive())
        sched_end();
    leaving = true;
    for (unsigned i = 0; i < vm_count(); i++)
        vm_stop(vm_at(i));
}

static void cmd_help(int argc, char **argv);

static const struct command commands[] = {
    { "help",    "",                        "this list", cmd_help },
    { "vm",      "list|VERB NAME",          "the VMs; start, stop, reset, pause, resume one", cmd_vm },
    { "console", "NAME",                    "input goes to this VM; Ctrl-a three times comes on", cmd_console },
    { "numa",    "",                        "nodes of the machine: memory, distances, processors", monitor_numa },
    { "mem",     "[NAME MIB]",              "machine memory by kind and VM; what a VM is to keep", monitor_mem },
    { "disk",    "info|reset|commit VM N",  "the VMs' disks; empties a log, or writes it into the image", monitor_disk },
    { "storage", "[read N [KIB [COUNT]]]",  "the machine's disks, who drives them; read one to see the cost",
      monitor_storage },
    { "net",     "list|stat",               "networks and their ports; what went through each", monitor_net },
    { "stat",    "[NAME [VCPU]]",           "VM exits by reason, and how long they took", monitor_stat },
    { "trace",   "[NAME | cpu CPU]",        "the last VM exits", monitor_trace },
    { "top",     "",                        "use of the processors, a page a second until a key comes", monitor_top },
    { "log",     "[LEVEL]",                 "the log, or what goes into it: error, warn, info, debug", cmd_log },
    { "nmi",     "CPU",                     "send a processor a non-maskable interrupt", cmd_nmi },
    { "exit",    "",                        "stop all VMs and go back to the firmware", cmd_exit },
};

static void cmd_help(int argc, char **argv)
{
    (void)argc, (void)argv;
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        monitor_print("  %-8s %-24s %s\n", commands[i].name, commands[i].args, commands[i].help);
}

static int split(char *line, char **argv)
{
    int argc = 0;

    while (argc < MAX_ARGS) {
        while (*line == ' ')
            *line++ = 0;
        if (!*line)
            break;
        argv[argc++] = line;
        while (*line && *line != ' ')
            line++;
    }
    return argc;
}

static void run_line(char *line)
{
    char *argv[MAX_ARGS];
    int argc = split(line, argv);

    for (size_t i = 0; argc && i < ARRAY_SIZE(commands); i++) {
        if (!strcmp(argv[0], commands[i].name)) {
            commands[i].run(argc, argv);
            return;
        }
    }
    if (argc)
        monitor_print("%s: no such command (see: help)\n", argv[0]);
}

static char line[INPUT_LINE];
static unsigned length;

void monitor_prompt(void)
{
    length = 0;
    monitor_print(MONITOR_PROMPT);
    flush();
}

void monitor_poll(void)
{
    if (top_poll())
        flush();
}

void monitor_input(char c)
{
    if (top_running()) {
        top_end();
        monitor_prompt();
        return;
    }
    if (c == '\r' || c == '\n') {
        line[length] = 0;
        monitor_print("\n");
        run_line(line);
        if (console_focus() == CONSOLE_MONITOR && !top_running())
            monitor_prompt();
    } else if (c == 8 || c == 127) {
        if (length) {
            length--;
            monitor_print("\b \b");
        }
    } else if (c >= ' ' && length < INPUT_LINE - 1) {
        line[length++] = c;
        monitor_print("%c", c);
    }
    flush();
}
