/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/unit/seam/fake_vmx.h"

#include "vmx/vmx.h"

struct fake_vmx fake_vmx;

void vmx_exit(void);
void vmx_exit_guarded(void);
void vmx_exit(void) { }
void vmx_exit_guarded(void) { }

void vmx_clear(struct hpa vmcs)
{
    fake_vmx.clears++;
    if (fake_vmx.current.v == vmcs.v)
        fake_vmx.current = HPA(0);
}

void vmx_load(struct hpa vmcs)
{
    fake_vmx.loads++;
    fake_vmx.current = vmcs;
}

void vmx_invept(uint64_t eptp)
{
    fake_vmx.invepts++;
    fake_vmx.eptp = eptp;
}

void vmx_invvpid(uint16_t vpid)
{
    fake_vmx.invvpids++;
    fake_vmx.vpid = vpid;
}
