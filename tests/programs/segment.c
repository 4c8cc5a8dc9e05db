/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Uses a shared segment, a file of the driver mb_segment: segment FILE WHAT. Prints one line, "segment: WHAT ...".
 * fill N: writes every word of it, made from N; sum: how many words are not so for the N that the first one tells.
 * ring; wait: maps it, until it rings; hear: without waiting; refused: what must not be possible.
 */
static const char *what;

static void fail(const char *call)
{
    printf("segment: %s failed: %s: %s\n", what, call, strerror(errno));
    exit(1);
}

static uint64_t *map(int file, int flags, int protection, size_t *size)
{
    uint64_t *words;

    *size = (size_t)lseek(file, 0, SEEK_END);
    words = mmap(NULL, *size, protection, flags, file, 0);
    if (words == MAP_FAILED)
        fail("mmap");
    return words;
}

static uint64_t word(uint64_t n, size_t i) { return n + i * 0x9e3779b97f4a7c15u; }

static void fill(int file, uint64_t n)
{
    size_t size;
    uint64_t *words = map(file, MAP_SHARED, PROT_READ | PROT_WRITE, &size);

    for (size_t i = 1; i < size / sizeof(*words); i++)
        words[i] = word(n, i);
    __atomic_store_n(&words[0], n, __ATOMIC_RELEASE);
    printf("segment: fill %lu: %zu bytes\n", n, size);
}

static void sum(int file)
{
    size_t size, wrong = 0;
    const uint64_t *words = map(file, MAP_SHARED, PROT_READ, &size);
    uint64_t n = __atomic_load_n(&words[0], __ATOMIC_ACQUIRE);

    for (size_t i = 1; i < size / sizeof(*words); i++)
        wrong += words[i] != word(n, i);
    printf("segment: sum: filled with %lu, %zu words are wrong\n", n, wrong);
}

static void hear(int file, int flags)
{
    uint64_t rings = 0;
    struct pollfd p = { .fd = file, .events = POLLIN };
    int ready = poll(&p, 1, 0);

    if (fcntl(file, F_SETFL, flags))
        fail("fcntl");
    if (read(file, &rings, sizeof(rings)) != sizeof(rings) && errno != EAGAIN)
        fail("read");
    printf("segment: %s: %s, %lu rings\n", what, ready == 1 && p.revents & POLLIN ? "ready" : "not ready", rings);
}

/* poll ends when the bell rings, and read says so once. */
static void await(int file)
{
    struct pollfd p = { .fd = file, .events = POLLIN };
    size_t size;

    (void)map(file, MAP_SHARED, PROT_READ, &size);
    printf("segment: waits\n");
    fflush(stdout);
    if (poll(&p, 1, -1) != 1)
        fail("poll");
    hear(file, 0);
    hear(file, O_NONBLOCK);
}

static void refused(const char *name)
{
    int file = open(name, O_RDWR), can = file >= 0;
    size_t size;
    uint64_t *words;

    file = open(name, O_RDONLY);
    if (file < 0)
        fail("open");
    words = map(file, MAP_SHARED, PROT_READ, &size);
    printf("segment: refused: to open it for writing %d, to map it so %d, to make a mapping so %d, private %d, behind its "
           "end %d, code %d\n", !can,
           mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED,
           mprotect(words, size, PROT_READ | PROT_WRITE) != 0,
           mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0) == MAP_FAILED,
           mmap(NULL, size, PROT_READ, MAP_SHARED, file, 4096) == MAP_FAILED,
           mprotect(words, size, PROT_READ | PROT_EXEC) != 0);
}

int main(int argc, char **argv)
{
    int file;

    if (argc < 3)
        return 2;
    what = argv[2];
    if (!strcmp(what, "refused")) {
        refused(argv[1]);
        return 0;
    }
    file = open(argv[1], !strcmp(what, "fill") || !strcmp(what, "ring") ? O_RDWR : O_RDONLY);
    if (file < 0)
        fail("open");
    if (!strcmp(what, "fill"))
        fill(file, strtoull(argv[3], NULL, 0));
    else if (!strcmp(what, "sum"))
        sum(file);
    else if (!strcmp(what, "wait"))
        await(file);
    else if (!strcmp(what, "hear"))
        hear(file, O_NONBLOCK);
    else if (!strcmp(what, "ring"))
        printf("segment: ring: %zd\n", write(file, "!", 1));
    return 0;
}
