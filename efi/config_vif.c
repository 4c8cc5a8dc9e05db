/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "efi/config_parts.h"
#include "lib/string.h"

/* vif = NETWORK[,mac=MAC][,ip=ADDRESS]...[,rate=RATE], as xl.cfg has them. */

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

/* Up to `digits` digits of this base, at least one, taken from the front. */
static bool take_number(struct span *t, unsigned base, unsigned digits, uint64_t *out)
{
    size_t n = 0;

    for (*out = 0; n < t->n && n < digits && (unsigned)digit_of(t->s[n]) < base; n++)
        *out = *out * base + (unsigned)digit_of(t->s[n]);
    t->s += n;
    t->n -= n;
    return n;
}

static bool take_char(struct span *t, char c)
{
    if (!t->n || t->s[0] != c)
        return false;
    t->s++;
    t->n--;
    return true;
}

static bool parse_mac(struct span t, uint8_t *mac)
{
    uint64_t byte;

    for (unsigned i = 0; i < 6; i++) {
        if ((i && !take_char(&t, ':')) || !take_number(&t, 16, 2, &byte))
            return false;
        mac[i] = (uint8_t)byte;
    }
    return !t.n && !(mac[0] & 1) && (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

static bool parse_ip4(struct span t, uint8_t *at)
{
    uint64_t byte;

    for (unsigned i = 0; i < 4; i++) {
        if ((i && !take_char(&t, '.')) || !take_number(&t, 10, 3, &byte) || byte > 255)
            return false;
        at[i] = (uint8_t)byte;
    }
    return !t.n && (at[0] | at[1] | at[2] | at[3]);
}

/* Groups of 16 bits up to the end or "::", which is left in front. */
static bool take_groups(struct span *t, uint8_t *at, unsigned *groups)
{
    uint64_t group;

    for (*groups = 0; t->n && *groups < 8; ++*groups) {
        if (t->n >= 2 && t->s[0] == ':' && t->s[1] == ':')
            return true;
        if ((*groups && !take_char(t, ':')) || !take_number(t, 16, 4, &group))
            return false;
        at[*groups * 2] = (uint8_t)(group >> 8);
        at[*groups * 2 + 1] = (uint8_t)group;
    }
    return true;
}

static bool parse_ip6(struct span t, uint8_t *at)
{
    uint8_t behind[16] = { 0 };
    unsigned n = 0, m = 0;

    if (!take_groups(&t, at, &n))
        return false;
    if (!t.n)
        return n == 8;
    if (!take_char(&t, ':') || !take_char(&t, ':') || !take_groups(&t, behind, &m) || t.n || n + m > 7 || !(n + m))
        return false;
    memset(at + n * 2, 0, 16 - n * 2);
    memcpy(at + 16 - m * 2, behind, m * 2);
    return true;
}

/* NUMBER[K|M|G](B|b)/s: bytes or bits. */
static bool parse_rate(struct span t, uint64_t *rate)
{
    uint64_t unit = take_number(&t, 10, 6, rate);
    bool bits;

    if (!unit)
        return false;
    unit = take_char(&t, 'K') ? 1000 : take_char(&t, 'M') ? 1000000 : take_char(&t, 'G') ? 1000000000 : 1;
    bits = take_char(&t, 'b');
    if ((!bits && !take_char(&t, 'B')) || !span_is(t, "/s"))
        return false;
    *rate = *rate * unit / (bits ? 8 : 1);
    return *rate;
}

/* "WORD=...": what stands behind it. */
static bool is_word(struct span t, const char *word, struct span *value)
{
    size_t n = strlen(word);

    if (t.n <= n || memcmp(t.s, word, n) || t.s[n] != '=')
        return false;
    *value = trim((struct span){ t.s + n + 1, t.n - n - 1 });
    return true;
}

static bool add_ip(struct config_vif *vif, struct span t)
{
    bool six = t.n && memchr(t.s, ':', t.n);
    uint8_t *at;

    if (vif->ips == CONFIG_MAX_IPS)
        return false;
    at = vif->ip[vif->ips].at;
    vif->ip[vif->ips++].six = six;
    return six ? parse_ip6(t, at) : parse_ip4(t, at);
}

static bool set_word(struct config_vif *vif, struct span word)
{
    static const uint8_t none[6];
    struct span value;

    if (is_word(word, "mac", &value))
        return !memcmp(vif->mac, none, sizeof(none)) && parse_mac(value, vif->mac);
    if (is_word(word, "rate", &value))
        return !vif->rate && parse_rate(value, &vif->rate);
    return is_word(word, "ip", &value) && add_ip(vif, value);
}

int config_set_vif(struct parser *p, const char *value)
{
    struct span rest = { value, strlen(value) }, part = { "", 0 };
    struct config_vif *vif;

    if (p->vm->vifs == CONFIG_MAX_VIFS)
        return config_fail(p, "expected at most %d network interfaces in a VM", CONFIG_MAX_VIFS);
    vif = &p->vm->vif[p->vm->vifs++];
    next_part(&rest, &part);
    if (!config_is_name(part) || !copy(vif->net, sizeof(vif->net), part))
        return config_fail(p, "expected NETWORK[,mac=MAC][,ip=ADDRESS][,rate=RATE], found \"%.*s\"", SHOWN, value);
    while (next_part(&rest, &part))
        if (!set_word(vif, part))
            return config_fail(p, "expected mac=52:54:00:00:00:01 (not a group's), ip=10.0.0.1, ip=fd00::1 (at most %d) "
                               "or rate=100Mb/s, found \"%.*s\"", CONFIG_MAX_IPS, (int)MIN(part.n, (size_t)SHOWN),
                               part.s);
    return 0;
}

/* A VM that has this address on this network, with another interface; NULL: none. */
static const struct vm_config *who_has(const struct config *c, const struct config_vif *self)
{
    for (unsigned i = 0; i < c->vms; i++)
        for (unsigned n = 0; n < c->vm[i].vifs; n++) {
            const struct config_vif *v = &c->vm[i].vif[n];

            if (v != self && !strcmp(v->net, self->net) && !memcmp(v->mac, self->mac, sizeof(v->mac)))
                return &c->vm[i];
        }
    return NULL;
}

/* The same in each run: from the VM's name and the interface's number (FNV-1a); locally administered. */
static void make_mac(const struct config *c, const struct vm_config *vm, unsigned n, struct config_vif *vif)
{
    uint32_t hash = 2166136261u;

    for (const char *s = vm->name; *s; s++)
        hash = (hash ^ (uint8_t)*s) * 16777619u;
    hash = (hash ^ n) * 16777619u;
    do {
        const uint8_t mac[6] = { 0x52, 0x54, 0, (uint8_t)(hash >> 16), (uint8_t)(hash >> 8), (uint8_t)hash };

        memcpy(vif->mac, mac, sizeof(mac));
        hash++;
    } while (who_has(c, vif));
}

int config_check_vifs(struct parser *p, struct vm_config *vm)
{
    static const uint8_t none[6];

    for (unsigned n = 0; n < vm->vifs; n++) {
        struct config_vif *vif = &vm->vif[n];
        const uint8_t *m = vif->mac;
        const struct vm_config *other;

        if (!memcmp(m, none, sizeof(none))) {
            make_mac(p->out, vm, n, vif);
            continue;
        }
        other = who_has(p->out, vif);
        if (other)
            return config_fail(p, "[vm %s]: vif: %02x:%02x:%02x:%02x:%02x:%02x is used twice in network %s, also by "
                               "vm %s, expected another", vm->name, m[0], m[1], m[2], m[3], m[4], m[5], vif->net,
                               other->name);
    }
    return 0;
}
