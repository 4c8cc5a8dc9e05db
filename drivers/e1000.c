/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "drivers/e1000.h"

#include "arch/x86/apic.h"
#include "arch/x86/cpu.h"
#include "arch/x86/world.h"
#include "drivers/card.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "numa/page.h"

/*
 * Two rings of descriptors with a buffer of 2 KiB each: one copy on the way out, none on the way in. The card raises no
 * interrupts. Its poll is the only one who receives; senders take a lock, and take back what the card has sent.
 */
#define CARDS        4u
#define RX_COUNT     512u      /* what comes in half a millisecond at 1 Gbit/s and more */
#define TX_COUNT     1024u     /* the segments of a packet of 1 MiB, and more */
#define BUFFER       2048u
#define RX_ORDER     8u        /* RX_COUNT * BUFFER bytes, in pages */
#define TX_ORDER     9u
#define RX_RING_ORDER 1u
#define TX_RING_ORDER 2u
#define MIN_ON_WIRE  60u
#define BUDGET       128u      /* frames received in one poll at most */
#define DOORBELL     32u       /* frames that wait for card_flush at most */
#define RX_GIVE_BACK 32u       /* descriptors */

#define BUSY_US      100u      /* between two looks while something comes or goes, */
#define BUSY_FOR_US  5000u     /* and for so long after it, */
#define QUIET_US     1000u     /* and then */
#define CHECK_MS     500u      /* between two looks at the link and the counters */
#define HANGS_MS     2000u     /* nothing was sent for so long */
#define RESET_US     20000u
#define REGISTERS    0x8000u   /* bytes of them at least */

_Static_assert(RX_COUNT * BUFFER == PAGE_SIZE << RX_ORDER && TX_COUNT * BUFFER == PAGE_SIZE << TX_ORDER, "buffers");
_Static_assert(RX_COUNT * 16 <= PAGE_SIZE << RX_RING_ORDER && TX_COUNT * 16 <= PAGE_SIZE << TX_RING_ORDER, "rings");

struct e1000 {
    struct card card;
    struct pci_function pci;
    uint64_t regs;
    bool express;              /* 82574 */

    volatile struct e1000_rx *rx;
    uint8_t *rx_buffer;
    unsigned rx_next, rx_given; /* to look at, to give back to the card */
    bool rx_skips;             /* the rest of a frame that is too long */

    struct spinlock lock;      /* guards sending: */
    volatile struct e1000_tx *tx;
    uint8_t *tx_buffer;
    unsigned tx_next, tx_done, tx_told; /* to fill, to take back, up to where the card knows */
    bool starved;              /* somebody got -EAGAIN */
    uint64_t progress;         /* TSC when the card had nothing to send, or sent some */

    uint64_t active, check;    /* TSC: something came or went; the next look at the link */
};

static struct e1000 cards[CARDS];
static unsigned count;

static const struct pci_id known[] = {
    { 0x8086, 0x100c },        /* 82544GC */
    { 0x8086, 0x100e },        /* 82540EM */
    { 0x8086, 0x100f },        /* 82545EM */
    { 0x8086, 0x10d3 },        /* 82574L */
};

static uint32_t get(const struct e1000 *e, unsigned reg) { return mmio_read32(e->regs + reg); }
static void set(const struct e1000 *e, unsigned reg, uint64_t value) { mmio_write32(e->regs + reg, (uint32_t)value); }
static uint64_t us_ticks(uint64_t us) { return us * tsc_khz() / 1000; }
static struct e1000 *e1000_of(struct card *c) { return container_of(c, struct e1000, card); }

/* What was written to memory before is there when the card looks, and nothing is read before the card has written. */
static void order(void)
{
    atomic_thread_fence(memory_order_acq_rel);
}

static void count_up(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void pause_us(uint64_t us)
{
    uint64_t end = rdtsc() + us_ticks(us);

    while (rdtsc() < end)
        cpu_pause();
}

/* Until all of the bits are clear; false: they never are. */
static bool wait_clear(const struct e1000 *e, unsigned reg, uint64_t bits)
{
    uint64_t end = rdtsc() + us_ticks(RESET_US);

    while (get(e, reg) & bits) {
        if (rdtsc() >= end)
            return false;
        cpu_pause();
    }
    return true;
}

/* Nothing is under way any more on the bus, then a reset (manual, 14.4; 82574: 5.2.3.1.2). Its PHY goes on. */
static int reset(struct e1000 *e)
{
    set(e, E1000_IMC, UINT32_MAX);
    set(e, E1000_RCTL, 0);
    set(e, E1000_TCTL, TCTL_PSP);
    if (e->express) {
        set(e, E1000_CTRL, get(e, E1000_CTRL) | CTRL_NO_MASTER);
        (void)wait_clear(e, E1000_STATUS, STATUS_MASTER);
    }
    pause_us(1000);
    set(e, E1000_CTRL, get(e, E1000_CTRL) | CTRL_RST);
    pause_us(1000);
    if (!wait_clear(e, E1000_CTRL, CTRL_RST))
        return -EIO;
    set(e, E1000_IMC, UINT32_MAX);
    (void)get(e, E1000_ICR);
    return 0;
}

/* A word of the EEPROM (manual, 5.3.1): where address, data and "done" are differs. */
static int read_eeprom(const struct e1000 *e, unsigned at, uint16_t *word)
{
    uint32_t done = e->express ? BIT(1) : BIT(4), value;
    uint64_t end = rdtsc() + us_ticks(RESET_US);

    set(e, E1000_EERD, EERD_START | at << (e->express ? 2 : 8));
    do {
        value = get(e, E1000_EERD);
        if (value & done) {
            *word = (uint16_t)(value >> 16);
            return 0;
        }
        cpu_pause();
    } while (rdtsc() < end);
    return -EIO;
}

static bool is_mac(const uint8_t *mac)
{
    static const uint8_t none[6];

    return !(mac[0] & 1) && memcmp(mac, none, sizeof(none));
}

/* After a reset the card has put it there from its EEPROM, or there was none to be read. */
static int find_mac(struct e1000 *e)
{
    uint32_t low = get(e, E1000_RAL0), high = get(e, E1000_RAH0);
    uint16_t word[3] = { (uint16_t)low, (uint16_t)(low >> 16), (uint16_t)high };

    for (unsigned i = 0; i < 3 && !(high & RAH_VALID); i++)
        if (read_eeprom(e, i, &word[i]))
            return -EIO;
    memcpy(e->card.mac, word, sizeof(e->card.mac));
    return is_mac(e->card.mac) ? 0 : -EIO;
}

static void set_up_receiver(struct e1000 *e)
{
    uint64_t ring = (uint64_t)(uintptr_t)e->rx;

    for (unsigned i = 0; i < RX_COUNT; i++) {
        e->rx[i].address = (uint64_t)(uintptr_t)(e->rx_buffer + i * BUFFER);
        e->rx[i].status = 0;
    }
    e->rx_next = e->rx_given = 0;
    e->rx_skips = false;
    for (unsigned i = 0; i < 128; i++)
        set(e, E1000_MTA(i), 0);
    set(e, E1000_RDTR, 0);
    set(e, E1000_RXCSUM, RXCSUM_IP_TCP);
    if (e->express)
        set(e, E1000_RFCTL, 0); /* the descriptors that all have */
    set(e, E1000_RDBAL, ring);
    set(e, E1000_RDBAH, ring >> 32);
    set(e, E1000_RDLEN, RX_COUNT * sizeof(*e->rx));
    set(e, E1000_RDH, 0);
    order();
    set(e, E1000_RDT, RX_COUNT - 1);
    set(e, E1000_RCTL, RCTL_EN | RCTL_UPE | RCTL_MPE | RCTL_BAM | RCTL_SECRC); /* buffers of 2 KiB are 0 */
}

static void set_up_sender(struct e1000 *e)
{
    uint64_t ring = (uint64_t)(uintptr_t)e->tx;

    for (unsigned i = 0; i < TX_COUNT; i++)
        e->tx[i].address = (uint64_t)(uintptr_t)(e->tx_buffer + i * BUFFER);
    e->tx_next = e->tx_done = e->tx_told = 0;
    e->progress = rdtsc();
    set(e, E1000_TDBAL, ring);
    set(e, E1000_TDBAH, ring >> 32);
    set(e, E1000_TDLEN, TX_COUNT * sizeof(*e->tx));
    set(e, E1000_TDH, 0);
    set(e, E1000_TDT, 0);
    if (e->express)
        set(e, E1000_TXDCTL, TXDCTL_82574);
    set(e, E1000_TIPG, TIPG_COPPER);
    order();
    set(e, E1000_TCTL, TCTL_EN | TCTL_PSP | TCTL_COLLISIONS);
}

static void set_up(struct e1000 *e)
{
    uint64_t ctrl = get(e, E1000_CTRL);

    ctrl &= ~(CTRL_LRST | CTRL_ILOS | CTRL_FRCSPD | CTRL_FRCDPX | CTRL_VME | CTRL_PHY_RST | CTRL_NO_MASTER);
    set(e, E1000_CTRL, ctrl | CTRL_SLU | CTRL_ASDE | CTRL_FD);
    set(e, E1000_FCAL, 0);
    set(e, E1000_FCAH, 0);
    set(e, E1000_FCT, 0);
    set(e, E1000_FCTTV, 0);
    if (e->express)
        set(e, E1000_CTRL_EXT, get(e, E1000_CTRL_EXT) | CTRL_EXT_LOADED);
    set_up_receiver(e);
    set_up_sender(e);
}

static int start(struct card *c)
{
    struct e1000 *e = e1000_of(c);
    int err = reset(e);

    if (err)
        return err;
    set_up(e);
    atomic_store(&c->up, get(e, E1000_STATUS) & STATUS_LU);
    e->active = rdtsc();
    device_add(&c->device);
    return 0;
}

/* --- sending --- */

static unsigned tx_after(unsigned i) { return (i + 1) % TX_COUNT; }

static void ring_doorbell(struct e1000 *e)
{
    if (e->tx_told == e->tx_next)
        return;
    order();
    set(e, E1000_TDT, e->tx_next);
    e->tx_told = e->tx_next;
}

/* Lock held. True: there is room. */
static bool take_back(struct e1000 *e)
{
    unsigned before = e->tx_done;

    while (e->tx_done != e->tx_told && e->tx[e->tx_done].status & TX_DONE)
        e->tx_done = tx_after(e->tx_done);
    if (e->tx_done != before || e->tx_done == e->tx_told)
        e->progress = rdtsc();
    return tx_after(e->tx_next) != e->tx_done;
}

static void fill(struct e1000 *e, const void *frame, uint32_t bytes)
{
    volatile struct e1000_tx *d = &e->tx[e->tx_next];
    uint8_t *to = e->tx_buffer + e->tx_next * BUFFER;

    memcpy(to, frame, bytes);
    if (bytes < MIN_ON_WIRE)
        memset(to + bytes, 0, MIN_ON_WIRE - bytes);
    d->bytes = (uint16_t)MAX(bytes, MIN_ON_WIRE);
    d->checksum_offset = d->checksum_start = 0;
    d->special = 0;
    d->status = 0;
    d->command = TX_END | TX_FCS | TX_REPORT;
    e->tx_next = tx_after(e->tx_next);
    if ((e->tx_next - e->tx_told) % TX_COUNT >= DOORBELL)
        ring_doorbell(e);
}

static int send_locked(struct e1000 *e, const void *frame, uint32_t bytes)
{
    if (tx_after(e->tx_next) == e->tx_done && !take_back(e)) {
        ring_doorbell(e);
        if (!take_back(e)) {
            e->starved = true;
            return -EAGAIN;
        }
    }
    fill(e, frame, bytes);
    return 0;
}

static int send(struct card *c, const void *frame, uint32_t bytes)
{
    struct e1000 *e = e1000_of(c);
    int err;

    if (bytes < CARD_MIN_FRAME || bytes > CARD_MAX_FRAME)
        return -EINVAL;
    if (!atomic_load(&c->up)) {
        count_up(&c->counts.down, 1);
        return -EIO;
    }
    spin_lock(&e->lock);
    err = send_locked(e, frame, bytes);
    spin_unlock(&e->lock);
    if (err) {
        count_up(&c->counts.full, 1);
        device_wake(&c->device, rdtsc() + us_ticks(BUSY_US));
        return err;
    }
    count_up(&c->counts.sent, 1);
    count_up(&c->counts.sent_bytes, bytes);
    return 0;
}

/* An answer is likely to come soon. */
static void flush(struct card *c)
{
    struct e1000 *e = e1000_of(c);

    spin_lock(&e->lock);
    ring_doorbell(e);
    spin_unlock(&e->lock);
    device_wake(&c->device, rdtsc() + us_ticks(BUSY_US));
}

/* --- receiving --- */

/* What the card says of a frame is checked: only its own buffer is looked at, and only as much as is there. */
static void take_frame(struct e1000 *e, unsigned i, uint8_t status)
{
    struct card *c = &e->card;
    uint8_t errors = e->rx[i].errors;
    uint16_t bytes = e->rx[i].bytes;
    bool whole = !e->rx_skips && (status & RX_END);

    e->rx_skips = !(status & RX_END);
    if (!whole || (errors & RX_ERRORS) || bytes < CARD_MIN_FRAME || bytes > CARD_MAX_FRAME) {
        count_up(&c->counts.bad, status & RX_END ? 1 : 0);
        return;
    }
    count_up(&c->counts.received, 1);
    count_up(&c->counts.received_bytes, bytes);
    c->receive(c, e->rx_buffer + i * BUFFER, bytes,
               (status & (RX_UNCHECKED | RX_TCP_CHECKED)) == RX_TCP_CHECKED && !(errors & RX_SUM_ERRORS));
}

/* The card may fill all but the last one of those that are given back. */
static void give_back(struct e1000 *e)
{
    if (e->rx_given == e->rx_next)
        return;
    order();
    set(e, E1000_RDT, (e->rx_next + RX_COUNT - 1) % RX_COUNT);
    e->rx_given = e->rx_next;
}

static unsigned receive(struct e1000 *e)
{
    unsigned n = 0;

    for (; n < BUDGET; n++) {
        uint8_t status = e->rx[e->rx_next].status;

        if (!(status & RX_DONE))
            break;
        order();
        take_frame(e, e->rx_next, status);
        e->rx[e->rx_next].status = 0;
        e->rx_next = (e->rx_next + 1) % RX_COUNT;
        if ((e->rx_next - e->rx_given) % RX_COUNT >= RX_GIVE_BACK)
            give_back(e);
    }
    give_back(e);
    return n;
}

/* --- now and then --- */

/* True while something waits to be sent. */
static bool look_at_sender(struct e1000 *e, bool *hangs)
{
    bool room, told, waits;

    spin_lock(&e->lock);
    ring_doorbell(e);
    room = take_back(e);
    waits = e->tx_done != e->tx_told;
    *hangs = waits && rdtsc() - e->progress > us_ticks(HANGS_MS * 1000);
    told = room && e->starved;
    if (told)
        e->starved = false;
    spin_unlock(&e->lock);
    if (told)
        e->card.news(&e->card);
    return waits;
}

static void look_at_link(struct e1000 *e)
{
    struct card *c = &e->card;
    bool up = get(e, E1000_STATUS) & STATUS_LU;

    count_up(&c->counts.missed, get(e, E1000_MPC));
    if (up == atomic_load(&c->up))
        return;
    atomic_store(&c->up, up);
    log_info("%s: the link is %s", c->name, up ? "up" : "down");
    c->news(c);
}

/* What waited to be sent is lost, as on a wire. */
static void start_again(struct e1000 *e)
{
    count_up(&e->card.counts.resets, 1);
    log_warn("%s: it sends nothing any more, it is reset", e->card.name);
    spin_lock(&e->lock);
    if (reset(e))
        log_warn("%s: it does not come back from a reset", e->card.name);
    set_up(e);
    spin_unlock(&e->lock);
}

static uint64_t poll(struct device *d, uint64_t now)
{
    struct e1000 *e = container_of(d, struct e1000, card.device);
    unsigned n = receive(e);
    bool hangs, waits = look_at_sender(e, &hangs);

    if (n || waits)
        e->active = now;
    if (now >= e->check) {
        e->check = now + us_ticks(CHECK_MS * 1000);
        look_at_link(e);
        if (hangs && atomic_load(&e->card.up))
            start_again(e);
    }
    if (n == BUDGET)
        return now; /* as soon as it may */
    return MIN(e->check, now + us_ticks(now - e->active <= us_ticks(BUSY_FOR_US) ? BUSY_US : QUIET_US));
}

static void stop(struct device *d)
{
    struct e1000 *e = container_of(d, struct e1000, card.device);

    if (reset(e))
        log_warn("%s: it does not come back from a reset", e->card.name);
    if (e->express)
        set(e, E1000_CTRL_EXT, get(e, E1000_CTRL_EXT) & ~CTRL_EXT_LOADED);
    pci_restore(&e->pci);
}

/* --- opening --- */

const char *card_driver(const struct pci_function *f)
{
    for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].vendor == f->vendor && known[i].device == f->device)
            return "e1000";
    return NULL;
}

static int take_pages(struct e1000 *e)
{
    struct hpa rx = page_alloc_zeroed(0, RX_RING_ORDER, PAGE_HYPERVISOR);
    struct hpa tx = page_alloc_zeroed(0, TX_RING_ORDER, PAGE_HYPERVISOR);
    struct hpa rx_buffer = page_alloc(0, RX_ORDER, PAGE_HYPERVISOR);
    struct hpa tx_buffer = page_alloc(0, TX_ORDER, PAGE_HYPERVISOR);

    if (!rx.v || !tx.v || !rx_buffer.v || !tx_buffer.v)
        return -ENOMEM; /* the hypervisor does not start then */
    e->rx = hpa_ptr(rx);
    e->tx = hpa_ptr(tx);
    e->rx_buffer = hpa_ptr(rx_buffer);
    e->tx_buffer = hpa_ptr(tx_buffer);
    return 0;
}

static int reach(struct e1000 *e)
{
    struct pci_bar bar;
    int err = pci_bar(&e->pci, 0, &bar);

    if (err || bar.io || bar.size < REGISTERS)
        return -ENXIO;
    err = paging_map(ALIGN_DOWN(bar.base, PAGE_SIZE), ALIGN_UP(bar.size, PAGE_SIZE), MAP_DEVICE);
    e->regs = bar.base;
    return err;
}

int card_open(const struct pci_function *f, struct card **card)
{
    static const struct card_ops ops = { .start = start, .send = send, .flush = flush };
    struct e1000 *e = &cards[count];
    int err;

    if (!card_driver(f))
        return -ENODEV;
    if (count == CARDS)
        return -ENOSPC;
    *e = (struct e1000){ .pci = *f, .express = f->device == 0x10d3 };
    err = reach(e);
    if (err)
        return err;
    format(e->card.name, sizeof(e->card.name), "e1000 %02x:%02x.%u", f->at.bdf >> 8, f->at.bdf >> 3 & 31, f->at.bdf & 7);
    e->card.ops = &ops;
    e->card.device = (struct device){ .name = e->card.name, .poll = poll, .stop = stop };
    pci_enable(&e->pci, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    err = get(e, E1000_STATUS) == UINT32_MAX ? -EIO : reset(e);
    if (!err)
        err = find_mac(e);
    if (!err)
        err = take_pages(e);
    if (err) {
        pci_restore(&e->pci);
        return err;
    }
    count++;
    *card = &e->card;
    return 0;
}
