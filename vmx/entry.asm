; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors
;
; Into the guest and out again. HOST_RSP is the vCPU's guest_regs (vmx/regs.h), whose slots have the numbers below; then
; the processor's own stack is taken. What C keeps for its caller stays in the registers while vmx_try_exit sees
; whether the exit can be done with a few instructions, as most can. The guest's rsp is in the VMCS. All of it is there
; twice: HOST_RIP has the plain way, or the guarded one where speculation must be held back (vmx/speculation.h).
%include "vmx/slots.inc"
%include "vmx/guards.inc"
%define VMX_STACK gs:8                      ; arch/x86/percpu.h
%define VCPU      gs:16                     ; begins with its guest_regs

global vmx_run, vmx_exit, vmx_exit_guarded
extern vmx_try_exit, vmx_handle_exit, vmx_handle_failure
section .text
vmx_run:                                    ; (struct guest_regs *rdi)
        sub     rsp, 7 * 8                  ; C expects 16-byte alignment at calls
        SAVE    rsp, rbx, 0, rbp, 1, r12, 2, r13, 3, r14, 4, r15, 5
        mov     [VMX_STACK], rsp
        mov     rax, rdi
        GUARD_NEEDED enter_guarded

%macro WAY 2                                ; name, is it guarded?
enter%1:
        GUARD_BEFORE_LOAD %2
        LOAD    rax, rbp, 5, r12, 12, r13, 13, r14, 14, r15, 15
enter_rest%1:
        GUARD_BEFORE_REST %2
        LOAD    rax, rcx, 1, rdx, 2, rbx, 3, rsi, 6, rdi, 7, r8, 8, r9, 9, r10, 10, r11, 11, rax, 0
        GUARD_BEFORE_ENTRY %2
        vmresume
        vmlaunch                            ; VMRESUME failed: the VMCS was never launched
        call    vmx_handle_failure          ; neither worked
        jmp     again%1
vmx_exit%1:                                 ; HOST_RIP
        SAVE    rsp, rax, 0, rcx, 1, rdx, 2, rbx, 3, rsi, 6, rdi, 7, r8, 8, r9, 9, r10, 10, r11, 11
        mov     rdi, rsp
        mov     rsp, [VMX_STACK]
        GUARD_AFTER_EXIT %2
        call    vmx_try_exit
        mov     esi, eax
        mov     rax, [VCPU]
        test    esi, esi
        jz      enter_rest%1
        SAVE    rax, rbp, 5, r12, 12, r13, 13, r14, 14, r15, 15
        mov     rdi, rax
        call    vmx_handle_exit
again%1:
        test    rax, rax
        jnz     enter%1
        jmp     leave
%endmacro

        WAY     , 0
        WAY     _guarded, 1
leave:
        LOAD    rsp, rbx, 0, rbp, 1, r12, 2, r13, 3, r14, 4, r15, 5
        add     rsp, 7 * 8
        ret
section .note.GNU-stack noalloc noexec nowrite progbits
