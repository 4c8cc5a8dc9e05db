/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "include/mirrorball/net.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "tests/guests/rt/rt.h"

/*
 * Argument "send": interfaces 0 and 1 are on one network; sends from 0 to 1 what is right and what is not, measures,
 * then lies, and at last breaks the ring of 0. Argument "watch": interface 0, with another VM's on the network; waits in
 * the hypervisor, and must see nothing but what is for all, until a packet says that it is over.
 */
#define PACKETS 64u
#define PAGES   512u
#define DATA    (8 * MIB)       /* what is sent */
#define BUFFERS (16 * MIB)      /* what is posted: PAGES for each interface */
#define TYPE    0x88b5u         /* for experiments (IEEE 802) */
#define HEADER  14u
#define END     0x5aa5u
#define LIES    2000u

struct side {
    uint64_t number;
    uint8_t mac[6];
    struct mb_net_ring *ring;
    uint64_t *page;
    struct mb_net_filled *filled;
    uint32_t seen;
};

static uint8_t memory[2][ALIGN_UP(MB_NET_RING_SIZE(PACKETS, PAGES), 4096)] __attribute__((aligned(4096)));
static struct mb_net_segment table[MB_NET_MAX_SEGMENTS] __attribute__((aligned(4096)));
static struct side side[2];
static uint8_t came[2 * MIB];
static uint64_t seed = 1;

static uint64_t pick(uint64_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % n;
}

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)
{
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    int64_t result;

    __asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "memory");
    return result;
}

static int64_t run(const struct side *s) { return call(MIRRORBALL_CALL_NET_RUN, s->number, 0, 0, 0, 0); }

static int64_t set_ring(struct side *s)
{
    memset(s->ring, 0, sizeof(memory[0]));
    s->seen = 0;
    return call(MIRRORBALL_CALL_NET_RING, s->number, 0, (uint64_t)s->ring, PACKETS, PAGES);
}

static int64_t open_side(unsigned n)
{
    struct side *s = &side[n];
    struct mb_net_identity *id = (struct mb_net_identity *)came;
    int64_t err = call(MIRRORBALL_CALL_NET_IDENTIFY, n, (uint64_t)id, 0, 0, 0);

    s->number = n;
    memcpy(s->mac, id->mac, 6);
    s->ring = (struct mb_net_ring *)memory[n];
    s->page = (uint64_t *)&s->ring->packet[PACKETS];
    s->filled = (struct mb_net_filled *)&s->page[PAGES];
    return err ? err : set_ring(s);
}

static void post(struct side *s, uint32_t n)
{
    for (; n; n--, s->ring->posted++)
        s->page[s->ring->posted % PAGES] = BUFFERS + (s->number * PAGES + s->ring->posted % PAGES) * PAGE_SIZE;
}

static bool is_new(const struct side *s) { return s->seen != *(volatile uint32_t *)&s->ring->filled; }

/* Collects the next packet; its length, 0: there is none. */
static uint32_t take(struct side *s)
{
    uint32_t bytes = 0;

    while (is_new(s)) {
        const struct mb_net_filled *f = &s->filled[s->seen % PAGES];

        if (f->pages && bytes)
            break;
        memcpy(came + bytes, (void *)s->page[s->seen % PAGES], f->bytes);
        bytes += f->bytes;
        s->seen++;
    }
    return bytes;
}

static void set_header(uint8_t *at, const uint8_t *to, const uint8_t *from)
{
    memcpy(at, to, 6);
    memcpy(at + 6, from, 6);
    at[12] = TYPE >> 8;
    at[13] = TYPE & 0xff;
}

static void submit(struct side *s, const struct mb_net_packet *p)
{
    s->ring->packet[s->ring->submitted % PACKETS] = *p;
    s->ring->submitted++;
}

/* Header and data in one stretch at DATA. */
static int64_t send(struct side *s, uint32_t bytes)
{
    submit(s, &(struct mb_net_packet){ .bytes = bytes, .address = DATA });
    return run(s);
}

/* A header of its own, and pages as they are. */
static int64_t send_pages(struct side *s, uint32_t pages, uint32_t flags)
{
    table[0] = (struct mb_net_segment){ .gpa = DATA, .bytes = HEADER };
    table[1] = (struct mb_net_segment){ .gpa = DATA + PAGE_SIZE, .bytes = pages * (uint32_t)PAGE_SIZE, .flags = flags };
    submit(s, &(struct mb_net_packet){ .bytes = HEADER + pages * (uint32_t)PAGE_SIZE, .segments = 2,
                                       .address = (uint64_t)table });
    return run(s);
}

static void fill(uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i += 8)
        *(uint64_t *)(at + i) = pick(BIT(31)) << 32 | pick(BIT(31));
}

static bool is_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
    return !memcmp(a, b, n);
}

static void sizes(void)
{
    static const uint32_t bytes[] = { 14, 15, 60, 1514, 4096, 4097, 65536, MB_NET_MAX_BYTES };
    uint8_t *data = (uint8_t *)DATA;

    fill(data, 2 * MIB);
    set_header(data, side[1].mac, side[0].mac);
    for (unsigned i = 0; i < ARRAY_SIZE(bytes); i++) {
        post(&side[1], PAGES - (side[1].ring->posted - side[1].seen));
        check("a packet goes", (uint64_t)send(&side[0], bytes[i]), 1);
        check("it comes", take(&side[1]), bytes[i]);
        check_true("as it was", is_equal(came, data, bytes[i]));
    }
    post(&side[1], PAGES - (side[1].ring->posted - side[1].seen));
    check("a packet of pages goes", (uint64_t)send_pages(&side[0], 255, MB_NET_STAYS), 1);
    check("it comes", take(&side[1]), HEADER + 255 * PAGE_SIZE);
    check_true("as it was", is_equal(came, data, HEADER) &&
               is_equal(came + HEADER, data + PAGE_SIZE, 255 * PAGE_SIZE));
    data[PAGE_SIZE] ^= 1; /* each writes to what both have */
    check_true("the receiver's stays", *(uint8_t *)side[1].page[(side[1].seen - 255) % PAGES] == came[HEADER]);
    *(uint8_t *)side[1].page[(side[1].seen - 1) % PAGES] ^= 1;
    check_true("the sender's stays", data[255 * PAGE_SIZE] == came[HEADER + 254 * PAGE_SIZE]);
}

/* Sends a batch of packets of so many pages, then the sender writes to each page once. */
static void time_pages(const char *name, uint32_t pages, uint32_t flags)
{
    uint8_t *data = (uint8_t *)DATA;
    uint64_t start, sent, written;

    for (uint32_t i = 0; i <= pages; i++)
        data[i * PAGE_SIZE + 100]++;
    post(&side[1], PAGES - (side[1].ring->posted - side[1].seen));
    start = rdtsc();
    (void)send_pages(&side[0], pages, flags);
    sent = rdtsc() - start;
    (void)take(&side[1]);
    start = rdtsc();
    for (uint32_t i = 1; i <= pages; i++)
        data[i * PAGE_SIZE + 100]++;
    written = rdtsc() - start;
    print("bench: net_%s_%u %lu, then a write to each page %lu\n", name, pages, sent, written);
}

static void measure(void)
{
    static const uint32_t pages[] = { 1, 4, 16, 64, 255 };
    uint64_t start, ticks;

    set_header((uint8_t *)DATA, side[1].mac, side[0].mac);
    for (unsigned turn = 0; turn < 2; turn++) { /* the first warms up */
        for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
            time_pages(turn ? "copied" : "copied_first", pages[i], 0);
            time_pages(turn ? "shared" : "shared_first", pages[i], MB_NET_STAYS);
            time_pages(turn ? "again" : "again_first", pages[i], MB_NET_STAYS);
        }
    }
    post(&side[1], PAGES - (side[1].ring->posted - side[1].seen));
    (void)send(&side[0], 64);
    start = rdtsc();
    (void)send(&side[0], 64);
    ticks = rdtsc() - start;
    print("bench: net_send_64 %lu\n", ticks);
    for (unsigned i = 0; i < 32; i++)
        submit(&side[0], &(struct mb_net_packet){ .bytes = 64, .address = DATA });
    start = rdtsc();
    (void)run(&side[0]);
    ticks = rdtsc() - start;
    print("bench: net_send_32x64 %lu\n", ticks);
    while (take(&side[1]))
        ;
}

static void no_room(void)
{
    unsigned gone = 0;

    (void)set_ring(&side[1]);
    set_header((uint8_t *)DATA, side[1].mac, side[0].mac);
    check("a receiver without pages is waited for", (uint64_t)send(&side[0], 60), 0);
    check("it is asked for some", side[1].ring->hungry, 1);
    post(&side[1], 1);
    check("it posts one", (uint64_t)run(&side[1]), 0);
    check("then the packet goes", (uint64_t)run(&side[0]), 1);
    check("and comes", take(&side[1]), 60);
    (void)send(&side[0], 60);
    while (gone < 1000000000 && !run(&side[0]))
        gone++;
    check_true("it is not waited for for ever", gone && gone < 1000000000);
    for (unsigned i = 0; i < 1000; i++)
        gone = (unsigned)send(&side[0], 60);
    check("a storm for nobody goes by", gone, 1);
    (void)call(MIRRORBALL_CALL_NET_RING, 1, 0, 0, 0, 0);
    check("a receiver that is gone loses its own", (uint64_t)send(&side[0], 60), 1);
    (void)set_ring(&side[1]);
    post(&side[1], PAGES);
    check("it comes again", (uint64_t)send(&side[0], 60), 1);
    check("and receives", take(&side[1]), 60);
}

static void send_as(const char *what, const uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    set_header((uint8_t *)DATA, to, from);
    check(what, (uint64_t)send(&side[0], bytes), 1);
    check("nothing comes of it", take(&side[1]), 0);
}

static void forbidden(void)
{
    static const uint8_t other[6] = { 0x52, 0x54, 0, 0, 0, 9 };

    post(&side[1], PAGES - (side[1].ring->posted - side[1].seen));
    send_as("another's address", side[1].mac, other, 60);
    send_as("the receiver's", side[1].mac, side[1].mac, 60);
    send_as("for nobody", other, side[0].mac, 60);
    send_as("for itself", side[0].mac, side[0].mac, 60);
    send_as("of no length", side[1].mac, side[0].mac, 0);
    send_as("too short", side[1].mac, side[0].mac, 13);
    send_as("too long", side[1].mac, side[0].mac, MB_NET_MAX_BYTES + 1);
    set_header((uint8_t *)DATA, (const uint8_t[]){ 255, 255, 255, 255, 255, 255 }, side[0].mac);
    check("a megabyte for all", (uint64_t)send(&side[0], MB_NET_MAX_BYTES), 1);
    check("nothing comes of it", take(&side[1]), 0);
    check("a short one for all", (uint64_t)send(&side[0], 60), 1);
    check("comes", take(&side[1]), 60);
}

/* Packets of noise, some near the truth; what is right among them arrives. */
static void lies(void)
{
    unsigned answers = 0;

    for (unsigned i = 0; i < LIES; i++) {
        unsigned segments = (unsigned)pick(5);

        set_header((uint8_t *)DATA, side[1].mac, side[0].mac);
        for (unsigned n = 0; n < segments; n++)
            table[n] = (struct mb_net_segment){ .gpa = pick(8) ? DATA + pick(MIB) : pick(BIT(31)) << pick(33),
                                                .bytes = (uint32_t)(pick(8) ? pick(9000) : pick(BIT(31))),
                                                .flags = (uint32_t)pick(3) };
        submit(&side[0], &(struct mb_net_packet){
            .bytes = (uint32_t)(pick(4) ? pick(9000) : pick(BIT(21))), .segments = (uint16_t)segments,
            .address = segments ? (uint64_t)table : pick(4) ? DATA : pick(BIT(31)) << pick(33),
            .offload = { .flags = (uint8_t)pick(5), .gso = (uint8_t)pick(5), .gso_bytes = (uint16_t)pick(3000),
                         .csum_start = (uint16_t)pick(100), .csum_offset = (uint16_t)pick(100) } });
        post(&side[1], PAGES - (side[1].ring->posted - side[1].seen));
        answers += run(&side[0]) == 1;
        while (take(&side[1]))
            ;
    }
    check("every lie is taken", answers, LIES);
    set_header((uint8_t *)DATA, side[1].mac, side[0].mac);
    check("the truth goes after it", (uint64_t)send(&side[0], 60), 1);
    check("and comes", take(&side[1]), 60);
}

/* TSC ticks that the vCPU was away. */
static uint64_t wait(const struct side *s, uint64_t us)
{
    uint64_t start = rdtsc();

    (void)call(MIRRORBALL_CALL_NET_WAIT, s->number, 0, s->seen, us, 0);
    return rdtsc() - start;
}

static void waits(void)
{
    uint64_t ms = wait(&side[1], 1000), longer = wait(&side[1], 5000), most = wait(&side[1], UINT64_MAX), none;

    check_true("a wait lasts as long as it should", longer > 4 * ms && longer < 6 * ms);
    check_true("but not for ever", most > 8 * ms && most < 12 * ms);
    check("the call sends as any other", (uint64_t)send(&side[0], 60), 1);
    none = wait(&side[1], 5000);
    check_true("who has not seen what has come does not wait", none < ms / 2);
    check("it is there", take(&side[1]), 60);
    submit(&side[0], &(struct mb_net_packet){ .bytes = 60, .address = DATA });
    check("a wait sends first", (uint64_t)call(MIRRORBALL_CALL_NET_WAIT, 0, 0, side[0].seen, 1000, 0), 1);
    check("and that comes", take(&side[1]), 60);
    submit(&side[0], &(struct mb_net_packet){ .bytes = 60, .address = DATA });
    none = wait(&side[1], 5000);
    check_true("what it has elsewhere ends it when it comes", none < ms / 2);
    check("it does", take(&side[1]), 60);
}

static void broken(void)
{
    const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };

    set_header((uint8_t *)DATA, all, side[0].mac);
    ((uint8_t *)DATA)[HEADER] = END >> 8;
    ((uint8_t *)DATA)[HEADER + 1] = END & 0xff;
    check("all are told that it is over", (uint64_t)send(&side[0], 60), 1);
    side[0].ring->submitted += PACKETS + 1;
    check("a ring that lies stops the interface", (uint64_t)run(&side[0]), (uint64_t)-EPROTO);
    check("for good", (uint64_t)set_ring(&side[0]), (uint64_t)-EPROTO);
    check("the other goes on", (uint64_t)run(&side[1]), 0);
    check("a ring outside of memory", (uint64_t)call(MIRRORBALL_CALL_NET_RING, 1, 0, BIT(40), PACKETS, PAGES),
          (uint64_t)-EFAULT);
    check("no third interface", (uint64_t)open_side(1) + (uint64_t)call(MIRRORBALL_CALL_NET_IDENTIFY, 2, DATA, 0, 0, 0),
          (uint64_t)-ENODEV);
}

static void watch(void)
{
    uint64_t whole = wait(&side[0], MB_NET_WAIT_MOST), least = UINT64_MAX;
    unsigned others = 0, all = 0;
    bool over = false;

    post(&side[0], PAGES);
    print("net: watching\n");
    while (!over) {
        uint32_t bytes = take(&side[0]);

        if (!bytes) {
            uint64_t ticks = wait(&side[0], MB_NET_WAIT_MOST);

            if (is_new(&side[0]))
                least = MIN(least, ticks);
            continue;
        }
        others += !(came[0] & 1);
        all++;
        over = bytes == 60 && came[HEADER] == END >> 8 && came[HEADER + 1] == (END & 0xff);
        post(&side[0], PAGES - (side[0].ring->posted - side[0].seen));
        (void)run(&side[0]);
    }
    check("what was for others", others, 0);
    check("what was for all", all, 2);
    check_true("it was woken by a packet, not by time", least < whole - whole / 16);
}

void guest_main(const char *arguments)
{
    check("interface 0 has a ring", (uint64_t)open_side(0), 0);
    if (arguments[0] == 'w') {
        watch();
        finish();
    }
    check("interface 1 has a ring", (uint64_t)open_side(1), 0);
    sizes();
    measure();
    no_room();
    forbidden();
    lies();
    waits();
    broken();
    finish();
}
