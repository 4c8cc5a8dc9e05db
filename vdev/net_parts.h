/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/net.h"

/* Inside of the switch: vdev/net*.c only. */

static inline void net_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* How much of a frame's begin can be looked at: in its first piece. */
static inline uint32_t net_head_bytes(const struct net_frame *f)
{
    return MIN(f->piece->bytes, NET_HEAD);
}

/* Gives a frame to a port that takes them as on a wire, in as many as it needs; as ops->frame. */
int net_give_wire(struct net_port *p, const struct net_frame *f);
