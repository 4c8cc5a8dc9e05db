/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/apic_net.h"
#include "lib/errno.h"

/* SDM vol. 3, 11.6.1 (command register) and 11.6.2 (destinations). */
#define ICR_LOGICAL      BIT(11)
#define ICR_ASSERT       BIT(14)
#define ICR_LEVEL        BIT(15)
#define ICR_MODE(v)      ((enum apic_mode)((v) >> 8 & 7))
#define ICR_MODE_MASK    (7ull << 8)
#define ICR_SHORTHAND(v) ((v) >> 18 & 3)
#define ICR_SHORTHAND_MASK (3ull << 18)
enum { TO_DEST, TO_SELF, TO_ALL, TO_OTHERS };

static uint64_t everyone(const struct apic_net *net)
{
    return net->count < 64 ? BIT(net->count) - 1 : UINT64_MAX;
}

static uint64_t addressed(const struct apic_net *net, const struct apic_message *m)
{
    uint64_t set = 0;

    if (!m->logical && m->dest < net->count)   /* the identifier is the number */
        return BIT(m->dest);
    for (unsigned i = 0; i < net->count; i++)
        if (lapic_matches(net->lapic[i], m->dest, m->logical, m->wide))
            set |= BIT(i);
    return set;
}

/* Of these, those whose local APIC is on the bus (or even software-enabled, as only that takes interrupts). */
static uint64_t listening(const struct apic_net *net, uint64_t set, bool software_too)
{
    for (uint64_t left = set; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);

        if (!lapic_listens(net->lapic[i], software_too))
            set &= ~BIT(i);
    }
    return set;
}

/* The one of lowest task priority; equals take turns. */
static uint64_t lowest(struct apic_net *net, uint64_t set)
{
    unsigned first = net->turn++, best = net->count;

    for (unsigned i = 0; i < net->count; i++) {
        unsigned n = (first + i) % net->count;

        if ((set & BIT(n)) && (best == net->count || lapic_tpr(net->lapic[n]) < lapic_tpr(net->lapic[best])))
            best = n;
    }
    return best < net->count ? BIT(best) : 0;
}

static unsigned post(struct apic_net *net, uint64_t set, const struct apic_message *m, struct apic_effects *fx)
{
    unsigned taken = 0;

    set = listening(net, set, true);
    if (m->mode == APIC_LOWEST)
        set = lowest(net, set);
    for (; set; set &= set - 1) {
        unsigned i = (unsigned)__builtin_ctzll(set);

        taken++;
        if (lapic_post(net->lapic[i], m->vector, m->level))
            fx->kick |= BIT(i);
    }
    return taken;
}

static unsigned deliver(struct apic_net *net, uint64_t set, const struct apic_message *m, struct apic_effects *fx)
{
    uint64_t on_bus;

    if (m->mode <= APIC_LOWEST)
        return post(net, set, m, fx);
    on_bus = listening(net, set, false);
    switch (m->mode) {
    case APIC_NMI:
        fx->nmi |= on_bus;
        break;
    case APIC_INIT:
        fx->init |= on_bus;
        break;
    case APIC_SIPI:
        fx->sipi |= on_bus;
        fx->sipi_vector = m->vector;
        break;
    default:
        return 0;
    }
    return on_bus != 0;
}

unsigned apic_send(struct apic_net *net, const struct apic_message *m, struct apic_effects *fx)
{
    return deliver(net, addressed(net, m), m, fx);
}

static uint64_t targets(const struct apic_net *net, unsigned from, uint64_t icr, const struct apic_message *m)
{
    switch (ICR_SHORTHAND(icr)) {
    case TO_SELF:
        return BIT(from);
    case TO_ALL:
        return everyone(net);
    case TO_OTHERS:
        return everyone(net) & ~BIT(from);
    default:
        return addressed(net, m);
    }
}

static uint32_t destination(const struct apic_net *net, unsigned from, uint64_t icr)
{
    return (uint32_t)(icr >> (lapic_is_x2apic(net->lapic[from]) ? 32 : 56));
}

int apic_net_plain(struct apic_net *net, unsigned from, uint64_t icr)
{
    uint32_t dest = destination(net, from, icr);

    if (icr & (ICR_LOGICAL | ICR_MODE_MASK | ICR_SHORTHAND_MASK) || dest >= net->count)
        return -EINVAL;
    return lapic_listens(net->lapic[dest], true) && lapic_post(net->lapic[dest], (uint8_t)icr, false) ? (int)dest
                                                                                                      : -ENOENT;
}

/* IPIs are edge-triggered, whatever the register says; INIT's old level de-assert does nothing. */
void apic_net_ipi(struct apic_net *net, unsigned from, uint64_t icr, struct apic_effects *fx)
{
    struct apic_message m = {
        .dest = destination(net, from, icr), .logical = icr & ICR_LOGICAL, .wide = lapic_is_x2apic(net->lapic[from]),
        .mode = ICR_MODE(icr), .vector = (uint8_t)icr,
    };

    if (m.mode == APIC_INIT && (icr & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
        return;
    deliver(net, targets(net, from, icr, &m), &m, fx);
}
