; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; From the state a multiboot loader leaves (32-bit protected mode, paging off, eax = magic, ebx = information) to
; 64-bit mode with the first 4 GiB identity mapped, then to rt_main(magic, information). Other processors come by the
; trampoline below, which is copied to 0x8000 (SIPI vector 8) and ends in rt_ap_main(number).

%define CR0_PE      (1 << 0)
%define CR0_MP      (1 << 1)
%define CR0_NE      (1 << 5)
%define CR0_WP      (1 << 16)
%define CR0_PG      (1 << 31)
%define CR4_PAE     (1 << 5)
%define EFER        0xc0000080
%define EFER_LME    (1 << 8)
%define PAGE_LARGE  0x87                ; present, writable, user (tests run at CPL 3 in the same pages), 2 MiB
%define PAGE_TABLE  0x07
%define CODE64      0x08
%define DATA        0x10
%define CODE32      0x18
%define STACK_SIZE  16384
%define MAX_CPUS    64

extern rt_main, rt_ap_main
global entry32, ap_trampoline, ap_trampoline_end, boot_page_tables, ap_count

section .multiboot progbits alloc noexec nowrite align=4
    MB_MAGIC equ 0x1badb002
    MB_FLAGS equ 3                      ; modules page aligned, memory information wanted
    dd MB_MAGIC, MB_FLAGS, -(MB_MAGIC + MB_FLAGS)

section .text
bits 32
entry32:
    mov esp, boot_stack + STACK_SIZE
    mov edi, eax
    mov esi, ebx
    call make_page_tables
    lgdt [boot_gdt_pointer]
    call enable_long_mode
    jmp CODE64:entry64

make_page_tables:
    mov dword [boot_page_tables], boot_page_tables + 0x1000 + PAGE_TABLE
    mov ecx, 4
.directories:
    mov eax, ecx
    shl eax, 12
    add eax, boot_page_tables + 0x1000 + PAGE_TABLE
    mov [boot_page_tables + 0x1000 + ecx * 8 - 8], eax
    loop .directories
    mov eax, PAGE_LARGE
.pages:
    mov [boot_page_tables + 0x2000 + ecx * 8], eax
    add eax, 1 << 21
    inc ecx
    cmp ecx, 4 * 512
    jne .pages
    ret

enable_long_mode:
    mov eax, cr4
    or eax, CR4_PAE
    mov cr4, eax
    mov eax, boot_page_tables
    mov cr3, eax
    mov ecx, EFER
    rdmsr
    or eax, EFER_LME
    wrmsr
    mov eax, cr0
    or eax, CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_PE
    mov cr0, eax
    ret

bits 64
entry64:
    mov ax, DATA
    mov ss, ax
    mov ds, ax
    mov es, ax
    mov rsp, boot_stack + STACK_SIZE
    mov edi, edi
    mov esi, esi
    call rt_main
.stop:
    hlt
    jmp .stop

; Real mode, cs = 0x800, at linear 0x8000.
%define AP(label) (label - ap_trampoline + 0x8000)
bits 16
ap_trampoline:
    cli
    xor ax, ax
    mov ds, ax
    o32 lgdt [AP(.gdt_pointer)]
    mov eax, cr0
    or al, CR0_PE
    mov cr0, eax
    jmp dword CODE32:ap32
    align 4
.gdt_pointer:
    dw boot_gdt_end - boot_gdt - 1
    dd boot_gdt
ap_trampoline_end:

bits 32
ap32:
    mov ax, DATA
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov esi, 1
    lock xadd [ap_count], esi           ; our number among the others, from 0
    cmp esi, MAX_CPUS - 1
    jae .stop
    imul esp, esi, 4096
    add esp, ap_stacks + 4096
    call enable_long_mode
    jmp CODE64:ap64
.stop:
    hlt
    jmp .stop

bits 64
ap64:
    mov edi, esi
    inc edi
    mov esp, esp
    call rt_ap_main
.stop:
    hlt
    jmp .stop

section .data
align 16
boot_gdt:
    dq 0
    dq 0x00af9b000000ffff               ; CODE64
    dq 0x00cf93000000ffff               ; DATA
    dq 0x00cf9b000000ffff               ; CODE32
boot_gdt_end:
boot_gdt_pointer:
    dw boot_gdt_end - boot_gdt - 1
    dd boot_gdt
align 4
ap_count:
    dd 0

section .bss align=4096
boot_page_tables:
    resb 6 * 4096
boot_stack:
    resb STACK_SIZE
ap_stacks:
    resb (MAX_CPUS - 1) * 4096
