/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/*
 * General registers of a guest, in the encoding order of the instruction set (SDM vol. 2, 2.2.1.2): index = register
 * number.
 */
struct guest_regs {
    union {
        struct {
            uint64_t rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
            uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
        };
        uint64_t r[16];
    };
};
_Static_assert(sizeof(struct guest_regs) == 128, "vmx/entry.asm saves sixteen registers");
