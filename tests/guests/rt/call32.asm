; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; Down from 64-bit mode to 32-bit protected mode without paging, and back.

%define CODE64      0x08
%define DATA        0x10
%define CODE32      0x18
%define EFER        0xc0000080
%define EFER_LME    (1 << 8)
%define CR0_PG      (1 << 31)

extern boot_page_tables
global call32

bits 64
default rel
section .text

; void call32(void (*fn32)(void)): fn32 is 32-bit code; it may load its own tables and segments, switch tasks and
; paging, and returns with a near ret at CPL 0 with flat segments, CR4.PAE set and paging off.
call32:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    pushfq
    cli
    mov [saved_rsp], rsp
    sgdt [saved_gdt]
    sidt [saved_idt]
    str [saved_tr]
    mov rax, cr4
    mov [saved_cr4], rax
    mov [target], edi
    lgdt [flat_gdt_pointer]
    push qword CODE32
    lea rax, [leave_paging]
    push rax
    o64 retf

back64:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    lgdt [saved_gdt]
    lidt [saved_idt]
    mov rax, [saved_cr4]
    mov cr4, rax
    mov rsp, [saved_rsp]
    movzx eax, word [saved_tr]          ; its descriptor is busy: make it available for ltr
    mov rcx, [saved_gdt + 2]
    and byte [rcx + rax + 5], 0xfd
    ltr ax
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

bits 32
leave_paging:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov fs, ax
    mov gs, ax
    mov esp, stack_top
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    mov ecx, EFER
    rdmsr
    and eax, ~EFER_LME
    wrmsr
    call [target]
    lgdt [flat_gdt_pointer]
    mov ecx, EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, boot_page_tables
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    and eax, ~8                         ; TS: a task switch sets it
    mov cr0, eax
    jmp CODE64:back64

section .data
align 16
flat_gdt:
    dq 0
    dq 0x00af9b000000ffff               ; CODE64
    dq 0x00cf93000000ffff               ; DATA
    dq 0x00cf9b000000ffff               ; CODE32
flat_gdt_end:
flat_gdt_pointer:
    dw flat_gdt_end - flat_gdt - 1
    dq flat_gdt

section .bss align=16
saved_rsp:
    resq 1
saved_cr4:
    resq 1
saved_gdt:
    resb 16
saved_idt:
    resb 16
saved_tr:
    resw 1
alignb 16
target:
    resd 1
alignb 16
stack:
    resb 4096
stack_top:
