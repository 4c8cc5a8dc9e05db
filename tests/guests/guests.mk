# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors

# The test guests: multiboot kernels $(BUILD)/guests/NAME.elf, each of tests/guests/NAME.c, NAME_*.c and NAME_*.asm.
# Their entry is 32-bit code, the rest 64-bit; loaders want a 32-bit ELF, so the finished file is relabelled.
BUILD ?= build
GUEST_NAMES := sensitive privileged interrupts timing tasks debug crash ticks share switch memory hints numa blk net spin powercut segment diskload gigantic
GUESTS := $(GUEST_NAMES:%=$(BUILD)/guests/%.elf)

GUEST_CC ?= gcc
GUEST_CFLAGS := -std=gnu11 -O2 -g -m64 -march=x86-64 -ffreestanding -mno-red-zone -mgeneral-regs-only -fno-pic \
	-fno-pie -mcmodel=small -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none \
	-fno-strict-aliasing -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wno-array-bounds \
	-I. -MMD -MP
GUEST_RT_SOURCES := $(wildcard tests/guests/rt/*.c) lib/format.c lib/string.c
GUEST_RT := $(GUEST_RT_SOURCES:%.c=$(BUILD)/guests/obj/%.o) \
	$(patsubst %.asm,$(BUILD)/guests/obj/%.asm.o,$(wildcard tests/guests/rt/*.asm))
# $(call guest_objects,NAME)
guest_objects = $(patsubst %.c,$(BUILD)/guests/obj/%.o,tests/guests/$(1).c $(wildcard tests/guests/$(1)_*.c)) \
	$(patsubst %.asm,$(BUILD)/guests/obj/%.asm.o,$(wildcard tests/guests/$(1)_*.asm))
GUEST_OBJECTS := $(GUEST_RT) $(foreach name,$(GUEST_NAMES),$(call guest_objects,$(name)))

.PHONY: guests
guests: $(GUESTS)

$(BUILD)/guests/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(GUEST_CC) $(GUEST_CFLAGS) -c -o $@ $<

$(BUILD)/guests/obj/%.asm.o: %.asm
	@mkdir -p $(@D)
	@echo "  NASM  $<"
	@nasm -f elf64 -g -F dwarf -MD $(@:.o=.d) -o $@ $<

# Keeps the 64-bit file beside it, for debuggers.
$(foreach name,$(GUEST_NAMES),$(eval $(BUILD)/guests/$(name).elf: $(call guest_objects,$(name))))
$(GUESTS): $(GUEST_RT) tests/guests/rt/guest.ld
	@echo "  GUEST $@"
	@ld -m elf_x86_64 -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
		-T tests/guests/rt/guest.ld -o $(@:.elf=.elf64) $(filter %.o,$^)
	@objcopy -O elf32-i386 $(@:.elf=.elf64) $@

.SECONDARY: $(GUEST_OBJECTS)
-include $(GUEST_OBJECTS:.o=.d)
