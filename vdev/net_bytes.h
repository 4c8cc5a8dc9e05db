/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "lib/types.h"

/* Numbers in packets, most significant byte first; their types and protocols. */
enum { NET_TYPE_IP4 = 0x0800, NET_TYPE_ARP = 0x0806, NET_TYPE_VLAN = 0x8100, NET_TYPE_IP6 = 0x86dd };
enum { NET_TCP = 6, NET_UDP = 17, NET_ICMP6 = 58 };

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static inline void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value);
}
