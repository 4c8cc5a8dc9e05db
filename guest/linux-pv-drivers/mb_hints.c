// SPDX-License-Identifier: GPL-2.0
/* Copyright (C) 2026 The Mirrorball authors */
/* Tells Mirrorball which memory this system does not need. */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/acpi.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "mirrorball.h"

static int mb_hints_probe(struct platform_device *pdev)
{
	long version;

	if (!mirrorball_present())
		return -ENODEV;
	version = mirrorball_call(MIRRORBALL_CALL_VERSION, 0, 0);
	dev_info(&pdev->dev, "Mirrorball, ABI %ld.%ld\n", version >> 16, version & 0xffff);
	return 0;
}

static const struct acpi_device_id mb_hints_ids[] = {
	{ MIRRORBALL_ACPI_HINTS, 0 },
	{ }
};
MODULE_DEVICE_TABLE(acpi, mb_hints_ids);

static struct platform_driver mb_hints_driver = {
	.driver = {
		.name = KBUILD_MODNAME,
		.acpi_match_table = mb_hints_ids,
	},
	.probe = mb_hints_probe,
};
module_platform_driver(mb_hints_driver);

MODULE_DESCRIPTION("Memory hints for the Mirrorball hypervisor");
MODULE_AUTHOR("The Mirrorball authors");
MODULE_LICENSE("GPL");
