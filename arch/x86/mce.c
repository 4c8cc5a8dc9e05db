/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/mce.h"

#include "arch/x86/cpu.h"
#include "arch/x86/percpu.h"
#include "lib/format.h"
#include "lib/log.h"

#include <stdatomic.h>

/* IA32_MCG_CAP, IA32_MCG_STATUS, IA32_MCi_STATUS: SDM vol. 3B, 16.3. */
#define CAP_BANKS      0xffu
#define MCG_RIPV       BIT(0)
#define STATUS_VALID   BIT(63)
#define STATUS_OVER    BIT(62)
#define STATUS_UC      BIT(61)
#define STATUS_EN      BIT(60)
#define STATUS_MISC    BIT(59)
#define STATUS_ADDR    BIT(58)
#define STATUS_PCC     BIT(57)
#define STATUS_ACTION  BIT(55)

#define BANK_CTL(i)    (MSR_MC0_CTL + 4 * (i))
#define BANK_STATUS(i) (BANK_CTL(i) + 1)
#define BANK_ADDR(i)   (BANK_CTL(i) + 2)
#define BANK_MISC(i)   (BANK_CTL(i) + 3)

#define TEXT_MAX       160
#define RECORDS        32

/* A machine check may interrupt the holder of any lock: records are claimed one by one and logged later. */
struct record {
    _Atomic unsigned state;
    unsigned cpu, bank;
    uint64_t status, addr, misc;
};

enum { RECORD_FREE, RECORD_CLAIMED, RECORD_FULL };

static struct record records[RECORDS];
static _Atomic unsigned dropped;

static unsigned banks(void)
{
    uint32_t a, b, c, d;
    uint64_t cap;

    cpuid(1, 0, &a, &b, &c, &d);
    if (!(d & BIT(14)) || rdmsr_safe(MSR_MCG_CAP, &cap))
        return 0;
    return MIN((unsigned)(cap & CAP_BANKS), (unsigned)MCE_BANKS_MAX);
}

/* Bank 0 of old processors of family 6 belongs to their firmware (SDM vol. 3B, 16.3.2.1). */
static unsigned first_bank(void)
{
    uint32_t a, b, c, d;

    cpuid(1, 0, &a, &b, &c, &d);
    return (a >> 8 & 0xf) == 6 && ((a >> 4 & 0xf) | (a >> 12 & 0xf0)) < 0x1a;
}

void mce_enter(struct mce_state *s)
{
    unsigned n = banks();

    for (unsigned i = first_bank(); i < n; i++) {
        s->ctl[i] = 0;
        rdmsr_safe(BANK_CTL(i), &s->ctl[i]);
        wrmsr_safe(BANK_CTL(i), UINT64_MAX);
    }
}

void mce_leave(const struct mce_state *s)
{
    unsigned n = banks();

    for (unsigned i = first_bank(); i < n; i++)
        wrmsr_safe(BANK_CTL(i), s->ctl[i]);
}

static void keep(unsigned bank, uint64_t status)
{
    for (unsigned i = 0; i < RECORDS; i++) {
        struct record *r = &records[i];
        unsigned expected = RECORD_FREE;

        if (!atomic_compare_exchange_strong(&r->state, &expected, RECORD_CLAIMED))
            continue;
        r->cpu = cpu_index();
        r->bank = bank;
        r->status = status;
        r->addr = r->misc = 0;
        if (status & STATUS_ADDR)
            rdmsr_safe(BANK_ADDR(bank), &r->addr);
        if (status & STATUS_MISC)
            rdmsr_safe(BANK_MISC(bank), &r->misc);
        atomic_store(&r->state, RECORD_FULL);
        return;
    }
    atomic_fetch_add(&dropped, 1);
}

/* SDM vol. 3B, 16.6.3 and table 16-6: without PCC, only what asks for action was in use when it broke. */
static enum mce_verdict judge(uint64_t status)
{
    if (!(status & STATUS_UC))
        return MCE_GOES_ON;
    if (status & STATUS_PCC)
        return MCE_FATAL;
    return (status & STATUS_EN) && (status & STATUS_ACTION) ? MCE_LOST : MCE_GOES_ON;
}

enum mce_verdict mce_handle(void)
{
    enum mce_verdict verdict;
    uint64_t mcg = 0, status;
    unsigned n = banks();

    rdmsr_safe(MSR_MCG_STATUS, &mcg);
    verdict = mcg & MCG_RIPV ? MCE_GOES_ON : MCE_LOST;
    for (unsigned i = 0; i < n; i++) {
        enum mce_verdict one;

        if (rdmsr_safe(BANK_STATUS(i), &status) || !(status & STATUS_VALID))
            continue;
        keep(i, status);
        one = judge(status);
        verdict = MAX(verdict, one);
        if (one != MCE_FATAL) /* that one stays, for the firmware after the reset */
            wrmsr_safe(BANK_STATUS(i), 0);
    }
    if (verdict != MCE_FATAL)
        wrmsr_safe(MSR_MCG_STATUS, 0); /* a machine check while MCIP is set is a shutdown */
    return verdict;
}

static const char *simple_error(uint16_t code)
{
    static const char *const names[] = {
        "no error", "unclassified", "parity of the microcode ROM", "external error",
        "functional redundancy check", "internal parity", "SMM handler outside its memory",
    };

    if (code < ARRAY_SIZE(names))
        return names[code];
    return code == 0x400 ? "internal timer" : (code & 0xfc00) == 0x400 ? "internal, unclassified" : "unknown code";
}

static const char *const requests[16] = {
    "any request", "read", "write", "data read", "data write", "instruction fetch", "prefetch", "eviction", "snoop",
    "?", "?", "?", "?", "?", "?", "?",
};
static const char *const contents[4] = { "instruction", "data", "generic", "?" };
static const char *const levels[4] = { "level 0", "level 1", "level 2", "generic level" };
static const char *const memory_jobs[8] = { "any", "read", "write", "address or command", "scrubbing", "?", "?", "?" };

/* The compound codes (SDM vol. 3B, 16.9.2); bit 12 only says that corrected ones are counted differently. */
static void describe_code(uint16_t code, char *out, size_t size)
{
    const char *request = requests[code >> 4 & 0xf], *level = levels[code & 3];

    code &= (uint16_t)~BIT(12);
    if (code & 0x800)
        format(out, size, "bus or interconnect, %s, %s%s", request, level, code & 0x100 ? ", timed out" : "");
    else if ((code & 0xfd80) == 0x80)
        format(out, size, "%s, %s, channel %u", code & 0x200 ? "memory used as a cache" : "memory",
               memory_jobs[code >> 4 & 7], code & 0xfu);
    else if ((code & 0xff00) == 0x100)
        format(out, size, "%s cache, %s, %s", contents[code >> 2 & 3], request, level);
    else if ((code & 0xfff0) == 0x10)
        format(out, size, "%s TLB, %s", contents[code >> 2 & 3], level);
    else if ((code & 0xfffc) == 0xc)
        format(out, size, "cache, %s", level);
    else
        format(out, size, "%s", simple_error(code));
}

static const char *severity(uint64_t status)
{
    static const char *const names[] = { "uncorrected", "uncorrected and in use", "uncorrected, context corrupt" };

    return status & STATUS_UC ? names[judge(status)] : "corrected";
}

static void print_record(const struct record *r)
{
    enum log_level level = r->status & STATUS_UC ? LOG_ERROR : LOG_WARN;
    char text[TEXT_MAX];

    describe_code((uint16_t)r->status, text, sizeof(text));
    log_print(level, "machine check on cpu %u, bank %u: %s: %s%s", r->cpu, r->bank, severity(r->status), text,
              r->status & STATUS_OVER ? " (and others before it)" : "");
    log_print(level, "  status %016lx  address %016lx  misc %016lx", r->status, r->addr, r->misc);
}

void mce_report(void)
{
    unsigned n = atomic_exchange(&dropped, 0);

    for (unsigned i = 0; i < RECORDS; i++) {
        if (atomic_load(&records[i].state) != RECORD_FULL)
            continue;
        print_record(&records[i]);
        atomic_store(&records[i].state, RECORD_FREE);
    }
    if (n)
        log_error("machine check: %u more errors", n);
}
