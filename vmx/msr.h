/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* 0, or -EINVAL: #GP. */
int msr_guest_read(struct vcpu *v, uint32_t msr, uint64_t *value);
int msr_guest_write(struct vcpu *v, uint32_t msr, uint64_t value);

void exit_rdmsr(struct vcpu *v);
void exit_wrmsr(struct vcpu *v);
