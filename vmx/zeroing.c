/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "arch/x86/cpu.h"
#include "vmx/exits.h"
#include "vmx/vmcs_io.h"
#include "vmx/watch.h"

/*
 * A kernel zeroes a page before it gives it to somebody (Linux: init_on_alloc, clear_page), also one that held a shared
 * block or packet before and will hold the next in a moment. A copy of what it held would be made for nothing. So REP
 * STOS is done here for such a page, by giving it back. The processor's own checks have all been passed, for the
 * violation comes last; what is left to do in its place is to mark the page dirty, which the walk does.
 */

/* How often REP STOS has to store for a page, and the bytes of the instruction. */
struct store { uint64_t count; unsigned length; };

/* 64-bit code that goes upwards, in whose end there is nothing to be seen: no single step, breakpoint or shadow. */
static bool is_plain(const struct gwalk_state *s)
{
    return (vmread_sure(VMCS_GUEST_CS_AR) & AR_L) && (s->efer & EFER_LMA) &&
           !(s->rflags & (RFLAGS_TF | RFLAGS_DF)) && !watch_any() &&
           !(vmread_sure(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS));
}

/* The instruction at RIP, if it is one of the two that kernels zero pages with and lies in one page. Count 0: no. */
static struct store fetch_store(struct vcpu *v, const struct gwalk_state *s, uint64_t rip)
{
    uint8_t code[4];
    uint32_t error;
    struct gpa at;

    if (rip % PAGE_SIZE > PAGE_SIZE - sizeof(code) || vcpu_walk(v, s, rip, GWALK_FETCH, &at, &error) ||
        pmap_read(v->pmap, at, code, sizeof(code)))
        return (struct store){ 0 };
    if (code[0] == 0xf3 && code[1] == 0x48 && code[2] == 0xab) /* REP STOSQ */
        return (struct store){ PAGE_SIZE / 8, 3 };
    if (code[0] == 0xf3 && code[1] == 0xaa)                    /* REP STOSB */
        return (struct store){ PAGE_SIZE, 2 };
    return (struct store){ 0 };
}

/* The guest may have changed its tables since: then the processor is to try again. */
static bool marked_dirty(struct vcpu *v, const struct gwalk_state *s, uint64_t linear, struct gpa at)
{
    struct gpa now;
    uint32_t error;

    return !vcpu_walk(v, s, linear, GWALK_WRITE, &now, &error) && now.v == at.v;
}

/* RF, which an exit by an EPT violation always has set (SDM vol. 3, 28.3.3), goes with the instruction. */
static void end_instruction(const struct gwalk_state *s, uint64_t next)
{
    vmwrite_sure(VMCS_GUEST_RIP, next);
    if (s->rflags & RFLAGS_RF)
        vmwrite_sure(VMCS_GUEST_RFLAGS, s->rflags & ~RFLAGS_RF);
}

bool zeroing_run(struct vcpu *v, struct gpa at, uint64_t linear)
{
    uint64_t rip = vmread_sure(VMCS_GUEST_RIP);
    struct guest_regs *r = &v->regs;
    struct gwalk_state s;
    struct store store;

    vcpu_paging(&s);
    if (r->rdi != linear || !is_plain(&s))
        return false;
    store = fetch_store(v, &s, rip);
    if (!store.count || r->rcx < store.count)
        return false;
    if (!marked_dirty(v, &s, linear, at) || !pmap_clear_shared(v->pmap, at))
        return false;
    r->rdi += PAGE_SIZE;
    r->rcx -= store.count;
    if (!r->rcx)
        end_instruction(&s, rip + store.length);
    return true;
}
