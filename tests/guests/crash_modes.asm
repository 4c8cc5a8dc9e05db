; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; Down from 64-bit mode to where hypervisors are weakest, and back.

%define CODE64      0x08
%define DATA        0x10
%define CODE32      0x18
%define EFER        0xc0000080
%define EFER_LME    (1 << 8)
%define CR0_PE      (1 << 0)
%define CR0_PG      (1 << 31)
%define REAL        0x8000              ; where the real-mode part runs

extern boot_page_tables
global visit_real_mode, visit_task_switch, real_mode_part, real_mode_end

bits 64
default rel
section .text

%macro SAVE 0
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
%endmacro

; void visit_real_mode(void): real mode with 4 GiB segment limits left in DS, a CS whose base is not its selector times
; 16, CPUID, port I/O and a software interrupt there, then back. The part at REAL was copied there by the caller.
visit_real_mode:
    SAVE
    lgdt [plain_gdt_pointer]
    push qword CODE32
    lea rax, [leave_paging]
    push rax
    o64 retf

; int visit_task_switch(void): a 32-bit task switch by a far jump to another task; 1 when it arrived there.
visit_task_switch:
    SAVE
    mov dword [after_paging], switch_tasks
    lgdt [plain_gdt_pointer]
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
    mov rsp, [saved_rsp]
    movzx eax, word [saved_tr]          ; its descriptor is busy: make it available for ltr
    mov rcx, [saved_gdt + 2]
    and byte [rcx + rax + 5], 0xfd
    ltr ax
    mov dword [after_paging], to_real
    mov eax, [arrived]
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
    mov esp, low_stack_top
    mov eax, cr0
    and eax, ~CR0_PG
    mov cr0, eax
    mov ecx, EFER
    rdmsr
    and eax, ~EFER_LME
    wrmsr
    jmp [after_paging]

to_real:
    lidt [real_idt_pointer]
    jmp 0x28:REAL                       ; 16-bit code of base 0

return32:
    mov ecx, EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, boot_page_tables
    mov cr3, eax
    mov eax, cr0
    or eax, CR0_PG
    mov cr0, eax
    jmp CODE64:back64

switch_tasks:
    mov dword [arrived], 0
    mov dword [task_b + 0x20], in_task_b
    mov eax, cr3
    mov [task_b + 0x1c], eax
    mov byte [plain_gdt.task_a + 5], 0x89
    mov byte [plain_gdt.task_b + 5], 0x89
    mov eax, task_a
    mov [plain_gdt.task_a + 2], ax
    shr eax, 16
    mov [plain_gdt.task_a + 4], al
    mov eax, task_b
    mov [plain_gdt.task_b + 2], ax
    shr eax, 16
    mov [plain_gdt.task_b + 4], al
    mov ax, 0x38
    ltr ax
    jmp 0x40:0
in_task_b:
    mov dword [arrived], 1
    jmp return32

%define AT(label) (label - real_mode_part + REAL)
bits 16
real_mode_part:
    mov ax, 0x30                        ; 16-bit data with a limit of 4 GiB: stays after PE is clear
    mov ds, ax
    mov es, ax
    mov eax, cr0
    and al, ~CR0_PE
    mov cr0, eax
    nop                                 ; still with the CS of base 0 and selector 0x28, as no jump followed
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

bits 32
return_from_real:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    movzx esi, si
    mov [arrived], esi
    mov esp, low_stack_top
    jmp return32

section .data
align 16
plain_gdt:
    dq 0
    dq 0x00af9b000000ffff               ; 0x08 CODE64
    dq 0x00cf93000000ffff               ; 0x10 DATA
    dq 0x00cf9b000000ffff               ; 0x18 CODE32
    dq 0
    dq 0x00009b000000ffff               ; 0x28 16-bit code
    dq 0x008f93000000ffff               ; 0x30 16-bit data, limit 4 GiB
.task_a:
    dq 0x0000890000000067               ; 0x38
.task_b:
    dq 0x0000890000000067               ; 0x40
plain_gdt_end:
plain_gdt_pointer:
    dw plain_gdt_end - plain_gdt - 1
    dq plain_gdt
real_idt_pointer:
    dw 0x3ff
    dd 0
align 4
after_paging:
    dd to_real
arrived:
    dd 0

align 16
task_a:
    times 0x68 db 0
align 16
task_b:                                 ; 32-bit task state (SDM vol. 3, 7.2.1)
    times 0x24 db 0                     ; up to EFLAGS; CR3 and EIP are filled in
    dd 2                                ; EFLAGS
    times 4 dd 0
    dd low_stack_top                    ; ESP
    times 3 dd 0
    dd DATA, CODE32, DATA, DATA, DATA, DATA, 0, 0x68 << 16

section .bss align=16
saved_rsp:
    resq 1
saved_gdt:
    resb 16
saved_idt:
    resb 16
saved_tr:
    resw 1
alignb 16
low_stack:
    resb 1024
low_stack_top:
