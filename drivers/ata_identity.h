/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* What a disk says of itself (ATA/ATAPI-8 ACS, IDENTIFY DEVICE). */
struct ata_identity {
    uint64_t sectors;          /* of 512 bytes */
    uint32_t block;            /* bytes of a logical sector */
    unsigned queue;            /* commands that it takes at a time with NCQ, 0: it has none */
    bool ext;                  /* 48-bit addresses */
};

/* False: it is no disk that can be used: no LBA, no DMA, or sizes that make no sense. word: 256 of them. */
bool ata_identity(const uint16_t *word, struct ata_identity *out);
