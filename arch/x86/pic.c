/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/pic.h"

#include "arch/x86/cpu.h"

/* The interrupt mask registers (OCW1) of master and slave. */
static const uint16_t mask_port[2] = { 0x21, 0xa1 };

void pic_save_and_mask(uint8_t mask[2])
{
    for (unsigned i = 0; i < 2; i++) {
        mask[i] = inb(mask_port[i]);
        outb(mask_port[i], 0xff);
    }
}

void pic_restore(const uint8_t mask[2])
{
    for (unsigned i = 0; i < 2; i++)
        outb(mask_port[i], mask[i]);
}
