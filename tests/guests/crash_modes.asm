; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; Down from 64-bit mode to where hypervisors are weakest, and back.

%define DATA        0x10
%define CODE32      0x18
%define CR0_PE      (1 << 0)
%define REAL        0x8000              ; where the real-mode part runs

extern call32
global visit_real_mode, real_mode_part, real_mode_end

bits 64
default rel
section .text

; int visit_real_mode(void): real mode with 4 GiB segment limits left in DS, a CS whose base is not its selector times
; 16, CPUID, port I/O and a software interrupt there, then back; how many software interrupts arrived. The part at REAL
; was copied there by the caller.
visit_real_mode:
    mov edi, to_real
    sub rsp, 8
    call call32
    add rsp, 8
    mov eax, [arrived]
    ret

bits 32
to_real:
    mov [saved_esp], esp
    lgdt [gdt_pointer]
    lidt [real_idt_pointer]
    jmp 0x20:REAL                       ; 16-bit code of base 0

return_from_real:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esp, [saved_esp]
    movzx esi, si
    mov [arrived], esi
    ret

%define AT(label) (label - real_mode_part + REAL)
bits 16
real_mode_part:
    mov ax, 0x28                        ; 16-bit data with a limit of 4 GiB: stays after PE is clear
    mov ds, ax
    mov es, ax
    mov eax, cr0
    and al, ~CR0_PE
    mov cr0, eax
    nop                                 ; still with the CS of base 0 and selector 0x20, as no jump followed
    mov bx, 0x1234
    mov [dword 0x10000], bx             ; beyond 64 KiB: real mode alone could not
    jmp 0:AT(.real)
.real:
    xor ax, ax
    mov ss, ax
    mov sp, 0x7000
    mov word [3 * 4], AT(.handler)
    mov word [3 * 4 + 2], 0
    xor eax, eax
    cpuid
    in al, 0x21
    out 0x80, al
    xor si, si
    int3
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp dword CODE32:return_from_real
.handler:
    inc si
    iret
real_mode_end:

section .data
align 16
gdt:
    dq 0
    dq 0x00af9b000000ffff               ; 64-bit code
    dq 0x00cf93000000ffff               ; DATA
    dq 0x00cf9b000000ffff               ; CODE32
    dq 0x00009b000000ffff               ; 0x20 16-bit code
    dq 0x008f93000000ffff               ; 0x28 16-bit data, limit 4 GiB
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt
real_idt_pointer:
    dw 0x3ff
    dd 0
align 4
arrived:
    dd 0
saved_esp:
    dd 0
