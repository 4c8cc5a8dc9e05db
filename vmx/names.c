/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#include "vmx/vmcs.h"

struct name {
    uint32_t number;
    const char *text;
};

static const struct name field_names[] = {
#define FIELD_NAME(name, encoding) { encoding, #name },
    VMCS_FIELDS(FIELD_NAME)
};

/* Without their common prefix. */
static const struct name reason_names[] = {
#define REASON_NAME(name, number) { number, &#name[sizeof("EXIT_REASON_") - 1] },
    EXIT_REASONS(REASON_NAME)
};

/* SDM vol. 3, 31.4: VM-instruction error numbers. */
static const struct name error_names[] = {
    {  1, "VMCALL in VMX root operation" },
    {  2, "VMCLEAR with an invalid physical address" },
    {  3, "VMCLEAR with the VMXON pointer" },
    {  4, "VMLAUNCH with a VMCS that is not clear" },
    {  5, "VMRESUME with a VMCS that is not launched" },
    {  6, "VMRESUME after VMXOFF" },
    {  7, "VM entry with invalid control fields" },
    {  8, "VM entry with invalid host-state fields" },
    {  9, "VMPTRLD with an invalid physical address" },
    { 10, "VMPTRLD with the VMXON pointer" },
    { 11, "VMPTRLD with a wrong VMCS revision" },
    { 12, "VMREAD or VMWRITE of an unsupported field" },
    { 13, "VMWRITE to a read-only field" },
    { 15, "VMXON in VMX root operation" },
    { 16, "VM entry with an invalid executive-VMCS pointer" },
    { 17, "VM entry with an executive VMCS that is not launched" },
    { 18, "VM entry with an executive-VMCS pointer that is not the VMXON pointer" },
    { 19, "VMCALL with a VMCS that is not clear" },
    { 20, "VMCALL with invalid VM-exit controls" },
    { 22, "VMCALL with a wrong MSEG revision" },
    { 23, "VMXOFF under dual-monitor treatment" },
    { 24, "VMCALL with invalid SMM-monitor features" },
    { 25, "VM entry with invalid execution controls in the executive VMCS" },
    { 26, "VM entry with events blocked by MOV SS" },
    { 28, "invalid operand to INVEPT or INVVPID" },
};

static const char *find(const struct name *names, size_t count, uint32_t number)
{
    for (size_t i = 0; i < count; i++)
        if (names[i].number == number)
            return names[i].text;
    return "?";
}

const char *vmcs_field_name(enum vmcs_field f)
{
    return find(field_names, ARRAY_SIZE(field_names), (uint32_t)f);
}

const char *exit_reason_name(uint32_t reason)
{
    return find(reason_names, ARRAY_SIZE(reason_names), reason & 0xffff);
}

const char *vm_instruction_error_name(uint32_t error)
{
    return find(error_names, ARRAY_SIZE(error_names), error);
}
