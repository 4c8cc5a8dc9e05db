/* SPDX-License-Identifier: GPL-2.0-only */
/* Copyright (C) 2026 The Mirrorball authors */
#pragma once

#include "tests/guests/rt/rt.h"

/* The parts of the guest `privileged`. */
void check_traps(void);
void check_modes(void);
void check_model_specific(void);
void check_running(void);
