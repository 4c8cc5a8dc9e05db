/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "tests/guests/rt/rt.h"

/* Hardware task switches in 32-bit protected mode (SDM vol. 3, chapter 7): done and measured in tasks_run.asm. */

void tasks_run(void);

struct task_result { uint32_t got, want; };
extern struct task_result task_results[];
extern uint32_t task_results_count, task_stray, task_stray_at;

/* In the order of the CHECKs there. */
static const char *const names[] = {
    "a jump to a task arrives with its registers", "its stack", "its flags, NT clear", "its page tables",
    "CR0.TS is set", "the task register is its own", "the old task is free again", "the new one is busy",
    "the old task's EIP is behind the jump", "its registers are saved",
    "a jump back goes on there", "with its registers",
    "a call nests: NT is set", "the link names the caller", "the caller stays busy", "IRET returns behind the call",
    "with NT clear", "and the called task is free", "called again, the task goes on behind its IRET",
    "a call through a task gate", "INT n through a task gate", "returns behind it",
    "a divide error's task is entered", "at whose IRET the division is repeated", "RF is set in the faulting task",
    "a page fault's task finds the error code", "and CR2", "and has its own page tables", "the access is repeated",
    "an NMI's task", "blocks further NMIs until its IRET", "an interrupt's task", "the interrupted task goes on",
    "a task with the T flag begins with a debug exception", "DR6.BT tells so", "local breakpoints are switched off",
    "a 16-bit task", "is left again with 16-bit fields saved",
    "a task in virtual-8086 mode", "had its segments",
    "a jump to a busy task is a #GP", "with its selector", "an absent TSS is an #NP", "with its selector",
    "a short one a #TS", "with its selector", "IRET to a task that is not busy is a #TS",
    "an absent data segment is an #NP", "with that segment's selector", "in the new task",
    "a stack of another privilege is a #TS for its task gate", "with that segment's selector",
};

void guest_main(const char *arguments)
{
    (void)arguments;
    tasks_run();
    check("no stray exception in a task", task_stray, 0);
    if (task_stray)
        print("at 0x%x\n", task_stray_at);
    check("results", task_results_count, ARRAY_SIZE(names));
    for (unsigned i = 0; i < task_results_count && i < ARRAY_SIZE(names); i++)
        check(names[i], task_results[i].got, task_results[i].want);
}
