/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/lapic.h"

/*
 * The wires between local APICs, and from the I/O APIC to them: who gets a message. Safe on any pCPU at any time: other
 * local APICs are touched only through their atomic words. What cannot be done at once is gathered in apic_effects for
 * the caller to carry out when it holds no lock.
 */
enum apic_mode { APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED, APIC_NMI, APIC_INIT, APIC_SIPI, APIC_EXTINT };

struct apic_message {
    uint32_t dest;
    bool logical;
    bool wide;                  /* dest is x2APIC's, 32 bits; else 8 bits */
    enum apic_mode mode;
    uint8_t vector;
    bool level;                 /* the EOI goes to the I/O APIC */
};

/* Sets of vCPUs, by number. */
struct apic_effects {
    uint64_t kick, nmi, init, sipi;
    uint8_t sipi_vector;
};

#define APIC_NET_MAX 64

struct apic_net {
    unsigned count;
    struct lapic *lapic[APIC_NET_MAX];
    _Atomic unsigned turn;      /* where the search for the lowest priority begins */
};

/* Returns 0 if nobody took it, which goes also for what virtual processors do not have (SMI, ExtINT messages). */
unsigned apic_send(struct apic_net *net, const struct apic_message *m, struct apic_effects *fx);

/*
 * A fixed IPI for one processor by its identifier, by far the most common one: the vCPU that must be told, -ENOENT:
 * nobody, -EINVAL: it is not such a one, nothing was done.
 */
int apic_net_plain(struct apic_net *net, unsigned from, uint64_t icr);
/* An interprocessor interrupt as the command register of `from` says (destination in bits 63:32). */
void apic_net_ipi(struct apic_net *net, unsigned from, uint64_t icr, struct apic_effects *fx);
