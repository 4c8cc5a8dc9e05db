/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* The machine's 8259 pair: every line masked in our world, the firmware's masks put back. Boot processor only. */
void pic_save_and_mask(uint8_t mask[2]);
void pic_restore(const uint8_t mask[2]);
