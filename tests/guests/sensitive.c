/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "lib/format.h"
#include "tests/guests/rt/rt.h"

/*
 * The seventeen sensitive but unprivileged x86 instructions (Robin and Irvine, USENIX Security 2000), each at CPL 0 and
 * CPL 3: they read or depend on privileged state without trapping, and so could not be virtualized by trapping. Here
 * each must find what the bare processor gives. UMIP is off.
 */
#define SAID(name, cpl) ((cpl) ? name " at CPL 3" : name " at CPL 0")

/* What a probe found. Probes run at either privilege level in the same address space. */
static volatile uint64_t found __attribute__((used)), found2 __attribute__((used));
static struct descriptor_ptr found_ptr;

static uint64_t flags_after_popf(uint64_t flags)
{
    uint64_t after;

    __asm__ volatile("pushq %1\n\tpopfq\n\tpushfq\n\tpopq %0" : "=r"(after) : "r"(flags) : "memory", "cc");
    return after;
}

/* popf and pushf */

static void probe_popf(void *flags)
{
    found = flags_after_popf(*(uint64_t *)flags);
}

static void probe_pushf(void *unused)
{
    (void)unused;
    found = read_rflags();
}

static void check_popf_kernel(void)
{
    uint64_t on = FLAGS_ONE | FLAGS_IF | FLAGS_IOPL, off = FLAGS_ONE;

    check_fault("popf at CPL 0 does not trap", 0, probe_popf, &on, NO_FAULT);
    check("popf at CPL 0 sets IF and IOPL", found & (FLAGS_IF | FLAGS_IOPL), FLAGS_IF | FLAGS_IOPL);
    check_fault("popf at CPL 0 does not trap again", 0, probe_popf, &off, NO_FAULT);
    check("popf at CPL 0 clears IF and IOPL", found & (FLAGS_IF | FLAGS_IOPL), 0);
}

/* SDM vol. 2, POPF: IF changes only with CPL <= IOPL, IOPL only at CPL 0; elsewhere they keep their value silently. */
static void check_popf_user(void)
{
    uint64_t off = FLAGS_ONE | FLAGS_CF, all = FLAGS_ONE | FLAGS_IF | FLAGS_IOPL;
    struct fault fault;

    fault = run_at_flags(3, FLAGS_IF, probe_popf, &off);
    check("popf at CPL 3, IOPL 0, does not trap", (uint64_t)fault.vector, (uint64_t)NO_FAULT);
    check("popf at CPL 3, IOPL 0, keeps IF on", found & FLAGS_IF, FLAGS_IF);
    check("popf at CPL 3, IOPL 0, changes CF", found & FLAGS_CF, FLAGS_CF);
    run_at_flags(3, 0, probe_popf, &all);
    check("popf at CPL 3, IOPL 0, keeps IF and IOPL off", found & (FLAGS_IF | FLAGS_IOPL), 0);
    run_at_flags(3, FLAGS_IOPL | FLAGS_IF, probe_popf, &off);
    check("popf at CPL 3, IOPL 3, clears IF and keeps IOPL", found & (FLAGS_IF | FLAGS_IOPL), FLAGS_IOPL);
}

static void check_pushf(void)
{
    run_at(0, probe_pushf, NULL);
    check("pushf at CPL 0 shows IF off", found & FLAGS_IF, 0);
    run_at_flags(3, FLAGS_IF | FLAGS_IOPL, probe_pushf, NULL);
    check("pushf at CPL 3 shows IF and IOPL", found & (FLAGS_IF | FLAGS_IOPL), FLAGS_IF | FLAGS_IOPL);
    run_at_flags(3, 0, probe_pushf, NULL);
    check("pushf at CPL 3 shows them off", found & (FLAGS_IF | FLAGS_IOPL), 0);
}

/* sgdt, sidt, sldt, str, smsw */

static void probe_sgdt(void *unused)
{
    (void)unused;
    sgdt(&found_ptr);
}

static void probe_sidt(void *unused)
{
    (void)unused;
    sidt(&found_ptr);
}

static void probe_sldt(void *unused)
{
    (void)unused;
    found = sldt();
}

static void probe_str(void *unused)
{
    (void)unused;
    found = str();
}

static void probe_smsw(void *unused)
{
    uint64_t v;

    (void)unused;
    __asm__ volatile("smswq %0" : "=r"(v));
    found = v;
}

static void check_tables(unsigned cpl)
{
    struct descriptor_ptr known_idt = { 256 * 16 - 1, 0xffff800012345678 }, real;

    check_fault(SAID("sgdt does not trap", cpl), cpl, probe_sgdt, NULL, NO_FAULT);
    check(SAID("sgdt gives the base", cpl), found_ptr.base, (uint64_t)gdt_entry(0));
    check(SAID("sgdt gives the limit", cpl), found_ptr.limit, SEL_TSS + 16 * 64 - 1);

    check_fault(SAID("sidt does not trap", cpl), cpl, probe_sidt, NULL, NO_FAULT);
    check(SAID("sidt gives the limit", cpl), found_ptr.limit, known_idt.limit);
    if (cpl == 0) {
        real = found_ptr;
        lidt(&known_idt); /* no interrupt can come here */
        probe_sidt(NULL);
        lidt(&real);
        check("sidt at CPL 0 gives any base that was loaded", found_ptr.base, known_idt.base);
        probe_sidt(NULL);
        check("sidt at CPL 0 gives the base", found_ptr.base, real.base);
    } else {
        sidt(&real);
        check("sidt at CPL 3 gives the base", found_ptr.base, real.base);
    }
}

static void check_registers(unsigned cpl)
{
    check_fault(SAID("sldt does not trap", cpl), cpl, probe_sldt, NULL, NO_FAULT);
    check(SAID("sldt gives the selector", cpl), found, SEL_LDT);
    check_fault(SAID("str does not trap", cpl), cpl, probe_str, NULL, NO_FAULT);
    check(SAID("str gives the selector", cpl), found, SEL_TSS);
    check_fault(SAID("smsw does not trap", cpl), cpl, probe_smsw, NULL, NO_FAULT);
    check(SAID("smsw gives CR0", cpl), found & 0xffff, read_cr0() & 0xffff);
    write_cr0(read_cr0() | CR0_TS);
    run_at(cpl, probe_smsw, NULL);
    check(SAID("smsw sees CR0.TS set", cpl), found & CR0_TS, CR0_TS);
    write_cr0(read_cr0() & ~CR0_TS);
    run_at(cpl, probe_smsw, NULL);
    check(SAID("smsw sees CR0.TS clear", cpl), found & CR0_TS, 0);
}

/* lar, lsl, verr, verw: ZF tells whether the descriptor may be seen from here. */

static void probe_lar(void *selector)
{
    uint32_t rights = 0;
    bool zf;

    __asm__ volatile("larl %2, %0" : "+r"(rights), "=@ccz"(zf) : "r"(*(uint32_t *)selector));
    found = rights;
    found2 = zf;
}

static void probe_lsl(void *selector)
{
    uint32_t limit = 0;
    bool zf;

    __asm__ volatile("lsll %2, %0" : "+r"(limit), "=@ccz"(zf) : "r"(*(uint32_t *)selector));
    found = limit;
    found2 = zf;
}

static void probe_verr(void *selector)
{
    bool zf;

    __asm__ volatile("verr %w1" : "=@ccz"(zf) : "r"(*(uint32_t *)selector));
    found2 = zf;
}

static void probe_verw(void *selector)
{
    bool zf;

    __asm__ volatile("verw %w1" : "=@ccz"(zf) : "r"(*(uint32_t *)selector));
    found2 = zf;
}

struct segment_case {
    const char *name;
    uint32_t selector;
    bool lar[2], lsl[2], verr[2], verw[2]; /* ZF at CPL 0 and CPL 3 */
};

/* SDM vol. 2: CPL and RPL are compared with the DPL but for conforming code; LSL knows no gates, VERx only segments. */
static const struct segment_case segment_cases[] = {
    { "kernel code", SEL_KCODE, { 1, 0 }, { 1, 0 }, { 1, 0 }, { 0, 0 } },
    { "kernel data", SEL_KDATA, { 1, 0 }, { 1, 0 }, { 1, 0 }, { 1, 0 } },
    { "kernel data with RPL 3", SEL_KDATA | 3, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    { "user code", SEL_UCODE, { 1, 1 }, { 1, 1 }, { 1, 1 }, { 0, 0 } },
    { "user data", SEL_UDATA, { 1, 1 }, { 1, 1 }, { 1, 1 }, { 1, 1 } },
    { "read-only data", SEL_UREAD_ONLY, { 1, 1 }, { 1, 1 }, { 1, 1 }, { 0, 0 } },
    { "conforming code", SEL_CONFORMING, { 1, 1 }, { 1, 1 }, { 1, 1 }, { 0, 0 } },
    { "data in the LDT", LDT_UDATA, { 1, 1 }, { 1, 1 }, { 1, 1 }, { 1, 1 } },
    { "the task state", SEL_TSS, { 1, 0 }, { 1, 0 }, { 0, 0 }, { 0, 0 } },
    { "the call gate", SEL_CALL_GATE, { 1, 1 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    { "the null selector", 0, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
    { "a selector behind the table", 0xfff8, { 0, 0 }, { 0, 0 }, { 0, 0 }, { 0, 0 } },
};

static void check_probe(const char *what, const struct segment_case *c, unsigned cpl, void (*probe)(void *), bool want)
{
    uint32_t selector = c->selector;
    struct fault fault = run_at(cpl, probe, &selector);
    char name[96];

    format(name, sizeof(name), "%s of %s at CPL %u", what, c->name, cpl);
    check(name, fault.vector == NO_FAULT ? found2 : 2, want);
}

static void check_segments(unsigned cpl)
{
    uint32_t user_data = SEL_UDATA;

    for (unsigned i = 0; i < ARRAY_SIZE(segment_cases); i++) {
        const struct segment_case *c = &segment_cases[i];

        check_probe("lar", c, cpl, probe_lar, c->lar[cpl / 3]);
        check_probe("lsl", c, cpl, probe_lsl, c->lsl[cpl / 3]);
        check_probe("verr", c, cpl, probe_verr, c->verr[cpl / 3]);
        check_probe("verw", c, cpl, probe_verw, c->verw[cpl / 3]);
    }
    run_at(cpl, probe_lar, &user_data);
    check(SAID("lar gives the access rights", cpl), found & 0x00f0ff00, (*gdt_entry(SEL_UDATA) >> 32) & 0x00f0ff00);
    run_at(cpl, probe_lsl, &user_data);
    check(SAID("lsl gives the limit in bytes", cpl), found, 0xffffffff);
}

/* push, pop and mov of segment registers */

static void probe_push_pop_fs(void *selector)
{
    uint64_t wanted = *(uint32_t *)selector, pushed;

    __asm__ volatile("pushq %1\n\tpopq %%fs\n\tpushq %%fs\n\tpopq %0" : "=r"(pushed) : "r"(wanted) : "memory");
    found = pushed & 0xffff; /* only the low half is defined */
}

static void probe_mov_to_gs(void *selector)
{
    write_gs((uint16_t)*(uint32_t *)selector);
    found = read_gs();
}

static void probe_mov_from(void *unused)
{
    (void)unused;
    found = read_cs();
    found2 = read_ss();
}

struct load_case { const char *name; uint32_t selector; int vector[2]; };

static const struct load_case load_cases[] = {
    { "user data", SEL_UDATA, { NO_FAULT, NO_FAULT } },
    { "kernel data", SEL_KDATA, { NO_FAULT, VEC_GP } },
    { "data in the LDT", LDT_UDATA, { NO_FAULT, NO_FAULT } },
    { "the null selector", 0, { NO_FAULT, NO_FAULT } },
    { "a null selector with RPL 3", 3, { NO_FAULT, NO_FAULT } },
    { "an absent segment", SEL_ABSENT | 3, { VEC_NP, VEC_NP } },
    { "the task state", SEL_TSS, { VEC_GP, VEC_GP } },
    { "a selector behind the table", 0xfff8, { VEC_GP, VEC_GP } },
};

static void check_load(const char *what, const struct load_case *c, unsigned cpl, void (*probe)(void *))
{
    uint32_t selector = c->selector;
    struct fault fault = run_at(cpl, probe, &selector);
    int want = c->vector[cpl / 3];
    char name[96];

    format(name, sizeof(name), "%s of %s at CPL %u", what, c->name, cpl);
    if (fault.vector != want)
        check(name, (uint64_t)(int64_t)fault.vector, (uint64_t)(int64_t)want);
    else if (want == NO_FAULT)
        check(name, found, c->selector);
    else
        check(name, fault.error, c->selector & ~3u);
}

static void check_moves(unsigned cpl)
{
    for (unsigned i = 0; i < ARRAY_SIZE(load_cases); i++) {
        check_load("push and pop", &load_cases[i], cpl, probe_push_pop_fs);
        check_load("mov to and from", &load_cases[i], cpl, probe_mov_to_gs);
    }
    run_at(cpl, probe_mov_from, NULL);
    check(SAID("mov from cs", cpl), found, cpl ? SEL_UCODE : SEL_KCODE);
    check(SAID("mov from ss", cpl), found2, cpl ? SEL_UDATA : SEL_KDATA);
    write_fs(0);
    write_gs(0);
}

/* far call, far jmp, far ret */

struct far_pointer { uint64_t offset; uint16_t selector; } __attribute__((packed));

extern void far_called(void);

/* Notes the selector that the call saved and the one it runs with. */
__asm__(".text\n"
        "far_called:\n\tmovzwl 8(%rsp), %eax\n\tmovq %rax, found(%rip)\n"
        "\tmov %cs, %eax\n\tmovq %rax, found2(%rip)\n\tlretq\n");

static void probe_far_call(void *pointer)
{
    __asm__ volatile("rex.W lcall *%0" : : "m"(*(struct far_pointer *)pointer) : "rax", "memory", "cc");
}

static void probe_far_jmp(void *selector)
{
    uint16_t cs;
    struct far_pointer to = { 0, (uint16_t)*(uint32_t *)selector };

    __asm__ volatile("leaq 1f(%%rip), %%rax\n\tmovq %%rax, %1\n\trex.W ljmp *%1\n1:\tmov %%cs, %0"
                     : "=r"(cs), "+m"(to) : : "rax", "memory");
    found2 = cs;
}

static void probe_far_ret(void *selector)
{
    uint16_t cs;

    __asm__ volatile("pushq %1\n\tleaq 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:\tmov %%cs, %0"
                     : "=r"(cs) : "r"((uint64_t)*(uint32_t *)selector) : "rax", "memory");
    found2 = cs;
}

static void check_far(unsigned cpl)
{
    uint32_t own = cpl ? SEL_UCODE : SEL_KCODE, kernel = SEL_KCODE, data = SEL_UDATA;
    struct far_pointer call = { (uint64_t)far_called, (uint16_t)own };
    int denied = cpl ? VEC_GP : NO_FAULT;

    check_fault(SAID("far call does not trap", cpl), cpl, probe_far_call, &call, NO_FAULT);
    check(SAID("far call saves CS", cpl), found, own);
    call.selector = SEL_KCODE;
    check_fault(SAID("far call to kernel code", cpl), cpl, probe_far_call, &call, denied);
    call.selector = SEL_CALL_GATE;
    check_fault(SAID("far call through a gate", cpl), cpl, probe_far_call, &call, NO_FAULT);
    check(SAID("far call through a gate saves CS", cpl), found, own);
    check(SAID("far call through a gate runs at CPL 0", cpl), found2, SEL_KCODE);

    check_fault(SAID("far jmp", cpl), cpl, probe_far_jmp, &own, NO_FAULT);
    check(SAID("far jmp loads CS", cpl), found2, own);
    check_fault(SAID("far jmp to kernel code", cpl), cpl, probe_far_jmp, &kernel, denied);
    check_fault(SAID("far jmp to data", cpl), cpl, probe_far_jmp, &data, VEC_GP);
    check_fault(SAID("ret far", cpl), cpl, probe_far_ret, &own, NO_FAULT);
    check(SAID("ret far loads CS", cpl), found2, own);
    check_fault(SAID("ret far to kernel code", cpl), cpl, probe_far_ret, &kernel, denied);
}

/* int n and iret */

static void note_interrupt(struct trap_frame *frame)
{
    found = frame->cs;
    found2 = frame->rflags;
}

static void probe_int_user(void *unused)
{
    (void)unused;
    __asm__ volatile("int %0" : : "i"(VEC_USER) : "memory");
}

static void probe_int_kernel(void *unused)
{
    (void)unused;
    __asm__ volatile("int %0" : : "i"(VEC_KERNEL) : "memory");
}

static void probe_int3(void *unused)
{
    (void)unused;
    __asm__ volatile("int3" : : : "memory");
}

static void check_int(unsigned cpl)
{
    struct fault fault;

    set_handler(VEC_USER, note_interrupt);
    set_handler(VEC_KERNEL, note_interrupt);
    found = 0;
    check_fault(SAID("int n returns", cpl), cpl, probe_int_user, NULL, NO_FAULT);
    check(SAID("int n saves CS", cpl), found, cpl ? SEL_UCODE : SEL_KCODE);
    fault = run_at(cpl, probe_int_kernel, NULL);
    check(SAID("int n with a gate of DPL 0", cpl), (uint64_t)(int64_t)fault.vector,
          (uint64_t)(int64_t)(cpl ? VEC_GP : NO_FAULT));
    if (cpl && on_tcg())
        skip("int n with a gate of DPL 0 names the gate at CPL 3", "QEMU counts gates of 16 bytes in the error code");
    else if (cpl)
        check("int n with a gate of DPL 0 names the gate at CPL 3", fault.error, VEC_KERNEL * 8 + 2);
    check_fault(SAID("int3", cpl), cpl, probe_int3, NULL, VEC_BP);
}

struct iret_case { uint64_t cs, ss, flags; };

static void probe_iret(void *c)
{
    const struct iret_case *to = c;
    uint64_t after;

    __asm__ volatile("movq %%rsp, %%rax\n\tpushq %2\n\tpushq %%rax\n\tpushq %3\n\tpushq %1\n\tleaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\tiretq\n1:\tpushfq\n\tpopq %0"
                     : "=&r"(after) : "r"(to->cs), "r"(to->ss), "r"(to->flags) : "rax", "memory", "cc");
    found = after;
    found2 = read_cs();
}

static void check_iret(void)
{
    struct iret_case kernel = { SEL_KCODE, SEL_KDATA, FLAGS_ONE | FLAGS_IF | FLAGS_IOPL };
    struct iret_case user = { SEL_UCODE, SEL_UDATA, FLAGS_ONE | FLAGS_IOPL };
    struct iret_case null_ss = { SEL_KCODE, 0, FLAGS_ONE };

    check_fault("iret at CPL 0 to the same level", 0, probe_iret, &kernel, NO_FAULT);
    check("iret at CPL 0 loads IF and IOPL", found & (FLAGS_IF | FLAGS_IOPL), FLAGS_IF | FLAGS_IOPL);
    check_fault("iret at CPL 0 with a null SS", 0, probe_iret, &null_ss, NO_FAULT);
    check_fault("iret at CPL 3 to the same level", 3, probe_iret, &user, NO_FAULT);
    check("iret at CPL 3 loads CS", found2, SEL_UCODE);
    run_at_flags(3, FLAGS_IF, probe_iret, &user);
    check("iret at CPL 3 keeps IF and IOPL", found & (FLAGS_IF | FLAGS_IOPL), FLAGS_IF);
    check_fault("iret at CPL 3 to kernel code", 3, probe_iret, &kernel, VEC_GP);
}

void guest_main(const char *arguments)
{
    (void)arguments;
    write_cr4(read_cr4() & ~(uint64_t)CR4_UMIP);
    set_call_gate(far_called);
    check_popf_kernel();
    check_popf_user();
    check_pushf();
    for (unsigned cpl = 0; cpl <= 3; cpl += 3) {
        check_tables(cpl);
        check_registers(cpl);
        check_segments(cpl);
        check_moves(cpl);
        check_far(cpl);
        check_int(cpl);
    }
    check_iret();
}
