/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "core/boot.h"
#include "drivers/card.h"

/*
 * A card that the firmware drives, for those that no driver of ours knows. Frames to send are kept until the boot
 * processor visits the firmware's world the next time; the frames that have come by then it brings back. It sends and
 * receives a frame at a time there: slow, and the boot processor's guests stand still meanwhile.
 *
 * number: of boot->card; boot stays. As card_open. -EBUSY: it is open already; -ENOMEM.
 */
int firmware_card_open(const struct boot_info *boot, unsigned number, struct card **card);
