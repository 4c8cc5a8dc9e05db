/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * smc-eid [NAME]: gives this system a name under which others with the same one speak SMC with it (an enterprise id),
 * as `smcd ueid add NAME` of IBM's smc-tools does, and says how many devices SMC-D has. Linux 6.1 has no name by
 * itself, so its SMC would speak TCP. NAME: up to 32 of A-Z, 0-9, '.' and '-' (default: MIRRORBALL).
 */
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/smc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EID_BYTES 32

struct message {
    struct nlmsghdr head;
    struct genlmsghdr command;
    char attributes[8192];
};

static void die(const char *what)
{
    fprintf(stderr, "smc-eid: %s: %s\n", what, strerror(errno));
    exit(1);
}

static size_t receive(int fd, struct message *m)
{
    ssize_t n = recv(fd, m, sizeof(*m), 0);

    if (n < (ssize_t)sizeof(m->head))
        die("netlink");
    return (size_t)n;
}

/* Sends a command with one attribute, or none. */
static void request(int fd, uint16_t family, uint16_t flags, uint8_t command, uint16_t type, const char *value,
                    uint16_t bytes)
{
    struct message m = { .head = { .nlmsg_type = family, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) },
                         .command = { .cmd = command, .version = 1 } };
    struct nlattr *a = (struct nlattr *)m.attributes;

    m.head.nlmsg_len = (uint32_t)NLMSG_LENGTH(GENL_HDRLEN);
    if (value) {
        a->nla_type = type;
        a->nla_len = (uint16_t)(NLA_HDRLEN + bytes);
        memcpy(m.attributes + NLA_HDRLEN, value, bytes);
        m.head.nlmsg_len += (uint32_t)NLA_ALIGN(a->nla_len);
    }
    if (send(fd, &m, m.head.nlmsg_len, 0) < 0)
        die("netlink");
}

/* Of a message: 0, or what it says has gone wrong, as errno. */
static int error_of(const struct nlmsghdr *h)
{
    return h->nlmsg_type == NLMSG_ERROR ? -((const struct nlmsgerr *)NLMSG_DATA(h))->error : 0;
}

/* Of an answer: where this attribute's value is. */
static const void *attribute(const struct message *m, uint16_t type)
{
    size_t at = 0, all = m->head.nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN);

    while (at + NLA_HDRLEN <= all && all <= sizeof(m->attributes)) {
        const struct nlattr *a = (const struct nlattr *)(m->attributes + at);

        if (a->nla_type == type)
            return m->attributes + at + NLA_HDRLEN;
        at += NLA_ALIGN(a->nla_len >= NLA_HDRLEN ? a->nla_len : NLA_HDRLEN);
    }
    errno = EPROTO;
    die("netlink");
    return NULL;
}

static uint16_t family_id(int fd)
{
    struct message m;

    request(fd, GENL_ID_CTRL, 0, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, SMC_GENL_FAMILY_NAME,
            sizeof(SMC_GENL_FAMILY_NAME));
    receive(fd, &m);
    errno = error_of(&m.head);
    if (errno)
        die("no SMC (modprobe smc)");
    return *(const uint16_t *)attribute(&m, CTRL_ATTR_FAMILY_ID);
}

static unsigned devices(int fd, uint16_t family)
{
    struct message m;
    unsigned n = 0;

    request(fd, family, NLM_F_DUMP, SMC_NETLINK_GET_DEV_SMCD, 0, NULL, 0);
    for (;;) {
        size_t bytes = receive(fd, &m);

        for (struct nlmsghdr *h = &m.head; NLMSG_OK(h, bytes); h = NLMSG_NEXT(h, bytes)) {
            errno = error_of(h);
            if (errno)
                die("devices");
            if (h->nlmsg_type == NLMSG_DONE)
                return n;
            n++;
        }
    }
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "MIRRORBALL";
    char eid[EID_BYTES + 1];
    uint16_t family;
    struct message m;
    int fd;

    if (argc > 2 || strlen(name) > EID_BYTES) {
        fprintf(stderr, "usage: smc-eid [NAME], at most %d characters\n", EID_BYTES);
        return 2;
    }
    snprintf(eid, sizeof(eid), "%-*s", EID_BYTES, name);
    fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_GENERIC);
    if (fd < 0)
        die("netlink");
    family = family_id(fd);
    request(fd, family, NLM_F_ACK, SMC_NETLINK_ADD_UEID, SMC_NLA_EID_TABLE_ENTRY, eid, sizeof(eid));
    receive(fd, &m);
    errno = error_of(&m.head);
    if (errno && errno != EEXIST)
        die(name);
    printf("smc-eid: %s, devices: %u\n", name, devices(fd, family));
    close(fd);
    return 0;
}
