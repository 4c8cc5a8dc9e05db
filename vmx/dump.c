/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/format.h"
#include "lib/log.h"
#include "vmx/vcpu.h"
#include "vmx/vmcs_io.h"

#define DUMP_EXITS 16ul        /* at most EXIT_RING */

static void dump_general(const struct vcpu *v)
{
    const struct guest_regs *r = &v->regs;

    log_warn("  rip %016lx  rsp %016lx  rflags %08lx  cr2 %016lx", vmread(VMCS_GUEST_RIP), vmread(VMCS_GUEST_RSP),
             vmread(VMCS_GUEST_RFLAGS), read_cr2());
    log_warn("  rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx", r->rax, r->rbx, r->rcx, r->rdx);
    log_warn("  rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx", r->rsi, r->rdi, r->rbp, r->r8);
    log_warn("  r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx", r->r9, r->r10, r->r11, r->r12);
    log_warn("  r13 %016lx  r14 %016lx  r15 %016lx", r->r13, r->r14, r->r15);
    log_warn("  cr0 %08lx  cr3 %012lx  cr4 %08lx  efer %04lx", vmread(VMCS_GUEST_CR0), vmread(VMCS_GUEST_CR3),
             vmread(VMCS_GUEST_CR4), vmread(VMCS_GUEST_EFER));
}

static void dump_segments(void)
{
    static const char *const names[SEG_COUNT] = { "es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr" };

    for (enum vmcs_segment s = SEG_ES; s < SEG_COUNT; s++)
        log_warn("  %-4s %04lx  base %016lx  limit %08lx  rights %05lx", names[s], vmread(VMCS_GUEST_SELECTOR(s)),
                 vmread(VMCS_GUEST_BASE(s)), vmread(VMCS_GUEST_LIMIT(s)), vmread(VMCS_GUEST_AR(s)));
    log_warn("  gdt  base %016lx limit %04lx   idt base %016lx limit %04lx", vmread(VMCS_GUEST_GDTR_BASE),
             vmread(VMCS_GUEST_GDTR_LIMIT), vmread(VMCS_GUEST_IDTR_BASE), vmread(VMCS_GUEST_IDTR_LIMIT));
}

void exit_record_text(const struct exit_record *r, unsigned vcpu, char *text, size_t size)
{
    format(text, size, "  tsc %lu  vcpu %u  rip %016lx  %s  qualification %#lx", r->tsc, vcpu, r->rip,
           exit_reason_name(r->reason), r->qualification);
}

static void dump_exits(const struct vcpu *v, void (*print)(const char *line))
{
    char line[128];

    for (uint64_t i = v->exit_count - MIN(v->exit_count, DUMP_EXITS); i < v->exit_count; i++) {
        exit_record_text(&v->ring[i % EXIT_RING], v->index, line, sizeof(line));
        print(line);
    }
}

static void print_warning(const char *line)
{
    log_warn("%s", line);
}

static void print_error(const char *line)
{
    log_error("%s", line);
}

void vcpu_dump_panic(void)
{
    const struct vcpu *v = cpu_this()->vcpu;

    if (!v)
        return;
    log_error("last VM exits of %lu of the vCPU that ran here:", v->exit_count);
    dump_exits(v, print_error);
}

void vcpu_dump(struct vcpu *v, const char *why)
{
    log_warn("vcpu %u on cpu %u: %s", v->index, v->cpu, why);
    dump_general(v);
    dump_segments();
    log_warn("  last %lu exits of %lu:", MIN(v->exit_count, DUMP_EXITS), v->exit_count);
    dump_exits(v, print_warning);
}
