/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/smp.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "lib/errno.h"
#include "lib/string.h"

#include <stdatomic.h>

/* SDM vol. 3A, 9.4.4.1. The manual's second SIPI goes to all; who came with the first ignores it. */
#define AFTER_INIT_US  10000u
#define AFTER_SIPI_US  200u
#define SIPIS          2
#define ARRIVAL_US     100000u /* since the last one came */
#define STEP_US        100u

#define LOW_DATA       0x400u
#define NO_ID          UINT32_MAX /* in x2APIC mode an address of all */
#define XAPIC_ALL      0xffu

#define DESC_CODE_32   0x00cf9b000000ffffull
#define DESC_DATA      0x00cf93000000ffffull
#define DESC_CODE_64   0x00af9b000000ffffull
enum { CODE_32 = 0x08, DATA_32 = 0x10, CODE_64 = 0x18 };

struct far_pointer {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

/* In the low page behind the code; arch/x86/smp.asm knows the order. */
struct smp_low {
    uint64_t gdt[4];
    uint64_t stacks;
    uint64_t entry; /* 0: only tell your id */
    uint32_t cr0, cr3, cr4, efer;
    _Atomic uint32_t tickets, finished;
    struct descriptor_ptr firmware_gdt, firmware_idt, gdt_ptr;
    struct far_pointer to_32, to_64;
    uint16_t cs, ss, ds, es, fs, gs;
    _Atomic uint32_t id[SMP_MAX]; /* by ticket */
};

_Static_assert(offsetof(struct smp_low, stacks) == 32 && offsetof(struct smp_low, cr0) == 48 &&
               offsetof(struct smp_low, tickets) == 64 && offsetof(struct smp_low, firmware_gdt) == 72 &&
               offsetof(struct smp_low, to_32) == 102 && offsetof(struct smp_low, cs) == 114 &&
               offsetof(struct smp_low, id) == 128 && SMP_STACK_SIZE == 1 << 13, "arch/x86/smp.asm");
_Static_assert(LOW_DATA + sizeof(struct smp_low) <= PAGE_SIZE, "one page");

#pragma GCC visibility push(hidden)
extern const char smp_trampoline[], smp_trampoline_32[], smp_trampoline_64[], smp_trampoline_end[];
#pragma GCC visibility pop

static struct smp_low *low;
static uint64_t page;
static smp_stall stall;

/* Those woken last, and what they are to do. */
static uint32_t woken[SMP_MAX];
static unsigned woken_count;
static void (*work)(unsigned index);
static _Atomic bool go;

static struct far_pointer far_to(const char *label, uint16_t selector)
{
    return (struct far_pointer){ (uint32_t)(page + (uint64_t)(label - smp_trampoline)), selector };
}

/* The boot processor's registers; the top of its page tables is copied, because CR3 is loaded with 32 bits. */
static void copy_world(void)
{
    void *root = (void *)(uintptr_t)(page + PAGE_SIZE);

    memcpy(root, (const void *)(uintptr_t)(read_cr3() & APIC_BASE_ADDR_MASK), PAGE_SIZE);
    low->cr0 = (uint32_t)read_cr0();
    low->cr3 = (uint32_t)(uintptr_t)root;
    low->cr4 = (uint32_t)(read_cr4() & ~(CR4_PCIDE | CR4_CET)); /* neither may be set on the way to long mode */
    low->efer = (uint32_t)(rdmsr(MSR_EFER) & ~EFER_LMA);
    sgdt(&low->firmware_gdt);
    sidt(&low->firmware_idt);
    low->cs = read_cs();
    low->ss = read_ss();
    low->ds = read_ds();
    low->es = read_es();
    low->fs = read_fs();
    low->gs = read_gs();
}

void smp_begin(uint64_t low_pages, smp_stall stall_us)
{
    page = low_pages;
    stall = stall_us;
    low = (struct smp_low *)(uintptr_t)(page + LOW_DATA);
    memcpy((void *)(uintptr_t)page, smp_trampoline, (size_t)(smp_trampoline_end - smp_trampoline));
    memset(low, 0, sizeof(*low));
    low->gdt[CODE_32 / 8] = DESC_CODE_32;
    low->gdt[DATA_32 / 8] = DESC_DATA;
    low->gdt[CODE_64 / 8] = DESC_CODE_64;
    low->gdt_ptr = (struct descriptor_ptr){ sizeof(low->gdt) - 1, (uint64_t)(uintptr_t)low->gdt };
    low->to_32 = far_to(smp_trampoline_32, CODE_32);
    low->to_64 = far_to(smp_trampoline_64, CODE_64);
    copy_world();
    apic_mmio_base(); /* finds its mode, for what is sent */
}

static unsigned arrived(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < SMP_MAX; i++)
        n += atomic_load(&low->id[i]) != NO_ID;
    return n;
}

/* To those woken last, with the firmware's interrupts off: between its two halves the command must stay ours. */
static void send(void (*command)(uint32_t apic_id, uint8_t sipi_page), unsigned wait_us)
{
    uint64_t flags = read_rflags();

    cli();
    for (unsigned i = 0; i < woken_count; i++)
        command(woken[i], (uint8_t)(page / PAGE_SIZE));
    if (flags & RFLAGS_IF)
        sti();
    stall(wait_us);
}

static void init(uint32_t apic_id, uint8_t sipi_page)
{
    (void)sipi_page;
    apic_init_signal(apic_id);
}

void smp_stop(void)
{
    send(init, AFTER_INIT_US);
}

/* Wakes woken[] and waits until as many as expected have come, or nobody comes any more. */
static void wake(uint64_t entry, unsigned expected)
{
    unsigned before = 0;

    low->entry = entry;
    low->tickets = low->finished = 0;
    for (unsigned i = 0; i < SMP_MAX; i++)
        low->id[i] = NO_ID;
    send(init, AFTER_INIT_US);
    for (unsigned i = 0; i < SIPIS; i++)
        send(apic_startup_signal, AFTER_SIPI_US);
    for (unsigned us = 0; us < ARRIVAL_US && arrived() < expected; us += STEP_US) {
        if (arrived() > before)
            us = 0;
        before = arrived();
        stall(STEP_US);
    }
}

static void choose(const uint32_t *id, unsigned n)
{
    bool wide = !apic_mmio_base();

    woken_count = 0;
    for (unsigned i = 0; i < n && woken_count < SMP_MAX; i++)
        if (id[i] != apic_id() && id[i] < (wide ? NO_ID : XAPIC_ALL))
            woken[woken_count++] = id[i];
}

/* Puts id into its place among the n before it. */
static void insert(uint32_t *list, unsigned n, uint32_t id)
{
    for (; n && list[n - 1] > id; n--)
        list[n] = list[n - 1];
    list[n] = id;
}

unsigned smp_find(const uint32_t *id, unsigned n, uint32_t *found, unsigned max)
{
    unsigned count = 0;

    choose(id, n);
    if (n == 0)
        woken[woken_count++] = APIC_OTHERS;
    wake(0, n ? woken_count : SMP_MAX);
    smp_stop();
    for (unsigned i = 0; i < SMP_MAX && count < max; i++)
        if (low->id[i] != NO_ID)
            insert(found, count++, low->id[i]);
    return count;
}

/* On each processor started; all are held until all are there. */
static void enter(uint32_t ticket)
{
    uint32_t own = atomic_load(&low->id[ticket]);

    while (!atomic_load(&go))
        cpu_pause();
    for (unsigned i = 0; i < woken_count; i++) {
        if (woken[i] == own) {
            work(i + 1);
            return;
        }
    }
}

int smp_start(const uint32_t *id, unsigned n, void *stacks, void (*fn)(unsigned index))
{
    choose(id, n);
    work = fn;
    low->stacks = (uint64_t)(uintptr_t)stacks;
    atomic_store(&go, false);
    wake((uint64_t)(uintptr_t)enter, woken_count);
    if (woken_count < n || arrived() < n) {
        smp_stop();
        return -EIO;
    }
    atomic_store(&go, true);
    return 0;
}

bool smp_finished(void)
{
    return atomic_load(&low->finished) >= woken_count;
}
