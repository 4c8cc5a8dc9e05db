/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/hypercall.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * Misbehaves as its command line says. Where bare hardware lets a guest go on, it prints "crash: survived WHAT" and
 * ends in order; where it does not, the hypervisor has to stop this guest and no other.
 */
extern const char real_mode_part[], real_mode_end[];
int visit_real_mode(void);

static void survived(const char *what)
{
    print("crash: survived %s\n", what);
}

/* Ends that no guest survives */

static void crash_triple(void)
{
    struct descriptor_ptr none = { 0, 0 };

    lidt(&none);
    __asm__ volatile("ud2");
}

static void crash_nowhere(void)
{
    ((void (*)(void))0xd0000000)();
}

static void crash_cli_hlt(void)
{
    for (;;) {
        cli();
        hlt();
    }
}

/* Exits without end, or none at all. */
static void crash_spin(void)
{
    uint32_t a, b, c, d;

    for (;;)
        cpuid(0, 0, &a, &b, &c, &d);
}

static void crash_loop(void)
{
    for (;;)
        cpu_pause();
}

static void crash_reset(void)
{
    outb(0x64, 0xfe);          /* the keyboard controller's reset line */
    for (;;)
        hlt();
}

/* Ports: all are read, and those that are not a PC's own devices are written. */

static bool is_device_port(unsigned port)
{
    static const struct { uint16_t first, last; } devices[] = {
        { 0x20, 0x21 }, { 0x40, 0x43 }, { 0x60, 0x64 }, { 0x70, 0x71 }, { 0x92, 0x92 }, { 0xa0, 0xa1 },
        { 0x3f8, 0x3ff }, { 0x4d0, 0x4d1 }, { 0x600, 0x60b }, { 0xcf8, 0xcff },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
        if (port + 3 >= devices[i].first && port <= devices[i].last)
            return true;
    }
    return false;
}

static void crash_ports(void)
{
    unsigned all_ones = 0;

    for (unsigned port = 0; port < 0x10000; port++) {
        all_ones += inb((uint16_t)port) == 0xff;
        inw((uint16_t)port);
        inl((uint16_t)port);
        if (is_device_port(port))
            continue;
        outb((uint16_t)port, "Shutdown"[port & 7]);
        outw((uint16_t)port, 0xffff);
        outl((uint16_t)port, 0x12345678);
    }
    for (const char *p = "Shutdown"; *p; p++)
        outb(0x8900, (uint8_t)*p);
    print("crash: %u of 65536 ports read ones\n", all_ones);
    survived("ports");
}

/* MSRs: each of three ranges is read; those that do not exist are written, those that do get back what they had. */

struct msr_access { uint32_t msr; uint64_t value; };

static void do_rdmsr(void *access)
{
    struct msr_access *a = access;

    a->value = rdmsr(a->msr);
}

static void do_wrmsr(void *access)
{
    struct msr_access *a = access;

    wrmsr(a->msr, a->value);
}

static void crash_msrs(void)
{
    static const uint32_t first[] = { 0, 0x40000000, 0xc0000000, 0xfffff000 };
    struct msr_access access;
    unsigned exist = 0, took = 0;

    for (unsigned range = 0; range < ARRAY_SIZE(first); range++) {
        for (uint32_t i = 0; i < 0x1000; i++) {
            access = (struct msr_access){ first[range] + i, UINT64_MAX };
            exist += run_at(0, do_rdmsr, &access).vector == NO_FAULT;
            took += run_at(0, do_wrmsr, &access).vector == NO_FAULT;
        }
    }
    print("crash: %u MSRs can be read, %u written\n", exist, took);
    survived("msrs");
}

/* States that a processor refuses, or that make VM entries fail where a hypervisor does not refuse them. */

static void load_cr0(void *value)
{
    write_cr0(*(uint64_t *)value);
}

static void load_cr3(void *value)
{
    write_cr3(*(uint64_t *)value);
}

static void load_cr4(void *value)
{
    write_cr4(*(uint64_t *)value);
}

static void load_efer(void *value)
{
    wrmsr(MSR_EFER, *(uint64_t *)value);
}

static void load_dr7(void *value)
{
    write_dr7(*(uint64_t *)value);
}

static void load_bases(void *value)
{
    wrmsr(MSR_FS_BASE, *(uint64_t *)value);
    wrmsr(MSR_GS_BASE, *(uint64_t *)value);
    wrmsr(MSR_SYSENTER_ESP, *(uint64_t *)value);
    wrmsr(MSR_SYSENTER_EIP, *(uint64_t *)value);
    wrmsr(MSR_PAT, *(uint64_t *)value);
}

static void jump_to(void *address)
{
    ((void (*)(void))*(uint64_t *)address)();
}

static void load_rflags(void *flags)
{
    __asm__ volatile("movq %%rsp, %%rax\n\tpushq $0x10\n\tpushq %%rax\n\tpushq %0\n\tpushq $8\n\t"
                     "leaq 1f(%%rip), %%rax\n\tpushq %%rax\n\tiretq\n1:"
                     : : "r"(*(uint64_t *)flags) : "rax", "memory", "cc");
}

/* Every bit turned over in a register, one at a time, but for those of spare; then what was there again. */
static void flip_bits(const char *name, void (*load)(void *), uint64_t original, uint64_t spare)
{
    unsigned took = 0;

    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = original ^ BIT(bit), back = original;

        if (spare & BIT(bit))
            continue;
        took += run_at(0, load, &value).vector == NO_FAULT;
        run_at(0, load, &back);
    }
    print("crash: %s takes %u of 64 bits turned over\n", name, took);
}

static void null_segments(void)
{
    write_ds(0);
    write_es(3);
    write_fs(2);
    write_gs(1);
    __asm__ volatile("mov %0, %%ss" : : "r"(0) : "memory"); /* allowed at CPL 0 in 64-bit mode */
    wbinvd();                                               /* most likely an exit with that state */
    write_ss(SEL_KDATA);
}

static void crash_badstate(void)
{
    /* With these the kernel could not run on its own pages, which are open to CPL 3; bit 27 is LASS. */
    const uint64_t user_pages = CR4_SMEP | CR4_SMAP | BIT(27);
    uint64_t value = 0x0000800000000000;

    flip_bits("cr0", load_cr0, read_cr0(), 0);
    flip_bits("cr4", load_cr4, read_cr4(), user_pages);
    flip_bits("efer", load_efer, rdmsr(MSR_EFER), 0);
    flip_bits("dr7", load_dr7, 0x400, 0);
    flip_bits("rflags", load_rflags, FLAGS_ONE, 0);
    run_at(0, load_bases, &value);
    run_at(0, jump_to, &value);
    value = read_cr3() | BIT(62);
    run_at(0, load_cr3, &value);
    null_segments();
    survived("badstate");
}

static void crash_realmode(void)
{
    memcpy((void *)0x8000, real_mode_part, (size_t)(real_mode_end - real_mode_part));
    if (visit_real_mode())
        survived("realmode");
}

/* Hypercalls nobody has, with arguments that point anywhere. */
static void do_vmcall(void *number)
{
    uint64_t rax = *(uint64_t *)number;

    __asm__ volatile("vmcall" : "+a"(rax) : "D"(UINT64_MAX), "S"(0xfee00000), "d"(0x7fffffffffffffff) : "memory");
}

static void crash_vmcalls(void)
{
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t number = 0x1000 + i * 0x0123456789abcdef;

        run_at(0, do_vmcall, &number);
        run_at(3, do_vmcall, &number);
    }
    survived("vmcalls");
}

/* All of its memory, with its code, stack and page tables: nothing is left to go on with. */
static void crash_giveaway(void)
{
    static struct mirrorball_range ranges[16];
    uint64_t n = 0, result = MIRRORBALL_CALL_FREE_PAGES;

    for (uint64_t at = MIB; n < ARRAY_SIZE(ranges) && at < MIB + ram_above_1m; at += MIB)
        ranges[n++] = (struct mirrorball_range){ at, MIB / PAGE_SIZE };
    for (uint64_t i = 0; i < n; i++)
        __asm__ volatile("vmcall" : "+a"(result) : "D"(&ranges[i]), "S"(1) : "memory");
    survived("giveaway");
}

/* Memory must come empty: whatever another guest left there would be found here. Then it is filled with a pattern. */
static void crash_hunt(void)
{
    uint64_t *from = (uint64_t *)ALIGN_UP((uint64_t)image_end, PAGE_SIZE), *to = (uint64_t *)(MIB + ram_above_1m);
    uint64_t found = 0;

    for (uint64_t *p = from; p < to; p++) {
        found += *p != 0;
        *p = 0x5ec4e75ec4e75ec4;
    }
    print("crash: %llu of %llu words were not zero\n", (unsigned long long)found, (unsigned long long)(to - from));
    check("memory is empty at first", found, 0);
    survived("hunt");
}

/* Not a crash: a word every so many bytes, which must stay while other guests want all memory that there is. */
static void hold(uint64_t step)
{
    uint64_t from = ALIGN_UP((uint64_t)image_end, step), end = MIB + ram_above_1m, lost = 0;

    for (uint64_t at = from; at < end; at += step)
        *(volatile uint64_t *)at = at;
    for (unsigned n = 0;; n++) {
        for (uint64_t at = from; at < end; at += step) {
            lost += *(volatile uint64_t *)at != at;
            *(volatile uint64_t *)at = at;
        }
        print("crash: round %u, %llu words lost\n", n, (unsigned long long)lost);
        for (uint64_t start = rdtsc(); rdtsc() - start < 20000000;)
            cpu_pause();
    }
}

static void crash_keep(void) { hold(PAGE_SIZE); }
static void crash_sparse(void) { hold(2 * MIB); }

/* Not a crash: a line now and then, to show that this guest lives while another does not. */
static void crash_beat(void)
{
    uint64_t start = rdtsc();

    for (unsigned n = 1; n <= 60; n++) {
        while (rdtsc() - start < n * 50000000ull)
            cpu_pause();
        print("crash: beat %u\n", n);
    }
    survived("beat");
}

static const struct { const char *name; void (*fn)(void); } ways[] = {
    { "triple", crash_triple }, { "nowhere", crash_nowhere }, { "cli-hlt", crash_cli_hlt }, { "spin", crash_spin },
    { "loop", crash_loop }, { "reset", crash_reset }, { "ports", crash_ports }, { "msrs", crash_msrs },
    { "badstate", crash_badstate }, { "realmode", crash_realmode },
    { "vmcalls", crash_vmcalls }, { "giveaway", crash_giveaway }, { "hunt", crash_hunt }, { "beat", crash_beat },
    { "keep", crash_keep }, { "sparse", crash_sparse },
};

static bool is_word(const char *text, const char *word)
{
    size_t n = strlen(word);

    return !strncmp(text, word, n) && (text[n] == '\0' || text[n] == ' ');
}

void guest_main(const char *arguments)
{
    for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
        if (!is_word(arguments, ways[i].name))
            continue;
        print("crash: %s\n", ways[i].name);
        ways[i].fn();
        return;
    }
    print("crash: what? One of:");
    for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
        print(" %s", ways[i].name);
    print("\n");
}
