; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; The 256 interrupt entries, and the way into and out of a function that may fault.

%define KERNEL_DATA 0x10
%define USER_CODE   0x2b
%define USER_DATA   0x23
%define LEAVE_USER  0x80                ; the gate that a function at CPL 3 returns through

extern rt_trap, user_stack_top
global trap_entries, rt_enter, rt_resume

bits 64
default rel
section .text

; Vectors whose interrupts bring an error code (SDM vol. 3, table 6-1).
%define ERROR_CODES ((1 << 8) | (1 << 10) | (1 << 11) | (1 << 12) | (1 << 13) | (1 << 14) | (1 << 17) | (1 << 21))

; Each entry is 16 bytes: entry n is at trap_entries + 16 n.
align 16
trap_entries:
%assign vector 0
%rep 256
    align 16
  %if vector >= 32 || !(ERROR_CODES & (1 << (vector & 31)))
    push 0
  %endif
    push strict dword vector
    jmp trap_common
  %assign vector vector + 1
%endrep

%macro FOR_REGISTERS 1
    %1 rax
    %1 rbx
    %1 rcx
    %1 rdx
    %1 rsi
    %1 rdi
    %1 rbp
    %1 r8
    %1 r9
    %1 r10
    %1 r11
    %1 r12
    %1 r13
    %1 r14
    %1 r15
%endmacro

trap_common:                            ; builds struct trap_frame
    FOR_REGISTERS push
    cld
    mov rdi, rsp
    mov rbx, rsp
    and rsp, -16
    call rt_trap
    mov rsp, rbx
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

; int rt_enter(struct rt_context *context, void (*fn)(void *), void *arg, unsigned cpl, uint64_t user_flags)
; Calls fn(arg) at CPL 0 or 3. Returns 0, or what rt_resume(context, value) says.
rt_enter:
    mov [rdi], rbx
    mov [rdi + 8], rbp
    mov [rdi + 16], r12
    mov [rdi + 24], r13
    mov [rdi + 32], r14
    mov [rdi + 40], r15
    mov [rdi + 48], rsp
    pushfq
    pop qword [rdi + 56]
    mov rdi, rdx
    test ecx, ecx
    jnz .user
    sub rsp, 8
    call rsi
    add rsp, 8
    xor eax, eax
    ret
.user:
    lea rax, [user_return]
    mov rdx, [user_stack_top]
    sub rdx, 8
    mov [rdx], rax
    push USER_DATA
    push rdx
    push r8
    push USER_CODE
    push rsi
    iretq

user_return:
    int LEAVE_USER

; noreturn void rt_resume(struct rt_context *context, int value)
rt_resume:
    mov ax, KERNEL_DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov rbx, [rdi]
    mov rbp, [rdi + 8]
    mov r12, [rdi + 16]
    mov r13, [rdi + 24]
    mov r14, [rdi + 32]
    mov r15, [rdi + 40]
    mov rsp, [rdi + 48]
    push qword [rdi + 56]
    popfq
    mov eax, esi
    ret
