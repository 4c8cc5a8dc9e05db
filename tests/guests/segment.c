/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/segment.h"
#include "include/mirrorball/hypercall.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * VMs with a segment "db" of 4 MiB between them. The argument: "writer" writes and rings; "reader" may not write, waits
 * for the bell, looks, and rings back; "again" is a reader that finds what is there; "outsider" has no segment. Then it
 * says "segment: done" and halts, so that its memory stays.
 */
#define MAGIC    0x6d6972726f726261ull
#define BYTES    (4 * MIB)
#define VECTOR   0x40
#define GSI      19
#define PRESENT  1u
#define WRITABLE 2u

static struct mb_segment info __attribute__((aligned(64)));
static volatile uint64_t *const page = (volatile uint64_t *)TEST_PAGE;
static _Atomic unsigned interrupts;

static int64_t call(uint64_t number, uint64_t a, uint64_t b)
{
    int64_t result;

    __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "memory");
    return result;
}

static void look_at(uint64_t offset)
{
    map_test_page(info.gpa + offset, PRESENT | WRITABLE);
    __asm__ volatile("invlpg (%0)" : : "r"(page) : "memory");
}

static void bell(struct trap_frame *frame)
{
    (void)frame;
    interrupts++;
    apic_write(APIC_EOI, 0);
}

static void listen(void)
{
    apic_set_mode(APIC_XAPIC);
    set_handler(VECTOR, bell);
    ioapic_route(GSI, VECTOR, apic_id(), 0);
    call(MIRRORBALL_CALL_SEGMENT_RUNG, 0, 0);
    __asm__ volatile("sti");
}

/* Until the bell has rung so often that something is new; false: it did not in about 20 s. */
static bool wait_for_bell(void)
{
    uint64_t end = rdtsc() + 1000000000ull;

    while (!interrupts && rdtsc() < end)
        __asm__ volatile("pause");
    check("the interrupt of a bell comes", interrupts, 1);
    interrupts = 0;
    return call(MIRRORBALL_CALL_SEGMENT_RUNG, 0, 0) == 1;
}

static void check_calls(bool has)
{
    check("there is no second segment", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_INFO, has, (uint64_t)&info),
          (uint64_t)-ENODEV);
    check("nor one with a large number", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_INFO, UINT64_MAX, (uint64_t)&info),
          (uint64_t)-ENODEV);
    check("what is not there has no bell", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_RING, has, 0), (uint64_t)-ENODEV);
    if (!has)
        return;
    check("a misaligned answer is refused", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_INFO, 0, (uint64_t)&info + 8),
          (uint64_t)-EINVAL);
    check("so is one outside of RAM", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_INFO, 0, 0xfee00000), (uint64_t)-EFAULT);
    check("the segment is described", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_INFO, 0, (uint64_t)&info), 0);
    check("its length", info.bytes, BYTES);
    check_true("its name", !strcmp(info.name, "db"));
    check("the segment itself is no place for an answer", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_INFO, 0, info.gpa),
          (uint64_t)-EFAULT);
    check("nor memory to be given back", (uint64_t)call(MIRRORBALL_CALL_FREE_PAGES, (uint64_t)&(struct mirrorball_range){
          info.gpa, 1 }, 1), (uint64_t)-EFAULT);
}

static void write_all(void)
{
    check("it may be written", info.flags, 0);
    for (uint64_t at = 0; at < BYTES; at += PAGE_SIZE) {
        look_at(at);
        if (page[0])
            check("it is zero before it is written", page[0], 0);
        page[0] = MAGIC + at;
    }
    check("the bell rings", (uint64_t)call(MIRRORBALL_CALL_SEGMENT_RING, 0, 0), 0);
    check_true("the bell of this segment has rung back", wait_for_bell());
    look_at(0);
    check("what the reader tried to write is not there", page[0], MAGIC);
    page[1] = 2 * MAGIC;
}

static void read_all(void)
{
    uint64_t wrong = 0;

    check("it may not be written", info.flags, MB_SEGMENT_READONLY);
    for (uint64_t at = 0; at < BYTES; at += PAGE_SIZE) {
        look_at(at);
        wrong += page[0] != MAGIC + at;
        page[0] = 1;
        wrong += page[0] != MAGIC + at;
    }
    check("all that was written is there, and stays", wrong, 0);
}

static void outside(void)
{
    info.gpa = 4 * GIB;
    look_at(0);
    check("where others have it there is nothing", page[0], UINT64_MAX);
    page[0] = 1;
    check("also after a write", page[0], UINT64_MAX);
}

void guest_main(const char *arguments)
{
    bool has = strcmp(arguments, "outsider");

    check_calls(has);
    if (!has) {
        outside();
    } else if (!strcmp(arguments, "writer")) {
        listen();
        print("segment: listens\n");
        write_all();
    } else {
        listen();
        look_at(BYTES - PAGE_SIZE);
        if (page[0] != MAGIC + BYTES - PAGE_SIZE) /* else it was written before this VM started */
            check_true("the bell of this segment has rung", wait_for_bell());
        read_all();
        call(MIRRORBALL_CALL_SEGMENT_RING, 0, 0);
    }
    print("segment: done\n");
    for (;;)
        __asm__ volatile("hlt");
}
