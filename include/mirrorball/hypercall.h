/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* CPUID leaf 0x40000000: EBX, ECX, EDX. */
#define MIRRORBALL_SIGNATURE    "MirrorBall\0\0"

/* _HID of the paravirtual devices in the DSDT. */
#define MIRRORBALL_ACPI_HINTS   "MRBL0001"
#define MIRRORBALL_ACPI_DISKS   "MRBL0002"     /* all of the VM: include/mirrorball/blk.h */
#define MIRRORBALL_ACPI_NETS    "MRBL0003"     /* likewise: include/mirrorball/net.h */
#define MIRRORBALL_ACPI_SEGMENTS "MRBL0004"    /* all of the VM: include/mirrorball/segment.h */
#define MIRRORBALL_ACPI_ISM     "MRBL0005"     /* of all network interfaces: include/mirrorball/ism.h */

/*
 * Hypercalls: VMCALL at CPL 0 with the number in rax, arguments in rdi, rsi, rdx, r10, r8; the result, or a negative
 * Linux errno, comes back in rax and nothing else changes. An unknown number gives -ENOSYS. See docs/hypercalls.md.
 */

/* Returns MIRRORBALL_ABI_VERSION of the hypervisor. No arguments, no errors. */
#define MIRRORBALL_CALL_VERSION 0

/*
 * Hints about memory, none of them needed. Both calls take the guest-physical address of an array of ranges, which is
 * read once, and its length, 1 to MIRRORBALL_MAX_RANGES. They do the ranges in their order, at least one and perhaps not
 * all, and return how many; an error is that of the first range: -EINVAL, misaligned, no page or too many; -EFAULT, not
 * RAM; also of the array.
 *
 * FREE_PAGES: nothing that is in these pages is needed. They are zero when they are touched next.
 * ZERO_PAGES: the same, and they are wanted at once: zeroed pages are put there, as long as the machine has some.
 */
#define MIRRORBALL_CALL_FREE_PAGES  1
#define MIRRORBALL_CALL_ZERO_PAGES  2
#define MIRRORBALL_MAX_RANGES       64
#define MIRRORBALL_MAX_RANGE_PAGES  1024

struct mirrorball_range {
    uint64_t gpa;       /* of the first page */
    uint64_t count;     /* of 4 KiB pages, 1 to MIRRORBALL_MAX_RANGE_PAGES */
};

/* There is nothing to do until an interrupt is pending, whatever RFLAGS.IF says. No arguments; returns 0. */
#define MIRRORBALL_CALL_IDLE    3

/*
 * rdi: how many pages the guest's balloon holds now. Returns how many it should hold. The device's interrupt says that
 * this has changed.
 */
#define MIRRORBALL_CALL_BALLOON 4

/* 5, 6: disks, see include/mirrorball/blk.h. 8 to 10, 15: networks, see include/mirrorball/net.h. */
/* 12 to 14: shared segments, see include/mirrorball/segment.h. 16 to 21: see include/mirrorball/ism.h. */

/* Major version in the upper half: calls of an older major version may be gone. */
#define MIRRORBALL_ABI_VERSION  0x00010007
