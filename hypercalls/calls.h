/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vmx/vcpu.h"

/* Calls that are not in hypercalls.c: arguments in v->regs, the result is for rax. See docs/hypercalls.md. */

/* hypercalls/hints.c */
int64_t call_free_pages(struct vcpu *v);
int64_t call_zero_pages(struct vcpu *v);
int64_t call_idle(struct vcpu *v);
int64_t call_balloon(struct vcpu *v);

/* hypercalls/blk.c */
int64_t call_blk_ring(struct vcpu *v);
int64_t call_blk_run(struct vcpu *v);

/* hypercalls/net.c */
int64_t call_net_identify(struct vcpu *v);
int64_t call_net_ring(struct vcpu *v);
int64_t call_net_run(struct vcpu *v);
int64_t call_net_wait(struct vcpu *v);

/* hypercalls/segments.c */
int64_t call_segment_info(struct vcpu *v);
int64_t call_segment_ring(struct vcpu *v);
int64_t call_segment_rung(struct vcpu *v);

/* hypercalls/ism.c */
int64_t call_ism_start(struct vcpu *v);
int64_t call_ism_peer(struct vcpu *v);
int64_t call_ism_open(struct vcpu *v);
int64_t call_ism_close(struct vcpu *v);
int64_t call_ism_move(struct vcpu *v);
int64_t call_ism_tell(struct vcpu *v);
