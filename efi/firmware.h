/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include <efi.h>

#include "core/boot.h"
#include "core/config.h"
#include "lib/types.h"

/* The firmware's world, shared by the files of this room. All of it runs on the boot processor at TPL_APPLICATION. */
extern EFI_SYSTEM_TABLE *firmware;
extern EFI_HANDLE image;

/* The specification's name of a status, constant text such as "EFI_NOT_FOUND". */
const char *status_name(EFI_STATUS status);
/* What efi_main returns for a result of ours: 0 or -errno; and the word for it in the last line. */
EFI_STATUS status_of(int err);
const char *exit_word(int err);

/*
 * Text to the firmware's console, with '\n' as the end of a line; also straight to COM1 where the firmware's console
 * does not go to a serial port and serial is wanted (print_begin decides, print_serial(false) ends it).
 */
void print_begin(void);
void print_serial(bool wanted);
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line with "mirrorball: " in front. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Reads a whole file of the volume this program came from into pages of its own; '/' is taken for '\'. what says what
 * the file is, for messages, all of which are printed here. At most max bytes. -ENOENT, -EINVAL (a directory, empty,
 * too large), -EIO, -ENOMEM.
 */
int file_load(const char *path, const char *what, uint64_t max, const void **data, size_t *size);
void file_free(const void *data, size_t size);
/* Loads every kernel and ramdisk of the configuration, equal paths once. files_free also after a failure. */
int files_load(struct config *config);
void files_free(struct config *config);

/* Do they name the same file? Names on FAT do not differ by case. */
bool same_path(const char *a, const char *b);

/* The text of this program's load options as ASCII; empty if there are none or they are no text. */
void load_options(char *text, size_t size);

/* Machine memory for the hypervisor. -ENOMEM. */
int memory_take(struct boot_info *boot);
void memory_give_back(struct boot_info *boot);
/* Does the firmware's map list all of this as memory of any kind (or does it lie in the BIOS' area below 1 MiB)? */
bool memory_is_listed(uint64_t base, uint64_t size);

/* Prints the hardware table. -ENOTSUP if something needed is missing. */
int hardware_check(const struct boot_info *boot);

/*
 * Fills in cpus, apic_id, start_cpus and wait_cpus. Says which processors are left out. wanted: vCPUs of the largest
 * VM; -ENOTSUP where the firmware has no MP services and INIT and SIPI do not bring so many processors.
 */
int processors_find(struct boot_info *boot, unsigned wanted);
/*
 * Returns when no other processor is in our program, without limit: the firmware frees our code and memory when we
 * return, so there is nothing better to do than wait.
 */
void processors_settle(void);
/* True if the firmware has MP services. */
bool services_there(void);

/* From the firmware's tables: framebuffer, rsdp, ioapic and unix_time. */
void tables_find(struct boot_info *boot);
/* An ACPI table and its length through the RSDP at rsdp, NULL if it is not there; valid for good. */
const void *table_find(uint64_t rsdp, const char sig[4], size_t *len);

/*
 * The firmware's drivers let a PCI function go. -ENODEV: none of them uses it; -EBUSY: they do not let go. And they take
 * it back.
 */
int pci_disconnect(uint16_t bdf);
void pci_reconnect(uint16_t bdf);
/* The firmware's drivers take all functions of a base class: at a fast start it leaves most alone. */
void pci_connect_class(uint8_t class);

/* The network cards that the firmware can use, and what boot_info has to do with them. */
void cards_find(struct boot_info *boot);

/*
 * The disks that the firmware can read, and what boot_info has to do with them. Not an error if there are none.
 */
void disks_find(struct boot_info *boot);
/*
 * Finds where on the disks what the configuration calls a disk lies, and takes memory for drivers (low_take). What
 * cannot be found is loaded into memory if it is a file. -ENOENT: a partition or disk that is not there; -ENOMEM.
 */
int places_find(struct config *config, struct boot_info *boot);
/* Memory below 4 GiB for devices that reach no farther; none is no error. */
void low_take(struct boot_info *boot);
void places_free(struct boot_info *boot);
/* The disk and the sectors on it of the volume this program came from. -ENOENT. */
int volume_place(const struct boot_info *boot, unsigned *disk, struct extent *e);
