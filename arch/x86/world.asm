; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors
;
; world_switch(struct world_side *from, struct world_side *to): the whole of one world for the other's, the way
; coroutines do it: it returns where `to` last called it. Interrupts are off and EFER.NXE is on. Both structures are
; mapped in both worlds, the stacks only in their own.
;
; CR4.CET goes first and comes back last: far returns and other stacks would break a shadow stack, and at that depth
; it is again as this function left it.
bits 64
default rel

global world_switch, world_begin
extern world_main

%define CR4_CET (1 << 23)

; struct world_side, arch/x86/percpu_private.h
struc side
.rsp:   resq 1
.cr0:   resq 1
.cr3:   resq 1
.cr4:   resq 1
.gdt:   resb 10
.idt:   resb 10
.cs:    resw 1
.ss:    resw 1
.ds:    resw 1
.es:    resw 1
.fs:    resw 1
.gs:    resw 1
endstruc

section .text

world_switch:
        push    rbp
        push    rbx
        push    r12
        push    r13
        push    r14
        push    r15
        mov     [rdi + side.rsp], rsp
        mov     rax, cr0
        mov     [rdi + side.cr0], rax
        mov     rax, cr3
        mov     [rdi + side.cr3], rax
        mov     rax, cr4
        mov     [rdi + side.cr4], rax
        sgdt    [rdi + side.gdt]
        sidt    [rdi + side.idt]
        mov     [rdi + side.cs], cs
        mov     [rdi + side.ss], ss
        mov     [rdi + side.ds], ds
        mov     [rdi + side.es], es
        mov     [rdi + side.fs], fs
        mov     [rdi + side.gs], gs

        and     rax, ~CR4_CET
        mov     cr4, rax
        mov     rax, [rsi + side.cr0]
        mov     cr0, rax
        mov     rax, [rsi + side.cr3]
        mov     cr3, rax
        mov     rsp, [rsi + side.rsp]
        lgdt    [rsi + side.gdt]
        lidt    [rsi + side.idt]
        mov     ss, [rsi + side.ss]
        mov     ds, [rsi + side.ds]
        mov     es, [rsi + side.es]
        mov     fs, [rsi + side.fs]
        mov     gs, [rsi + side.gs]
        movzx   eax, word [rsi + side.cs]
        push    rax
        lea     rax, [.code]
        push    rax
        o64 retf
.code:
        mov     rax, [rsi + side.cr4]
        mov     cr4, rax
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbx
        pop     rbp
        ret

; The first switch to a processor's own stack returns here (struct percpu in rbx, arch/x86/world.c).
world_begin:
        mov     rdi, rbx
        jmp     world_main

section .note.GNU-stack noalloc noexec nowrite progbits
