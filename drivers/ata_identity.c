/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/ata_identity.h"

#include "drivers/storage.h"

static uint64_t number(const uint16_t *word, unsigned n)
{
    uint64_t value = 0;

    while (n--)
        value = value << 16 | word[n];
    return value;
}

bool ata_identity(const uint16_t *word, struct ata_identity *out)
{
    uint64_t block = STORAGE_SECTOR, count;

    if (word[0] & 0x8000 || !(word[49] & BIT(8)) || !(word[49] & BIT(9)))
        return false;
    if ((word[106] & 0xd000) == 0x5000) /* its logical sectors are larger; in words of 16 bits */
        block = 2 * number(word + 117, 2);
    if (block < STORAGE_SECTOR || block > PAGE_SIZE || block & (block - 1))
        return false;
    out->ext = (word[83] & 0xc400) == 0x4400;
    count = out->ext ? number(word + 100, 4) : MIN(number(word + 60, 2), BIT(28));
    out->block = (uint32_t)block;
    out->sectors = MIN(count, BIT(48)) * (block / STORAGE_SECTOR);
    out->queue = word[76] != 0xffff && word[76] & BIT(8) ? (word[75] & 31u) + 1 : 0;
    return out->sectors != 0;
}
