; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; Task A runs the tests; B to E are entered by jumps, calls, gates and events. PAE paging, each task with its own root.

%define DATA     0x10
%define CODE32   0x18
%define TSS_A    0x20
%define TSS_B    0x28
%define GATE_B   0x30
%define TSS_16   0x38
%define ABSENT   0x40                   ; data, not present
%define TSS_V    0x48                   ; virtual-8086
%define TSS_GONE 0x50                   ; not present
%define TSS_TINY 0x58                   ; limit too small
%define CODE_C   0x60                   ; base at code_16
%define USER     0x68                   ; data of DPL 3
%define TSS_T    0x70                   ; of the #TS handler

%define T_LINK   0x00
%define T_CR3    0x1c
%define T_EIP    0x20
%define T_FLAGS  0x24
%define T_EAX    0x28
%define T_EBX    0x34
%define T_ESP    0x38
%define T_ES     0x48
%define T_CS     0x4c
%define T_SS     0x50
%define T_DS     0x54
%define T_TRAP   0x64

%define NT       (1 << 14)
%define RF       (1 << 16)
%define VM       (1 << 17)
%define MISSING  0x7fe00000             ; linear, mapped in B's tables only when its handler has run
%define LAPIC    0xfee00000
%define NMI_TO_0 0x4400
%define VECTOR   0x40

extern call32, boot_page_tables
global tasks_run, task_results, task_results_count, task_stray, task_stray_at

bits 64
default rel
section .text
tasks_run:
    mov rdi, run32
    jmp call32

%assign checks 0
; CHECK got, want: got is a register or memory, want an immediate or a register
%macro CHECK 2
    push dword %1
    pop dword [task_results + 8 * checks]
    mov dword [task_results + 8 * checks + 4], %2
  %assign checks checks + 1
%endmacro

%macro BUSY 1                           ; eax = 1 if the descriptor of this TSS is busy
    movzx eax, byte [gdt + %1 + 5]
    shr eax, 1
    and eax, 1
%endmacro

%macro SET_TSS 3                        ; selector, label, type and rights: all of 104 bytes
    mov eax, %2
    mov word [gdt + %1], 0x67
    mov [gdt + %1 + 2], ax
    shr eax, 16
    mov [gdt + %1 + 4], al
    mov byte [gdt + %1 + 5], %3
    mov byte [gdt + %1 + 6], 0
    mov [gdt + %1 + 7], ah
%endmacro

%macro GATE 2                           ; vector, TSS: a task gate, DPL 0
    mov dword [idt + 8 * %1], %2 << 16
    mov dword [idt + 8 * %1 + 4], 0x8500
%endmacro

%macro HANDLER 2                        ; vector, offset: an interrupt gate
    mov eax, %2
    mov [idt + 8 * %1], ax
    mov word [idt + 8 * %1 + 2], CODE32
    mov word [idt + 8 * %1 + 4], 0x8e00
    shr eax, 16
    mov [idt + 8 * %1 + 6], ax
%endmacro

%macro ENTER_B 1                        ; where B begins next; nobody is in it
    mov eax, %1
    call make_b
%endmacro

bits 32
run32:
    mov [home_esp], esp
    lgdt [gdt_pointer]
    lidt [idt_pointer]
    call make_tables
    SET_TSS TSS_A, tss_a, 0x89
    SET_TSS TSS_V, tss_v, 0x89
    SET_TSS TSS_GONE, tss_b, 0x09
    SET_TSS TSS_TINY, tss_b, 0x89
    SET_TSS TSS_T, tss_t, 0x89
    mov word [gdt + TSS_TINY], 0x66
    SET_TSS TSS_16, tss_16, 0x81
    mov word [gdt + TSS_16], 0x2b
    mov eax, code_16
    mov [gdt + CODE_C + 2], ax
    shr eax, 16
    mov [gdt + CODE_C + 4], al
    mov ax, TSS_A
    ltr ax
    call jumps
    call calls
    call gates
    call events
    call trap
    call other_kinds
    call faults
    mov dword [task_results_count], checks_total
leave32:
    mov esp, [home_esp]
    mov eax, cr0
    and eax, 0x7fffffff
    mov cr0, eax
    ret

; PAE roots for A and B over the same directories, in which a page fault's handler puts what is missing.
make_tables:
    xor ecx, ecx
.root:
    mov eax, ecx
    shl eax, 12
    add eax, boot_page_tables + 0x2000 + 1
    mov [root_a + 8 * ecx], eax
    mov [root_b + 8 * ecx], eax
    inc ecx
    cmp ecx, 4
    jne .root
    and dword [boot_page_tables + 0x2000 + (MISSING >> 21) * 8], ~1
    mov eax, root_a
    mov [tss_a + T_CR3], eax
    mov cr3, eax
    mov eax, cr0
    or eax, 1 << 31
    mov cr0, eax
    mov ecx, 0                          ; all exceptions go astray unless they are wanted
    mov edx, strays
.gate:
    mov eax, edx
    mov [idt + 8 * ecx], ax
    mov word [idt + 8 * ecx + 2], CODE32
    mov word [idt + 8 * ecx + 4], 0x8e00
    shr eax, 16
    mov [idt + 8 * ecx + 6], ax
    add edx, 16
    inc ecx
    cmp ecx, 32
    jne .gate
    ret

; B as new, to begin at eax.
make_b:
    mov edi, tss_b
    call make_task
    mov dword [tss_b + T_ESP], stack_b
    SET_TSS TSS_B, tss_b, 0x89
    ret

; The 32-bit TSS at edi, to begin at eax.
make_task:
    push eax
    push edi
    mov ecx, 26
    xor eax, eax
    rep stosd
    pop edi
    pop dword [edi + T_EIP]
    mov dword [edi + T_CR3], root_b
    mov dword [edi + T_FLAGS], 2
    mov dword [edi + T_ESP], stack_t
    mov dword [edi + T_CS], CODE32
    mov dword [edi + T_ES], DATA
    mov dword [edi + T_SS], DATA
    mov dword [edi + T_DS], DATA
    mov dword [edi + 0x60], 0
    mov word [edi + 0x66], 0x68
    ret

jumps:
    ENTER_B .in_b
    mov dword [tss_b + T_EAX], 0x11223344
    clts
    mov ebx, 0xa5a5a5a5
    jmp TSS_B:0
.back:
    CHECK [seen], 1
    CHECK ebx, 0xa5a5a5a5
    ret
.in_b:
    CHECK eax, 0x11223344
    CHECK esp, stack_b
    pushfd
    pop eax
    CHECK eax, 2
    mov eax, cr3
    CHECK eax, root_b
    mov eax, cr0
    shr eax, 3
    and eax, 1
    CHECK eax, 1
    str eax
    CHECK eax, TSS_B
    BUSY TSS_A
    CHECK eax, 0
    BUSY TSS_B
    CHECK eax, 1
    CHECK [tss_a + T_EIP], .back
    CHECK [tss_a + T_EBX], 0xa5a5a5a5
    mov dword [seen], 1
    jmp TSS_A:0

calls:
    ENTER_B .in_b
    mov dword [seen], 0
    call TSS_B:0xf4f4f4f4
    nop
    CHECK [seen], 1
    pushfd
    pop eax
    and eax, NT
    CHECK eax, 0
    BUSY TSS_B
    CHECK eax, 0
    call TSS_B:0
    CHECK [seen], 2
    ret
.in_b:
    pushfd
    pop eax
    and eax, NT
    CHECK eax, NT
    movzx eax, word [tss_b + T_LINK]
    CHECK eax, TSS_A
    BUSY TSS_A
    CHECK eax, 1
    mov dword [seen], 1
    iretd
    mov dword [seen], 2
    iretd

gates:
    ENTER_B .in_b
    mov dword [seen], 0
    call GATE_B:0
    CHECK [seen], 1
    GATE VECTOR, TSS_B
    int VECTOR
.behind:
    CHECK [seen], 2
    CHECK [tss_a + T_EIP], .behind
    ret
.in_b:
    inc dword [seen]
    iretd
    jmp .in_b

events:
    call divide
    call page_fault
    call nmi
    call interrupt
    ret

divide:
    ENTER_B .in_b
    GATE 0, TSS_B
    mov dword [divisor], 0
    mov dword [seen], 0
    xor edx, edx
    mov eax, 1500
.at:
    div dword [divisor]
    mov ebx, eax
    CHECK [seen], .at
    CHECK ebx, 150
    mov eax, [tss_a + T_FLAGS]
    and eax, RF
    CHECK eax, RF
    ret
.in_b:
    mov eax, [tss_a + T_EIP]
    mov [seen], eax
    mov dword [divisor], 10
    iretd

page_fault:
    ENTER_B .in_b
    GATE 14, TSS_B
    mov dword [MISSING + 4], 0x600d
    CHECK [error], 2
    CHECK [seen], MISSING + 4
    CHECK [seen_cr3], root_b
    mov eax, [MISSING + 4]
    CHECK eax, 0x600d
    ret
.in_b:
    pop dword [error]
    mov eax, cr2
    mov [seen], eax
    mov eax, cr3
    mov [seen_cr3], eax
    mov dword [boot_page_tables + 0x2000 + (MISSING >> 21) * 8], 0x87 ; the first 2 MiB
    iretd

nmi:
    ENTER_B .in_b
    GATE 2, TSS_B
    mov dword [seen], 0
    mov dword [LAPIC + 0x300], NMI_TO_0
    mov ecx, 1000
.wait:
    pause
    loop .wait
    CHECK [seen], 2                     ; one, and the one that it sent itself
    CHECK [seen_late], 0
    ret
.in_b:
    inc dword [seen]
    cmp dword [seen], 1
    jne .last
    mov dword [LAPIC + 0x300], NMI_TO_0
    mov ecx, 1000
.blocked:
    pause
    loop .blocked
    mov eax, [seen]
    dec eax
    mov [seen_late], eax
.last:
    iretd
    jmp .in_b

interrupt:
    ENTER_B .in_b
    mov dword [seen], 0
    mov dword [LAPIC + 0xf0], 0x1ff
    GATE VECTOR, TSS_B
    sti
    mov dword [LAPIC + 0x300], 0x44000 | VECTOR
    mov ecx, 1000
.wait:
    pause
    loop .wait
    cli
    CHECK [seen], 1
    CHECK ecx, 0
    ret
.in_b:
    inc dword [seen]
    mov dword [LAPIC + 0xb0], 0
    iretd

trap:
    ENTER_B .in_b
    mov word [tss_b + T_TRAP], 1
    HANDLER 1, .debug
    mov dword [seen], 0
    xor eax, eax
    mov dr6, eax
    mov eax, 0x555
    mov dr7, eax
    call TSS_B:0
    CHECK [seen], .in_b
    CHECK [error], 0x8000
    mov eax, dr7
    and eax, 0x55
    CHECK eax, 0
    ret
.in_b:
    iretd
.debug:
    mov eax, [esp]
    mov [seen], eax
    mov eax, dr6
    and eax, 0xe00f
    mov [error], eax
    xor eax, eax
    mov dr6, eax
    iretd

other_kinds:
    mov dword [seen], 0
    mov word [tss_16 + 0x0e], 0         ; IP
    mov word [tss_16 + 0x10], 2
    mov word [tss_16 + 0x1a], 0x7000    ; SP
    mov word [tss_16 + 0x22], DATA
    mov word [tss_16 + 0x24], CODE_C
    mov word [tss_16 + 0x26], DATA
    mov word [tss_16 + 0x28], DATA
    jmp TSS_16:0
    CHECK [seen], TSS_16
    movzx eax, word [tss_16 + 0x16]     ; DX
    CHECK eax, 0x1234
    mov edi, tss_v                      ; an IRET takes A to it, #UD back by a gate
    xor eax, eax
    call make_task
    mov dword [tss_v + T_FLAGS], VM | 2
    mov dword [tss_v + T_EIP], 0
    mov dword [tss_v + T_CS], 0x900
    mov dword [tss_v + T_ES], 0x2345
    mov byte [gdt + TSS_V + 5], 0x8b
    mov word [0x9000], 0x0b0f           ; ud2
    mov word [tss_a + T_LINK], TSS_V
    GATE 6, TSS_A
    pushfd
    or word [esp], NT
    popfd
    iretd
    pushfd
    and word [esp], ~NT
    popfd
    mov eax, [tss_v + T_FLAGS]
    and eax, VM
    CHECK eax, VM
    mov eax, [tss_v + T_ES]
    CHECK eax, 0x2345
    mov byte [gdt + TSS_V + 5], 0x89
    mov byte [gdt + TSS_A + 5], 0x8b
    ret

%macro EXPECT 1                         ; a fault of this vector: where to go on is in ebp, the error code in [error]
    mov dword [seen], 0
    HANDLER %1, fault_%1
%endmacro

%macro FAULT 1
fault_%1:
    pop dword [error]
    mov dword [seen], %1
    mov [esp], ebp
    iretd
%endmacro
    FAULT 10
    FAULT 13
fault_11:
    push eax
    mov ax, DATA                        ; a new task's DS is what was absent
    mov ds, ax
    pop eax
    pop dword [error]
    mov dword [seen], 11
    str [seen_tr]
    cmp word [seen_tr], TSS_B
    je .in_b
    mov [esp], ebp
    iretd
.in_b:
    add esp, 8
    popfd                               ; NT: B was called
    iretd

faults:
    EXPECT 13
    mov ebp, .busy
    jmp TSS_A:0
.busy:
    CHECK [seen], 13
    CHECK [error], TSS_A
    EXPECT 11
    mov ebp, .gone
    jmp TSS_GONE:0
.gone:
    CHECK [seen], 11
    CHECK [error], TSS_GONE
    EXPECT 10
    mov ebp, .tiny
    jmp TSS_TINY:0
.tiny:
    CHECK [seen], 10
    CHECK [error], TSS_TINY
    ENTER_B 0
    EXPECT 10
    mov ebp, .idle
    mov word [tss_a + T_LINK], TSS_B
    pushfd
    or word [esp], NT
    popfd
    iretd
.idle:
    pushfd
    and word [esp], ~NT
    popfd
    CHECK [seen], 10
    ENTER_B 0
    EXPECT 11
    mov dword [tss_b + T_DS], ABSENT
    call TSS_B:0
    CHECK [seen], 11
    CHECK [error], ABSENT
    movzx eax, word [seen_tr]
    CHECK eax, TSS_B
    ENTER_B 0                           ; its #TS is a task of its own: B has no stack
    mov dword [tss_b + T_SS], USER
    mov eax, .handler
    mov edi, tss_t
    call make_task
    GATE 10, TSS_T
    mov dword [seen], 0
    call TSS_B:0
    CHECK [seen], 10
    CHECK [error], USER
    ret
.handler:                               ; back to A, past B
    pop dword [error]
    mov dword [seen], 10
    mov byte [gdt + TSS_A + 5], 0x89
    jmp TSS_A:0

checks_total equ checks

; Exceptions that nobody wanted: which and where (with an error code: that); the rest is left out.
align 16
strays:
%assign vector 0
%rep 32
    align 16
    push strict dword vector
    jmp strict near stray
  %assign vector vector + 1
%endrep
stray:
    pop dword [task_stray]
    pop eax
    mov [task_stray_at], eax
    jmp leave32

section .data
align 16
gdt:
    dq 0
    dq 0x00af9b000000ffff               ; 64-bit code
    dq 0x00cf93000000ffff               ; DATA
    dq 0x00cf9b000000ffff               ; CODE32
    dq 0, 0                             ; TSS_A, TSS_B
    dq 0x0000850000000000 | TSS_B << 16 ; GATE_B
    dq 0                                ; TSS_16
    dq 0x00cf13000000ffff               ; ABSENT
    dq 0, 0, 0                          ; TSS_V, TSS_GONE, TSS_TINY
    dq 0x00cf9b000000ffff               ; CODE_C
    dq 0x00cff3000000ffff               ; USER
    dq 0                                ; TSS_T
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt
idt_pointer:
    dw 8 * 256 - 1
    dd idt
align 4
task_results_count:
    dd 0
task_results:
    times 64 dd 0xdeadbeef, 0
task_stray:
    dd 0
task_stray_at:
    dd 0

section .text
align 16
code_16:                                ; 16-bit TSS, 32-bit code at offset 0 of CODE_C
    movzx esp, sp
    str eax
    mov [seen], eax
    mov edx, 0xabcd1234
    jmp TSS_A:0

section .bss align=32
root_a:
    resq 4
root_b:
    resq 4
idt:
    resq 256
tss_a:
    resb 128
tss_b:
    resb 128
tss_v:
    resb 128
tss_t:
    resb 128
tss_16:
    resb 64
seen:
    resd 1
seen_late:
    resd 1
seen_cr3:
    resd 1
seen_tr:
    resd 1
error:
    resd 1
divisor:
    resd 1
home_esp:
    resd 1
    resb 1024
stack_b:
    resb 1024
stack_t:
