; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors
;
; The 256 entries of the IDT, 16 bytes apart. Each pushes an error code where the processor gives none, and its
; vector; the rest of struct trap_frame (arch/x86/traps.h) follows. The processor has aligned the stack to 16 bytes
; and the frame is 22 words long, so the call below finds it aligned.
bits 64
default rel

global trap_stubs
extern trap_handler

%define STUB_SIZE 16

section .text

align 16
trap_stubs:
%assign vector 0
%rep 256
        align   STUB_SIZE
%if vector <> 8 && vector <> 17 && vector <> 21 && vector <> 29 && vector <> 30 && (vector < 10 || vector > 14)
        push    0
%endif
        push    strict dword vector
        jmp     strict near trap_common
%assign vector vector + 1
%endrep

align 16
trap_common:
        push    rax
        push    rbx
        push    rcx
        push    rdx
        push    rbp
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r10
        push    r11
        push    r12
        push    r13
        push    r14
        push    r15
        cld
        mov     rdi, rsp
        call    trap_handler
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     r11
        pop     r10
        pop     r9
        pop     r8
        pop     rdi
        pop     rsi
        pop     rbp
        pop     rdx
        pop     rcx
        pop     rbx
        pop     rax
        add     rsp, 16                     ; vector, error
        iretq

section .note.GNU-stack noalloc noexec nowrite progbits
