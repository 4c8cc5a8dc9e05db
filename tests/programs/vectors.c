/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
/* Linux: processes that give way to each other, each with values of its own in all AVX-512 registers. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 4
#define ROUNDS    1000

struct registers { uint64_t zmm[32][8], k[8]; };

#define LOAD(n)  "vmovdqu64 64*" #n "(%[in]), %%zmm" #n "\n"
#define STORE(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%[out])\n"
#define EIGHT(what, a, b, c, d, e, f, g, h) what(a) what(b) what(c) what(d) what(e) what(f) what(g) what(h)
#define ALL(what) \
    EIGHT(what, 0, 1, 2, 3, 4, 5, 6, 7) EIGHT(what, 8, 9, 10, 11, 12, 13, 14, 15) \
    EIGHT(what, 16, 17, 18, 19, 20, 21, 22, 23) EIGHT(what, 24, 25, 26, 27, 28, 29, 30, 31)
#define MASKS(what) what(1) what(2) what(3) what(4) what(5) what(6) what(7)
#define LOAD_K(n)   "kmovq 2048+8*" #n "(%[in]), %%k" #n "\n"
#define STORE_K(n)  "kmovq %%k" #n ", 2048+8*" #n "(%[out])\n"

/* sched_yield in between. */
static void hold(const struct registers *in, struct registers *out)
{
    long rc = 24;

    __asm__ volatile(ALL(LOAD) MASKS(LOAD_K) "syscall\n" ALL(STORE) MASKS(STORE_K)
                     : "+a"(rc) : [in] "r"(in), [out] "r"(out) : "rcx", "r11", "memory");
}

static int lost(uint64_t seed)
{
    struct registers in = { .k = { 0 } }, out = { .k = { 0 } };

    for (unsigned i = 0; i < 32 * 8; i++)
        in.zmm[i / 8][i % 8] = seed * 0x9e3779b97f4a7c15ull + i;
    for (unsigned i = 1; i < 8; i++)
        in.k[i] = ~seed - i;
    hold(&in, &out);
    return memcmp(&in, &out, sizeof(in)) != 0;
}

static int process(unsigned n)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < ROUNDS; i++)
        sum += (unsigned)lost((uint64_t)n * ROUNDS + i + 1);
    printf("vectors: process %u lost them %u times\n", n, sum);
    fflush(stdout);
    return sum != 0;
}

int main(void)
{
    int bad = 0, status;

    if (!__builtin_cpu_supports("avx512bw")) {
        puts("vectors: no AVX-512");
        return 1;
    }
    for (unsigned n = 0; n < PROCESSES; n++)
        if (fork() == 0)
            _exit(process(n));
    for (unsigned n = 0; n < PROCESSES; n++)
        bad += wait(&status) < 0 || status != 0;
    printf("vectors: %d processes lost theirs\n", bad);
    return bad;
}
