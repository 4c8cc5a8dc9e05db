/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "vdev/board.h"

/*
 * The guest's ACPI tables (ACPI specification 6.5, chapter 5), as they lie in memory. board_acpi_build writes them;
 * tests read them back.
 */
#define ACPI_PACKED __attribute__((packed))

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum;           /* of the first 20 bytes */
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum;
    uint8_t reserved[3];
} ACPI_PACKED;

struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} ACPI_PACKED;

/* Generic address structure. */
struct acpi_gas {
    uint8_t space, width, offset, access;
    uint64_t address;
} ACPI_PACKED;

struct acpi_fadt {
    struct acpi_header header;
    uint32_t facs, dsdt;
    uint8_t reserved0, profile;
    uint16_t sci_interrupt;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate_control;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    uint8_t pm1_event_length, pm1_control_length, pm2_control_length, pm_timer_length;
    uint8_t gpe0_length, gpe1_length, gpe1_base, cst_control;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_architecture;
    uint8_t reserved1;
    uint32_t flags;
    struct acpi_gas reset_register;
    uint8_t reset_value;
    uint16_t arm_boot;
    uint8_t minor;
    uint64_t x_facs, x_dsdt;
    struct acpi_gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control, x_pm_timer;
    struct acpi_gas x_gpe0, x_gpe1;
    struct acpi_gas sleep_control, sleep_status;
} ACPI_PACKED;

struct acpi_facs {
    char signature[4];
    uint32_t length, hardware_signature, waking_vector, global_lock, flags;
    uint64_t x_waking_vector;
    uint8_t version, reserved[31];
} ACPI_PACKED;

struct acpi_madt {
    struct acpi_header header;
    uint32_t lapic_base, flags;
} ACPI_PACKED;

struct acpi_madt_lapic {
    uint8_t type, length, processor, apic_id;
    uint32_t flags;
} ACPI_PACKED;

struct acpi_madt_ioapic {
    uint8_t type, length, id, reserved;
    uint32_t address, gsi_base;
} ACPI_PACKED;

struct acpi_madt_override {
    uint8_t type, length, bus, source;
    uint32_t gsi;
    uint16_t flags;
} ACPI_PACKED;

struct acpi_madt_nmi {
    uint8_t type, length, processor;
    uint16_t flags;
    uint8_t lint;
} ACPI_PACKED;

/* NVDIMM firmware interface table (5.2.25). */
struct acpi_nfit {
    struct acpi_header header;
    uint32_t reserved;
} ACPI_PACKED;

struct acpi_nfit_range {
    uint16_t type, length, index, flags;
    uint32_t reserved, proximity;
    uint8_t guid[16];
    uint64_t base, size, attributes;
} ACPI_PACKED;

struct acpi_nfit_capabilities {
    uint16_t type, length;
    uint8_t highest, reserved0[3];
    uint32_t capabilities, reserved1;
} ACPI_PACKED;

enum { ACPI_NFIT_RANGE = 0, ACPI_NFIT_CAPABILITIES = 7 };
enum { ACPI_MADT_LAPIC = 0, ACPI_MADT_IOAPIC = 1, ACPI_MADT_OVERRIDE = 2, ACPI_MADT_LAPIC_NMI = 4 };
