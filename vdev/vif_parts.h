/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/errno.h"
#include "vdev/vif.h"

/* Between the directions: vdev/vif*.c only. */

/* Its ring made no sense, or cannot be used: the interface has stopped. Returns error. */
int vif_stop(struct vif *v, int error, const char *why);

/* A word of the ring, and where the arrays behind its header are. */
static inline int vif_get(const struct vif_queue *q, size_t at, uint32_t *word)
{
    return pmap_read(q->vif->all->pmap, GPA(q->ring.v + at), word, sizeof(*word));
}

static inline int vif_put(const struct vif_queue *q, size_t at, uint32_t word)
{
    return pmap_write(q->vif->all->pmap, GPA(q->ring.v + at), &word, sizeof(word));
}

static inline struct gpa vif_packet(const struct vif_queue *q, uint32_t n)
{
    return GPA(q->ring.v + sizeof(struct mb_net_ring) + n % q->packets * sizeof(struct mb_net_packet));
}

static inline struct gpa vif_page(const struct vif_queue *q, uint32_t n)
{
    return GPA(q->ring.v + MB_NET_RING_SIZE(q->packets, 0) + n % q->pages * sizeof(uint64_t));
}

static inline struct gpa vif_filled(const struct vif_queue *q, uint32_t n)
{
    return GPA(q->ring.v + MB_NET_RING_SIZE(q->packets, 0) + q->pages * sizeof(uint64_t) +
               n % q->pages * sizeof(struct mb_net_filled));
}

/* vdev/vif_receive.c: of its port's ops. */
int vif_frame(struct net_port *p, const struct net_frame *f);
void vif_flush(struct net_port *p);
