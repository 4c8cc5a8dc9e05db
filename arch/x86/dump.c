/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/dump.h"

#include "arch/x86/cpu.h"
#include "arch/x86/percpu_private.h"
#include "arch/x86/traps.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/symbols.h"

/* Runs on a machine that has just failed: it believes no pointer and touches nothing but the stacks it knows. */

#define SYMBOL_TEXT 64
#define FRAMES_MAX  32

enum { VECTOR_DF = 8, VECTOR_PF = 14 };

static void (*dump_hook)(void);

void traps_set_dump_hook(void (*fn)(void))
{
    dump_hook = fn;
}

void dump_more(void)
{
    if (dump_hook)
        dump_hook();
}

/* Index of the last symbol at or below the link address. */
static uint32_t symbol_find(uint64_t address)
{
    uint32_t low = 0, high = symbol_table.count;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (symbols[middle].address <= address)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void symbol_format(uint64_t addr, char *buf, size_t size)
{
    uint64_t address = addr - (uint64_t)(uintptr_t)symbol_format + symbol_table.anchor;
    const struct symbol *s;

    if (!symbol_table.count || address < symbols[0].address || address >= symbol_table.end) {
        format(buf, size, "?");
        return;
    }
    s = &symbols[symbol_find(address)];
    format(buf, size, "%s+0x%lx", symbol_names + s->name, address - s->address);
}

static void print_frame(uint64_t rip)
{
    char where[SYMBOL_TEXT];

    symbol_format(rip, where, sizeof(where));
    log_error("  %016lx %s", rip, where);
}

/* The frame that this one's rbp leads to, NULL at the end of the chain; callers lie higher on the same stack. */
static const uint64_t *next_frame(uint64_t below, uint64_t rbp)
{
    const uint64_t *frame = (const uint64_t *)(uintptr_t)rbp;

    return rbp > below && rbp % 8 == 0 && percpu_on_stack(cpu_this(), rbp, 16) && frame[1] ? frame : NULL;
}

void dump_backtrace(uint64_t rip, uint64_t rbp)
{
    const uint64_t *frame = next_frame(0, rbp);
    unsigned lines = 0, same = 0;

    log_error("backtrace:");
    print_frame(rip);
    for (; frame && lines < FRAMES_MAX; frame = next_frame(rbp, frame[0])) {
        rbp = (uint64_t)(uintptr_t)frame;
        if (frame[1] == rip) {
            same++;
            continue;
        }
        if (same)
            log_error("  (%u more of it)", same);
        same = 0;
        lines++;
        rip = frame[1];
        print_frame(rip);
    }
}

static const char *trap_name(uint64_t vector)
{
    static const char names[][4] = {
        "DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "9", "TS", "NP", "SS", "GP", "PF", "15",
        "MF", "AC", "MC", "XM", "VE", "CP",
    };

    return vector < ARRAY_SIZE(names) ? names[vector] : "??";
}

static void print_guard_hit(const struct trap_frame *frame)
{
    static const char *const stack_names[IST_COUNT] = { "main", "NMI", "double fault", "machine check" };
    const struct percpu *cpu;
    unsigned ist;

    if (frame->vector != VECTOR_PF && frame->vector != VECTOR_DF)
        return;
    cpu = percpu_guard_hit(read_cr2(), &ist);
    if (cpu)
        log_error("stack overflow on cpu %u (its %s stack)", cpu->index, stack_names[ist]);
}

void dump_trap(const struct trap_frame *f)
{
    char where[SYMBOL_TEXT];

    symbol_format(f->rip, where, sizeof(where));
    log_error("panic: #%s (vector %lu, error 0x%lx) on cpu %u in %s", trap_name(f->vector), f->vector, f->error,
              cpu_index(), where);
    print_guard_hit(f);
    log_error("rip %016lx rsp %016lx rflags %08lx cs %04lx ss %04lx", f->rip, f->rsp, f->rflags, f->cs, f->ss);
    log_error("rax %016lx rbx %016lx rcx %016lx rdx %016lx", f->rax, f->rbx, f->rcx, f->rdx);
    log_error("rsi %016lx rdi %016lx rbp %016lx r8  %016lx", f->rsi, f->rdi, f->rbp, f->r8);
    log_error("r9  %016lx r10 %016lx r11 %016lx r12 %016lx", f->r9, f->r10, f->r11, f->r12);
    log_error("r13 %016lx r14 %016lx r15 %016lx", f->r13, f->r14, f->r15);
    log_error("cr0 %08lx cr2 %016lx cr3 %016lx cr4 %08lx", read_cr0(), read_cr2(), read_cr3(), read_cr4());
    dump_backtrace(f->rip, f->rbp);
}
