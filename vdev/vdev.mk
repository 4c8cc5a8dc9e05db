# SPDX-License-Identifier: GPL-2.0-only
# Copyright (C) 2026 The Mirrorball authors

# The guests' DSDT as an array for vdev/acpi_tables.c.
$(BUILD)/vdev/dsdt_aml.h: vdev/dsdt.asl
	@mkdir -p $(@D)
	@echo "  ASL   $<"
	@iasl -p $(@D)/dsdt $< > $(@D)/dsdt.log || { cat $(@D)/dsdt.log; exit 1; }
	@{ echo 'static const unsigned char dsdt_aml[] = {'; od -An -v -tx1 $(@D)/dsdt.aml | sed 's/ \(..\)/0x\1,/g'; echo '};'; } > $@
