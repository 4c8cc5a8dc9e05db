/* SPDX-License-Identifier: BSD-3-Clause OR GPL-2.0 */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

/* CPUID leaf 0x40000000: EBX, ECX, EDX. */
#define MIRRORBALL_SIGNATURE    "MirrorBall\0\0"

/* _HID of the paravirtual devices in the DSDT. */
#define MIRRORBALL_ACPI_HINTS   "MRBL0001"

/*
 * Hypercalls: VMCALL at CPL 0 with the number in rax, arguments in rdi, rsi, rdx, r10, r8; the result, or a negative
 * Linux errno, comes back in rax and nothing else changes. An unknown number gives -ENOSYS. See docs/hypercalls.md.
 */

/* Returns MIRRORBALL_ABI_VERSION of the hypervisor. No arguments, no errors. */
#define MIRRORBALL_CALL_VERSION 0

/* Major version in the upper half: calls of an older major version may be gone. */
#define MIRRORBALL_ABI_VERSION  0x00010000
