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

FLOORS  := lib arch/x86 ept numa drivers vmx vdev hypercalls core efi
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
.PHONY: all image run test check fuzz soak bench bench-disk bench-net bench-numa bench-memory bench-pages install-deps clean help boot-test
all: $(BUILD)/mirrorball.efi

# --- the hypervisor ---------------------------------------------------------------------------------------------
$(BUILD)/efi/%.o: CFLAGS += $(EFI_CFLAGS)
AML := $(BUILD)/vdev/dsdt_aml.h $(BUILD)/vdev/nvdimm_aml.h
$(BUILD)/vdev/acpi_tables.o: $(AML)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/%.asm.o: %.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"
	@$(NASM) -f elf64 -g -F dwarf -MD $(@:.o=.d) $< -o $@

# The guests' DSDT and SSDT, as C arrays.
$(BUILD)/vdev/%_aml.h: vdev/%.asl
	@mkdir -p $(@D)
	@echo "  IASL  $<"
	@iasl -ve -p $(BUILD)/vdev/$* $< > $(BUILD)/vdev/$*.log || { cat $(BUILD)/vdev/$*.log; exit 1; }
	@{ echo "static const unsigned char $*_aml[] = {"; od -An -v -tx1 $(BUILD)/vdev/$*.aml | sed 's/ \(..\)/0x\1,/g'; echo "};"; } > $@

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

# --- unit tests: the real sources, on the host ---------------------------------------------------------------------
# All sources that need no machine go into one library, so each test links what it calls; tests/unit/seam shadows the
# headers that touch hardware.
HOST_CFLAGS := -std=gnu11 -O1 -g $(WARNINGS) -fsanitize=address,undefined -fno-sanitize-recover=all \
               -fno-omit-frame-pointer -fno-strict-aliasing -fshort-wchar -Itests/unit/seam -I. -I$(BUILD)
# Tests are built with the C library's own wchar_t.
TEST_CFLAGS := $(filter-out -fshort-wchar -Wmissing-prototypes -Wshadow -Wundef,$(HOST_CFLAGS))
HOST_SOURCES := lib/format.c lib/log.c \
                $(filter-out vmx/vmx.c core/main.c,$(wildcard ept/*.c numa/*.c drivers/*.c vmx/*.c vdev/*.c hypercalls/*.c core/*.c)) \
                arch/x86/acpi.c arch/x86/madt.c arch/x86/mce.c arch/x86/nmi.c arch/x86/paging.c arch/x86/random.c \
                efi/calendar.c efi/config.c efi/config_keys.c efi/config_net.c efi/config_segments.c efi/config_vif.c \
                efi/memplan.c efi/options.c
HOST_OBJECTS := $(HOST_SOURCES:%.c=$(BUILD)/host/%.o) $(patsubst %.c,$(BUILD)/host/%.o,$(wildcard tests/unit/seam/*.c))
UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/host/%,$(wildcard tests/unit/test_*.c))
TEST_LIBS    := -lcmocka -lcapstone

$(BUILD)/host/vdev/acpi_tables.o: $(AML)

$(BUILD)/host/%.o: %.c
	@mkdir -p $(@D)
	@$(CC) $(HOST_CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/host/libmirrorball.a: $(HOST_OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/host/test_%: tests/unit/test_%.c $(BUILD)/host/libmirrorball.a
	@echo "  TEST  $@"
	@$(CC) $(TEST_CFLAGS) -MMD -MP -MF $@.d $< $(BUILD)/host/libmirrorball.a $(TEST_LIBS) -o $@

# What a disk's log holds, for a scenario.
$(BUILD)/host/check_log: tests/programs/check_log.c $(BUILD)/host/libmirrorball.a
	@$(CC) $(TEST_CFLAGS) -MMD -MP -MF $@.d $< $(BUILD)/host/libmirrorball.a $(TEST_LIBS) -o $@

check: $(UNIT_TESTS)
	@tests/run --no-boot

-include $(HOST_OBJECTS:.o=.d) $(UNIT_TESTS:%=%.d)

# --- fuzzing: libFuzzer with AddressSanitizer and UBSan, each with the sources that it tests -----------------------------
FUZZ_config := $(wildcard efi/config*.c) lib/format.c
FUZZ_decode := vmx/decode.c vmx/execute.c
FUZZ_loader := core/e820.c $(wildcard core/loader*.c) lib/format.c
FUZZ_net_filter := vdev/net_filter.c
FUZZ_vif    := $(wildcard vdev/net*.c vdev/vif*.c vdev/ism.c numa/*.c ept/*.c tests/unit/seam/*.c) \
               lib/log.c lib/format.c
FUZZ_ism    := $(FUZZ_vif)
FUZZ_volume := drivers/volume.c drivers/fat.c drivers/partition.c
FUZZ_DISKS  := $(wildcard vdev/image.c vdev/transfer.c vdev/block_map.c vdev/layer.c vdev/persist*.c numa/*.c ept/*.c) \
               lib/format.c lib/log.c $(wildcard tests/unit/seam/*.c)
FUZZ_log    := $(FUZZ_DISKS)
FUZZ_ring   := $(FUZZ_DISKS) vdev/blk.c

FUZZERS      := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_CFLAGS  := -std=gnu11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-strict-aliasing \
                -Itests/unit/seam -I. -I$(BUILD)
FUZZ_SECONDS ?= 600

.SECONDEXPANSION:
$(FUZZERS): $(BUILD)/fuzz/%: tests/fuzz/fuzz_%.c $$(FUZZ_$$*) $(wildcard */*.h tests/unit/*.h)
	@mkdir -p $(@D)
	@echo "  FUZZ  $@"
	@clang $(FUZZ_CFLAGS) $(filter %.c,$^) -lcmocka -o $@

# --- guests and helpers of the tests -------------------------------------------------------------------------------
include tests/guests/guests.mk

# Small UEFI programs that prepare the firmware for a test.
EFI_HELPERS := $(patsubst tests/boot/efi/%.c,$(BUILD)/tests/%.efi,$(wildcard tests/boot/efi/*.c))

$(BUILD)/tests/boot/efi/%.o: CFLAGS += $(EFI_CFLAGS)

$(BUILD)/tests/%.efi: $(BUILD)/tests/boot/efi/%.o efi/mirrorball.lds
	@mkdir -p $(@D)
	@ld $(LDFLAGS) $(CRT0) $< -L$(EFI_LIB) -lgnuefi -o $(@:.efi=.so)
	@objcopy $(PE_SECTIONS) --target=efi-app-x86_64 --subsystem=10 $(@:.efi=.so) $@

# --- drivers for Linux guests --------------------------------------------------------------------------------------
# For the kernels that scripts/mkguest takes. The stamp is old when a source has changed; apt is asked only then.
DRIVER_KERNELS := cloud generic
DRIVERS := $(DRIVER_KERNELS:%=$(BUILD)/drivers/%/made)
DRIVER_SOURCES := $(wildcard guest/linux-pv-drivers/*) $(wildcard include/mirrorball/*.h)

.PHONY: drivers
drivers: $(DRIVERS) ## build the drivers for Linux guests, for Debian's current kernels

$(DRIVERS): $(BUILD)/drivers/%/made: $(DRIVER_SOURCES) scripts/mkmodules
	@echo "  KMOD  $(@D)"
	@scripts/mkmodules --kernel $* --output $(@D)
	@touch $@

# --- what people do ------------------------------------------------------------------------------------------------
# As many at a time as there are processors, unless make was told how many.
PARALLEL = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

DEMO := $(BUILD)/demo

install-deps: ## install what building, running and testing need (Debian 12)
	@scripts/install-deps

$(DEMO)/guests/initrd: scripts/mkguest $(BUILD)/drivers/cloud/made
	@scripts/mkguest --output $(DEMO)/guests --tree $(BUILD)/drivers/cloud/root

$(BUILD)/mirrorball.img: $(BUILD)/mirrorball.efi $(DEMO)/guests/initrd scripts/mirrorball.conf scripts/mkimage
	@scripts/mkimage --config scripts/mirrorball.conf --root $(DEMO) --output $@

image: install-deps ## make build/mirrorball.img: a raw disk image with two Debian guests, for dd or an emulator
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/mirrorball.img
	@echo "image: $(BUILD)/mirrorball.img"

run: install-deps ## build, and boot two Debian guests on the best platform here (KVM with VT-x, else Bochs)
	@$(MAKE) --no-print-directory $(PARALLEL) $(BUILD)/mirrorball.img
	@scripts/boot --image $(BUILD)/mirrorball.img

test: install-deps ## run every test: unit tests on the host, boot tests in emulators
	@$(MAKE) --no-print-directory $(PARALLEL) all guests drivers $(EFI_HELPERS) $(UNIT_TESTS) $(FUZZERS) \
		$(BUILD)/host/check_log
	@tests/run

fuzz: install-deps ## fuzz what reads hostile input, each target for ten minutes (FUZZ_SECONDS=N)
	@$(MAKE) --no-print-directory $(PARALLEL) $(FUZZERS)
	@tests/run --only '^fuzz:' --fuzz-seconds $(FUZZ_SECONDS)

SOAK_STEPS ?= 400000000

soak: install-deps ## the long boot scenarios, fuzzing, the model of invalidation for some hours (SOAK_STEPS=N)
	@$(MAKE) --no-print-directory $(PARALLEL) all guests drivers $(BUILD)/host/test_invalidation $(FUZZERS) \
		$(BUILD)/host/check_log
	@tests/run --long
	@tests/run --only '^fuzz:' --fuzz-seconds $(FUZZ_SECONDS)
	@SOAK_STEPS=$(SOAK_STEPS) $(BUILD)/host/test_invalidation

bench: install-deps ## measure: native Linux against a guest, on the same emulator; then as the other bench-, but for pages
	@$(MAKE) --no-print-directory $(PARALLEL) all guests drivers $(EFI_HELPERS)
	@scripts/bench
	@scripts/bench-disk
	@scripts/bench-net
	@scripts/bench-numa
	@scripts/bench-memory

bench-disk: install-deps ## measure: a guest's disk, by Debian's fio: ticks and exits of reads and writes
	@$(MAKE) --no-print-directory $(PARALLEL) all drivers
	@scripts/bench-disk

bench-net: install-deps ## measure: TCP between two Debian guests, ticks and exits of both ends together
	@$(MAKE) --no-print-directory $(PARALLEL) all drivers
	@scripts/bench-net

bench-numa: install-deps ## measure: how much of a guest's memory is local on two and four nodes, and what moves
	@$(MAKE) --no-print-directory $(PARALLEL) all guests
	@scripts/bench-numa

bench-memory: install-deps ## measure: what up to eight Debian guests cost in memory, an hour
	@$(MAKE) --no-print-directory $(PARALLEL) all drivers
	@scripts/bench-memory

bench-pages: install-deps ## measure: what the pages are that identical Debian guests do not share
	@$(MAKE) --no-print-directory $(PARALLEL) all drivers
	@scripts/bench-pages --extra "" --extra nokaslr --extra "nokaslr initcall_blacklist=tracer_init_tracefs"

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16
