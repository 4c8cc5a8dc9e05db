/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"
#include "drivers/card.h"

/* What joins networks to the outside: a card of the machine's as a port of the network. */

/*
 * Those that the configuration wants. An error, which it has explained, if a card that is named cannot be had; without
 * one for `auto` the network stays by itself. Firmware's world, boot processor, after paging_begin.
 */
int uplinks_open(const struct boot_info *boot);
/* The cards go back to the firmware. Likewise; all VMs are off, and devices_stop has been called. */
void uplinks_close(const struct boot_info *boot);

/* Number n and its network's name, NULL behind the last. */
const struct card *uplinks_at(unsigned n, const char **net);
