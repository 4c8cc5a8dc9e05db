/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vdev/net_filter.h"
#include "lib/string.h"
#include "vdev/net_bytes.h"

/* Assigned numbers of Ethernet, IP (RFC 791, 8200), ARP (RFC 826), ICMPv6 (RFC 4443, 4861, 3810). */
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 };
enum {
    MLD_REPORT = 131, MLD_DONE = 132, ROUTER_SOLICIT = 133, ROUTER_ADVERT = 134, NEIGHBOUR_SOLICIT = 135,
    NEIGHBOUR_ADVERT = 136, REDIRECT = 137, MLD2_REPORT = 143,
};
#define IP4_BYTES 20u
#define IP6_BYTES 40u
#define ARP_BYTES 28u
#define UDP_BYTES 8u
#define TCP_BYTES 20u

static bool has_ip(const struct net_port *p, const uint8_t *at, bool six)
{
    for (unsigned i = 0; i < p->ips; i++)
        if (p->ip[i].six == six && !memcmp(p->ip[i].at, at, six ? 16 : 4))
            return true;
    return false;
}

static bool is_zero(const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (at[i])
            return false;
    return true;
}

static bool arp_is_own(const struct net_port *p, const uint8_t *arp, uint32_t n)
{
    static const uint8_t ether_ip4[] = { 0, 1, 8, 0, 6, 4 };

    if (n < ARP_BYTES || memcmp(arp, ether_ip4, sizeof(ether_ip4)))
        return false;
    if (memcmp(arp + 8, p->mac, NET_MAC))
        return false;
    return !p->ips || is_zero(arp + 14, 4) || has_ip(p, arp + 14, false);
}

/* From nobody yet, to a server. */
static bool is_dhcp(const uint8_t *ip, uint32_t n)
{
    uint32_t header = (ip[0] & 15) * 4u;

    return ip[9] == NET_UDP && !(get16(ip + 6) & 0x1fff) && n >= header + UDP_BYTES && get16(ip + header) == 68 &&
           get16(ip + header + 2) == 67;
}

static bool ip4_is_own(const struct net_port *p, const uint8_t *ip, uint32_t n)
{
    if (n < IP4_BYTES || ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
        return false;
    return has_ip(p, ip + 12, false) || (is_zero(ip + 12, 4) && is_dhcp(ip, n));
}

/* fe80::/64 with the EUI-64 of its MAC (RFC 4291, appendix A). */
static bool is_link_local(const struct net_port *p, const uint8_t *at)
{
    const uint8_t *m = p->mac;
    const uint8_t own[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5] };

    return !memcmp(at, own, sizeof(own));
}

/* Where the headers of IPv6 lead. */
struct upper { uint8_t protocol; uint32_t at; bool fragment, later; };

/* False: they do not end inside of the head. */
static bool find_upper(const uint8_t *ip, uint32_t n, struct upper *u)
{
    *u = (struct upper){ .protocol = ip[6], .at = IP6_BYTES };
    while (u->protocol == HOP_BY_HOP || u->protocol == ROUTING || u->protocol == DESTINATION ||
           u->protocol == FRAGMENT) {
        const uint8_t *h = ip + u->at;
        bool fragment = u->protocol == FRAGMENT;

        if (u->at + 8 > n)
            return false;
        u->fragment |= fragment;
        u->protocol = h[0];
        u->at += fragment ? 8 : (h[1] + 1u) * 8;
        if (fragment && get16(h + 2) & 0xfff8) {
            u->later = true; /* the rest is in another one */
            return true;
        }
    }
    return u->at <= n;
}

/* The options behind an ND message: an address of the link that is told is its own. */
static bool options_are_own(const struct net_port *p, const uint8_t *o, uint32_t n)
{
    while (n) {
        uint32_t bytes = n >= 2 ? o[1] * 8u : 0;

        if (!bytes || bytes > n)
            return false;
        if ((o[0] == 1 || o[0] == 2) && memcmp(o + 2, p->mac, NET_MAC))
            return false;
        o += bytes;
        n -= bytes;
    }
    return true;
}

/* m: the message, of which n bytes can be seen; ends: it is whole. */
static bool icmp6_is_own(const struct net_port *p, const uint8_t *m, uint32_t n, const struct upper *u, bool ends)
{
    uint32_t header = n && m[0] == ROUTER_SOLICIT ? 8 : 24;

    if (!n)
        return false;
    if (m[0] < ROUTER_SOLICIT || m[0] > REDIRECT)
        return true;
    if (u->fragment || !ends || m[0] == ROUTER_ADVERT || m[0] == REDIRECT || n < header)
        return false;
    if (m[0] == NEIGHBOUR_ADVERT && !has_ip(p, m + 8, true) && !is_link_local(p, m + 8))
        return false;
    return options_are_own(p, m + header, n - header);
}

/* A host without an address asks for one, or tells which groups it is in. */
static bool is_first_word(const uint8_t *m, uint32_t n, const struct upper *u)
{
    if (u->protocol != NET_ICMP6 || u->fragment || !n)
        return false;
    return m[0] == NEIGHBOUR_SOLICIT || m[0] == ROUTER_SOLICIT || m[0] == MLD_REPORT || m[0] == MLD_DONE ||
           m[0] == MLD2_REPORT;
}

static bool ip6_is_own(const struct net_port *p, const uint8_t *ip, uint32_t n)
{
    struct upper u;
    const uint8_t *m;
    bool ends;

    if (n < IP6_BYTES || ip[0] >> 4 != 6 || !find_upper(ip, n, &u))
        return false;
    m = ip + u.at;
    ends = get16(ip + 4) && IP6_BYTES + get16(ip + 4) <= n; /* also if there is something behind it; 0: a jumbogram */
    if (ends)
        n = IP6_BYTES + get16(ip + 4);
    if (!u.later && (u.at > n || (u.protocol == NET_ICMP6 && !icmp6_is_own(p, m, n - u.at, &u, ends))))
        return false;
    if (is_zero(ip + 8, 16))
        return !u.later && is_first_word(m, n - u.at, &u);
    return has_ip(p, ip + 8, true) || is_link_local(p, ip + 8);
}

bool net_may_send(const struct net_port *p, const uint8_t *head, uint32_t n)
{
    const uint8_t *inner = head + NET_ETH;
    uint16_t type = get16(head + 12);

    n -= NET_ETH;
    if (p->uplink)
        return !(head[6] & 1);
    if (memcmp(head + 6, p->mac, NET_MAC))
        return false;
    if (type == NET_TYPE_ARP)
        return arp_is_own(p, inner, n);
    if (!p->ips)
        return true;
    return type == NET_TYPE_IP4 ? ip4_is_own(p, inner, n) : type == NET_TYPE_IP6 && ip6_is_own(p, inner, n);
}

/* Behind the VLAN tag, if there is one. */
static uint32_t find_ip(const uint8_t *head, uint32_t n, uint16_t *type)
{
    uint32_t at = NET_ETH;

    *type = get16(head + 12);
    if (*type == NET_TYPE_VLAN && n >= NET_ETH + 4) {
        *type = get16(head + 16);
        at += 4;
    }
    return at;
}

/* The transport header of an IPv4 packet that is no fragment; 0: there is none. */
static uint32_t transport4(const uint8_t *ip, uint32_t n, uint8_t *protocol)
{
    if (n < IP4_BYTES || ip[0] >> 4 != 4 || (ip[0] & 15) < 5 || get16(ip + 6) & 0x3fff)
        return 0;
    *protocol = ip[9];
    return (ip[0] & 15) * 4u;
}

static uint32_t transport6(const uint8_t *ip, uint32_t n, uint8_t *protocol)
{
    struct upper u;

    if (n < IP6_BYTES || ip[0] >> 4 != 6 || !find_upper(ip, n, &u) || u.fragment)
        return 0;
    *protocol = u.protocol;
    return u.at;
}

bool net_find_headers(const struct mb_net_offload *o, const uint8_t *head, uint32_t n, struct net_headers *h)
{
    uint8_t protocol = 0;
    uint16_t type;
    uint32_t at;

    h->ip = find_ip(head, n, &type);
    if (n < h->ip || (type != NET_TYPE_IP4 && type != NET_TYPE_IP6))
        return false;
    h->six = type == NET_TYPE_IP6;
    at = h->six ? transport6(head + h->ip, n - h->ip, &protocol) : transport4(head + h->ip, n - h->ip, &protocol);
    h->transport = h->ip + at;
    h->tcp = protocol == NET_TCP;
    if (!at || h->transport + (h->tcp ? TCP_BYTES : UDP_BYTES) > n || (!h->tcp && protocol != NET_UDP))
        return false;
    if (h->tcp != (o->gso != MB_NET_GSO_UDP) || (h->tcp && h->six != (o->gso == MB_NET_GSO_TCP6)))
        return false;
    h->payload = h->transport + (h->tcp ? (head[h->transport + 12] >> 4) * 4u : UDP_BYTES);
    return h->payload <= n && (!h->tcp || h->payload >= h->transport + TCP_BYTES);
}

bool net_offload_fits(const struct mb_net_offload *o, const uint8_t *head, uint32_t n, uint32_t bytes)
{
    struct net_headers h;
    uint32_t sum = (uint32_t)o->csum_start + o->csum_offset;

    if (o->flags & ~(MB_NET_PARTIAL | MB_NET_CHECKED | MB_NET_ECN) || o->gso > MB_NET_GSO_UDP)
        return false;
    if (o->flags & MB_NET_PARTIAL && (o->csum_start < NET_ETH || sum + 2 > MIN(n, bytes)))
        return false;
    if (o->gso == MB_NET_GSO_NONE)
        return !o->gso_bytes && !(o->flags & MB_NET_ECN);
    if (!(o->flags & MB_NET_PARTIAL) || !o->gso_bytes || !net_find_headers(o, head, n, &h))
        return false;
    return o->csum_start == h.transport && o->csum_offset == (h.tcp ? 16 : 6) && h.payload < bytes;
}
