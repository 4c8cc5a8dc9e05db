/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "numa/policy.h"

#define LARGE_PARTS 512u

static bool one(uint8_t nodes) { return nodes && !(nodes & (nodes - 1)); }
static uint8_t lowest(uint8_t nodes) { return (uint8_t)(nodes & -nodes); }

void policy_time(struct placement *p, uint64_t tsc, uint64_t hz)
{
    uint64_t passed = p->last ? MIN(tsc - p->last, hz) : 0;

    p->credit = MIN(p->credit + passed * p->set.moves, p->set.moves * hz); /* a second's worth is kept at most */
    p->last = tsc;
    if (tsc >= p->epoch_end) {
        p->epoch++;
        p->epoch_end = tsc + p->set.reset_s * hz;
    }
}

/* What the evidence of a whole window says, whatever it costs. */
static struct policy_choice choose(const struct page_use *use, struct policy_page page)
{
    uint8_t users = use->readers | use->writers, remote = users & (uint8_t)~page.copies;

    if (page.shared) /* it stays where the others have it */
        return (struct policy_choice){ remote ? POLICY_REPLICATE : POLICY_STAY, remote };
    if (one(users))
        return (struct policy_choice){ users == page.copies ? POLICY_STAY : POLICY_MIGRATE, users };
    if (!remote)
        return (struct policy_choice){ POLICY_STAY, 0 };
    if (page.large)
        return (struct policy_choice){ POLICY_SPLIT, 0 };
    if (!use->writers)
        return (struct policy_choice){ POLICY_REPLICATE, remote };
    if (!(users & page.copies)) /* write-shared by nodes that all have it far away */
        return (struct policy_choice){ POLICY_MIGRATE, lowest(use->writers) };
    return (struct policy_choice){ POLICY_STAY, 0 };
}

/* A split is followed by as many faults as the page has parts. */
static unsigned cost_of(struct policy_choice c, struct policy_page page)
{
    unsigned pages = 0;

    for (unsigned n = 0; n < 8; n++)
        pages += c.nodes >> n & 1;
    return page.large ? LARGE_PARTS : pages;
}

/* What the reset interval forgets. */
static void renew(const struct placement *p, struct page_use *use)
{
    if (use->epoch == p->epoch % 16)
        return;
    use->epoch = p->epoch % 16;
    use->moves = 0;
    use->apart = false;
}

static bool pay(struct placement *p, struct page_use *use, uint64_t cost)
{
    if (use->moves >= p->set.page_moves || p->credit < cost)
        return false;
    use->moves++;
    p->credit -= cost;
    return true;
}

struct policy_choice policy_judge(struct placement *p, struct page_use *use, struct policy_page page, uint8_t readers,
                                  uint8_t writers, uint64_t hz)
{
    struct policy_choice c = { POLICY_STAY, 0 };

    if (!(readers | writers))
        return c;
    use->readers |= readers;
    use->writers |= writers;
    if (++use->samples < p->set.window)
        return c;
    c = choose(use, page);
    renew(p, use);
    use->apart = !one(use->readers | use->writers);
    use->readers = use->writers = use->samples = 0;
    if (c.move != POLICY_STAY && !pay(p, use, cost_of(c, page) * hz))
        c.move = POLICY_STAY;
    return c;
}

void policy_part(const struct placement *p, struct page_use *use)
{
    *use = (struct page_use){ .apart = true, .epoch = p->epoch % 16 };
}

bool policy_apart(const struct placement *p, const struct page_use *use)
{
    uint8_t users = use->readers | use->writers;

    return (users && !one(users)) || (use->apart && use->epoch == p->epoch % 16);
}

void policy_collapsed(struct page_use *use)
{
    use->readers = use->writers = use->samples = 0;
    use->moves += use->moves < POLICY_MAX_COUNT;
}
