/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/console.h"
#include "arch/x86/fbcon.h"
#include "arch/x86/serial.h"
#include "core/monitor.h"
#include "core/vm.h"
#include "lib/format.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#define CTRL_A      1
#define SWITCH_KEYS 3
#define LINE_MAX    512
#define INPUT_MAX   256
#define NOBODY      (-2)

/* The line a guest is printing. With the input focus it appears byte by byte, else when it is complete. */
struct line {
    char text[LINE_MAX];
    unsigned length;
    unsigned shown;            /* bytes of it on the screen now */
    bool returned;             /* a carriage return came: held back, for it may belong to a newline */
};

static struct {
    struct spinlock lock;      /* innermost: guards all output and its state */
    bool com1, gop, prefix;
    int open_line;             /* whose unfinished line stands on the screen */
    struct line lines[CONFIG_MAX_VMS];
    struct line monitor;       /* its prompt and what is typed so far */
    _Atomic int focus;
} console = { .open_line = NOBODY, .focus = CONSOLE_MONITOR };

/* Keys typed for a VM whose UART is full; only the boot processor touches it. */
static struct { uint8_t bytes[INPUT_MAX]; unsigned head, count; } input;
static unsigned escape_keys;

static void out(const char *text, size_t n)
{
    if (console.com1)
        serial_write(text, n);
    if (console.gop)
        fbcon_write(text, n);
}

static void out_str(const char *s) { out(s, strlen(s)); }

/* Ends an unfinished line of somebody else. */
static void break_line(int owner)
{
    if (console.open_line != NOBODY && console.open_line != owner)
        out_str("\r\n");
    if (console.open_line >= 0 && console.open_line != owner)
        console.lines[console.open_line].shown = 0; /* it will be printed again, whole */
    console.open_line = owner;
}

static void show(int vm, struct line *l)
{
    char head[CONFIG_NAME_MAX + 4];

    if (l->shown == l->length)
        return;
    break_line(vm);
    if (!l->shown && console.prefix) {
        format(head, sizeof(head), "[%s] ", vm_at((unsigned)vm)->config->name);
        out_str(head);
    }
    out(l->text + l->shown, l->length - l->shown);
    l->shown = l->length;
}

static void end_line(int vm, struct line *l)
{
    if (!l->length) { /* an empty line is printed as such */
        l->text[l->length++] = ' ';
        show(vm, l);
    }
    show(vm, l);
    out_str("\r\n");
    console.open_line = NOBODY;
    l->length = l->shown = 0;
}

static void add(int vm, struct line *l, char c)
{
    if (l->returned && l->length)
        l->text[l->length++] = '\r';
    if (l->length >= LINE_MAX - 1) /* room for a carriage return stays */
        end_line(vm, l);
    l->text[l->length++] = c;
}

/*
 * After another's line: what the one with the input had on its line, its prompt for instance, stands there again. The
 * monitor's bare prompt does not: it would come behind every line of every guest.
 */
static void restore_focused(void)
{
    int focus = console.focus;

    if (console.open_line != NOBODY)
        return;
    if (focus >= 0) {
        show(focus, &console.lines[focus]);
    } else if (console.monitor.length > strlen(MONITOR_PROMPT)) {
        out(console.monitor.text, console.monitor.length);
        console.open_line = CONSOLE_MONITOR;
    }
}

void console_guest_out(unsigned vm, uint8_t byte)
{
    struct line *l = &console.lines[vm];

    spin_lock(&console.lock);
    if (byte == '\n')
        end_line((int)vm, l);
    else if (byte != '\r')
        add((int)vm, l, (char)byte);
    l->returned = byte == '\r';
    if (console.focus == (int)vm)
        show((int)vm, l);
    restore_focused();
    spin_unlock(&console.lock);
}

/* Lock held. */
static void write_lines(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        break_line(CONSOLE_MONITOR);
        if (text[i] == '\n') {
            out_str("\r\n");
            console.open_line = NOBODY;
        } else {
            out(&text[i], 1);
        }
    }
}

void console_log(const char *text, size_t n)
{
    spin_lock(&console.lock);
    if (console.open_line == CONSOLE_MONITOR)
        write_lines("\n", 1);
    write_lines(text, n);
    restore_focused();
    spin_unlock(&console.lock);
}

void console_monitor(const char *text, size_t n)
{
    struct line *l = &console.monitor;

    spin_lock(&console.lock);
    if (console.open_line != CONSOLE_MONITOR && l->length) { /* a line of somebody else came between */
        break_line(CONSOLE_MONITOR);
        out(l->text, l->length);
    }
    write_lines(text, n);
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\n')
            l->length = 0;
        else if (l->length < LINE_MAX)
            l->text[l->length++] = text[i];
    }
    restore_focused();
    spin_unlock(&console.lock);
}

void console_init(bool com1, bool gop, bool prefix)
{
    console.com1 = com1;
    console.gop = gop;
    console.prefix = prefix;
}

int console_focus(void) { return console.focus; }

void console_set_focus(int owner)
{
    char text[96];

    spin_lock(&console.lock);
    console.focus = owner;
    console.monitor.length = 0; /* the monitor begins anew with a prompt */
    spin_unlock(&console.lock);
    input.count = 0;
    format(text, sizeof(text), "mirrorball: console: input goes to %s (Ctrl-a three times moves it)\n",
           owner == CONSOLE_MONITOR ? "the monitor" : vm_at((unsigned)owner)->config->name);
    console_log(text, strlen(text));
    if (owner == CONSOLE_MONITOR)
        monitor_prompt();
}

static void next_focus(void)
{
    int next = console.focus + 1;

    console_set_focus(next < (int)vm_count() ? next : CONSOLE_MONITOR);
}

static void deliver(uint8_t byte)
{
    if (console.focus == CONSOLE_MONITOR) {
        monitor_input((char)byte);
    } else if (input.count < INPUT_MAX) {
        input.bytes[(input.head + input.count) % INPUT_MAX] = byte;
        input.count++;
    }
}

static void feed_guest(void)
{
    int focus = console.focus;

    while (focus >= 0 && input.count && vm_serial_in(vm_at((unsigned)focus), input.bytes[input.head])) {
        input.head = (input.head + 1) % INPUT_MAX;
        input.count--;
    }
}

static void key(uint8_t byte)
{
    if (byte == CTRL_A && ++escape_keys == SWITCH_KEYS) {
        escape_keys = 0;
        feed_guest(); /* what was typed before is still for this one */
        next_focus();
        return;
    }
    if (byte == CTRL_A)
        return;
    while (escape_keys) { /* fewer than three were meant for whoever has the input */
        deliver(CTRL_A);
        escape_keys--;
    }
    deliver(byte);
}

void console_typed(uint8_t c)
{
    key(c);
}

void console_poll(void)
{
    int c;

    while (console.com1 && (c = serial_read()) >= 0)
        key((uint8_t)c);
    feed_guest();
    monitor_poll();
}
