/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Frames that are sent as they are, past Linux' own stack: frames INTERFACE KIND COUNT, to all on its network.
 * honest: an ARP announcement of what it is; the others each say one thing that is not so: mac: the frame's source;
 * arp: ARP's sender address; arp-ip: its IP address; ip4, ip6: the packet's source; solicit: in a neighbour
 * solicitation the link address; advert: in an advertisement the address that is its own; router: to be one.
 */
enum { ETH = 14, IP6 = 40, ND = 24, OPTION = 8, LONGEST = 128 };

static uint8_t frame[LONGEST], mac[6];
static const uint8_t another[6] = { 0x52, 0x54, 0, 0xee, 0xee, 0xee };

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint8_t *ethernet(uint16_t type)
{
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    frame[12] = (uint8_t)(type >> 8);
    frame[13] = (uint8_t)type;
    return frame + ETH;
}

static size_t arp(const uint8_t *sender, const char *address)
{
    static const uint8_t request[] = { 0, 1, 8, 0, 6, 4, 0, 1 };
    uint8_t *at = ethernet(ETHERTYPE_ARP);

    memcpy(at, request, sizeof(request));
    memcpy(at + 8, sender, 6);
    inet_pton(AF_INET, address, at + 14);
    memcpy(at + 24, at + 14, 4);
    return ETH + 46;
}

static size_t ip4(const char *source)
{
    uint8_t *at = ethernet(ETHERTYPE_IP);

    at[0] = 0x45;
    at[3] = 46;
    at[8] = 64;
    at[9] = 253; /* for experiments */
    inet_pton(AF_INET, source, at + 12);
    memset(at + 16, 0xff, 4);
    return ETH + 46;
}

/* Its own link-local address, of its MAC address (RFC 4291, appendix A). */
static void link_local(uint8_t *to)
{
    const uint8_t own[16] = { 0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4],
                              mac[5] };

    memcpy(to, own, sizeof(own));
}

static size_t ip6(const char *source)
{
    uint8_t *at = ethernet(ETHERTYPE_IPV6);

    at[0] = 0x60;
    at[5] = ND + OPTION;
    at[6] = 253;
    at[7] = 255;
    link_local(at + 8);
    if (source)
        inet_pton(AF_INET6, source, at + 8);
    inet_pton(AF_INET6, "ff02::1", at + 24);
    return ETH + IP6 + ND + OPTION;
}

/* A message of neighbour discovery (RFC 4861) about TARGET, NULL: itself; with the address of its link as an option. */
static size_t discovery(uint8_t type, const char *target, const uint8_t *link)
{
    size_t n = ip6(NULL);
    uint8_t *at = frame + ETH + IP6;

    frame[ETH + 6] = 58; /* ICMPv6 */
    at[0] = type;
    link_local(at + 8);
    if (target)
        inet_pton(AF_INET6, target, at + 8);
    at[ND] = type == 135 ? 1 : 2;
    at[ND + 1] = 1;
    memcpy(at + ND + 2, link, 6);
    return n;
}

static size_t build(const char *kind)
{
    size_t n = 0;

    if (!strcmp(kind, "honest") || !strcmp(kind, "mac"))
        n = arp(mac, "0.0.0.0");
    else if (!strcmp(kind, "arp"))
        n = arp(another, "0.0.0.0");
    else if (!strcmp(kind, "arp-ip"))
        n = arp(mac, "10.0.0.77");
    else if (!strcmp(kind, "ip4"))
        n = ip4("10.0.0.77");
    else if (!strcmp(kind, "ip6"))
        n = ip6("fe80::77");
    else if (!strcmp(kind, "solicit"))
        n = discovery(135, NULL, another);
    else if (!strcmp(kind, "advert"))
        n = discovery(136, "fe80::77", mac);
    else if (!strcmp(kind, "router"))
        n = discovery(134, NULL, mac);
    if (!strcmp(kind, "mac"))
        memcpy(frame + 6, another, 6);
    return n;
}

int main(int argc, char **argv)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), count = argc == 4 ? atoi(argv[3]) : 0;
    struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
    struct ifreq r = { 0 };
    size_t n;

    if (!count)
        return 2;
    strncpy(r.ifr_name, argv[1], sizeof(r.ifr_name) - 1);
    if (fd < 0 || ioctl(fd, SIOCGIFHWADDR, &r))
        die(argv[1]);
    memcpy(mac, r.ifr_hwaddr.sa_data, sizeof(mac));
    to.sll_ifindex = (int)if_nametoindex(argv[1]);
    n = build(argv[2]);
    for (int i = 0; n && i < count; i++)
        if (sendto(fd, frame, n, 0, (struct sockaddr *)&to, sizeof(to)) != (ssize_t)n)
            die("sendto");
    printf("frames: %s %d\n", argv[2], n ? count : 0);
    return 0;
}
