/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/vm_nets.h"
#include "core/sched.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/string.h"

/* Board and vCPUs stay as long as a port is attached. */
static void interrupt(void *ctx)
{
    board_pulse(((struct vm *)ctx)->board, BOARD_GSI_NET);
}

static void ism_interrupt(void *ctx)
{
    board_pulse(((struct vm *)ctx)->board, BOARD_GSI_ISM);
}

static void wake(void *ctx, unsigned vcpu)
{
    sched_wake(((struct vm *)ctx)->slots[vcpu]);
}

static void set_addresses(struct net_port *p, const struct config_vif *c)
{
    memcpy(p->mac, c->mac, NET_MAC);
    for (p->ips = 0; p->ips < c->ips; p->ips++) {
        p->ip[p->ips].six = c->ip[p->ips].six;
        memcpy(p->ip[p->ips].at, c->ip[p->ips].at, sizeof(c->ip[0].at));
    }
    p->rate.per_second = c->rate;
}

static int add_vif(struct vm *vm, unsigned n)
{
    const struct config_vif *c = &vm->config->vif[n];
    struct net *net = net_named(c->net);
    struct vif *vif = net ? vifs_add(&vm->nets) : NULL;
    int err = vif ? 0 : net ? -ENOMEM : -ENOSPC;

    if (vif) {
        format(vif->port.name, sizeof(vif->port.name), "%s/%u", vm->config->name, n);
        set_addresses(&vif->port, c);
        err = net_attach(net, &vif->port);
    }
    if (err)
        log_warn("vm %s: vif %u: %s", vm->config->name, n,
                 err == -ENOMEM ? "no memory for it" : err == -EEXIST ? "its address is used in the network already" :
                 "there are too many networks, or ports in its own");
    return err;
}

int vm_add_nets(struct vm *vm)
{
    int err = 0;

    vifs_init(&vm->nets, vm->config->vcpus);
    vm->nets.pmap = &vm->pmap;
    vm->nets.name = vm->config->name;
    vm->nets.share = !vm->config->share_off;
    vm->nets.interrupt = interrupt;
    vm->nets.ism_interrupt = ism_interrupt;
    vm->nets.wake = wake;
    vm->nets.ctx = vm;
    for (unsigned i = 0; i < vm->config->vifs && !err; i++)
        err = add_vif(vm, i);
    return err;
}
