/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/*
 * Shared segments: memory that this VM and others map at the same time, numbered from 0 as the VM's configuration names
 * them. What one writes the others see, as processors of one machine do. See docs/segments.md.
 */
#define MB_SEGMENT_MAX       4
#define MB_SEGMENT_NAME      32

#define MB_SEGMENT_READONLY  1u

struct mb_segment {
    uint64_t gpa;               /* where it is: a multiple of 128 MiB, not in the memory map; write-back memory */
    uint64_t bytes;             /* a multiple of 2 MiB */
    uint32_t flags;             /* MB_SEGMENT_READONLY: writes are lost */
    uint32_t zero;
    char name[MB_SEGMENT_NAME]; /* padded with zeros, at least one */
    uint64_t zero2;
};

/*
 * rdi: segment, rsi: guest-physical address of a struct mb_segment, multiple of 64, which is filled. -ENODEV: no such
 * segment (a guest counts them with this); -EINVAL: misaligned; -EFAULT: not RAM.
 */
#define MIRRORBALL_CALL_SEGMENT_INFO 12

/* rdi: segment. Rings its bell in all other VMs that have it and run. 0; -ENODEV. */
#define MIRRORBALL_CALL_SEGMENT_RING 13

/*
 * No arguments. Which bells have rung since this was asked last: bit n for segment n. The device's interrupt comes when
 * the first one rings after that, and not again before the next call.
 */
#define MIRRORBALL_CALL_SEGMENT_RUNG 14
