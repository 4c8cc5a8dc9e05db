; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors
;
; Into the guest and out again. HOST_RSP is the end of the vCPU's guest_regs, so that the exit's pushes fill it
; (vmx/regs.h: rax lowest); then the processor's own stack is taken from gs:8 (arch/x86/percpu.h: vmx_stack).
; The guest's rsp is in the VMCS: its slot only keeps the numbering.
bits 64
default rel
%define VMX_STACK gs:8

global vmx_run, vmx_exit
extern vmx_handle_exit, vmx_handle_failure

section .text
vmx_run:                                    ; (struct guest_regs *rdi)
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        sub     rsp, 8                      ; C expects 16-byte alignment at calls
        mov     [VMX_STACK], rsp
        mov     rax, rdi
enter:
        mov     rsp, rax
%macro  POP 1-*
%rep %0
        pop     %1
%rotate 1
%endrep
%endmacro
        POP     rax, rcx, rdx, rbx, rbp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        vmresume
        vmlaunch                            ; VMRESUME failed: the VMCS was never launched
        mov     rsp, [VMX_STACK]            ; neither worked
        call    vmx_handle_failure
        jmp     leave
%macro  PUSH 1-*
%rep %0
        push    %1
%rotate 1
%endrep
%endmacro
vmx_exit:                                   ; HOST_RIP
        PUSH    r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rsp, rbx, rdx, rcx, rax
        mov     rdi, rsp
        mov     rsp, [VMX_STACK]
        call    vmx_handle_exit
leave:
        test    rax, rax
        jnz     enter
        add     rsp, 8
        POP     r15, r14, r13, r12, rbp, rbx
        ret
section .note.GNU-stack noalloc noexec nowrite progbits
