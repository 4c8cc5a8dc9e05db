// SPDX-License-Identifier: GPL-2.0-only
/* Copyright (C) 2026 The Mirrorball authors */
/*
 * synced DIR...: writes files and waits until the disk has them, for ever. Write N, from 1, goes to the file N % SLOTS
 * of each directory, in one of three ways: over what is there, into a new file that takes its place, into a new file after
 * the old one is gone. Then it prints "synced N", and that has left the serial line before write N + 1 begins. Beside
 * it a file grows that nobody waits for. tests/boot/linux_persist.py knows what is in each file.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
	SLOTS = 48,
	LEAST = 600,		/* bytes of a file */
	MORE = 40000,
	STEP = 7919,
	NOISE_MOST = 1 << 20,
};

static char content[LEAST + MORE + 32];

/* The number again and again, whole lines; returns the length. */
static size_t fill(long n)
{
	size_t least = LEAST + (size_t)(n * STEP % MORE), at = 0;

	while (at < least)
		at += (size_t)sprintf(content + at, "%ld\n", n);
	return at;
}

static void keep(int file, const char *path)
{
	if (fsync(file) || close(file))
		err(1, "%s", path);
}

static void write_file(const char *path, int flags, size_t bytes)
{
	int file = open(path, O_WRONLY | O_CREAT | flags, 0644);

	if (file < 0 || write(file, content, bytes) != (ssize_t)bytes)
		err(1, "%s", path);
	keep(file, path);
}

static void keep_names(const char *directory)
{
	keep(open(directory, O_RDONLY | O_DIRECTORY), directory);
}

static void write_one(const char *directory, long n, size_t bytes)
{
	char path[256], other[256];

	snprintf(path, sizeof(path), "%s/f%ld", directory, n % SLOTS);
	snprintf(other, sizeof(other), "%s/new", directory);
	if (n % 3 == 1) {
		write_file(other, O_TRUNC, bytes);
		if (rename(other, path))
			err(1, "%s", path);
	} else {
		if (n % 3 == 2)
			unlink(path);
		write_file(path, O_TRUNC, bytes);
	}
	keep_names(directory);
}

static void write_noise(const char *directory, size_t bytes)
{
	char path[256];
	int file;

	snprintf(path, sizeof(path), "%s/noise", directory);
	file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	if (file < 0 || write(file, content, bytes) != (ssize_t)bytes ||
	    (lseek(file, 0, SEEK_END) > NOISE_MOST && ftruncate(file, 0)) || close(file))
		err(1, "%s", path);
}

int main(int argc, char **argv)
{
	for (long n = 1; argc > 1; n++) {
		size_t bytes = fill(n);

		for (int i = 1; i < argc; i++) {
			write_noise(argv[i], bytes);
			write_one(argv[i], n, bytes);
		}
		printf("synced %ld\n", n);
		fflush(stdout);
		tcdrain(STDOUT_FILENO);
	}
	errx(1, "usage: synced DIR...");
}
