/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * LD_PRELOAD=smc-run.so PROGRAM: what the program asks for as TCP sockets are SMC's, which are TCP's where the other
 * end knows no SMC (as smc_run of IBM's smc-tools). Where the system has no SMC at all they are TCP's, too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define SMC_OVER_IPV4 0
#define SMC_OVER_IPV6 1

int socket(int family, int type, int protocol)
{
    static int (*original)(int, int, int);
    int kind = type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC), fd = -1;

    if (!original)
        original = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    if ((family == AF_INET || family == AF_INET6) && kind == SOCK_STREAM && (!protocol || protocol == IPPROTO_TCP))
        fd = original(AF_SMC, type, family == AF_INET6 ? SMC_OVER_IPV6 : SMC_OVER_IPV4);
    return fd >= 0 ? fd : original(family, type, protocol);
}
