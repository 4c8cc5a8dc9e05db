// SPDX-License-Identifier: GPL-2.0-only
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * disk FILE WHAT: reads a disk, or writes it, in one way and prints "bench: disk_WHAT TICKS COUNT": the mean of COUNT
 * pages of 4 KiB. Static, for an initial ramdisk.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ticks.h"

enum {
	PAGE = 4096,
	BYTES = 8 << 20,	/* that are read or written: the beginning of the file */
	MOST = 1 << 20,
	STEP = 1237,		/* from one block to the next if not in their order: coprime to their number */
	AT_ONCE = 16,
};

static const struct way {
	const char *name;
	int flags;
	bool writes, in_order;
	bool at_once;		/* AT_ONCE calls are submitted together, and waited for */
	size_t size;		/* of a call */
} ways[] = {
	{ "direct_4k", O_RDONLY | O_DIRECT, false, false, false, PAGE },
	{ "direct_16", O_RDONLY | O_DIRECT, false, false, true, PAGE },
	{ "direct_128k", O_RDONLY | O_DIRECT, false, true, false, 128 << 10 },
	{ "direct_1m", O_RDONLY | O_DIRECT, false, true, false, 1 << 20 },
	{ "buffered", O_RDONLY, false, true, false, 64 << 10 },
	{ "buffered_4k", O_RDONLY, false, true, false, PAGE },
	{ "write_4k", O_RDWR | O_DIRECT, true, false, false, PAGE },
	{ "write_128k", O_RDWR | O_DIRECT, true, true, false, 128 << 10 },
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

static void pass_at_once(int file, const struct way *w, char *buffer)
{
	struct iocb iocb[AT_ONCE], *list[AT_ONCE];
	struct io_event event[AT_ONCE];
	aio_context_t context = 0;
	size_t calls = BYTES / w->size;

	if (syscall(SYS_io_setup, AT_ONCE, &context))
		err(1, "io_setup");
	for (size_t i = 0; i < calls; i += AT_ONCE) {
		for (size_t n = 0; n < AT_ONCE; n++) {
			list[n] = &iocb[n];
			iocb[n] = (struct iocb){
				.aio_fildes = file, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_nbytes = w->size,
				.aio_buf = (uintptr_t)(buffer + n * w->size),
				.aio_offset = (int64_t)((i + n) * STEP % calls * w->size),
			};
		}
		if (syscall(SYS_io_submit, context, AT_ONCE, list) != AT_ONCE ||
		    syscall(SYS_io_getevents, context, AT_ONCE, AT_ONCE, event, NULL) != AT_ONCE)
			err(1, "%s", w->name);
		for (size_t n = 0; n < AT_ONCE; n++) {
			if (event[n].res != (int64_t)w->size)
				errx(1, "%s: %lld", w->name, (long long)event[n].res);
		}
	}
	syscall(SYS_io_destroy, context);
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
	(w->at_once ? pass_at_once : pass)(file, w, buffer);
	ticks = ticks_now() - start;
	printf("bench: disk_%s %llu %d\n", w->name, (unsigned long long)(ticks * PAGE / BYTES), BYTES / PAGE);
	return 0;
}
