/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

struct vcpu;

/* VMX on this processor, in our world: feature control, fixed CR bits, VMXON. -EACCES: locked off; -ENOMEM; -EIO. */
int vmx_cpu_start(void);
void vmx_cpu_stop(void);

/* Current-VMCS instructions; a failure is a bug of ours: panic. */
void vmx_clear(struct hpa vmcs);
void vmx_load(struct hpa vmcs);

/* Drops this processor's cached translations (SDM vol. 3, 29.4.3). */
void vmx_invept(uint64_t eptp);
void vmx_invvpid(uint16_t vpid);

