/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "tests/unit/machine.h"
#include "tests/unit/seam/fake_apic.h"
#include "tests/unit/seam/fake_cpu.h"
#include "tests/unit/seam/fake_percpu.h"
#include "vdev/vif.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * Any bytes as what two VMs write into their rings and tables: pieces of the input go where a few bytes of it say, with
 * calls in between. A third VM on the network, honest and silent, keeps its memory; and in the end no page of the machine
 * is missing.
 */
#define VMS    3u
#define RING   0x10000ul
#define TABLE  0x20000ul
#define MEMORY (4 * MIB)
#define HONEST 2u

static struct pmap pmap[VMS];
static struct vifs vifs[VMS];

static void interrupt(void *ctx) { (void)ctx; }
static void wake(void *ctx, unsigned vcpu) { (void)ctx; (void)vcpu; }

static void must(bool so)
{
    if (!so)
        abort();
}

static void begin(void)
{
    for (unsigned i = 0; i < VMS; i++) {
        struct vif *vif;

        must(!pmap_init(&pmap[i], (uint16_t)(i + 1), MEMORY, 1));
        vifs_init(&vifs[i], 1);
        vifs[i].pmap = &pmap[i];
        vifs[i].name = "fuzz";
        vifs[i].share = true;
        vifs[i].interrupt = interrupt;
        vifs[i].wake = wake;
        vif = vifs_add(&vifs[i]);
        must(vif);
        memcpy(vif->port.mac, (uint8_t[]){ 0x52, 0x54, 0, 0, 0, (uint8_t)i }, 6);
        must(!net_attach(net_named("lan"), &vif->port));
        must(!vifs_set_ring(&vifs[i], 0, 0, GPA(RING), 8, 16));
    }
    must(!pmap_write(&pmap[HONEST], GPA(MIB), "honest", 6));
}

static void end(void)
{
    char word[6];

    must(!pmap_read(&pmap[HONEST], GPA(MIB), word, 6) && !memcmp(word, "honest", 6));
    for (unsigned i = 0; i < VMS; i++) {
        vifs_destroy(&vifs[i]);
        pmap_destroy(&pmap[i]);
    }
}

/* What a step says: whose it is, where its bytes go. */
static void step(uint8_t what, const uint8_t *at, size_t n)
{
    static const uint64_t places[] = { RING, RING + 64, RING + 128, RING + 128 + 256, TABLE, TABLE + 16, MIB, MIB + 4096 };
    unsigned vm = what & 1;
    bool waits = true;

    must(!pmap_write(&pmap[vm], GPA(places[what >> 1 & 7]), at, n));
    if (what & 16)
        (void)vifs_run(&vifs[vm], 0, 0);
    if (what & 32)
        vifs_idle(&vifs[vm], 0);
    if (what & 128)
        (void)vifs_wait(&vifs[vm], 0, 0, 0, what, &waits);
    if (what & 64)
        fake_cpu.tsc += 6 * fake_apic.khz;
    if ((what & 0xc0) == 0xc0)
        (void)vifs_set_ring(&vifs[vm], 0, 0, GPA(RING), 8, 16);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t base, before;

    fake_percpu_enter(0);
    fake_apic.khz = 1000000;
    log_set_level(LOG_ERROR);
    if (!base) {
        base = machine_memory(64 * MIB, 0);
        must(base);
        begin();
        end();
        before = free_pages();
    }
    begin();
    while (size >= 2) {
        size_t n = MIN((size_t)data[1], size - 2);

        step(data[0], data + 2, n);
        data += 2 + n;
        size -= 2 + n;
    }
    end();
    must(free_pages() == before);
    return 0;
}
