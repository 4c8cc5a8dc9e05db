; SPDX-License-Identifier: GPL-2.0-only
; Copyright (C) 2026 The Mirrorball authors

; Code to be stepped over and broken into, and where each debug exception of it must stand.

%define TF 0x100

global step_run, step_want, step_wants, halt_run, halt_want, break_run, break_at, watch_run, watch_want, icebp_run
global icebp_want, port_run, port_want, repeat_run, repeat_want, repeat_step_run, repeat_step_want, device_run
global device_want

%macro STEPPING 0                       ; the first trap comes after the instruction that follows
    pushfq
    or qword [rsp], TF
    popfq
%endmacro

bits 64
default rel
section .text

; void step_run(void): instructions that leave a guest, each under a single step
step_run:
    push rbx
    mov r8d, 0xfee00030                 ; the local APIC
    STEPPING
    cpuid
.1: mov edx, 0x3fd
.2: in al, dx
.3: out 0x80, al
.4: mov ecx, 0x1b
.5: rdmsr
.6: mov eax, [r8]
.7: mov rax, cr8
.8: wbinvd
.9: xor eax, eax
.10:
    cpuid
.11:
    mov eax, ss
.12:
    mov ss, eax                         ; no trap behind it
    cpuid
.13:
    pushfq
.14:
    and qword [rsp], ~TF
.15:
    popfq
.16:
    pop rbx
    ret

; void halt_run(void): sti and hlt under a single step; an interrupt is to come later
halt_run:
    STEPPING
    sti
.1: hlt
.2: cli
.3: pushfq
.4: and qword [rsp], ~TF
.5: popfq
.6: ret

; void break_run(void): breakpoints on two instructions in a row, the first of which leaves a guest
break_run:
    push rbx
    xor eax, eax
.1: cpuid
.2: nop
    pop rbx
    ret

; void watch_run(uint32_t *at)
watch_run:
    mov dword [rdi], 42
.1: ret

icebp_run:
    db 0xf1
.1: ret

; void port_run(void): port 80h, that exits one by one
port_run:
    out 0x80, al
.1: in al, 0x80
.2: ret

; void repeat_run(const char *from): three iterations
repeat_run:
    mov rsi, rdi
    mov ecx, 3
    mov edx, 0x80
.1: rep outsb
.2: ret

; void repeat_step_run(const char *from): the same under a single step
repeat_step_run:
    mov rsi, rdi
    mov edx, 0x80
    STEPPING
    mov ecx, 3
.1: rep outsb
.2: pushfq
.3: and qword [rsp], ~TF
.4: popfq
.5: ret

; void device_run(volatile uint32_t *at): reads it and writes what was read
device_run:
    mov eax, [rdi]
.1: mov [rdi], eax
.2: ret

section .rodata
step_want:
    dq step_run.1, step_run.2, step_run.3, step_run.4, step_run.5, step_run.6, step_run.7, step_run.8, step_run.9
    dq step_run.10, step_run.11, step_run.12, step_run.13, step_run.14, step_run.15, step_run.16
step_wants:
    dd ($ - step_want) / 8
align 8
halt_want:
    dq halt_run.1, halt_run.2
break_at:
    dq break_run.1, break_run.2
watch_want:
    dq watch_run.1
icebp_want:
    dq icebp_run.1
port_want:
    dq port_run.1, port_run.2
repeat_want:
    dq repeat_run.1, repeat_run.1, repeat_run.2
repeat_step_want:
    dq repeat_step_run.1, repeat_step_run.1, repeat_step_run.1, repeat_step_run.2, repeat_step_run.3
    dq repeat_step_run.4, repeat_step_run.5
device_want:
    dq device_run.1, device_run.2
