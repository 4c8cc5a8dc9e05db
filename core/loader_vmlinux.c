/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "core/loader_parts.h"
#include "core/sched.h"
#include "lib/errno.h"
#include "lib/string.h"

/*
 * Linux as it lies packed in its bzImage (scripts/mkguest --unpack takes it out): an ELF file linked to the top 2 GiB
 * of addresses, and behind its end the table by which it is moved to others. In a bzImage the code that unpacks it
 * draws an address and moves it (arch/x86/boot/compressed/misc.c); here the loader does, so that the address can be one
 * for a sharing domain. It is entered as that code does, by the 64-bit boot protocol at the file's own entry
 * (startup_64, which finds out by itself where in memory it lies).
 *
 * The table, as arch/x86/tools/relocs.c writes it: lists of 32-bit words, a 0 before each. A word is the lower half of
 * the linked address of a value; words ascend. The first list is of 64-bit values that grow by the distance; the last
 * of 32-bit ones that do; between them kernels older than 6.15 have one of 32-bit values that shrink by it.
 */
#define LINK_BASE 0x80000000u  /* lower half of __START_KERNEL_map, to which physical address 0 is linked */
#define IMAGE_END GIB          /* KERNEL_IMAGE_SIZE of kernels that can be moved: they map no more of themselves */
#define LINKED    (LINK_BASE - (1ull << 32)) /* from a physical address of the link to a virtual one */
#define STEP      PAGE_SIZE_2M

enum { LISTS_MIN = 2, LISTS_MAX = 3, PIECE = 1024, REST = 4096 }; /* a piece lies on the stack */

struct list {
    const uint8_t *at;         /* of the words */
    uint64_t words, next;
    unsigned width;            /* of a value, bytes */
    bool shrink;
};

struct table {
    struct list list[LISTS_MAX];
    unsigned lists;
};

/* How far the kernel is moved from where it is linked to. */
struct distance { uint64_t physical, virtual; };

static uint32_t word(const struct list *list, uint64_t index)
{
    uint32_t v;

    memcpy(&v, list->at + index * sizeof(v), sizeof(v));
    return v;
}

/* The segment that brings [at, at + n), physical addresses of the link, from the file. */
static bool find_segment(const struct elf_image *elf, uint64_t at, uint64_t n, struct elf_segment *s)
{
    for (unsigned i = 0; i < elf->phnum; i++) {
        elf_segment_get(elf, i, s);
        if (s->type == ELF_PT_LOAD && at >= s->paddr && at - s->paddr < s->filesz && s->filesz - (at - s->paddr) >= n)
            return true;
    }
    return false;
}

/* Words until the next 0 or the table's end. */
static void count_words(struct list *list, const uint8_t *end)
{
    list->words = 0;
    while (list->at + (list->words + 1) * sizeof(uint32_t) <= end && word(list, list->words)) {
        if (++list->words % REST == 0)
            sched_breathe();
    }
}

static int split(struct load *l, const uint8_t *at, const uint8_t *end, struct table *t)
{
    t->lists = 0;
    while (at < end) {
        struct list *list = &t->list[t->lists];

        if (t->lists == LISTS_MAX)
            return load_fail(l, ENOEXEC, "kernel is damaged: more than %u lists of relocations", LISTS_MAX);
        list->at = at + sizeof(uint32_t); /* behind the 0 */
        count_words(list, end);
        at = list->at + list->words * sizeof(uint32_t);
        t->lists++;
    }
    if (t->lists < LISTS_MIN)
        return load_fail(l, ENOEXEC, "kernel is damaged: %u list of relocations, needed %u or %u", t->lists, LISTS_MIN,
                         LISTS_MAX);
    for (unsigned i = 0; i < t->lists; i++) {
        t->list[i].width = i ? sizeof(uint32_t) : sizeof(uint64_t);
        t->list[i].shrink = i && i < t->lists - 1;
    }
    return 0;
}

/* Each value lies in what the file loads, behind the one before. */
static int check_list(struct load *l, const struct elf_image *elf, struct list *list)
{
    uint64_t free = LINK_BASE;
    struct elf_segment s;

    for (uint64_t i = 0; i < list->words; i++) {
        uint32_t at = word(list, i);

        if (at < free)
            return load_fail(l, ENOEXEC, "kernel is damaged: relocation 0x%x, expected 0x%llx or more", at,
                             (unsigned long long)free);
        if (!find_segment(elf, at - LINK_BASE, list->width, &s))
            return load_fail(l, ENOEXEC, "kernel is damaged: relocation 0x%x is outside what it loads", at);
        free = (uint64_t)at + list->width;
        if (i % REST == 0)
            sched_breathe();
    }
    list->next = 0;
    return 0;
}

/* 1 and the table, all of it checked; 0 where the file is no Linux or ends with its ELF part; -errno: it is damaged. */
static int find_table(struct load *l, const struct elf_image *elf, struct table *t)
{
    uint64_t start = elf_end(elf), size = elf->size - start;
    struct elf_segment s;
    uint32_t first;
    int rc;

    if (!size || !elf->kernel64 || !find_segment(elf, elf->entry, 1, &s) || s.vaddr - s.paddr != LINKED)
        return 0;
    if (size % sizeof(first))
        return load_fail(l, ENOEXEC, "kernel is damaged: 0x%llx bytes behind its ELF part are no table of relocations",
                         (unsigned long long)size);
    memcpy(&first, elf->data + start, sizeof(first));
    if (first)
        return load_fail(l, ENOEXEC, "kernel is damaged: its table of relocations begins with 0x%x, needed 0", first);
    rc = split(l, elf->data + start, elf->data + elf->size, t);
    for (unsigned i = 0; !rc && i < t->lists; i++)
        rc = check_list(l, elf, &t->list[i]);
    return rc ? rc : 1;
}

/* Where the next value lies that has not been moved, or was in part; UINT64_MAX: there is none. */
static uint64_t next_value(const struct table *t)
{
    uint64_t next = UINT64_MAX;

    for (unsigned i = 0; i < t->lists; i++) {
        const struct list *list = &t->list[i];

        if (list->next < list->words)
            next = MIN(next, word(list, list->next) - (uint64_t)LINK_BASE);
    }
    return next;
}

/* A value's new bytes, as far as they lie in the piece [begin, end). It was found in the file. */
static void move_value(const struct elf_image *elf, const struct list *list, uint64_t at, uint64_t distance,
                       uint8_t *piece, uint64_t begin, uint64_t end)
{
    uint64_t from = MAX(at, begin), to = MIN(at + list->width, end), value = 0;
    struct elf_segment s;

    if (from >= to || !find_segment(elf, at, list->width, &s))
        return;
    memcpy(&value, elf->data + s.offset + (at - s.paddr), list->width);
    value += list->shrink ? -distance : distance;
    memcpy(piece + (from - begin), (const uint8_t *)&value + (from - at), to - from);
}

/* A value that goes on behind the piece is the list's next again. */
static void move_values(const struct elf_image *elf, struct list *list, uint64_t distance, uint8_t *piece,
                        uint64_t begin, uint64_t end)
{
    for (; list->next < list->words; list->next++) {
        uint64_t at = word(list, list->next) - LINK_BASE;

        if (at >= end)
            return;
        move_value(elf, list, at, distance, piece, begin, end);
        if (at + list->width > end)
            return;
    }
}

/* Only pieces that hold such values are written: the other pages stay the file's, for all who load it. */
static int move_all(struct load *l, const struct elf_image *elf, struct table *t, const struct distance *d)
{
    uint8_t piece[PIECE];
    uint64_t done = 0, at;
    struct elf_segment s;
    int rc = 0;

    while (!rc && (at = next_value(t)) != UINT64_MAX) {
        uint64_t begin, end;

        at = MAX(at, done);
        if (!find_segment(elf, at, 1, &s))
            return load_fail(l, ENOEXEC, "kernel is damaged: its segments overlap");
        begin = MAX(ALIGN_DOWN(at, PIECE), s.paddr);
        end = MIN(ALIGN_DOWN(at, PIECE) + PIECE, s.paddr + s.filesz);
        memcpy(piece, elf->data + s.offset + (begin - s.paddr), end - begin);
        for (unsigned i = 0; i < t->lists; i++)
            move_values(elf, &t->list[i], d->virtual, piece, begin, end);
        rc = load_write(l, begin + d->physical, piece, end - begin);
        done = end;
    }
    return rc;
}

/* Is there a word in the command line that begins so, or (whole) is this? */
static bool has_word(const char *line, const char *text, bool whole)
{
    size_t n = strlen(text);

    for (; *line; line++) {
        while (*line == ' ')
            line++;
        if (!memcmp(line, text, MIN(n, strlen(line) + 1)) && (!whole || !line[n] || line[n] == ' '))
            return true;
        while (*line && *line != ' ')
            line++;
        if (!*line)
            return false;
    }
    return false;
}

/*
 * As the kernel would choose, steps of 2 MiB: any address at which all of it is mapped, and any memory in front of the
 * ramdisk; its own place if the command line says what memory it may use. room_end is that memory's end.
 */
static struct distance choose(const struct load *l, uint64_t end, uint64_t room_end)
{
    struct distance d = { 0, 0 };
    uint64_t places = (IMAGE_END - end) / STEP + 1;

    if (has_word(l->vm->extra, "nokaslr", true))
        return d;
    d.virtual = l->place % places * STEP;
    if (!has_word(l->vm->extra, "mem=", false) && !has_word(l->vm->extra, "memmap=", false))
        d.physical = l->place / places % ((room_end - end) / STEP + 1) * STEP;
    return d;
}

/* Takes the memory at which it is linked to lie. */
static int claim_linked(struct load *l, const struct elf_image *elf, uint64_t *end)
{
    struct elf_segment s;
    int rc = 0;

    *end = 0;
    for (unsigned i = 0; !rc && i < elf->phnum; i++) {
        elf_segment_get(elf, i, &s);
        if (s.type != ELF_PT_LOAD || !s.memsz)
            continue;
        rc = load_claim(l, s.paddr, s.memsz, "kernel");
        *end = MAX(*end, s.paddr + s.memsz);
    }
    if (!rc && *end > IMAGE_END)
        return load_fail(l, ENOEXEC, "kernel is damaged: it ends at 0x%llx, beyond 1 GiB", (unsigned long long)*end);
    return rc;
}

/*
 * Where its direct map, its vmalloc area and its struct pages lie the kernel draws itself if it is told that it was
 * moved. In a sharing domain it is not: pointers to these fill memory, which would differ in each guest
 * (docs/security.md).
 */
static bool draws_more(const struct load *l)
{
    return !l->vm->share[0] && !has_word(l->vm->extra, "nokaslr", true);
}

static int load_moved(struct load *l, const struct elf_image *elf, struct table *t)
{
    uint64_t linked_end, room_end, end, ramdisk, ramdisk_size;
    struct distance d;
    int rc = claim_linked(l, elf, &linked_end);

    if (!rc)
        rc = linux_load_plain(l, draws_more(l), &ramdisk, &ramdisk_size);
    if (rc)
        return rc;
    room_end = ramdisk_size && ramdisk >= linked_end ? ramdisk : MIN(l->memory, GUEST_LOW_RAM_END);
    d = choose(l, linked_end, room_end);
    rc = elf_load_segments(l, elf, d.physical, &end);
    if (!rc && d.virtual)
        rc = move_all(l, elf, t, &d);
    return rc ? rc : load_processor(l, GUEST_LONG64, elf->entry + d.physical);
}

int vmlinux_load(struct load *l, const struct elf_image *elf)
{
    struct table t;
    int rc = find_table(l, elf, &t);

    if (rc <= 0)
        return rc;
    rc = load_moved(l, elf, &t);
    return rc ? rc : 1;
}
