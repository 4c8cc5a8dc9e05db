# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors
#
# One file, non-recursive. `make help` lists what there is.

BUILD ?= build
CC    ?= gcc
ifeq ($(origin CC),default)
CC    := gcc
endif
NASM  ?= nasm
EFI_LIB ?= /usr/lib

FLOORS  := lib arch/x86 ept numa vmx vdev hypercalls core efi
SOURCES := $(foreach d,$(FLOORS),$(wildcard $(d)/*.c))
ASM     := $(foreach d,$(FLOORS),$(wildcard $(d)/*.asm))
OBJECTS := $(SOURCES:%.c=$(BUILD)/%.o) $(ASM:%.asm=$(BUILD)/%.asm.o) $(BUILD)/font.o

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wundef -Wno-unused-parameter
CFLAGS   := -std=gnu11 -O2 -g $(WARNINGS) -ffreestanding -fpic -fvisibility=hidden -fshort-wchar -mno-red-zone \
            -mgeneral-regs-only -fno-omit-frame-pointer -fno-stack-protector -fno-strict-aliasing -fno-common \
            -fno-asynchronous-unwind-tables -fcf-protection=none -I. -I$(BUILD)
EFI_CFLAGS := -DGNU_EFI_USE_MS_ABI -isystem /usr/include/efi -isystem /usr/include/efi/x86_64
LDFLAGS  := -shared -Bsymbolic -nostdlib -znocombreloc -znorelro -zmax-page-size=4096 --no-undefined \
            -T efi/mirrorball.lds --build-id=none
CRT0     := $(EFI_LIB)/crt0-efi-x86_64.o

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all image run test check bench install-deps clean help boot-test
all: $(BUILD)/mirrorball.efi

# --- the hypervisor ---------------------------------------------------------------------------------------------
$(BUILD)/efi/%.o: CFLAGS += $(EFI_CFLAGS)
$(BUILD)/vdev/acpi_tables.o: $(BUILD)/vdev/dsdt_aml.h

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/%.asm.o: %.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"
	@$(NASM) -f elf64 -g -F dwarf -MD $(@:.o=.d) $< -o $@

# The console's glyphs come from Debian's package psf-unifont.
$(BUILD)/font.c: scripts/gen-font
	@mkdir -p $(@D)
	@scripts/gen-font > $@

# Linked twice: the first image gives the addresses for the table of symbols of the second (lib/symbols.h).
$(BUILD)/symbols0.c: scripts/gen-symbols
	@mkdir -p $(@D)
	@scripts/gen-symbols < /dev/null > $@

$(BUILD)/symbols.c: $(BUILD)/pass1.so scripts/gen-symbols
	@echo "  GEN   $@"
	@nm -n $< | scripts/gen-symbols > $@

$(BUILD)/%.o: $(BUILD)/%.c
	@$(CC) $(CFLAGS) -c $< -o $@

$(BUILD)/pass1.so: $(OBJECTS) $(BUILD)/symbols0.o efi/mirrorball.lds
	@ld $(LDFLAGS) $(CRT0) $(OBJECTS) $(BUILD)/symbols0.o -L$(EFI_LIB) -lgnuefi -o $@

$(BUILD)/mirrorball.so: $(OBJECTS) $(BUILD)/symbols.o efi/mirrorball.lds
	@echo "  LD    $@"
	@ld $(LDFLAGS) -Map=$(BUILD)/mirrorball.map $(CRT0) $(OBJECTS) $(BUILD)/symbols.o -L$(EFI_LIB) -lgnuefi -o $@

PE_SECTIONS := -j .text -j .rodata -j .relro -j .data -j .dynamic -j .rela -j .reloc
$(BUILD)/mirrorball.efi: $(BUILD)/mirrorball.so
	@echo "  PE    $@"
	@objcopy $(PE_SECTIONS) --target=efi-app-x86_64 --subsystem=10 $< $@

clean:
	rm -rf $(BUILD)

-include $(OBJECTS:.o=.d)
