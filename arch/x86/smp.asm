; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors
;
; Where a processor starts after INIT and SIPI: in real mode, CS at this page (SDM vol. 3A, 9.4.4.2). arch/x86/smp.c
; copies the code to a page below 1 MiB and fills in struct smp_low behind it. Each takes a ticket and leaves its APIC
; id; if there is work it goes on into long mode with the boot processor's registers, the firmware's tables and a stack
; of its own, and calls entry(ticket). In the end it waits, halted, for the next INIT.
bits 16

global smp_trampoline, smp_trampoline_32, smp_trampoline_64, smp_trampoline_end

%define LOW             0x400
%define TICKETS_MAX     256
%define STACK_SHIFT     13
%define CODE_32         0x08            ; smp_low.gdt
%define DATA_32         0x10
%define MSR_EFER        0xc0000080

; struct smp_low, arch/x86/smp.c
struc low, LOW
.gdt:           resq 4
.stacks:        resq 1
.entry:         resq 1
.cr0:           resd 1
.cr3:           resd 1
.cr4:           resd 1
.efer:          resd 1
.tickets:       resd 1
.finished:      resd 1
.firmware_gdt:  resb 10
.firmware_idt:  resb 10
.gdt_ptr:       resb 10
.to_32:         resb 6
.to_64:         resb 6
.cs:            resw 1
.ss:            resw 1
.ds:            resw 1
.es:            resw 1
.fs:            resw 1
.gs:            resw 1
                alignb 4
.id:            resd TICKETS_MAX
endstruc

section .rodata

align 16
smp_trampoline:
        cli
        cld
        mov     ax, cs
        mov     ds, ax
        movzx   ebp, ax
        shl     ebp, 4                  ; linear address of this page
        xor     eax, eax
        cpuid
        cmp     eax, 0xb
        jb      .old_id
        mov     eax, 0xb                ; EDX: x2APIC id, valid if EBX is not 0 (SDM vol. 2A, CPUID)
        xor     ecx, ecx
        cpuid
        test    ebx, ebx
        jnz     .ticket
.old_id:
        mov     eax, 1
        cpuid
        mov     edx, ebx
        shr     edx, 24
.ticket:
        mov     edi, 1
        lock xadd [low.tickets], edi
        cmp     edi, TICKETS_MAX
        jae     .halt
        mov     [low.id + edi * 4], edx
        cmp     dword [low.entry], 0
        je      .halt
        o32 lgdt [low.gdt_ptr]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp far dword [low.to_32]
.halt:
        hlt
        jmp     .halt

bits 32
smp_trampoline_32:
        mov     eax, DATA_32
        mov     ds, eax
        mov     ss, eax
        mov     eax, [ebp + low.cr4]
        mov     cr4, eax
        mov     eax, [ebp + low.cr3]
        mov     cr3, eax
        mov     ecx, MSR_EFER
        mov     eax, [ebp + low.efer]
        xor     edx, edx
        wrmsr
        mov     eax, [ebp + low.cr0]
        mov     cr0, eax
        jmp far dword [ebp + low.to_64]

bits 64
smp_trampoline_64:
        mov     ebx, ebp
        mov     edi, edi
        lgdt    [rbx + low.firmware_gdt]
        lidt    [rbx + low.firmware_idt]
        mov     ss, [rbx + low.ss]
        mov     ds, [rbx + low.ds]
        mov     es, [rbx + low.es]
        mov     fs, [rbx + low.fs]
        mov     gs, [rbx + low.gs]
        lea     rsp, [rdi + 1]
        shl     rsp, STACK_SHIFT
        add     rsp, [rbx + low.stacks]
        movzx   eax, word [rbx + low.cs]
        push    rax
        lea     rax, [rel .in_firmware_cs]
        push    rax
        o64 retf
.in_firmware_cs:
        fninit
        call    [rbx + low.entry]
        lock inc dword [rbx + low.finished]
.halt:
        cli
        hlt
        jmp     .halt
smp_trampoline_end:

section .note.GNU-stack noalloc noexec nowrite progbits
