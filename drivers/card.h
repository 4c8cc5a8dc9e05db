/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "drivers/device.h"
#include "drivers/pci.h"

/*
 * A network card of the machine, whoever drives it: Ethernet frames as they are on the wire, from the first address to
 * the last byte of data, without padding and checksum. It receives whatever comes, for whichever address.
 */
#define CARD_MTU       1500u
#define CARD_MIN_FRAME 14u
#define CARD_MAX_FRAME (CARD_MTU + 18u) /* with a VLAN's tag */
#define CARD_NAME_MAX  24u

/* Since it was opened. */
struct card_counts {
    _Atomic uint64_t sent, sent_bytes, received, received_bytes;
    _Atomic uint64_t full;     /* not sent: no room */
    _Atomic uint64_t down;     /* not sent: no link */
    _Atomic uint64_t bad;      /* received with errors, or of no length that can be */
    _Atomic uint64_t missed;   /* by the card: it had no room for what came */
    _Atomic uint64_t resets;   /* it hung */
};

struct card {
    struct device device;
    char name[CARD_NAME_MAX];  /* driver and place, for messages */
    uint8_t mac[6];            /* its own; frames may have others */
    _Atomic bool up;           /* there is a link */
    struct card_counts counts;
    const struct card_ops *ops;

    /* Its user's, set before it is started: */
    void *owner;
    /*
     * A frame has come; it is the driver's again when this returns. checked: the card has found its checksums right.
     * Boot processor, as device.poll.
     */
    void (*receive)(struct card *c, const uint8_t *frame, uint32_t bytes, bool checked);
    /* There is room again after -EAGAIN, or the link is up or down. Likewise. */
    void (*news)(struct card *c);
};

struct card_ops {
    /* From now on it receives, and sends. -EIO: it does not work. Firmware's world. */
    int (*start)(struct card *c);
    /*
     * Takes a copy. 0; -EAGAIN: no room now, `news` tells when there is; -EIO: no link; -EINVAL: its length. Any
     * processor; it may wait there until card_flush.
     */
    int (*send)(struct card *c, const void *frame, uint32_t bytes);
    void (*flush)(struct card *c);
};

/* A function that one of our drivers knows: its driver's name, else NULL. */
const char *card_driver(const struct pci_function *f);
/*
 * Takes a card that card_driver knows, and that no driver of the firmware's uses. It is stopped by devices_stop.
 * -ENODEV: unknown, -ENXIO: it has no registers that can be reached, -EIO: it does not answer, -ENOMEM, -ENOSPC. In the
 * firmware's world, after paging_begin.
 */
int card_open(const struct pci_function *f, struct card **card);
