// SPDX-License-Identifier: GPL-2.0-only
/*
 * Five small workloads, to compare Linux on the bare machine with Linux in a guest. Each
 * runs on all processors at the same time, a copy on each, and prints one line, "bench: NAME
 * TICKS", the mean of the copies. Static, for an initial ramdisk.
 */
#define _GNU_SOURCE
#include <err.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ticks.h"

enum {
	ARITHMETIC_TURNS = 6500000,
	SYSTEM_CALLS = 50000,
	PAGE_SIZE = 4096,
	PAGES_PER_MAPPING = 1024,
	MAPPINGS = 12,		/* 12,288 pages in all */
	CHILDREN = 60,
	ROUND_TRIPS = 3000,
};

static const char EXIT_AT_ONCE[] = "exit-at-once";

static void arithmetic(void)
{
	uint64_t x = 88172645463325252;

	for (int i = 0; i < ARITHMETIC_TURNS; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
	}
	__asm__ volatile("" : : "r"(x));
}

static void system_calls(void)
{
	for (int i = 0; i < SYSTEM_CALLS; i++)
		syscall(SYS_getppid);
}

static void page_faults(void)
{
	const size_t size = (size_t)PAGES_PER_MAPPING * PAGE_SIZE;

	for (int i = 0; i < MAPPINGS; i++) {
		char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory == MAP_FAILED)
			err(1, "mmap");
		/* One fault per page is wanted; a kernel without huge pages refuses this. */
		madvise(memory, size, MADV_NOHUGEPAGE);
		for (size_t at = 0; at < size; at += PAGE_SIZE)
			*(volatile char *)(memory + at) = 1;
		munmap(memory, size);
	}
}

static void fork_exec_wait(void)
{
	for (int i = 0; i < CHILDREN; i++) {
		int status;
		pid_t child = fork();

		if (child < 0)
			err(1, "fork");
		if (child == 0) {
			execl("/proc/self/exe", "workload", EXIT_AT_ONCE, (char *)NULL);
			_exit(1);
		}
		if (waitpid(child, &status, 0) != child || status != 0)
			errx(1, "a child ended with status %#x", status);
	}
}

/* Sends every byte that comes back where it belongs, until the other end closes. */
static void echo_bytes(int from, int to)
{
	char byte;

	while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1)
		;
	_exit(0);
}

static void pipe_round_trips(void)
{
	int there[2], back[2];
	char byte = 'x';
	pid_t child;

	if (pipe(there) || pipe(back))
		err(1, "pipe");
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		close(there[1]);
		echo_bytes(there[0], back[1]);
	}
	for (int i = 0; i < ROUND_TRIPS; i++) {
		if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
			err(1, "pipe round trip %d", i);
	}
	close(there[1]);
	waitpid(child, NULL, 0);
	close(there[0]);
	close(back[0]);
	close(back[1]);
}

static const struct {
	const char *name;
	void (*run)(void);
} workloads[] = {
	{ "arithmetic", arithmetic },
	{ "syscalls", system_calls },
	{ "pagefaults", page_faults },
	{ "forkexec", fork_exec_wait },
	{ "pipe", pipe_round_trips },
};

/* Between the copies. */
struct common {
	_Atomic int ready, done;
	_Atomic uint64_t ticks;
};

static void wait_for(_Atomic int *count, int all)
{
	while (atomic_load(count) < all)
		__builtin_ia32_pause();
}

/*
 * All copies begin together, and who is done goes on until all are: on the emulator a
 * processor's ticks depend on what the others do.
 */
static void copy(int cpu, int cpus, void (*run)(void), struct common *common)
{
	uint64_t start;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "copy on processor %d", cpu);
	atomic_fetch_add(&common->ready, 1);
	wait_for(&common->ready, cpus);
	start = ticks_now();
	run();
	atomic_fetch_add(&common->ticks, ticks_now() - start);
	atomic_fetch_add(&common->done, 1);
	while (atomic_load(&common->done) < cpus)
		run();
	_exit(0);
}

/* The ticks that a copy on each of these processors needs, their mean. */
static uint64_t on_all(int cpus, void (*run)(void))
{
	struct common *common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t ticks;
	int status;

	if (common == MAP_FAILED)
		err(1, "mmap");
	for (int i = 0; i < cpus; i++) {
		pid_t child = fork();

		if (child < 0)
			err(1, "fork");
		if (child == 0)
			copy(i, cpus, run, common);
	}
	while (wait(&status) > 0)
		if (status != 0)
			errx(1, "a copy ended with status %#x", status);
	ticks = common->ticks / (unsigned)cpus;
	munmap(common, sizeof(*common));
	return ticks;
}

static uint64_t here(void (*run)(void))
{
	uint64_t start = ticks_now();

	run();
	return ticks_now() - start;
}

int main(int argc, char **argv)
{
	int cpus;

	if (argc > 1 && !strcmp(argv[1], EXIT_AT_ONCE))
		return 0;
	cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	printf("workload: %d processors\n", cpus);
	fflush(stdout);
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		uint64_t ticks = cpus > 1 ? on_all(cpus, workloads[i].run) : here(workloads[i].run);

		printf("bench: %s %llu\n", workloads[i].name, (unsigned long long)ticks);
		fflush(stdout);
	}
	return 0;
}
