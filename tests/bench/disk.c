// SPDX-License-Identifier: GPL-2.0-only
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * disk FILE WHAT: reads a disk, or writes it, in one way and prints "bench: disk_WHAT TICKS COUNT": the mean of COUNT
 * pages of 4 KiB. Static, for an initial ramdisk.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ticks.h"

enum {
	PAGE = 4096,
	BYTES = 8 << 20,	/* that are read or written: the beginning of the file */
	MOST = 1 << 20,
	STEP = 1237,		/* from one block to the next if not in their order: coprime to their number */
};

static const struct way {
	const char *name;
	int flags;
	bool writes, in_order;
	size_t size;		/* of a call */
} ways[] = {
	{ "direct_4k", O_RDONLY | O_DIRECT, false, false, PAGE },
	{ "direct_128k", O_RDONLY | O_DIRECT, false, true, 128 << 10 },
	{ "direct_1m", O_RDONLY | O_DIRECT, false, true, 1 << 20 },
	{ "buffered", O_RDONLY, false, true, 64 << 10 },
	{ "buffered_4k", O_RDONLY, false, true, PAGE },
	{ "write_4k", O_RDWR | O_DIRECT, true, false, PAGE },
	{ "write_128k", O_RDWR | O_DIRECT, true, true, 128 << 10 },
};

static void pass(int file, const struct way *w, char *buffer)
{
	size_t calls = BYTES / w->size;

	for (size_t i = 0; i < calls; i++) {
		off_t at = (off_t)((w->in_order ? i : i * STEP % calls) * w->size);
		ssize_t n = w->writes ? pwrite(file, buffer, w->size, at) : pread(file, buffer, w->size, at);

		if (n != (ssize_t)w->size)
			err(1, "%s at %lld", w->name, (long long)at);
	}
}

int main(int argc, char **argv)
{
	const struct way *w = ways, *end = ways + sizeof(ways) / sizeof(*ways);
	uint64_t start, ticks;
	char *buffer;
	int file;

	while (argc == 3 && w < end && strcmp(w->name, argv[2]))
		w++;
	if (argc != 3 || w == end)
		errx(1, "usage: disk FILE WHAT");
	file = open(argv[1], w->flags);
	if (file < 0)
		err(1, "%s", argv[1]);
	buffer = mmap(NULL, MOST, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffer == MAP_FAILED)
		err(1, "memory");
	start = ticks_now();
	pass(file, w, buffer);
	ticks = ticks_now() - start;
	printf("bench: disk_%s %llu %d\n", w->name, (unsigned long long)(ticks * PAGE / BYTES), BYTES / PAGE);
	return 0;
}
