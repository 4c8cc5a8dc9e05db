/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* VMCALL at CPL 0: runs the call in v->regs.rax and puts its result there. */
void hypercall_handle(struct vcpu *v);
/* The same on the short way of the exit; false: this call takes the whole way. */
bool hypercall_quick(struct vcpu *v);
